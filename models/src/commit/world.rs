//! The whole world of one state: partitions, coordinators, recoverers, questions on their way.
//!
//! Answers are not messages of their own. An answer reaches whoever waits for it in the step in which it
//! leaves; a lost or late one is a question that comes late, a step that is never taken, or a crash.
//! That is enough, because an actor that has its answers only sends questions, and those may take as
//! long as they like. The one exception is what a client is told: so a coordinator may crash before it.

use super::Mutant;
use super::coordinator::{Coordinator, Phase, Told, Turn};
use super::history::{History, Outcome};
use super::partition::{
    Deposed, Evaluation, Leader, Replicated, TimestampCache, Verdict, reply_after,
};
use super::recovery::{Doings, Recoverer, Recovery, Step};
use super::scope::Scope;
use super::types::{
    Actor, Attempt, Body, Change, Entry, Marker, Message, PARTITIONS, PartitionIndex, RECOVERER,
    Record, Reply, TRANSACTIONS_MAX, Timestamp, TransactionIndex,
};

/// One partition: who leads it, and who thinks so.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Partition {
    /// The leader.
    pub leader: Leader,
    /// The one before, that has not heard of it.
    pub deposed: Option<Box<Deposed>>,
}

/// A state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// All partitions.
    pub partitions: [Partition; PARTITIONS],
    /// Of each transaction at each gateway; `None`: the client has not sent it there.
    pub coordinators: [[Option<Coordinator>; 2]; TRANSACTIONS_MAX],
    /// Of each transaction.
    pub recoveries: [Option<Recovery>; TRANSACTIONS_MAX],
    /// How often each may be recovered still.
    pub recoveries_left: [u8; TRANSACTIONS_MAX],
    /// How often a leader may change still.
    pub leader_changes_left: u8,
    /// Questions on their way, sorted.
    pub messages: Vec<Message>,
    /// The highest snapshot that was drawn.
    pub drawn: Timestamp,
    /// For the judge.
    pub history: History,
    /// Of the coordinator in this step; between steps they live.
    pub fate: Fate,
}

/// Whether a coordinator lives to see the answer of a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// It does.
    Lives,
    /// Its node crashes just before it would tell its client something.
    WillCrash,
    /// It has crashed so.
    HasCrashed,
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answerer {
    /// The leader.
    Leader,
    /// One that is deposed and does not know.
    Deposed,
}

impl World {
    /// Nothing has happened.
    pub fn new(scope: &Scope) -> World {
        let partition = Partition {
            leader: Leader::new(),
            deposed: None,
        };
        World {
            partitions: [partition.clone(), partition],
            coordinators: [[None; 2]; TRANSACTIONS_MAX],
            recoveries: [None; TRANSACTIONS_MAX],
            recoveries_left: scope.recoveries,
            leader_changes_left: scope.leader_changes,
            messages: Vec::new(),
            drawn: 0,
            history: History::EMPTY,
            fate: Fate::Lives,
        }
    }

    fn applied(&self) -> [Replicated; PARTITIONS] {
        [0, 1].map(|p: usize| self.partitions[p].leader.applied)
    }

    /// The snapshots that a gateway may draw now (R1): above everything that was acknowledged or shown.
    /// A later attempt draws the highest only.
    pub fn snapshots(&self, scope: &Scope, attempt: u8) -> Vec<Timestamp> {
        let least = match scope.is(Mutant::SnapshotFromThePast) {
            true => 1,
            false => self.history.shown + 1,
        };
        let highest = (self.drawn + 1).max(least);
        if attempt > 1 || least == highest {
            vec![highest]
        } else {
            vec![least, highest]
        }
    }

    fn send(&mut self, transaction: TransactionIndex, from: Actor, doings: &Doings) {
        for (to, body) in &doings.asks {
            // Nobody waits for the answer to a resolve, so it does not matter who sent it.
            let from = if let Body::Resolve { .. } = body {
                RECOVERER
            } else {
                from
            };
            let message = Message {
                transaction,
                from,
                to: *to,
                body: *body,
            };
            if let Err(place) = self.messages.binary_search(&message) {
                self.messages.insert(place, message);
            }
        }
    }

    /// A coordinator takes a step.
    pub fn coordinate(
        &mut self,
        scope: &Scope,
        transaction: TransactionIndex,
        gateway: u8,
        step: impl FnOnce(&mut Turn),
    ) {
        let (t, g) = (usize::from(transaction), usize::from(gateway));
        let mut it = self.coordinators[t][g].unwrap_or(Coordinator::NEW);
        let doings = Doings::default();
        let mut turn = Turn {
            scope,
            transaction,
            gateway,
            it: &mut it,
            doings,
            told: None,
        };
        step(&mut turn);
        let (doings, told) = (turn.doings, turn.told);
        if self.fate == Fate::WillCrash && matches!(told, Some(Told::Committed(..) | Told::Aborted))
        {
            self.coordinators[t][g] = Some(Coordinator::ended(Phase::Crashed));
            self.fate = Fate::HasCrashed;
            return;
        }
        self.send(transaction, gateway, &doings);
        self.coordinators[t][g] = Some(it);
        match told {
            None => {}
            Some(Told::Read(at, saw)) => self.history.tell_read(scope, t, at, saw),
            Some(Told::Aborted) => self.tell(scope, t, None),
            Some(Told::Committed(attempt, at)) => self.tell(scope, t, Some((attempt, at))),
        }
    }

    fn tell(&mut self, scope: &Scope, t: usize, committed: Option<(Attempt, Timestamp)>) {
        let [first, second] = self.applied();
        self.history.tell(scope, [&first, &second], t, committed);
    }

    /// A gateway draws a snapshot and begins an attempt.
    pub fn begin(
        &mut self,
        scope: &Scope,
        transaction: TransactionIndex,
        gateway: u8,
        at: Timestamp,
    ) {
        self.drawn = self.drawn.max(at);
        self.history.begin(usize::from(transaction));
        self.coordinate(scope, transaction, gateway, |turn| turn.begin(at));
    }

    /// Somebody who met a lock begins to recover its transaction.
    pub fn begin_recovery(
        &mut self,
        scope: &Scope,
        transaction: TransactionIndex,
        met_at: PartitionIndex,
    ) {
        let t = usize::from(transaction);
        let marker = self.partitions[usize::from(met_at)].leader.applied.markers[t];
        let Marker::Prepared { attempt, .. } = marker else {
            unreachable!("only a lock is met, not {marker:?}");
        };
        self.recoveries_left[t] -= 1;
        self.recoveries[t] = Some(Recovery::begin(attempt, Some(met_at)));
        self.recover(scope, transaction, |recoverer| recoverer.start());
    }

    fn recover(
        &mut self,
        scope: &Scope,
        transaction: TransactionIndex,
        step: impl FnOnce(&mut Recoverer),
    ) {
        let t = usize::from(transaction);
        let Some(mut recovery) = self.recoveries[t] else {
            return;
        };
        let mut doings = Doings::default();
        step(&mut Recoverer {
            scope,
            transaction,
            recovery: &mut recovery,
            doings: &mut doings,
        });
        self.recoveries[t] = (!doings.is_over).then_some(recovery);
        self.send(transaction, RECOVERER, &doings);
    }

    /// A question reaches a leader. `None`: it waits there.
    pub fn deliver(&mut self, scope: &Scope, message: Message, answerer: Answerer) -> Option<()> {
        let p = usize::from(message.to);
        let (verdict, leader) = match answerer {
            Answerer::Leader => {
                let leader = &mut self.partitions[p].leader;
                (Evaluation::of(scope, leader, &message), leader)
            }
            Answerer::Deposed => {
                let deposed = self.partitions[p].deposed.as_deref_mut()?;
                match message.body {
                    Body::Read { at } | Body::Refresh { to: at, .. } if at > deposed.promise => {
                        return None;
                    }
                    _ => {}
                }
                (
                    Evaluation::of(scope, &mut deposed.leader, &message),
                    &mut deposed.leader,
                )
            }
        };
        match verdict {
            Verdict::Wait => return None,
            // What a deposed leader proposes is never committed, and so never answered.
            Verdict::Propose(_) if answerer == Answerer::Deposed => return None,
            Verdict::Propose(effect) => {
                if leader.under_way.len() >= scope.pipeline.max(1) {
                    return None;
                }
                let is_hidden = scope.is(Mutant::LockAfterProposal);
                leader.under_way.push(Entry {
                    asked: message,
                    effect,
                    is_hidden,
                });
                self.take(scope, &message);
                if scope.pipeline == 0 {
                    self.commit_next(scope, message.to);
                }
            }
            Verdict::Reply(reply) => {
                self.note_read(scope, &message, reply);
                self.take(scope, &message);
                self.answer(scope, &message, reply);
            }
        }
        Some(())
    }

    /// What is doubled stays on its way.
    fn take(&mut self, scope: &Scope, message: &Message) {
        if !scope.doubled
            && let Ok(place) = self.messages.binary_search(message)
        {
            self.messages.remove(place);
        }
    }

    fn note_read(&mut self, scope: &Scope, message: &Message, reply: Reply) {
        let t = usize::from(message.transaction);
        let spec = &scope.transactions[t];
        match (message.body, reply) {
            (Body::Read { at }, Reply::Read(_)) => {
                self.history.on_read(spec.reads.at(message.to), t, at);
            }
            (Body::Refresh { to, .. }, Reply::Refreshed(false)) => {
                self.history
                    .on_read(spec.unlocked_reads().at(message.to), t, to);
            }
            _ => {}
        }
    }

    /// The first entry under way at a partition is committed.
    pub fn commit_next(&mut self, scope: &Scope, partition: PartitionIndex) {
        let entry = self.partitions[usize::from(partition)]
            .leader
            .under_way
            .remove(0);
        self.apply(scope, partition, &entry);
        self.answer(scope, &entry.asked, reply_after(entry.effect));
    }

    fn apply(&mut self, scope: &Scope, partition: PartitionIndex, entry: &Entry) {
        let [first, second] = self.applied();
        let (p, t) = (usize::from(partition), usize::from(entry.asked.transaction));
        self.history
            .check_entry(scope, [&first, &second], p, t, entry.effect);
        let leader = &mut self.partitions[p].leader;
        leader
            .applied
            .apply(scope, entry.asked.transaction, entry.effect);
    }

    /// Another leader is elected: the first of the entries under way survive, the rest are lost. Who
    /// asked for them asks again.
    pub fn change_leader(&mut self, scope: &Scope, partition: PartitionIndex, survivors: usize) {
        let p = usize::from(partition);
        let promise = self.promise();
        let old = self.partitions[p].leader.clone();
        let high_water = old
            .cache
            .read
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default();
        self.leader_changes_left -= 1;
        if scope.deposed_answers {
            self.partitions[p].deposed = Some(Box::new(Deposed {
                leader: old.clone(),
                promise,
            }));
        }
        let floor = match scope.mutant {
            Some(Mutant::EmptyCacheOfNewLeader) => 0,
            Some(Mutant::CacheWithoutPromise) => high_water.max(old.cache.floor),
            _ => promise,
        };
        let read = [[0; TRANSACTIONS_MAX]; 2];
        let leader = &mut self.partitions[p].leader;
        leader.cache = TimestampCache { read, floor };
        let under_way = std::mem::take(&mut leader.under_way);
        for (place, entry) in under_way.into_iter().enumerate() {
            if let Err(slot) = self.messages.binary_search(&entry.asked) {
                self.messages.insert(slot, entry.asked);
            }
            if place >= survivors {
                continue;
            }
            if scope.is(Mutant::ServesBeforeOwnEntry) {
                let leader = &mut self.partitions[p].leader;
                leader.under_way.push(Entry {
                    is_hidden: true,
                    ..entry
                });
            } else {
                self.apply(scope, partition, &entry);
            }
        }
    }

    /// A promise that covers everything that any leader has answered or placed so far.
    fn promise(&self) -> Timestamp {
        let read = self.history.read.iter().flatten().copied();
        let placed = self.partitions.iter().flat_map(|p| {
            let entries = p
                .leader
                .under_way
                .iter()
                .filter_map(|entry| match entry.effect {
                    super::types::Effect::Prepare { at, .. } => Some(at),
                    super::types::Effect::Commit { at, .. } => Some(at),
                    _ => None,
                });
            let markers = p
                .leader
                .applied
                .markers
                .iter()
                .filter_map(|marker| match marker {
                    Marker::Prepared { at, .. } => Some(*at),
                    _ => None,
                });
            let floor = [p.leader.cache.floor];
            markers
                .chain(entries)
                .chain(p.leader.applied.versions)
                .chain(floor)
                .collect::<Vec<_>>()
        });
        read.chain(placed).fold(self.drawn, Timestamp::max)
    }

    /// Whether whoever asked still waits for this very answer.
    fn awaits(&self, scope: &Scope, message: &Message) -> bool {
        let t = usize::from(message.transaction);
        let is_of_recovery = |recovery: &Recovery| match (recovery.step, message.body) {
            (
                Step::Record { expected, change },
                Body::Change {
                    expected: e,
                    change: c,
                },
            ) => (expected, change) == (e, c),
            (
                Step::Checking {
                    attempt, prepared, ..
                },
                Body::Check { attempt: asked },
            ) => attempt == asked && prepared[usize::from(message.to)] == 0,
            _ => false,
        };
        if message.from == RECOVERER {
            return self.recoveries[t].as_ref().is_some_and(is_of_recovery);
        }
        let Some(it) = &self.coordinators[t][usize::from(message.from)] else {
            return false;
        };
        let is_new = |answered: u8| answered & (1 << message.to) == 0;
        let is_mine = |attempt: Attempt| {
            attempt
                == (Attempt {
                    number: it.number,
                    by: message.from,
                })
        };
        match (&it.phase, message.body) {
            (Phase::Reading { answered, .. }, Body::Read { at }) => {
                at == it.snapshot && is_new(*answered)
            }
            (Phase::Preparing { prepared }, Body::Prepare { attempt, .. }) => {
                is_mine(attempt) && prepared[usize::from(message.to)] == 0
            }
            (Phase::Refreshing { to, answered }, Body::Refresh { to: asked, .. }) => {
                *to == asked && is_new(*answered)
            }
            (Phase::Changing { late, .. }, Body::Prepare { attempt, .. }) => {
                scope.is(Mutant::ToldAfterAbortSent)
                    && is_mine(attempt)
                    && late[usize::from(message.to)] == 0
            }
            (
                Phase::Changing { change, .. },
                Body::Change {
                    expected,
                    change: asked,
                },
            ) => {
                let is_expected = match change {
                    Change::Look => expected == Record::Missing,
                    _ => expected == it.record,
                };
                *change == asked && is_expected
            }
            (Phase::Recovering(recovery, _), _) => is_of_recovery(recovery),
            _ => false,
        }
    }

    fn answer(&mut self, scope: &Scope, message: &Message, reply: Reply) {
        if !self.awaits(scope, message) {
            return;
        }
        if message.from == RECOVERER {
            return self.recover(scope, message.transaction, |recoverer| {
                recoverer.on_reply(message.to, reply);
            });
        }
        self.coordinate(scope, message.transaction, message.from, |turn| {
            turn.on_reply(message.to, reply);
        });
    }

    /// Drops the questions that can change nothing any more, so that states that differ in them alone
    /// are one. Each is evaluated to know that; late reads and refreshes are dropped too, though they
    /// would raise the timestamp cache, as another's could.
    pub fn tidy(&mut self, scope: &Scope) {
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(|message| self.awaits(scope, message) || !self.is_dead(scope, message));
        self.messages = messages;
    }

    fn is_dead(&self, scope: &Scope, message: &Message) -> bool {
        let t = usize::from(message.transaction);
        let leader = &self.partitions[usize::from(message.to)].leader;
        if leader
            .under_way
            .iter()
            .any(|entry| entry.asked.transaction == message.transaction)
        {
            return false;
        }
        let marker = leader.applied.markers[t];
        let is_settled = |attempt: Attempt| match marker {
            Marker::Ended(ended, _) => ended.number >= attempt.number,
            Marker::Refused(refused) => refused.number >= attempt.number,
            Marker::None | Marker::Prepared { .. } => false,
        };
        let is_stable = match message.body {
            Body::Read { .. } | Body::Refresh { .. } => return true,
            Body::Prepare { attempt, .. } | Body::Resolve { attempt, .. } => is_settled(attempt),
            Body::Check { attempt } => is_settled(attempt),
            Body::Change {
                change: Change::Look,
                ..
            } => return true,
            // A record never returns to an earlier value.
            Body::Change { expected, .. } => leader.applied.records[t] != expected,
        };
        let mut leader = leader.clone();
        is_stable
            && matches!(
                Evaluation::of(scope, &mut leader, message),
                Verdict::Reply(_)
            )
    }

    /// Whether the client of a transaction may send it through the second gateway.
    pub fn may_send_again(&self, scope: &Scope, t: usize) -> bool {
        scope.transactions[t].is_sent_again
            && self.coordinators[t][0].is_some()
            && self.coordinators[t][1].is_none()
            && !self.history.is_told(t)
    }

    /// Whether a transaction is known to have committed.
    pub fn is_committed(&self, t: usize) -> bool {
        matches!(self.history.outcomes[t], Outcome::Committed { .. })
    }
}
