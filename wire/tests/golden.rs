//! Golden bytes: how one instance of every message lies on a connection, for protocol version 1.
//!
//! postcard cannot add fields, and a variant is known by its place in the enum. So whatever changes a
//! byte here breaks the conversation with every older node: it needs a new variant at the end, or a
//! new protocol version. A variant without an instance fails the test; so does a changed byte.
//!
//! `HOROLOG_GOLDEN=write cargo test -p wire --test golden` writes `golden.txt` anew: after adding a
//! variant, look at the difference, which must only add lines.

mod golden {
    pub(crate) mod instances;
    pub(crate) mod variants;
}

use golden::instances::all;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/golden.txt")
}

/// One line for each instance: its name and its bytes.
fn render(lines: &BTreeMap<String, String>) -> String {
    let line = |(name, hex): (&String, &String)| format!("{name} {hex}\n");
    lines.iter().map(line).collect()
}

#[test]
fn every_message_lies_on_the_connection_as_it_always_did() {
    let (mut lines, mut problems) = (BTreeMap::new(), vec![]);
    for group in all() {
        let covered: BTreeSet<&str> = group.instances.iter().map(|i| i.variant).collect();
        for variant in group.variants {
            if !covered.contains(variant) {
                problems.push(format!("{}::{variant} has no instance", group.name));
            }
        }
        let mut numbers = BTreeMap::new();
        for instance in group.instances {
            problems.extend(instance.problem);
            let number = numbers.entry(instance.variant).or_insert(0);
            *number += 1;
            let name = format!("{}::{}#{number}", group.name, instance.variant);
            lines.insert(name, instance.hex);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let now = render(&lines);
    if std::env::var("HOROLOG_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(path(), &now).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(path()).expect("there is a golden file");
    let was: BTreeSet<&str> = golden.lines().collect();
    let is: BTreeSet<&str> = now.lines().collect();
    let gone: Vec<_> = was.difference(&is).collect();
    let new: Vec<_> = is.difference(&was).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "messages lie on the connection differently.\nwas: {gone:#?}\nis: {new:#?}"
    );
}
