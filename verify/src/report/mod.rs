//! A verdict for people and for programs.
//!
//! [`text()`] teaches: what was found, what that is called and means, between which operations and why,
//! and which models fall with it. [`json()`] has the same for scripts. [`svg()`] draws a cycle.

mod svg;

pub use svg::svg;

use crate::history::History;
use crate::model::Model;
use crate::verdict::{Found, Verdict};
use serde_json::{Value as Json, json};

/// In words, several lines without the last line's end. `expected`: what should hold, such as
/// `strict-serializable`.
pub fn text(verdict: &Verdict, expected: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let operations = verdict.operations;
    match verdict.is_valid() {
        Some(true) => lines.push(format!(
            "valid: {operations} operations show nothing that {expected} forbids"
        )),
        None => lines.push(format!(
            "unknown: {operations} operations neither break {expected} nor prove it"
        )),
        Some(false) => {
            let names: Vec<String> = verdict.broken.iter().map(count).collect();
            lines.push(format!(
                "INVALID: {operations} operations break {expected}: {}",
                names.join(", ")
            ));
        }
    }
    for found in verdict.broken.iter().chain(&verdict.unknown) {
        lines.push(String::new());
        lines.push(format!("{}: {}", found.anomaly, found.meaning()));
        for (number, finding) in found.examples.iter().enumerate() {
            lines.push(String::new());
            let of = if found.count > 1 {
                format!("{} of {}: ", number + 1, found.count)
            } else {
                String::new()
            };
            let indented = finding.why.replace('\n', "\n  ");
            lines.push(format!("  {of}{indented}"));
        }
        if found.count > found.examples.len() {
            lines.push(format!(
                "\n  and {} more",
                found.count - found.examples.len()
            ));
        }
    }
    if !verdict.harmless.is_empty() {
        let names: Vec<String> = verdict.harmless.iter().map(count).collect();
        lines.push(format!("\nFound too, and allowed: {}.", names.join(", ")));
    }
    if !verdict.not.is_empty() {
        lines.push(format!("\nWhat cannot hold: {}.", listed(&verdict.not)));
        if !verdict.also_not.is_empty() {
            lines.push(format!(
                "Nor what is stronger: {}.",
                listed(&verdict.also_not)
            ));
        }
    }
    lines.join("\n")
}

fn count(found: &Found) -> String {
    match found.count {
        1 => found.anomaly.to_string(),
        count => format!("{} ({count} times)", found.anomaly),
    }
}

fn listed(models: &[Model]) -> String {
    let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
    names.join(", ")
}

/// As one JSON object: `valid` is `true`, `false` or `null` for unknown.
pub fn json(verdict: &Verdict, history: &History) -> Json {
    let index = |place: &usize| history.events()[*place].index;
    let found = |found: &Found| {
        let example = |finding: &crate::verdict::Finding| {
            let cycle = finding.picture.as_ref().map(|picture| {
                picture
                    .edges
                    .iter()
                    .map(|(relation, _)| *relation)
                    .collect::<Vec<_>>()
            });
            json!({
                "why": finding.why,
                "events": finding.events.iter().map(index).collect::<Vec<_>>(),
                "cycle": cycle,
            })
        };
        json!({
            "anomaly": found.anomaly.name(),
            "meaning": found.meaning(),
            "count": found.count,
            "examples": found.examples.iter().map(example).collect::<Vec<_>>(),
        })
    };
    let all = |list: &[Found]| list.iter().map(found).collect::<Vec<_>>();
    let names = |models: &[Model]| models.iter().map(|m| m.name()).collect::<Vec<_>>();
    json!({
        "valid": verdict.is_valid(),
        "operations": verdict.operations,
        "broken": all(&verdict.broken),
        "unknown": all(&verdict.unknown),
        "allowed": all(&verdict.harmless),
        "not": names(&verdict.not),
        "also_not": names(&verdict.also_not),
    })
}
