//! What a transaction contradicts by itself.
//!
//! - *internal*: a read disagrees with what the transaction itself read or wrote of the key before
//!   (axiom INT of Cerone, Bernardi and Gotsman, *A Framework for Transactional Consistency Models with
//!   Atomic Visibility*, 2015).
//! - *future-read*: a read shows what the transaction wrote only afterwards.

use super::table::{Access, MicroOperation, NONE, Table};
use crate::verdict::{Finding, Findings};

pub(super) fn check(table: &Table, findings: &mut Findings) {
    for transaction in table.committed() {
        let all = table.of(transaction);
        if let Some((place, expected)) = contradiction(table, all) {
            findings.add_with("internal", || {
                let why = format!(
                    "{}\n  its read of key {} ({}) contradicts what it did before: {expected}",
                    table.quote(transaction),
                    table.key_text(all[place].key),
                    access_text(table, all[place].access),
                );
                Finding::new("internal", why, &table.places(&[transaction]))
            });
        }
        if let Some((read, version)) = future_read(table, all) {
            findings.add_with("future-read", || {
                let why = format!(
                    "{}\n  it read {} in key {} and wrote it only afterwards",
                    table.quote(transaction),
                    table.value_text(version),
                    table.key_text(all[read].key),
                );
                Finding::new("future-read", why, &table.places(&[transaction]))
            });
        }
    }
}

fn access_text(table: &Table, access: Access) -> String {
    match access {
        Access::List { from, to } => table.list_text(&table.elements[from as usize..to as usize]),
        Access::Register(NONE) => "nil".to_owned(),
        Access::Register(version) | Access::Write(version) => table.value_text(version),
        Access::Unknown => "unknown".to_owned(),
    }
}

/// The first read that cannot be, and what should have been there.
fn contradiction(table: &Table, all: &[MicroOperation]) -> Option<(usize, String)> {
    (0..all.len()).find_map(|place| {
        let expected = match all[place].access {
            Access::List { from, to } => {
                let seen = &table.elements[from as usize..to as usize];
                contradicted_list(table, all, place, seen)
            }
            Access::Register(seen) => contradicted_register(table, all, place, seen),
            Access::Write(_) | Access::Unknown => None,
        };
        expected.map(|expected| (place, expected))
    })
}

/// What was known of the key before: the last list read, and what was appended since.
fn contradicted_list(
    table: &Table,
    all: &[MicroOperation],
    place: usize,
    seen: &[u64],
) -> Option<String> {
    let key = all[place].key;
    let mut appended: Vec<u64> = Vec::new();
    let mut known: Option<&[u64]> = None;
    for earlier in all[..place]
        .iter()
        .rev()
        .filter(|earlier| earlier.key == key)
    {
        match earlier.access {
            Access::Write(version) => appended.push(table.versions.get(version).1),
            Access::List { from, to } => {
                known = Some(&table.elements[from as usize..to as usize]);
                break;
            }
            Access::Register(_) | Access::Unknown => {}
        }
    }
    appended.reverse();
    let ends_well = seen.ends_with(&appended);
    match known {
        None if ends_well => None,
        None => Some(format!(
            "the list must end in {}",
            table.list_text(&appended)
        )),
        Some(known) if ends_well && seen[..seen.len() - appended.len()] == *known => None,
        Some(known) => {
            let whole: Vec<u64> = known.iter().chain(&appended).copied().collect();
            Some(format!("the list must be {}", table.list_text(&whole)))
        }
    }
}

fn contradicted_register(
    table: &Table,
    all: &[MicroOperation],
    place: usize,
    seen: u32,
) -> Option<String> {
    let key = all[place].key;
    let before = all[..place]
        .iter()
        .rev()
        .find(|earlier| earlier.key == key)?;
    match before.access {
        Access::Write(version) | Access::Register(version)
            if version != seen && version != NONE =>
        {
            Some(format!("the value must be {}", table.value_text(version)))
        }
        // Elle passes over this one: nothing was read, and then something.
        Access::Register(NONE) if seen != NONE => Some("the value must be nil".to_owned()),
        _ => None,
    }
}

fn future_read(table: &Table, all: &[MicroOperation]) -> Option<(usize, u32)> {
    all.iter().enumerate().find_map(|(place, one)| {
        let Access::Write(version) = one.access else {
            return None;
        };
        let element = table.versions.get(version).1;
        let shows = |earlier: &MicroOperation| {
            earlier.key == one.key
                && match earlier.access {
                    Access::List { from, to } => {
                        table.elements[from as usize..to as usize].contains(&element)
                    }
                    Access::Register(seen) => seen == version,
                    Access::Write(_) | Access::Unknown => false,
                }
        };
        let read = all[..place].iter().position(shows)?;
        Some((read, version))
    })
}
