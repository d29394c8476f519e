//! What a replica keeps while it leads, and drops when it no longer does (R9; patterns Leader and
//! Followers, Lease).
//!
//! The promise `P` is a lease in timestamp space: the leader answers and evaluates up to `P`, no
//! further. `P` holds once a majority, the leader itself counted like the others, has acknowledged it in
//! this term. Nothing is served before an entry of the own term is committed; then the timestamp cache
//! starts at or above everything that any leader before may have answered.
//!
//! Invariants
//! - The promise never falls within a term (protocol, invariant 6).
//! - Every request is answered exactly once, with `LeadershipLost` if nothing else.

use crate::asker::Asker;
use crate::collection::Question;
use crate::membership::MembersChange;
use crate::overlay::Overlay;
use crate::replication::Quorum;
use crate::request_waiting_list::RequestWaitingList;
use crate::timestamp_cache::TimestampCache;
use crate::unreplicated_locks::{Dropped, UnreplicatedLocks};
use crate::versions::StoreQuery;
use clock::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::keys::Key;
use wire::message::PartitionReply;

/// The most entries under way at once; beyond, requests are refused as *overloaded*.
pub(crate) const UNDER_WAY_MAX: usize = 16 * 1024;

/// One leadership, from election to its end.
#[derive(Debug)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    quorum: Quorum,
    acknowledged: BTreeMap<NodeId, Timestamp>,
    promise: Timestamp,
    /// What it started from: nothing is placed at or below it.
    low_water: Timestamp,
    /// A change of members under way.
    pub(crate) change: MembersChange,
    /// Whether it answers.
    pub(crate) serving: bool,
    pub(crate) cache: TimestampCache,
    pub(crate) unreplicated: UnreplicatedLocks,
    pub(crate) overlay: Overlay,
    pub(crate) waiting: RequestWaitingList,
    /// Who is told what when an entry is committed.
    pub(crate) proposed: BTreeMap<LogIndex, (Asker, PartitionReply)>,
    /// What the store was asked for requests that wait for it.
    pub(crate) asked: BTreeMap<u64, Vec<StoreQuery>>,
    /// Keys that may be free now.
    pub(crate) released: VecDeque<Key>,
    /// Nothing is placed at or below it.
    pub(crate) closed: Timestamp,
    /// When to look for what can be collected.
    pub(crate) collect_due: Duration,
    /// What the store was asked of old outcomes and tombstones, under this ticket.
    pub(crate) collecting: Option<(u64, Question)>,
    /// Every tombstone at or below this is swept.
    pub(crate) swept: Timestamp,
    /// The entry that sweeps some, after which it looks for more.
    pub(crate) sweeping: Option<LogIndex>,
}

impl Leadership {
    /// Elected; serves nothing yet.
    pub(crate) fn new(term: Term, quorum: Quorum, collect_due: Duration) -> Leadership {
        Leadership {
            term,
            quorum,
            acknowledged: BTreeMap::new(),
            promise: Timestamp::ZERO,
            low_water: Timestamp::ZERO,
            change: MembersChange::default(),
            serving: false,
            cache: TimestampCache::new(Timestamp::MAX),
            unreplicated: UnreplicatedLocks::default(),
            overlay: Overlay::default(),
            waiting: RequestWaitingList::default(),
            proposed: BTreeMap::new(),
            asked: BTreeMap::new(),
            released: VecDeque::new(),
            closed: Timestamp::ZERO,
            collect_due,
            collecting: None,
            swept: Timestamp::ZERO,
            sweeping: None,
        }
    }

    /// The promise that holds.
    pub(crate) fn promise(&self) -> Timestamp {
        self.promise
    }

    /// Whether an acknowledgement of this term brings more than the same member gave before.
    pub(crate) fn is_progress(&self, by: NodeId, term: Term, promise: Timestamp) -> bool {
        let known = self.acknowledged.get(&by).copied().unwrap_or_default();
        term == self.term && promise > known
    }

    /// A member has acknowledged a promise in a term; says whether the promise that holds rose.
    pub(crate) fn on_acknowledged(&mut self, by: NodeId, term: Term, promise: Timestamp) -> bool {
        if term != self.term {
            return false;
        }
        let known = self.acknowledged.entry(by).or_default();
        *known = promise.max(*known);
        self.maybe_extend()
    }

    /// Relies on what a quorum has acknowledged; says whether the promise that holds rose. From the
    /// proposal of a change of members until it is applied, nothing is extended (R9). What held before
    /// the change goes on to hold, for the change carries it.
    fn maybe_extend(&mut self) -> bool {
        let acknowledged = &self.acknowledged;
        let of = |member| acknowledged.get(&member).copied().unwrap_or_default();
        let reached = self.quorum.highest_reached_by_quorum(of);
        let rose = reached > self.promise && self.change.proposed.is_none();
        if rose {
            self.promise = reached;
        }
        rose
    }

    /// Another quorum decides from now on, by the entry that was just proposed.
    pub(crate) fn on_members_proposed(&mut self, quorum: Quorum, at: LogIndex) {
        self.quorum = quorum;
        self.change.proposed = Some(at);
    }

    /// Everything up to here is applied; says whether a change of members was waited for.
    pub(crate) fn on_members_applied(&mut self, up_to: LogIndex) -> bool {
        let is_over = self.change.proposed.take_if(|at| *at <= up_to).is_some();
        if is_over {
            self.maybe_extend();
        }
        is_over
    }

    /// Nothing is answered above it, by this leader as things stand, or by any before that still may.
    pub(crate) fn high_water(&self) -> Timestamp {
        self.promise.max(self.low_water).max(self.closed)
    }

    /// From now on it answers.
    pub(crate) fn serve(&mut self, low_water: Timestamp, closed: Timestamp) {
        assert!(
            self.overlay.is_empty(),
            "nothing was proposed before it serves, but {:?} is",
            self.overlay.first()
        );
        self.serving = true;
        self.low_water = low_water;
        self.cache = TimestampCache::new(low_water);
        self.closed = closed;
    }

    /// Whether it takes no more requests.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.waiting.len() >= crate::request_waiting_list::WAITING_MAX
            || self.proposed.len() >= UNDER_WAY_MAX
    }

    /// Takes locks in memory from transactions for which an older one has waited for some time, and
    /// tells which (wound-wait, R11): locks of transactions that wait for each other end so.
    pub(crate) fn wound_younger(&mut self, now: Duration, after: Duration) -> Vec<Dropped> {
        let mut wounded = Vec::new();
        for (key, age) in self.waiting.oldest_writers(now, after) {
            if let Some((_, holder_age)) = self.unreplicated.holder_with_age(&key)
                && age < holder_age
            {
                wounded.extend(self.unreplicated.wound(&key, age));
            }
        }
        wounded
    }

    /// Everybody who waits for an answer.
    pub(crate) fn into_askers(mut self) -> Vec<Asker> {
        let mut askers = Vec::new();
        while let Some(waiter) = self.waiting.take_any() {
            askers.push(waiter.asker);
        }
        askers.extend(self.proposed.into_values().map(|(asker, _)| asker));
        askers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::ts;

    #[test]
    fn a_promise_holds_when_a_majority_of_the_own_term_acknowledged_it() {
        let members = [NodeId(1), NodeId(2), NodeId(3)];
        let quorum = Quorum::of(members);
        let mut leadership = Leadership::new(Term(4), quorum, Duration::ZERO);
        assert!(!leadership.on_acknowledged(NodeId(1), Term(4), ts(9)));
        assert!(!leadership.on_acknowledged(NodeId(2), Term(3), ts(9)));
        assert_eq!(leadership.promise(), ts(0));
        assert!(leadership.on_acknowledged(NodeId(3), Term(4), ts(7)));
        assert_eq!(leadership.promise(), ts(7));
        assert!(!leadership.on_acknowledged(NodeId(3), Term(4), ts(5)));
        assert_eq!(leadership.promise(), ts(7));
    }
}
