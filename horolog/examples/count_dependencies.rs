//! Counts, in the store, how many packages depend on each name: one transaction a package.
//!
//! ```text
//!   apt-cache dumpavail | scripts/package-list.py > packages.jsonl
//!   scripts/count-dependencies.py packages.jsonl > counts.tsv
//!   horolog dev --split-at count/d,count/lib,count/libm,count/p      (in another terminal)
//!   cargo run --release --example count_dependencies -- packages.jsonl \
//!       --connect 127.0.0.1:PORT --expected counts.tsv
//! ```
//!
//! Each package adds one to `count/NAME` for every distinct name that it depends on, all in one
//! transaction. The counts lie in several partitions, many packages depend on the same few names, and
//! many clients run at once. Because additions are evaluated where the number is, none of them
//! conflicts. In the end the counts are read at one snapshot and compared, if asked, with those that a
//! script of its own, without a store, found.

use base64::Engine;
use clap::Parser;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use wire::client::{Client, prefix};

/// Count, in the store, how many packages depend on each name
#[derive(Debug, Parser)]
struct Arguments {
    /// The JSON lines of scripts/package-list.py
    packages: String,

    /// Addresses of nodes, divided by commas
    #[arg(
        long,
        value_name = "ADDRESS,…",
        env = "HOROLOG_CONNECT",
        value_delimiter = ','
    )]
    #[arg(required = true)]
    connect: Vec<String>,

    /// Clients that run at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,

    /// Connections that they share
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,

    /// What the keys of the counts begin with; no such key may exist before
    #[arg(long, value_name = "BYTES", default_value = "count/")]
    prefix: String,

    /// The counts that must come out, as scripts/count-dependencies.py writes them
    #[arg(long, value_name = "FILE")]
    expected: Option<String>,
}

type Failure = Box<dyn Error + Send + Sync>;
type Counts = BTreeMap<String, i64>;

/// One line of the input.
#[derive(Deserialize)]
struct Line {
    value: Option<String>,
    value_base64: Option<String>,
}

/// What one client did.
#[derive(Debug, Default)]
struct Tally {
    transactions: u64,
    additions: u64,
    over_several_partitions: u64,
    /// Transactions that lost against others for so long that the library gave up. Nothing of them
    /// was done, so they are run again.
    run_again: u64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let packages = read_packages(&fs::read_to_string(&arguments.packages)?)?;
    let expected = match &arguments.expected {
        Some(file) => Some(parse_counts(&fs::read_to_string(file)?)?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&arguments, packages, expected))
}

async fn run(
    arguments: &Arguments,
    packages: Vec<BTreeSet<String>>,
    expected: Option<Counts>,
) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(Client::connect(&arguments.connect).await?);
    }
    let client = &connections[0];
    if let Some(row) = client.scan(prefix(&arguments.prefix)).next().await? {
        let key = row.key;
        return Err(format!("{key} is there already: take another --prefix, or delete it").into());
    }
    let count = packages.len();
    let (tally, elapsed) = count_all(arguments, &connections, packages).await?;
    let seconds = elapsed.as_secs_f64();
    println!(
        "{count} packages, {} transactions with {} additions in {seconds:.2} s: {:.0} transactions/s, {} over several partitions, {} run again",
        tally.transactions,
        tally.additions,
        tally.transactions as f64 / seconds,
        tally.over_several_partitions,
        tally.run_again
    );
    let found = read_counts(client, &arguments.prefix).await?;
    match expected {
        None => println!("{} names counted", found.len()),
        Some(expected) => {
            compare(&found, &expected)?;
            println!("{} names counted, each as expected", found.len());
        }
    }
    Ok(())
}

async fn count_all(
    arguments: &Arguments,
    connections: &[Client],
    packages: Vec<BTreeSet<String>>,
) -> Result<(Tally, Duration), Failure> {
    let packages = Arc::new(packages);
    let next = Arc::new(AtomicUsize::new(0));
    #[allow(clippy::disallowed_methods)] // A program, not a core: it measures real time.
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients as usize {
        let client = connections[number % connections.len()].clone();
        let (packages, next) = (packages.clone(), next.clone());
        let prefix = arguments.prefix.clone();
        clients.spawn(async move { count_some(&client, &prefix, &packages, &next).await });
    }
    let mut all = Tally::default();
    while let Some(tally) = clients.join_next().await {
        let tally = tally??;
        all.transactions += tally.transactions;
        all.additions += tally.additions;
        all.over_several_partitions += tally.over_several_partitions;
        all.run_again += tally.run_again;
    }
    Ok((all, started.elapsed()))
}

/// Takes one package after the other until there is none left.
async fn count_some(
    client: &Client,
    prefix: &str,
    packages: &[BTreeSet<String>],
    next: &AtomicUsize,
) -> Result<Tally, wire::client::Error> {
    let mut tally = Tally::default();
    while let Some(names) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
        if names.is_empty() {
            continue;
        }
        let committed = loop {
            let additions = names.iter().map(|name| format!("{prefix}{name}"));
            let transaction = additions.fold(client.transaction(), |t, key| t.add(key, 1));
            match transaction.commit().await {
                Err(wire::client::Error::RetriesExhausted { .. }) => tally.run_again += 1,
                ended => break ended?,
            }
        };
        tally.transactions += 1;
        tally.additions += names.len() as u64;
        tally.over_several_partitions += u64::from(committed.partitions > 1);
    }
    Ok(tally)
}

async fn read_counts(client: &Client, folder: &str) -> Result<Counts, Failure> {
    let mut rows = client.scan(prefix(folder));
    let mut counts = Counts::new();
    while let Some(row) = rows.next().await? {
        let name = std::str::from_utf8(&row.key.user()[folder.len()..])?;
        let count = std::str::from_utf8(&row.version.value)?.parse()?;
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

/// The most differences that are shown.
const DIFFERENCES_SHOWN: usize = 10;

fn compare(found: &Counts, expected: &Counts) -> Result<(), Failure> {
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| found.get(*name) != expected.get(*name))
        .map(|name| {
            let of = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
            format!("{name}: {} counted, {} expected", of(found), of(expected))
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let shown = &differences[..differences.len().min(DIFFERENCES_SHOWN)];
    Err(format!("{} counts differ: {}", differences.len(), shown.join("; ")).into())
}

fn parse_counts(text: &str) -> Result<Counts, Failure> {
    let mut counts = Counts::new();
    for line in text.lines() {
        let wrong = || format!("'{line}' is not NAME, a tab, and a number");
        let (name, count) = line.split_once('\t').ok_or_else(wrong)?;
        counts.insert(name.to_owned(), count.parse().map_err(|_| wrong())?);
    }
    Ok(counts)
}

/// For each package the names that it depends on.
fn read_packages(lines: &str) -> Result<Vec<BTreeSet<String>>, Failure> {
    let mut packages = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line: Line =
            serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let record = match (line.value, line.value_base64) {
            (Some(value), _) => value,
            (None, Some(base64)) => {
                let bytes = base64::prelude::BASE64_STANDARD.decode(base64)?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            (None, None) => return Err(format!("line {number} has no value").into()),
        };
        packages.push(dependencies(&record));
    }
    Ok(packages)
}

/// The distinct names in a record's Depends and Pre-Depends: each alternative counts, versions and
/// architectures do not.
fn dependencies(record: &str) -> BTreeSet<String> {
    let mut lists: Vec<String> = Vec::new();
    let mut wanted = false;
    for line in record.lines() {
        if line.starts_with([' ', '\t']) {
            if let (true, Some(list)) = (wanted, lists.last_mut()) {
                list.push_str(line);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            wanted = ["depends", "pre-depends"].contains(&field.to_ascii_lowercase().as_str());
            if wanted {
                lists.push(value.to_owned());
            }
        }
    }
    let alternatives = lists.iter().flat_map(|list| list.split([',', '|']));
    alternatives.filter_map(name).map(str::to_owned).collect()
}

/// `libc6:any (>= 2.34) [amd64]` is `libc6`.
fn name(alternative: &str) -> Option<&str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ':' | '(' | '[' | '<');
    let name = alternative.trim().split(ends).next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(record: &str) -> Vec<String> {
        dependencies(record).into_iter().collect()
    }

    #[test]
    fn names_are_taken_from_both_fields_once() {
        let record = "Package: x\nDepends: a (>= 1:2), b:any | c [amd64], a\n  (<< 3), d\n\
                      Suggests: no\n not-this-either\nPre-Depends: e<!nocheck>, a\nDescription: Depends: f\n";
        assert_eq!(names(record), ["a", "b", "c", "d", "e"]);
        assert!(names("Package: x\nRecommends: y\n").is_empty());
    }

    #[test]
    fn a_difference_is_told() {
        let counts = |text| parse_counts(text).unwrap();
        assert!(compare(&counts("a\t1\n"), &counts("a\t1\n")).is_ok());
        let error = compare(&counts("a\t1\nb\t2\n"), &counts("b\t3\n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 counts differ: a: 1 counted, 0 expected; b: 2 counted, 3 expected"
        );
        assert!(parse_counts("a 1").is_err());
    }

    #[test]
    fn packages_are_read_from_json_lines() {
        let lines = "{\"key\":\"package/x\",\"value\":\"Depends: a\\n\"}\n\
                     {\"key\":\"package/y\",\"value_base64\":\"RGVwZW5kczogYiwgYQo=\"}\n";
        let packages = read_packages(lines).unwrap();
        assert_eq!(packages[0], BTreeSet::from(["a".to_owned()]));
        assert_eq!(packages[1].len(), 2);
        assert!(read_packages("{}").is_err());
    }
}
