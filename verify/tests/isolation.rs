//! The cycle checkers against a small database: what its isolation promises is never called broken,
//! what it allows is found.

use verify::generator::{Isolation, Options, Shape, generate, to_history};
use verify::{Assumptions, Expectation, Model, Verdict, check_list_append, check_rw_register};

const SEEDS: u64 = 150;

fn model(name: &str) -> Model {
    Model::from_name(name).unwrap()
}

fn lists(options: &Options, name: &str) -> Verdict {
    let history = to_history(&generate(options), options.shape);
    check_list_append(&history, &Expectation::of(model(name))).unwrap()
}

/// The model holds with every seed.
fn holds(isolation: Isolation, name: &str) {
    for seed in 0..SEEDS {
        let verdict = lists(&Options::small(seed, isolation), name);
        let why = verdict
            .broken
            .first()
            .and_then(|found| found.examples.first());
        assert!(
            verdict.broken.is_empty(),
            "seed {seed}: {isolation:?} breaks {name}: {}",
            why.map_or("", |f| &f.why)
        );
    }
}

/// The anomaly is found with some seed, and the model called broken.
fn shows(isolation: Isolation, name: &str, anomaly: &str) {
    let found = (0..SEEDS).any(|seed| {
        lists(&Options::small(seed, isolation), name)
            .anomalies()
            .contains(&anomaly)
    });
    assert!(
        found,
        "no seed of {SEEDS} shows {anomaly} under {isolation:?}"
    );
}

#[test]
fn a_strict_database_is_strict() {
    holds(Isolation::Strict, "strict-serializable");
}

#[test]
fn snapshots_are_strong_and_not_serializable() {
    holds(Isolation::Snapshot, "strong-snapshot-isolation");
    holds(Isolation::Snapshot, "snapshot-isolation");
    shows(Isolation::Snapshot, "serializable", "G2-item");
}

#[test]
fn read_committed_loses_updates_and_reads_no_dirt() {
    holds(Isolation::ReadCommitted, "read-committed");
    holds(Isolation::ReadCommitted, "strong-read-committed");
    for anomaly in ["G-single-item", "lost-update", "internal"] {
        shows(Isolation::ReadCommitted, "serializable", anomaly);
    }
}

#[test]
fn without_isolation_everything_is_found() {
    for anomaly in [
        "G0",
        "G1a",
        "G1b",
        "G1c",
        "G-single-item",
        "lost-update",
        "dirty-update",
        "internal",
    ] {
        shows(Isolation::None, "serializable", anomaly);
    }
}

#[test]
fn registers_of_a_strict_database_are_strict_under_every_assumption() {
    for seed in 0..SEEDS {
        let mut options = Options::small(seed, Isolation::Strict);
        options.shape = Shape::Registers;
        let history = to_history(&generate(&options), Shape::Registers);
        let mut expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
        expectation.assumptions = Assumptions {
            linearizable_keys: true,
            sequential_keys: true,
            writes_follow_reads: true,
        };
        let verdict = check_rw_register(&history, &expectation).unwrap();
        assert_eq!(
            verdict.is_valid(),
            Some(true),
            "seed {seed}: {:?}",
            verdict.broken
        );
    }
}

#[test]
fn registers_without_isolation_are_found_out() {
    let mut all = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut options = Options::small(seed, Isolation::None);
        options.shape = Shape::Registers;
        let history = to_history(&generate(&options), Shape::Registers);
        let mut expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
        expectation.assumptions.linearizable_keys = true;
        all.extend(
            check_rw_register(&history, &expectation)
                .unwrap()
                .anomalies(),
        );
    }
    for anomaly in [
        "G1a",
        "G1b",
        "G1c",
        "G-single-item",
        "internal",
        "lost-update",
    ] {
        assert!(all.contains(anomaly), "{anomaly} is not among {all:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history_and_verdict() {
    let options = Options::small(9, Isolation::None);
    assert_eq!(generate(&options), generate(&options));
    let why = |verdict: Verdict| format!("{:?}", verdict.broken);
    assert_eq!(
        why(lists(&options, "serializable")),
        why(lists(&options, "serializable"))
    );
}
