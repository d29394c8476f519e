//! Replication and promises at scopes that take seconds.

use models::io::{Limits, explore};
use models::replication::{Mutant, Replicas, Scope};
use models::table;

#[test]
fn two_candidacies_and_a_restart() {
    let scope = Scope::find("restarts").expect("the scope is there");
    let found = explore(Replicas(scope), Limits::default());
    let line = table::line("restarts", &found, false);
    assert!(found.is_exhausted, "{line}\n{}", table::steps(&found));
}

/// Beyond the depth only the program goes: `docs/models.md` says how far.
#[test]
fn the_first_steps_of_everything() {
    for scope in Scope::all() {
        let name = scope.name;
        let limits = Limits {
            depth: Some(9),
            ..Limits::default()
        };
        let found = explore(Replicas(scope), limits);
        let line = table::line(name, &found, false);
        assert!(
            found.counterexample.is_none(),
            "{line}\n{}",
            table::steps(&found)
        );
    }
}

#[test]
fn every_broken_rule_is_caught() {
    for mutant in Mutant::ALL {
        let scope = Scope::catching(*mutant);
        let name = format!("{} + {mutant}", scope.name);
        let found = explore(Replicas(scope), Limits::default());
        let line = table::line(&name, &found, true);
        println!("{line}\n{}", table::steps(&found));
        assert!(
            found.counterexample.is_some(),
            "{} is not caught: {line}",
            mutant.about()
        );
    }
}
