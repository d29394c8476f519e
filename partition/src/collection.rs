//! Forgetting what nothing can ask for any more (R10; pattern Low-Water Mark).
//!
//! The leader proposes it, so that all replicas delete alike. `closed` follows true time at a distance;
//! once it has passed `expires`, nothing of a transaction can be prepared or placed, and refused and
//! ended markers, dead records and the outcome in memory may go. Outcomes stay in the store for
//! [`OUTCOME_RETENTION`] more, one row each, keyed by time; they go a slot of time after another. The
//! same entry says up to where the log may be discarded: every member's log reaches to there, or a member
//! lacks so much that it gets a snapshot instead ([`crate::ReplicaTiming::held_back_bytes_max`]).
//!
//! The same entry raises the retention **horizon**: true time minus the retention, never above `closed`.
//! Nobody reads below it any more, so each store removes versions there that newer ones supersede, as it
//! compacts its tables. Tombstones below it go by name, in a later entry: no store can tell by itself
//! whether an older version still lies somewhere under one.
//!
//! Nothing is proposed while there is nothing to collect: an idle partition writes nothing.

use crate::committed_state::{CommittedState, MarkerState};
use crate::evaluation::OUTCOME_RETENTION;
use crate::meta_rows;
use crate::versions::{StoreError, StoreQuery, StoreResult};
use bytes::Bytes;
use clock::Timestamp;
use std::time::Duration;
use wire::ids::{Attempt, LogIndex, TransactionId};
use wire::keys::Key;
use wire::message::{RecordState, TransactionName};

/// How often the leader looks.
pub(crate) const COLLECT_EVERY: Duration = Duration::from_secs(5);
/// How often it looks while the log is longer than any member may have it held.
pub(crate) const COLLECT_LONG_EVERY: Duration = Duration::from_secs(1);
/// How far `closed` stays behind true time. Longer than the life of a commit (`expires`, 10 s).
pub(crate) const CLOSED_BEHIND: Duration = Duration::from_secs(15);
/// So many entries that every member holds are worth an entry that says so.
pub(crate) const REPLICATED_STEP: u64 = 1000;
/// The most outcomes that one entry drops, but for those of one slot.
pub(crate) const OUTCOMES_DROPPED_MAX: usize = 16 * 1024;
/// The most slots that the store is asked about at once.
pub(crate) const SLOTS_MAX: usize = 16;
/// The most abandoned transactions that are looked after at once.
pub(crate) const ABANDONED_MAX: usize = 64;

/// The horizon is raised by an entry of its own once that sets this part of the retention free.
pub(crate) const HORIZON_STEPS: u32 = 16;
/// But by no smaller steps than this.
pub(crate) const HORIZON_STEP_MIN: Duration = Duration::from_secs(5);
/// The most tombstones that one entry sweeps.
pub(crate) const TOMBSTONES_SWEPT_MAX: usize = 1024;

/// What the store is asked.
#[derive(Default, Debug)]
pub(crate) struct Question {
    /// Slots of outcomes that are over.
    pub(crate) slots: Vec<Slot>,
    /// Tombstones are looked for up to here.
    pub(crate) tombstones_up_to: Option<Timestamp>,
}

impl Question {
    /// What there may be to collect, if everything up to `swept` is swept.
    pub(crate) fn new(state: &CommittedState, swept: Timestamp) -> Question {
        Question {
            slots: slots(state),
            tombstones_up_to: Some(state.horizon()).filter(|horizon| *horizon > swept),
        }
    }

    /// As the store is asked it; empty if there is nothing to ask.
    pub(crate) fn queries(&self) -> Vec<StoreQuery> {
        let slots = self.slots.iter().map(|slot| slot.query());
        let tombstones = self
            .tombstones_up_to
            .map(|up_to| meta_rows::tombstones_up_to(up_to, TOMBSTONES_SWEPT_MAX as u32));
        slots.chain(tombstones).collect()
    }
}

/// The tombstones that go, from what the store said.
pub(crate) fn tombstones_to_sweep(
    question: &Question,
    results: &[StoreResult],
) -> Result<Vec<(Key, Timestamp)>, StoreError> {
    if question.tombstones_up_to.is_none() {
        return Ok(Vec::new());
    }
    match results.last() {
        Some(StoreResult::MetaRows(rows)) => rows
            .iter()
            .map(|(key, _)| meta_rows::tombstone_of_key(key))
            .collect(),
        other => panic!("the store answers small rows, not {other:?}"),
    }
}

/// The horizon that true time and the retention allow.
pub(crate) fn horizon(
    state: &CommittedState,
    closed: Timestamp,
    vouched: Timestamp,
    retention: Option<Duration>,
) -> Timestamp {
    let allowed = retention.map(|retention| vouched.minus(retention).min(closed));
    state.horizon().max(allowed.unwrap_or_default())
}

/// Whether a higher horizon is worth an entry: something was written above the one that holds.
pub(crate) fn is_horizon_worth_an_entry(
    state: &CommittedState,
    horizon: Timestamp,
    retention: Option<Duration>,
) -> bool {
    let step = retention.unwrap_or_default() / HORIZON_STEPS;
    let step = step.max(HORIZON_STEP_MIN);
    state.recent().newest() > state.horizon() && horizon >= state.horizon().plus(step)
}

/// A slot of time: all timestamps that begin with the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    start: Timestamp,
    bytes: usize,
}

impl Slot {
    fn end(self) -> Timestamp {
        let bits = 64 - 8 * self.bytes as u32;
        let start = self.start.to_bits() >> bits;
        match (start + 1).checked_shl(bits) {
            Some(end) if end >> bits == start + 1 => Timestamp::from_bits(end),
            _ => Timestamp::MAX,
        }
    }

    /// The widest slot from `start` on that ends at or below `target`: between about a second and
    /// half a year.
    fn from(start: Timestamp, target: Timestamp) -> Option<Slot> {
        let slots = (1..=4).map(|bytes| Slot { start, bytes });
        slots.into_iter().find(|slot| slot.end() <= target)
    }

    /// What the store must be asked to know which outcomes of it are over.
    pub(crate) fn query(self) -> StoreQuery {
        StoreQuery::MetaPrefix {
            prefix: meta_rows::outcomes_slot(self.start, self.bytes),
        }
    }
}

/// The slots whose outcomes are over; empty if there are none. The question goes with its slots: when
/// the answer comes, a collection in between may have moved on.
pub(crate) fn slots(state: &CommittedState) -> Vec<Slot> {
    let target = state.closed().minus(OUTCOME_RETENTION);
    let mut slots = Vec::new();
    let mut from = state.collected().outcomes_kept_from;
    if from == Timestamp::ZERO {
        return slots;
    }
    while slots.len() < SLOTS_MAX
        && let Some(slot) = Slot::from(from, target)
    {
        from = slot.end();
        slots.push(slot);
    }
    slots
}

/// Which outcomes go, and from where on they are kept, from what the store said of each slot.
pub(crate) fn outcomes_to_drop(
    state: &CommittedState,
    slots: &[Slot],
    results: &[StoreResult],
) -> Result<(Vec<(Timestamp, TransactionId)>, Timestamp), StoreError> {
    let mut outcomes = Vec::new();
    let mut kept_from = state.collected().outcomes_kept_from;
    assert!(
        slots.len() <= results.len(),
        "the store answers for every slot: {} slots, {} answers",
        slots.len(),
        results.len()
    );
    for (slot, result) in slots.iter().zip(results) {
        if outcomes.len() >= OUTCOMES_DROPPED_MAX {
            break;
        }
        let StoreResult::MetaRows(rows) = result else {
            panic!("the store answers small rows, not {result:?}");
        };
        for (key, _) in rows as &Vec<(Bytes, Bytes)> {
            outcomes.push(meta_rows::outcome_of_key(key)?);
        }
        kept_from = kept_from.max(slot.end());
    }
    Ok((outcomes, kept_from))
}

/// Whether an entry that closes up to `closed` would set anything free.
pub(crate) fn is_worth_an_entry(
    state: &CommittedState,
    closed: Timestamp,
    replicated: LogIndex,
    step: u64,
) -> bool {
    let known = state.collected().replicated;
    state.has_expired(closed) || replicated.0 >= known.0 + step
}

/// Transactions whose coordinator should long have ended them: what is prepared here, and records,
/// past `expires`. Whoever waits for their locks pushes them; these may have nobody who waits.
pub(crate) fn abandoned(
    state: &CommittedState,
    earliest: Timestamp,
) -> Vec<(Key, TransactionName, Attempt)> {
    let markers = state.markers().filter_map(|marker| match &marker.state {
        MarkerState::Prepared(share) => {
            let (key, _) = share.locks.first()?;
            Some((key, &marker.name, share.attempt))
        }
        _ => None,
    });
    let records = state.records().filter_map(|record| match record.state {
        // Nothing can be resolved from it: each share that is left is looked after where it is.
        RecordState::Committed { .. } if record.is_born_committed() => None,
        RecordState::Staging { .. } | RecordState::Committed { .. } => {
            Some((&record.name.anchor, &record.name, record.attempt?))
        }
        _ => None,
    });
    markers
        .chain(records)
        .filter(|(_, name, _)| name.expires < earliest)
        .take(ABANDONED_MAX)
        .map(|(key, name, attempt)| (key.clone(), name.clone(), attempt))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_each_other_and_stop_below_the_target() {
        let start = Timestamp::from_micros(1_790_000_000_000_000);
        let target = start.plus(Duration::from_secs(600));
        let mut at = start;
        let mut widest = Duration::ZERO;
        while let Some(slot) = Slot::from(at, target) {
            assert!(slot.end() > at && slot.end() <= target);
            widest = widest.max(slot.end().since(at));
            at = slot.end();
        }
        assert!(target.since(at) <= Duration::from_secs(2));
        assert!(widest >= Duration::from_secs(60));
    }

    #[test]
    fn the_last_slot_ends_at_the_end_of_time() {
        let slot = Slot {
            start: Timestamp::MAX,
            bytes: 4,
        };
        assert_eq!(slot.end(), Timestamp::MAX);
        assert_eq!(Slot::from(Timestamp::ZERO, Timestamp::ZERO), None);
    }
}
