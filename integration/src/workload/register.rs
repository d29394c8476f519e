//! Registers: each write stores a value that nobody else ever writes, so a read tells which write it
//! saw. Single keys must be linearizable; reads of several keys must see one moment.
//!
//! Writes come blind, as compare-and-set on what was read, and over several registers at once.

use super::{Letters, Plan, Workload, Writes, get, guard, key, operation, put, two_of};
use crate::history::Observation;
use bytes::Bytes;
use wire::SplitMix64;
use wire::keys::Key;
use wire::message::{Condition, OperationKind};

/// How many further registers there are that are seldom touched.
const COLD_REGISTERS: u64 = 60;

/// The registers.
pub struct Register {
    letters: Letters,
    registers: u64,
    /// Only hot ones, and most transactions write what they did not read.
    is_crossed: bool,
    values: u64,
}

impl Register {
    /// The workload's name.
    pub const NAME: &'static str = "register";

    /// So many hot registers, two at least, and some cold ones.
    pub fn new(letters: Letters, registers: u64) -> Register {
        Register {
            letters,
            registers: registers.max(2),
            is_crossed: false,
            values: 0,
        }
    }

    /// Only hot registers; most transactions read one and write others, so that they have to look again at
    /// what they read whenever they are pushed (R5).
    pub fn crossed(letters: Letters, registers: u64) -> Register {
        Register {
            is_crossed: true,
            ..Register::new(letters, registers)
        }
    }

    fn fresh_value(&mut self) -> Bytes {
        self.values += 1;
        Bytes::from(format!("v{}", self.values))
    }
}

impl Workload for Register {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let (mut one, other) = two_of(random, self.registers);
        if !self.is_crossed && random.chance(2, 3) {
            one = self.registers + random.below(COLD_REGISTERS);
        }
        let (one, other) = (
            key(self.letters, Self::NAME, one),
            key(self.letters, Self::NAME, other),
        );
        let kinds = if self.is_crossed { 24 } else { 12 };
        match random.below(kinds) {
            0..=2 => Plan::read(Self::NAME, vec![get(&one)]),
            3 => Plan::read(Self::NAME, vec![get(&one), get(&other)]),
            4..=6 => {
                let value = self.fresh_value();
                Plan::one_shot(Self::NAME, vec![], vec![put(&one, value)])
            }
            7 => {
                let operations = vec![
                    put(&one, self.fresh_value()),
                    put(&other, self.fresh_value()),
                ];
                Plan::one_shot(Self::NAME, vec![], operations)
            }
            8 => Plan::one_shot(
                Self::NAME,
                vec![],
                vec![operation(&one, OperationKind::Delete)],
            ),
            9 | 10 => {
                let value = self.fresh_value();
                let by_version = random.chance(1, 2);
                Plan::interactive(Self::NAME, vec![vec![get(&one)]], move |seen| {
                    compare_and_set(&one, &value, by_version, seen)
                })
            }
            _ => {
                // Reads one, writes the other: the shape of write skew, over partitions. With a third one
                // written, what was read has to be looked at again if anything is pushed (R5).
                let mut operations = vec![put(&other, self.fresh_value())];
                let third = key(self.letters, Self::NAME, random.below(self.registers));
                if random.chance(1, 2) && third != other && third != one {
                    operations.push(put(&third, self.fresh_value()));
                }
                Plan::interactive(Self::NAME, vec![vec![get(&one)]], move |_| {
                    Some(Writes {
                        guards: vec![],
                        operations: operations.clone(),
                    })
                })
            }
        }
    }
}

fn compare_and_set(
    key: &Key,
    value: &Bytes,
    by_version: bool,
    seen: &[Observation],
) -> Option<Writes> {
    let Observation::Get { found, .. } = seen.first()? else {
        return None;
    };
    let condition = match found {
        _ if by_version => Condition::VersionIs(found.as_ref().map(|v| v.timestamp)),
        Some(found) => Condition::Equals(found.value.clone()),
        None => Condition::Absent,
    };
    Some(Writes {
        guards: vec![guard(key, condition)],
        operations: vec![put(key, value.clone())],
    })
}
