//! The commit protocol at scopes that take seconds.

use models::commit::{Commit, Mark, Mutant, Scope};
use models::io::{Exploration, Limits, explore};
use models::table;

/// Messages may come any number of times: that is more, and takes less, than each but once.
fn all_of(name: &str) -> Exploration {
    let scope = Scope::find(name).expect("the scope is there");
    explore(Commit::of(scope.doubled()), Limits::default())
}

#[track_caller]
fn assert_holds(name: &str, unique: usize) {
    let found = all_of(name);
    let line = table::line(name, &found, false);
    assert!(found.is_exhausted, "{line}\n{}", table::steps(&found));
    assert_eq!(found.unique, unique, "the model has changed: {line}");
}

#[test]
fn updates_of_the_same_keys() {
    assert_holds("updates", 54_102);
}

#[test]
fn each_reads_what_the_other_writes() {
    assert_holds("local-skew", 988);
    assert_holds("skew", 143_775);
}

#[test]
fn an_update_and_a_reader() {
    assert_holds("audit", 65_669);
}

#[test]
fn a_change_of_leader() {
    assert_holds("leaders", 343_672);
}

#[test]
fn three_transactions() {
    assert_holds("ring", 709_488);
}

#[test]
fn every_broken_rule_is_caught() {
    for mutant in Mutant::ALL {
        let scope = Scope::catching(*mutant);
        let name = format!("{} + {mutant}", scope.name);
        let found = explore(Commit::of(scope), Limits::default());
        println!(
            "{}\n{}",
            table::line(&name, &found, true),
            table::steps(&found)
        );
        assert!(
            found.counterexample.is_some(),
            "{mutant} ({}) is not caught: {}",
            mutant.about(),
            table::line(&name, &found, true)
        );
    }
}

/// A model that cannot reach a commit by recovery says nothing about it.
#[test]
fn what_the_model_is_about_is_reached() {
    for mark in Mark::ALL {
        let scope = match mark {
            Mark::ToldBySecondGateway => "two-gateways",
            Mark::LimitRaised | Mark::SecondAttempt => "pushed",
            _ => "audit",
        };
        let scope = Scope::find(scope).expect("the scope is there");
        let found = explore(Commit::seek(scope, *mark), Limits::default());
        let reached = found.counterexample.map(|found| found.property);
        assert_eq!(reached, Some("what is sought is not reached"), "{mark:?}");
    }
}
