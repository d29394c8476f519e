//! Linearizability of a small object (Herlihy and Wing, *Linearizability*, 1990), by search: Wing and
//! Gong (*Testing and Verifying Concurrent Objects*, 1993) with Lowe's just-in-time linearization
//! (*Testing for Linearizability*, 2017).
//!
//! Walk through the events and keep every *configuration* that explains what was seen so far: the
//! object's state, and which of the open calls have taken effect. A call that returns must have; only
//! then is it made to, and the calls that it needs before it. No configuration left: not linearizable.
//!
//! What keeps the configurations few:
//! - A call that only reads takes effect as soon as it can: that never hurts. (A write of what is there
//!   already is no such call: it may be needed later, when the state has changed.)
//! - A call whose outcome is unknown may take effect at any later time, or never. Such calls are counted
//!   by what they do, not one by one, for two that do the same are alike; and of two configurations
//!   that differ only in how many of them were used up, the thrifty one suffices.
//!
//! The search is exponential in the calls that are open together, so it has a budget, and says if that
//! was not enough.

use super::operations::{Call, places, quotes};
use crate::verdict::{Finding, Findings};
use std::collections::{BTreeMap, BTreeSet};

/// Configurations that are looked at between two returns.
const CONFIGURATIONS_MAX: usize = 400_000;
/// Calls that are open together and return later.
const OPEN_MAX: usize = 128;

/// What an object does.
pub(super) trait Object {
    /// Its state.
    type State: Clone + Ord;
    /// A call.
    type Call: Clone + Ord;

    /// The state after a call; `None` if what it returned cannot be from here.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;

    /// Whether a call leaves every state as it is.
    fn only_reads(&self, call: &Self::Call) -> bool;
}

/// A call with its place in time.
pub(super) struct Timed<'a, 'h, C> {
    pub(super) call: &'a Call<'h>,
    pub(super) does: C,
}

/// What is said of a history of one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged<S> {
    Linearizable,
    /// No order explains the return of this call (its place in the list); the states before it.
    Not {
        call: usize,
        states: Vec<S>,
    },
    /// The budget was used up at the return of this call.
    TooManyOpen {
        call: usize,
    },
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S> {
    state: S,
    /// Open calls that have taken effect, by slot.
    done: u128,
    /// Of each kind of call with unknown outcome how many were used up.
    used: Vec<u16>,
}

/// What is said of an object's history, as findings. `of` says which object it is, `show` what a state is.
pub(super) fn tell<C, S>(
    judged: Judged<S>,
    timed: &[Timed<C>],
    of: &str,
    show: impl Fn(&S) -> String,
    findings: &mut Findings,
) {
    let (kind, call, why) = match judged {
        Judged::Linearizable => return,
        Judged::Not { call, states } => {
            let states: Vec<String> = states.iter().map(show).collect();
            let states = states.join(" or ");
            let why = format!(
                "no order explains this answer{of}; before it the state could have been {states}"
            );
            ("not-linearizable", call, why)
        }
        Judged::TooManyOpen { call } => {
            let why = format!("too many calls{of} are open together here");
            ("linearizability-search-limit", call, why)
        }
    };
    let call = timed[call].call;
    let why = format!("{why}\n{}", quotes(&[call]));
    findings.add(Finding::new(kind, why, &places(&[call])));
}

/// Searches an order of the calls, which stand in the order in which they began.
pub(super) fn judge<O: Object>(
    object: &O,
    start: O::State,
    calls: &[Timed<O::Call>],
) -> Judged<O::State> {
    let mut search = Search {
        object,
        calls,
        configurations: vec![Configuration {
            state: start,
            done: 0,
            used: Vec::new(),
        }],
        slots: Vec::new(),
        kinds: Vec::new(),
    };
    let mut moments: Vec<(usize, usize)> = Vec::new();
    for (number, timed) in calls.iter().enumerate() {
        moments.push((timed.call.begin, number));
        if timed.call.end != usize::MAX {
            moments.push((timed.call.end, number));
        }
    }
    moments.sort_unstable();
    for (at, number) in moments {
        let judged = match at == calls[number].call.begin {
            true => search.begin(number),
            false => search.end(number),
        };
        if judged != Judged::Linearizable {
            return judged;
        }
    }
    Judged::Linearizable
}

struct Search<'a, 'c, 'h, O: Object> {
    object: &'a O,
    calls: &'a [Timed<'c, 'h, O::Call>],
    configurations: Vec<Configuration<O::State>>,
    /// Of each slot the open call.
    slots: Vec<Option<usize>>,
    /// Calls with unknown outcome by what they do, and how many of each have begun.
    kinds: Vec<(O::Call, u16)>,
}

impl<O: Object> Search<'_, '_, '_, O> {
    fn begin(&mut self, number: usize) -> Judged<O::State> {
        let timed = &self.calls[number];
        if timed.call.end == usize::MAX {
            match self.kinds.iter_mut().find(|kind| kind.0 == timed.does) {
                Some(kind) => kind.1 = kind.1.saturating_add(1),
                None => {
                    self.kinds.push((timed.does.clone(), 1));
                    self.configurations.iter_mut().for_each(|c| c.used.push(0));
                }
            }
            return Judged::Linearizable;
        }
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if slot >= OPEN_MAX {
            return Judged::TooManyOpen { call: number };
        }
        self.slots[slot] = Some(number);
        Judged::Linearizable
    }

    /// Keeps what explains the return of a call.
    fn end(&mut self, number: usize) -> Judged<O::State> {
        let slot = self.slots.iter().position(|open| *open == Some(number));
        let slot = slot.expect("a call that ends has a slot since it began");
        let bit = 1u128 << slot;
        let mut seen: BTreeSet<Configuration<O::State>> = BTreeSet::new();
        let mut open = std::mem::take(&mut self.configurations);
        let before: BTreeSet<O::State> = open.iter().map(|c| c.state.clone()).collect();
        let mut kept: BTreeMap<(O::State, u128), Vec<Vec<u16>>> = BTreeMap::new();
        while let Some(configuration) = open.pop() {
            let configuration = self.settle(configuration);
            if !seen.insert(configuration.clone()) {
                continue;
            }
            if seen.len() > CONFIGURATIONS_MAX {
                return Judged::TooManyOpen { call: number };
            }
            if configuration.done & bit != 0 {
                let thrift = kept
                    .entry((configuration.state, configuration.done & !bit))
                    .or_default();
                keep_thrifty(thrift, configuration.used);
                continue;
            }
            self.expand(&configuration, &mut open);
        }
        self.slots[slot] = None;
        if kept.is_empty() {
            let states = before.into_iter().collect();
            return Judged::Not {
                call: number,
                states,
            };
        }
        for ((state, done), all) in kept {
            self.configurations
                .extend(all.into_iter().map(|used| Configuration {
                    state: state.clone(),
                    done,
                    used,
                }));
        }
        Judged::Linearizable
    }

    /// Open calls that only read, and can have read this, take effect.
    fn settle(&self, mut configuration: Configuration<O::State>) -> Configuration<O::State> {
        for (slot, open) in self.slots.iter().enumerate() {
            let bit = 1u128 << slot;
            let Some(number) = open.filter(|_| configuration.done & bit == 0) else {
                continue;
            };
            let does = &self.calls[number].does;
            let only_reads = self.object.only_reads(does);
            if only_reads && self.object.step(&configuration.state, does).is_some() {
                configuration.done |= bit;
            }
        }
        configuration
    }

    /// Everything that one more call makes of it.
    fn expand(&self, from: &Configuration<O::State>, into: &mut Vec<Configuration<O::State>>) {
        for (slot, open) in self.slots.iter().enumerate() {
            let bit = 1u128 << slot;
            let Some(number) = open.filter(|_| from.done & bit == 0) else {
                continue;
            };
            if let Some(state) = self.object.step(&from.state, &self.calls[number].does) {
                into.push(Configuration {
                    state,
                    done: from.done | bit,
                    used: from.used.clone(),
                });
            }
        }
        for (kind, (call, begun)) in self.kinds.iter().enumerate() {
            if from.used[kind] >= *begun {
                continue;
            }
            let next = self.object.step(&from.state, call);
            if let Some(state) = next.filter(|state| *state != from.state) {
                let mut used = from.used.clone();
                used[kind] += 1;
                into.push(Configuration {
                    state,
                    done: from.done,
                    used,
                });
            }
        }
    }
}

/// Adds counts unless others need no more of anything, and drops those that need more.
fn keep_thrifty(kept: &mut Vec<Vec<u16>>, used: Vec<u16>) {
    let no_more = |a: &[u16], b: &[u16]| a.iter().zip(b).all(|(a, b)| a <= b);
    if kept.iter().any(|other| no_more(other, &used)) {
        return;
    }
    kept.retain(|other| !no_more(&used, other));
    kept.push(used);
}
