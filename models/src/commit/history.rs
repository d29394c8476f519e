//! What the world has learned, kept beside the protocol to judge it: the invariants of the protocol page.
//!
//! - A transaction's outcome, once known to anyone, never changes: `History::decide`.
//! - Its writes are all visible or none, at one timestamp: `History::check_entry`.
//! - No two versions of a key have one timestamp; none appears at or below a timestamp at which its key
//!   was read by another: `History::check_versions`.
//! - The transactions that committed, and the reads that were answered, have a serial order that keeps
//!   to real time: `History::check_serial`. Over three transactions a cycle is found directly, without
//!   trust in timestamps.

use super::partition::Replicated;
use super::scope::Scope;
use super::types::{
    Attempt, Effect, KEYS, Marker, PARTITIONS, Record, Saw, TRANSACTIONS_MAX, Timestamp,
};

/// How a state is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    /// Committed after it was known as aborted, or at another timestamp, or the other way round.
    OutcomeChanged,
    /// Committed, and a share of it is not prepared.
    Torn,
    /// A share became visible of what is not known to be committed.
    VisibleUndecided,
    /// A share was resolved as committed before the record said so durably (R7).
    ResolvedFirst,
    /// A share of what is committed was discarded.
    WriteLost,
    /// A share was prepared once more after its attempt had ended.
    PreparedAgain,
    /// Two versions of a key at one timestamp.
    SameTimestamp,
    /// A version at or below a timestamp at which another had read its key.
    BelowRead,
    /// No serial order explains what was seen and told.
    NotSerializable,
}

/// What is known of how a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Nothing.
    Unknown,
    /// Never.
    Aborted,
    /// At a timestamp, under an attempt that had seen something.
    Committed {
        /// Under which.
        attempt: Attempt,
        /// When.
        at: Timestamp,
        /// What.
        saw: Saw,
    },
}

/// What the world has learned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct History {
    /// Those whose client has sent them: a set of bits.
    pub begun: u8,
    /// Those that had been acknowledged when this one began.
    pub before: [u8; TRANSACTIONS_MAX],
    /// Those whose client knows the outcome.
    pub told: u8,
    /// Of each.
    pub outcomes: [Outcome; TRANSACTIONS_MAX],
    /// The highest timestamp at which each key was read, by reader.
    pub read: [[Timestamp; TRANSACTIONS_MAX]; KEYS],
    /// The highest attempt that has ended, by transaction and partition.
    pub ended: [[u8; PARTITIONS]; TRANSACTIONS_MAX],
    /// Every committed version lies at or below this, as far as it was acknowledged or shown.
    pub shown: Timestamp,
    /// What went wrong first.
    pub broken: Option<Broken>,
}

impl History {
    /// Nothing has happened.
    pub const EMPTY: History = History {
        begun: 0,
        before: [0; TRANSACTIONS_MAX],
        told: 0,
        outcomes: [Outcome::Unknown; TRANSACTIONS_MAX],
        read: [[0; TRANSACTIONS_MAX]; KEYS],
        ended: [[0; PARTITIONS]; TRANSACTIONS_MAX],
        shown: 0,
        broken: None,
    };

    fn flag(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// The client sends a transaction, unless it has before.
    pub fn begin(&mut self, t: usize) {
        if self.begun & (1 << t) == 0 {
            self.begun |= 1 << t;
            self.before[t] = self.acknowledged();
        }
    }

    /// Those whose client was told "committed".
    fn acknowledged(&self) -> u8 {
        let committed = |t: &usize| matches!(self.outcomes[*t], Outcome::Committed { .. });
        (0..TRANSACTIONS_MAX)
            .filter(committed)
            .fold(0, |set, t| set | 1 << t)
            & self.told
    }

    /// Whether the client knows.
    pub fn is_told(&self, t: usize) -> bool {
        self.told & (1 << t) != 0
    }

    /// A read was answered at a timestamp.
    pub fn on_read(&mut self, keys: super::types::Keys, t: usize, at: Timestamp) {
        for key in keys.iter() {
            self.read[key][t] = self.read[key][t].max(at);
        }
    }

    /// The client of a read-only transaction gets what was seen at its snapshot.
    pub fn tell_read(&mut self, scope: &Scope, t: usize, at: Timestamp, saw: Saw) {
        let attempt = Attempt { number: 1, by: 0 };
        self.outcomes[t] = Outcome::Committed { attempt, at, saw };
        self.told |= 1 << t;
        let seen = (0..KEYS).filter_map(|key| match self.outcomes[usize::from(saw.writer(key)?)] {
            Outcome::Committed { at, .. } => Some(at),
            _ => None,
        });
        // No answer leaves before the clock has passed every version that it rests on (R6).
        self.shown = seen.fold(self.shown, Timestamp::max);
        self.check_serial(scope);
    }

    /// The client is told.
    pub fn tell(
        &mut self,
        scope: &Scope,
        states: [&Replicated; PARTITIONS],
        t: usize,
        committed: Option<(Attempt, Timestamp)>,
    ) {
        self.decide(scope, states, t, committed);
        self.told |= 1 << t;
        if let Some((_, at)) = committed {
            self.shown = self.shown.max(at);
        }
    }

    /// Somebody knows how a transaction has ended.
    pub fn decide(
        &mut self,
        scope: &Scope,
        states: [&Replicated; PARTITIONS],
        t: usize,
        committed: Option<(Attempt, Timestamp)>,
    ) {
        match (self.outcomes[t], committed) {
            (Outcome::Unknown, None) => self.outcomes[t] = Outcome::Aborted,
            (Outcome::Aborted, None) => {}
            (Outcome::Committed { at, .. }, Some((_, known))) if at == known => {}
            (Outcome::Unknown, Some((attempt, at))) => {
                let saw = self.check_prepared(scope, states, t, attempt, at);
                self.outcomes[t] = Outcome::Committed { attempt, at, saw };
                self.check_versions(scope, t, at);
                self.check_serial(scope);
            }
            _ => self.flag(Broken::OutcomeChanged),
        }
    }

    /// All shares are prepared; gives what the transaction has seen.
    fn check_prepared(
        &mut self,
        scope: &Scope,
        states: [&Replicated; PARTITIONS],
        t: usize,
        attempt: Attempt,
        at: Timestamp,
    ) -> Saw {
        let mut all = Saw::default();
        for partition in scope.transactions[t].writes.partitions() {
            match states[usize::from(partition)].markers[t] {
                Marker::Prepared {
                    attempt: known,
                    at: p,
                    saw,
                } if known == attempt && p <= at => {
                    all = all.and(saw);
                }
                _ => self.flag(Broken::Torn),
            }
        }
        all
    }

    fn check_versions(&mut self, scope: &Scope, t: usize, at: Timestamp) {
        for key in scope.transactions[t].writes.iter() {
            for other in (0..scope.transactions.len()).filter(|other| *other != t) {
                if self.read[key][other] >= at {
                    self.flag(Broken::BelowRead);
                }
                if self.version_at(scope, other, key) == Some(at) {
                    self.flag(Broken::SameTimestamp);
                }
            }
        }
    }

    /// When a transaction wrote a key, if it is known to have committed.
    fn version_at(&self, scope: &Scope, t: usize, key: usize) -> Option<Timestamp> {
        match self.outcomes[t] {
            Outcome::Committed { at, .. } if scope.transactions[t].writes.has(key) => Some(at),
            _ => None,
        }
    }

    /// An entry is committed; `before` is the state that it meets.
    pub fn check_entry(
        &mut self,
        scope: &Scope,
        states: [&Replicated; PARTITIONS],
        partition: usize,
        t: usize,
        effect: Effect,
    ) {
        let before = states[partition].markers[t];
        match effect {
            Effect::Prepare { attempt, .. } => {
                self.check_discarded(before, t, None);
                if self.ended[t][partition] >= attempt.number {
                    self.flag(Broken::PreparedAgain);
                }
            }
            Effect::Commit { attempt, at, saw } => {
                if self.outcomes[t] != Outcome::Unknown {
                    return self.flag(Broken::OutcomeChanged);
                }
                self.outcomes[t] = Outcome::Committed { attempt, at, saw };
                self.check_versions(scope, t, at);
                self.check_serial(scope);
            }
            Effect::Refuse(_) => self.check_discarded(before, t, None),
            Effect::Resolve(attempt, committed) => {
                self.check_discarded(before, t, committed);
                let known = match self.outcomes[t] {
                    Outcome::Committed { at, .. } => Some(at),
                    _ => None,
                };
                if committed.is_some() && committed != known {
                    self.flag(Broken::VisibleUndecided);
                }
                let anchor = usize::from(scope.transactions[t].anchor_partition());
                let is_recorded = matches!(states[anchor].records[t], Record::Committed { .. });
                if committed.is_some() && !is_recorded {
                    self.flag(Broken::ResolvedFirst);
                }
                self.ended[t][partition] = self.ended[t][partition].max(attempt.number);
            }
            Effect::Set(Record::Committed { attempt, at }) => {
                self.decide(scope, states, t, Some((attempt, at)));
            }
            Effect::Set(Record::Closed) => self.decide(scope, states, t, None),
            Effect::Set(Record::Aborted(dead)) => match self.outcomes[t] {
                Outcome::Committed { attempt, .. } if attempt.number <= dead.number => {
                    self.flag(Broken::OutcomeChanged);
                }
                _ => {}
            },
            Effect::Set(_) => {}
        }
    }

    /// What was prepared goes, and it is not made visible at the timestamp at which it committed.
    fn check_discarded(&mut self, before: Marker, t: usize, visible: Option<Timestamp>) {
        if let Marker::Prepared { attempt: held, .. } = before
            && let Outcome::Committed { attempt, at, .. } = self.outcomes[t]
            && held == attempt
            && visible != Some(at)
        {
            self.flag(Broken::WriteLost);
        }
    }

    /// A serial order explains everything: what each wrote, saw and did not see, and real time.
    fn check_serial(&mut self, scope: &Scope) {
        let count = scope.transactions.len();
        let mut after = [0u8; TRANSACTIONS_MAX];
        for t in 0..count {
            let Outcome::Committed { saw, .. } = self.outcomes[t] else {
                continue;
            };
            for earlier in (0..count).filter(|other| self.before[t] & (1 << other) != 0) {
                after[earlier] |= 1 << t;
            }
            let spec = &scope.transactions[t];
            for key in (0..KEYS).filter(|key| spec.writes.has(*key)) {
                let mine = self.version_at(scope, t, key);
                for other in (0..count).filter(|other| self.version_at(scope, *other, key) > mine) {
                    after[t] |= 1 << other;
                }
            }
            for key in (0..KEYS).filter(|key| spec.reads.has(*key) || spec.updates.has(*key)) {
                let seen = saw.writer(key).map(usize::from);
                let seen_at = match seen {
                    None => Some(0),
                    Some(writer) => {
                        after[writer] |= 1 << t;
                        self.version_at(scope, writer, key)
                    }
                };
                let overwrites = |other: &usize| {
                    let at = self.version_at(scope, *other, key);
                    *other != t && Some(*other) != seen && at.is_some() && at > seen_at
                };
                for other in (0..count).filter(overwrites) {
                    after[t] |= 1 << other;
                }
            }
        }
        if has_cycle(after) {
            self.flag(Broken::NotSerializable);
        }
    }
}

/// Whether anybody comes after itself.
fn has_cycle(mut after: [u8; TRANSACTIONS_MAX]) -> bool {
    for middle in 0..TRANSACTIONS_MAX {
        for first in 0..TRANSACTIONS_MAX {
            if after[first] & (1 << middle) != 0 {
                after[first] |= after[middle];
            }
        }
    }
    (0..TRANSACTIONS_MAX).any(|t| after[t] & (1 << t) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_of_three_is_found_and_a_chain_is_none() {
        assert!(has_cycle([0b010, 0b100, 0b001]));
        assert!(!has_cycle([0b110, 0b100, 0]));
        assert!(has_cycle([0b001, 0, 0]));
    }
}
