//! Internal: a transaction sees its own writes, deletes and deletes of ranges, and what it read it reads
//! again (axiom INT of Cerone, Bernardi and Gotsman, 2015; Jepsen's `internal` workload, FaunaDB 2019).
//!
//! `:txn` of `[:r key value]`, `[:w key value]`, `[:delete key]`, `[:delete-range from to]` (`to` not
//! included) and `[:scan from to {key value …}]`. Keys are numbers, or strings, never both.
//!
//! - *internal*: a read or scan shows something else than what the transaction itself knows of the key.

use super::operations::{Call, calls, places};
use crate::history::{History, Malformed, Value};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    for call in calls.iter().filter(|call| call.is_ok()) {
        let mut known = Known::default();
        for member in call.told.members() {
            let wrong = known.step(call, member)?;
            if let Some((key, expected, seen)) = wrong {
                findings.add_with("internal", || {
                    let why = format!(
                        "{member} shows {seen} for key {key}, and must show {expected}\n{}",
                        call.quote()
                    );
                    Finding::new("internal", why, &places(&[call]))
                });
                break;
            }
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

/// Numbers before texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Number(number) => write!(f, "{number}"),
            Key::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// What a transaction knows of keys: the value as it is written, `nil` for none.
#[derive(Default)]
struct Known {
    keys: BTreeMap<Key, String>,
    /// Ranges that were deleted, or scanned: whatever is not in `keys` is not there.
    empty: Vec<(Key, Key)>,
}

/// A key, what must be there, what was seen.
type Wrong = Option<(Key, String, String)>;

impl Known {
    fn step(&mut self, call: &Call, member: Value) -> Result<Wrong, Malformed> {
        let unknown = || call.unknown("a vector of :r, :w, :delete, :delete-range and :scan");
        let parts: Vec<Value> = member.members().collect();
        let f = parts.first().and_then(|f| f.name()).ok_or_else(unknown)?;
        let key = |at: usize| -> Result<Key, Malformed> {
            let value = parts.get(at).ok_or_else(unknown)?;
            match (value.int(), value.name()) {
                (Some(number), _) => Ok(Key::Number(number)),
                (_, Some(text)) => Ok(Key::Text(text.to_owned())),
                _ => Err(unknown()),
            }
        };
        match (f, parts.len()) {
            ("w", 3) => {
                self.keys.insert(key(1)?, parts[2].to_string());
            }
            ("delete", 2) => {
                self.keys.insert(key(1)?, "nil".to_owned());
            }
            ("delete-range", 3) => {
                let (from, to) = (key(1)?, key(2)?);
                self.keys.retain(|key, _| !(from <= *key && *key < to));
                self.empty.push((from, to));
            }
            ("r", 3) => return Ok(self.read(key(1)?, parts[2].to_string())),
            ("scan", 4) => {
                let mut rows: BTreeMap<Key, String> = BTreeMap::new();
                for (key, value) in parts[3].entries() {
                    let key = match (key.int(), key.name()) {
                        (Some(number), _) => Key::Number(number),
                        (_, Some(text)) => Key::Text(text.to_owned()),
                        _ => return Err(unknown()),
                    };
                    rows.insert(key, value.to_string());
                }
                return Ok(self.scan(key(1)?, key(2)?, &rows));
            }
            _ => return Err(unknown()),
        }
        Ok(None)
    }

    fn read(&mut self, key: Key, seen: String) -> Wrong {
        let is_empty = self
            .empty
            .iter()
            .any(|(from, to)| *from <= key && key < *to);
        let nothing = is_empty.then(|| "nil".to_owned());
        let expected = self.keys.get(&key).cloned().or(nothing);
        match expected {
            Some(expected) if expected != seen => Some((key, expected, seen)),
            _ => {
                self.keys.insert(key, seen);
                None
            }
        }
    }

    fn scan(&mut self, from: Key, to: Key, rows: &BTreeMap<Key, String>) -> Wrong {
        let inside: Vec<Key> = self
            .keys
            .keys()
            .filter(|key| from <= **key && **key < to)
            .cloned()
            .collect();
        for key in inside.into_iter().chain(rows.keys().cloned()) {
            let seen = rows.get(&key).map_or("nil", |value| value).to_owned();
            let wrong = self.read(key, seen);
            if wrong.is_some() {
                return wrong;
            }
        }
        self.empty.push((from, to));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn transaction(value: &str) -> Vec<&'static str> {
        found(check, &format!("0 invoke txn nil\n0 ok txn {value}"))
    }

    #[test]
    fn own_writes_deletes_and_ranges_are_seen() {
        for fine in [
            "[[:w 1 5] [:r 1 5] [:delete 1] [:r 1 nil]]",
            "[[:w 1 5] [:delete-range 0 9] [:r 1 nil] [:r 3 nil] [:w 3 4] [:scan 0 9 {3 4}]]",
            "[[:r \"a\" 5] [:r \"a\" 5] [:scan \"a\" \"c\" {\"a\" 5 \"b\" 1}] [:r \"b\" 1]]",
            "[[:w 1 5] [:r 2 7] [:scan 2 9 {2 7}]]",
        ] {
            assert_eq!(transaction(fine), Vec::<&str>::new(), "{fine}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        for wrong in [
            "[[:w 1 5] [:r 1 nil]]",
            "[[:r 1 5] [:r 1 6]]",
            "[[:delete 1] [:r 1 5]]",
            "[[:delete-range 0 9] [:r 3 1]]",
            "[[:w 3 4] [:scan 0 9 {}]]",
            "[[:delete 3] [:scan 0 9 {3 4}]]",
            "[[:scan 0 9 {3 4}] [:r 5 1]]",
            "[[:scan 0 9 {3 4}] [:scan 0 9 {3 4, 5 1}]]",
        ] {
            assert_eq!(transaction(wrong), ["internal"], "{wrong}");
        }
    }
}
