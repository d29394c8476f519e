//! A checker that cannot fail is worth nothing: for each rule broken on purpose, the simulator finds a
//! violation within the number of seeds that the table states, and with the rule kept that very seed
//! passes. `HOROLOG_MUTANT=NoEndedMarker` looks at one only.

use integration::mutants::{Caught, TABLE, hunt, name, options};
use integration::simulation::shrink::{Effort, kind_of, shrink};
use integration::simulation::{Mixture, Scenario, perform};
use node::Mutant;
use std::io::Write;

const JOBS: usize = 2;

#[test]
fn no_mutant_survives() {
    let only = std::env::var("HOROLOG_MUTANT").ok();
    let mut survivors = Vec::new();
    let mut noticed = 0;
    for row in TABLE {
        let Caught::Simulated { mutant, .. } = row.caught else {
            continue;
        };
        if only.as_ref().is_some_and(|only| *only != name(mutant)) {
            continue;
        }
        match hunt(row, JOBS) {
            Ok(Some(failure)) => {
                noticed += 1;
                writeln!(std::io::stderr(), "{}: {failure}", name(mutant))
                    .expect("standard error can be written");
            }
            Ok(None) => unreachable!("a simulated row is run"),
            Err(why) => survivors.push(why),
        }
    }
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
    assert!(noticed > 0, "there is no such mutant");
}

#[test]
fn a_mutant_is_found_by_its_name() {
    for row in TABLE {
        if let Caught::Simulated { mutant, .. } = row.caught {
            assert_eq!(integration::mutants::from_name(&name(mutant)), Some(mutant));
        }
    }
}

#[test]
fn a_failing_run_is_made_smaller_and_still_fails_when_it_is_read_back() {
    let mutant = Mutant::Partition(partition::Mutant::NoTimestampCache);
    let options = options(Mixture::Contention, Some(mutant), 10);
    let mut seeds = 0..20;
    let report = seeds.find_map(|seed| {
        let report = perform(&Scenario::draw(seed, &options), false);
        report.verdict.is_err().then_some(report)
    });
    let report = report.expect("the mutant is noticed within 20 seeds");
    let kind = kind_of(report.verdict.as_ref().unwrap_err());
    let effort = Effort {
        runs_max: 60,
        ..Effort::default()
    };
    let small = shrink(&report, effort, |_| {}).expect("it fails with the faults that struck too");
    assert_eq!(kind_of(&small.violation), kind);
    assert!(small.runs <= 60, "{} runs", small.runs);
    let (before, after) = (&report.scenario, &small.scenario);
    assert!(after.duration < before.duration, "{before} → {after}");
    assert!(after.clients <= before.clients, "{before} → {after}");
    assert!(
        after.workloads.len() <= before.workloads.len(),
        "{before} → {after}"
    );
    let read = Scenario::from_json(&after.to_json()).expect("it was written by us");
    assert_eq!(&read, after, "the broken rule is read back too");
    let again = perform(&read, false).verdict.unwrap_err();
    assert_eq!(again, small.violation, "the same run, byte for byte");
}
