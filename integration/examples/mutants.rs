//! The table of mutants, as Markdown: `cargo run --release -p integration --features mutants --example mutants`.
//!
//! `--only NAME` runs one row; `--shrink` makes the run that notices it smaller and prints it; `--replay FILE`
//! runs what was printed so.

use integration::mutants::{Caught, Row, TABLE, hunt, name, options};
use integration::simulation::shrink::{Effort, shrink};
use integration::simulation::{Failure, Scenario, perform};
use std::process::ExitCode;

const USAGE: &str = "mutants [--only NAME] [--shrink] [--jobs N] | mutants --replay FILE";

struct Arguments {
    only: Option<String>,
    shrink: bool,
    jobs: usize,
    replay: Option<String>,
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments {
        only: None,
        shrink: false,
        jobs: 2,
        replay: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => arguments.only = Some(words.next()?),
            "--shrink" => arguments.shrink = true,
            "--jobs" => arguments.jobs = words.next()?.parse().ok()?,
            "--replay" => arguments.replay = Some(words.next()?),
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // Broken rules are noticed by assertions too: each would print its backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(file) = &arguments.replay {
        return replay(file);
    }
    println!(
        "| broken rule | mutant | noticed by | seed | seeds until then |\n| --- | --- | --- | ---: | ---: |"
    );
    let mut survivors = Vec::new();
    for row in TABLE {
        let mutant = match row.caught {
            Caught::Simulated { mutant, .. } => Some(name(mutant)),
            _ => None,
        };
        if arguments.only.is_some() && arguments.only != mutant {
            continue;
        }
        match hunt(row, arguments.jobs) {
            Ok(failure) => println!("{}", line(row, failure.as_ref())),
            Err(why) => survivors.push(why),
        }
        if arguments.shrink {
            make_smaller(row, arguments.jobs);
        }
    }
    for survivor in &survivors {
        println!("SURVIVED: {survivor}");
    }
    match survivors.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn line(row: &Row, failure: Option<&Failure>) -> String {
    let (mutant, by) = match row.caught {
        Caught::Simulated {
            mutant, mixture, ..
        } => (name(mutant), format!("simulator, `{}`", mixture.name())),
        Caught::Model(mutant) => (
            mutant.to_owned(),
            "model ([models.md](models.md))".to_owned(),
        ),
        Caught::Test(test) => (String::new(), format!("`cargo test {test}`")),
        Caught::WaitsFor(what) => (String::new(), format!("nothing yet: waits for {what}")),
    };
    match failure {
        Some(Failure {
            seed, violation, ..
        }) => format!(
            "| {} | {mutant} | {by}: {} | {seed} | {} |",
            row.broken,
            violation.property,
            seed + 1
        ),
        None => format!("| {} | {mutant} | {by} | | |", row.broken),
    }
}

fn make_smaller(row: &Row, jobs: usize) {
    let Caught::Simulated {
        mutant,
        mixture,
        seconds,
        ..
    } = row.caught
    else {
        return;
    };
    let Ok(Some(failure)) = hunt(row, jobs) else {
        return;
    };
    let drawn = Scenario::draw(failure.seed, &options(mixture, Some(mutant), seconds));
    let report = perform(&drawn, false);
    println!("from: {}", report.scenario);
    match shrink(&report, Effort::default(), |step| eprintln!("{step}")) {
        Some(smaller) => println!(
            "the smallest of {} runs: {}\nit fails so: {}\n{}",
            smaller.runs,
            smaller.scenario,
            smaller.violation,
            smaller.scenario.to_json()
        ),
        None => println!("nothing smaller"),
    }
}

fn replay(file: &str) -> ExitCode {
    let text = std::fs::read_to_string(file);
    let scenario = text.map_err(|error| error.to_string());
    let scenario = scenario.and_then(|text| Scenario::from_json(&text).map_err(|e| e.to_string()));
    let scenario = match scenario {
        Ok(scenario) => scenario,
        Err(why) => {
            eprintln!("{file}: {why}");
            return ExitCode::from(2);
        }
    };
    let report = perform(&scenario, true);
    for line in &report.trace {
        println!("{line}");
    }
    match report.verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}
