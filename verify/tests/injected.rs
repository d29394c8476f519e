//! Anomalies put into histories of a right database are found, and no other is imagined beside them.

use proptest::prelude::*;
use std::path::Path;
use verify::generator::{Isolation, Line, Micro, Options, Shape, generate, to_history};
use verify::history::{History, Kind, Process};
use verify::{Expectation, Model, Verdict, check_list_append, check_rw_register};

fn check(lines: &[Line], shape: Shape) -> Verdict {
    let history = to_history(lines, shape);
    let expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
    let verdict = match shape {
        Shape::Lists => check_list_append(&history, &expectation),
        Shape::Registers => check_rw_register(&history, &expectation),
    };
    verdict.unwrap()
}

fn noise(seed: u64, shape: Shape) -> Vec<Line> {
    generate(&Options {
        shape,
        ..Options::small(seed, Isolation::Strict)
    })
}

/// A history made by hand, on keys and of processes that the noise does not have.
fn pattern(path: &Path) -> Vec<Line> {
    const APART: i64 = 1_000_000;
    let history = History::read_edn(std::fs::File::open(path).unwrap()).unwrap();
    let line = |event: &verify::history::Event| {
        let micro = |value: verify::history::Value| {
            let [f, key, value] = value.tuple().unwrap();
            let key = key.int().unwrap() + APART;
            match f.name() {
                Some("r") if event.kind == Kind::Ok => {
                    let one = value.int();
                    let list = value.members().map(|value| value.int().unwrap());
                    Micro::Read(key, Some(one.into_iter().chain(list).collect()))
                }
                Some("r") => Micro::Read(key, None),
                _ => Micro::Write(key, value.int().unwrap()),
            }
        };
        let Process::Client(process) = event.process else {
            panic!("a history made by hand has clients only");
        };
        Line {
            process: process + APART,
            kind: event.kind,
            transaction: history.value(event).members().map(micro).collect(),
        }
    };
    history.events().iter().map(line).collect()
}

/// Both, each in its own order.
fn interleaved(noise: Vec<Line>, pattern: Vec<Line>, mut places: Vec<usize>) -> Vec<Line> {
    places.sort_unstable();
    let mut all = noise;
    for (count, (line, place)) in pattern.into_iter().zip(places).enumerate() {
        let place = place % (all.len() - count + 1);
        all.insert(place.max(last_place(&all)).min(all.len()), line);
    }
    all
}

/// Right behind the last line of the pattern that is there already.
fn last_place(all: &[Line]) -> usize {
    all.iter()
        .rposition(|line| line.process >= 1_000_000)
        .map_or(0, |place| place + 1)
}

fn patterns(prefix: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/hand");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    });
    all.sort();
    all
}

fn found_as_alone(prefix: &str, shape: Shape, seed: u64, places: &[usize]) {
    for path in patterns(prefix) {
        let pattern = pattern(&path);
        let mut alone = check(&pattern, shape).anomalies();
        // The noise has dependencies enough.
        alone.retain(|name| *name != "empty-transaction-graph");
        let all = interleaved(noise(seed, shape), pattern, places.to_vec());
        let verdict = check(&all, shape);
        let found = verdict.anomalies();
        // A circle of the pattern may lead through the noise too, for real time binds them together, and
        // be named by what lies between two transactions there.
        let in_real_time = |name: &str| name.ends_with("-realtime") || name.starts_with("strong-");
        let is_found = |name: &&str| {
            found.contains(name)
                || in_real_time(name) && found.iter().any(|other| in_real_time(other))
        };
        let missing = alone.iter().find(|name| !is_found(name));
        assert_eq!(
            missing,
            None,
            "{} in the noise of seed {seed}: {found:?}",
            path.display()
        );
        let is_allowed =
            |name: &&str| alone.contains(name) || !alone.is_empty() && in_real_time(name);
        let imagined = found.iter().find(|name| !is_allowed(name));
        assert_eq!(
            imagined,
            None,
            "{} in the noise of seed {seed}: {:?}",
            path.display(),
            verdict.broken
        );
    }
}

/// The final read, by a process of its own, of some key that holds two elements at least, and its list.
fn final_read(lines: &mut [Line], which: usize) -> Option<(i64, &mut Vec<i64>)> {
    let last = lines.last()?.process;
    let reads = lines
        .iter_mut()
        .filter(|line| line.process == last && line.kind == Kind::Ok);
    let mut lists: Vec<(i64, &mut Vec<i64>)> = reads
        .filter_map(|line| match &mut line.transaction[0] {
            Micro::Read(key, Some(list)) if list.len() >= 2 => Some((*key, list)),
            _ => None,
        })
        .collect();
    let which = which.checked_rem(lists.len())?;
    Some(lists.swap_remove(which))
}

/// The completion of whoever wrote an element.
fn writer(lines: &mut [Line], key: i64, element: i64) -> Option<&mut Line> {
    let write = Micro::Write(key, element);
    lines
        .iter_mut()
        .find(|line| line.kind != Kind::Invoke && line.transaction.contains(&write))
}

fn broken(lines: &[Line], anomaly: &str) {
    let verdict = check(lines, Shape::Lists);
    assert!(
        verdict.anomalies().contains(&anomaly),
        "{anomaly} is not among {:?}",
        verdict.anomalies()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patterns_of_lists_are_found_in_noise(seed: u64, places in prop::collection::vec(0usize..400, 12)) {
        found_as_alone("la-", Shape::Lists, seed, &places);
    }

    #[test]
    fn patterns_of_registers_are_found_in_noise(seed: u64, places in prop::collection::vec(0usize..400, 12)) {
        found_as_alone("rw-", Shape::Registers, seed, &places);
    }

    #[test]
    fn a_change_of_what_was_read_is_found(seed: u64, which: usize) {
        let right = noise(seed, Shape::Lists);
        prop_assert_eq!(check(&right, Shape::Lists).is_valid(), Some(true));
        let change = |to: fn(&mut Vec<i64>)| {
            let mut lines = right.clone();
            let changed = final_read(&mut lines, which).map(|(_, list)| to(list));
            changed.map(|()| lines)
        };
        if let Some(lines) = change(|list| list.push(list[0])) {
            broken(&lines, "duplicate-elements");
        }
        if let Some(lines) = change(|list| list.push(987_654)) {
            broken(&lines, "garbage-read");
        }
        if let Some(lines) = change(|list| list.swap(0, 1)) {
            let verdict = check(&lines, Shape::Lists);
            let shown = right.iter().filter(|line| line.kind == Kind::Ok).flat_map(|line| &line.transaction);
            let before = final_read(&mut lines.clone(), which).map(|(key, list)| (key, vec![list[1], list[0]]));
            let (key, pair) = before.unwrap();
            let reads = shown.filter(|micro| matches!(micro, Micro::Read(k, Some(list)) if *k == key && list.starts_with(&pair)));
            if reads.count() > 1 {
                prop_assert!(verdict.anomalies().contains(&"incompatible-order"), "{:?}", verdict.anomalies());
            }
        }
    }

    #[test]
    fn a_write_that_is_lost_or_denied_is_found(seed: u64, which: usize) {
        let right = noise(seed, Shape::Lists);
        let mut denied = right.clone();
        if let Some((key, list)) = final_read(&mut denied, which) {
            let element = list[0];
            let writer = writer(&mut denied, key, element).unwrap();
            writer.kind = Kind::Fail;
            broken(&denied, "G1a");
        }
        let mut lost = right;
        if let Some((key, list)) = final_read(&mut lost, which) {
            let element = list.pop().unwrap();
            if writer(&mut lost, key, element).unwrap().kind == Kind::Ok {
                let verdict = check(&lost, Shape::Lists);
                prop_assert_eq!(verdict.is_valid(), Some(false), "the write of {} to {} is lost", element, key);
            }
        }
    }

    /// Whatever stands in a file, there is a verdict or an error that says where and why.
    #[test]
    fn broken_text_is_refused_and_never_a_panic(seed: u64, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut text = to_history(&noise(seed, Shape::Lists), Shape::Lists).to_edn().into_bytes();
        for (place, byte) in changes {
            let place = place % text.len();
            text[place] = byte;
        }
        if let Ok(history) = History::read_edn(&text[..]) {
            for workload in verify::WORKLOADS {
                let judged = match &workload.checker {
                    verify::Checker::Models(check) => check(&history, &Expectation::of(Model::STRICT_SERIALIZABLE)),
                    verify::Checker::Property(check) => check(&history),
                    verify::Checker::WaitsFor(_) => continue,
                };
                if let Ok(verdict) = judged {
                    prop_assert!(!verify::report::text(&verdict, workload.name).is_empty());
                }
            }
        }
    }
}
