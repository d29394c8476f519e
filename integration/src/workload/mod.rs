//! What clients do: each workload makes plans, and a client carries them out.
//!
//! A workload knows its keys and the property that it tests; it does not know the network, retries or
//! time. Its checker stands in `checker/` and reads only the history.
//!
//! Keys are spread over the partitions by their first letter, as the founding splits them: `a…`, `b…`,
//! `c…` (see [`letter`]).

mod bank;
mod choice;
mod counter;
mod hot;
mod list_append;
mod register;
mod write_skew;

pub use bank::Bank;
pub use choice::WorkloadChoice;
pub use counter::Counter;
pub use hot::Hot;
pub use list_append::ListAppend;
pub use register::Register;
pub use write_skew::WriteSkew;

use crate::history::Observation;
use bytes::Bytes;
use wire::SplitMix64;
use wire::keys::{DEFAULT_KEYSPACE, Key, KeyRange};
use wire::message::{Condition, Guard, Operation, OperationKind, ReadRequest};

/// What a transaction writes, and under which conditions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What is written; nothing at all if empty.
    pub operations: Vec<Operation>,
}

/// Makes the writes from what was read. `None`: nothing is to be written, the transaction only read.
pub type Decide = Box<dyn Fn(&[Observation]) -> Option<Writes> + Send>;

/// One transaction to carry out.
pub struct Plan {
    /// Of which workload.
    pub workload: &'static str,
    /// Keys to lock first (`get_for_update`), one after the other; each gives an observation, in order.
    pub locks: Vec<Key>,
    /// Reads, round after round, all at one snapshot.
    pub rounds: Vec<Vec<ReadRequest>>,
    /// What to write after the reads; `None` for a read-only transaction.
    pub decide: Option<Decide>,
    /// Run it again until it is committed (for what must be there before the others begin).
    pub until_committed: bool,
}

impl Plan {
    /// Only reads, in one round.
    pub fn read(workload: &'static str, requests: Vec<ReadRequest>) -> Plan {
        Plan {
            workload,
            locks: Vec::new(),
            rounds: vec![requests],
            decide: None,
            until_committed: false,
        }
    }

    /// Everything in one request.
    pub fn one_shot(
        workload: &'static str,
        guards: Vec<Guard>,
        operations: Vec<Operation>,
    ) -> Plan {
        let writes = Writes { guards, operations };
        Plan {
            workload,
            locks: Vec::new(),
            rounds: Vec::new(),
            decide: Some(Box::new(move |_| Some(writes.clone()))),
            until_committed: false,
        }
    }

    /// Reads, then writes what `decide` makes of it.
    pub fn interactive(
        workload: &'static str,
        rounds: Vec<Vec<ReadRequest>>,
        decide: impl Fn(&[Observation]) -> Option<Writes> + Send + 'static,
    ) -> Plan {
        Plan {
            workload,
            locks: Vec::new(),
            rounds,
            decide: Some(Box::new(decide)),
            until_committed: false,
        }
    }
}

/// A source of plans.
pub trait Workload: Send {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What must be committed before anything else runs.
    fn setup(&mut self) -> Vec<Plan> {
        Vec::new()
    }
    /// The next transaction of some client.
    fn next(&mut self, random: &mut SplitMix64) -> Plan;
}

/// Over how many letters keys are spread; each letter's keys lie in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letters(pub u8);

impl Letters {
    /// The letter of the key with this number.
    pub fn of(self, number: u64) -> char {
        letter((number % u64::from(self.0.max(1))) as u8)
    }

    /// Every letter.
    pub fn all(self) -> impl Iterator<Item = char> {
        (0..self.0.max(1)).map(letter)
    }
}

/// The letter with which the keys of a partition begin.
pub fn letter(place: u8) -> char {
    char::from(b'a' + place)
}

/// The key `LETTER/WORKLOAD/NUMBER` in the default keyspace.
pub fn key(letters: Letters, workload: &str, number: u64) -> Key {
    let text = format!("{}/{workload}/{number:03}", letters.of(number));
    Key::new(DEFAULT_KEYSPACE, text.as_bytes())
}

/// The ranges that hold every key of a workload, one for each letter.
pub fn ranges(letters: Letters, workload: &str) -> Vec<KeyRange> {
    let range = |letter| {
        let border = |last| {
            Key::new(
                DEFAULT_KEYSPACE,
                format!("{letter}/{workload}{last}").as_bytes(),
            )
        };
        KeyRange::new(border('/'), Some(border('0')))
    };
    letters.all().map(range).collect()
}

/// Every key of the default keyspace.
pub fn ranges_of_everything() -> Vec<KeyRange> {
    vec![KeyRange::keyspace(DEFAULT_KEYSPACE)]
}

/// Reads one key.
pub fn get(key: &Key) -> ReadRequest {
    ReadRequest::Get { key: key.clone() }
}

/// Reads a whole range.
pub fn scan(range: KeyRange, reverse: bool) -> ReadRequest {
    ReadRequest::Scan {
        range,
        reverse,
        limit: 10_000,
        bytes_max: 4 << 20,
    }
}

/// Sets a key.
pub fn put(key: &Key, value: impl Into<Bytes>) -> Operation {
    operation(key, OperationKind::Put(value.into()))
}

/// Adds to a key.
pub fn add(key: &Key, delta: i64) -> Operation {
    operation(key, OperationKind::Add(delta))
}

/// One operation.
pub fn operation(key: &Key, kind: OperationKind) -> Operation {
    Operation {
        key: key.clone(),
        kind,
    }
}

/// One guard.
pub fn guard(key: &Key, condition: Condition) -> Guard {
    Guard {
        key: key.clone(),
        condition,
    }
}

/// Two different numbers below `bound`.
pub fn two_of(random: &mut SplitMix64, bound: u64) -> (u64, u64) {
    let one = random.below(bound);
    let other = (one + 1 + random.below(bound - 1)) % bound;
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_workload_lies_in_exactly_one_of_its_ranges() {
        let letters = Letters(3);
        let ranges = ranges(letters, "bank");
        for number in 0..50 {
            let key = key(letters, "bank", number);
            let holding = ranges.iter().filter(|range| range.contains(&key)).count();
            assert_eq!(holding, 1, "{key}");
        }
        assert!(!ranges.iter().any(|r| r.contains(&key(letters, "banks", 1))));
    }

    #[test]
    fn two_of_are_never_equal() {
        let mut random = SplitMix64::new(9);
        for _ in 0..500 {
            let (one, other) = two_of(&mut random, 3);
            assert!(one != other && one < 3 && other < 3);
        }
    }
}
