//! What was explored, as lines of a table.

use crate::io::Exploration;
use std::fmt::Write;

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<38} {:>12} {:>12} {:>6} {:>10} {:>9}  verdict",
        "model", "states", "unique", "depth", "exhausted", "time"
    )
}

/// One line; a mutant is `expected` to be caught.
pub fn line(model: &str, it: &Exploration, is_mutant: bool) -> String {
    let exhausted = match (it.is_exhausted, &it.counterexample) {
        (_, Some(_)) => "-",
        (true, None) => "yes",
        (false, None) => "no",
    };
    let verdict = match (&it.counterexample, is_mutant) {
        (None, false) => String::from("holds"),
        (None, true) => String::from("NOT CAUGHT"),
        (Some(found), false) => format!("VIOLATED: {}", found.property),
        (Some(found), true) => format!("caught: {}", found.property),
    };
    format!(
        "{model:<38} {:>12} {:>12} {:>6} {exhausted:>10} {:>7.1} s  {verdict}",
        it.states,
        it.unique,
        it.depth,
        it.took.as_secs_f64()
    )
}

/// The way to what was found, if anything was.
pub fn steps(it: &Exploration) -> String {
    let mut text = String::new();
    for (number, step) in it
        .counterexample
        .iter()
        .flat_map(|found| &found.steps)
        .enumerate()
    {
        writeln!(text, "    {:>2}. {step}", number + 1).expect("a string takes what is written");
    }
    text
}
