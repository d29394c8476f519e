//! From the high-water mark to the store: entries are fed to committed state when they are known to be
//! committed, and handed to the store when they are durable here too (patterns High-Water Mark,
//! Low-Water Mark).

use crate::committed_state::{Changes, Released};
use crate::effects;
use crate::event::{ReplicaContext, ReplicaEffect};
use crate::replica::Replica;
use crate::replication::ConfigurationEntry;
use crate::versions::{StoreBatch, StoreReport, StoreTask};
use wire::ids::LogIndex;
use wire::message::{Entry, LogPosition};

impl Replica {
    /// The high-water mark rose.
    pub(crate) fn on_committed(
        &mut self,
        cx: &ReplicaContext,
        up_to: LogIndex,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let range = self.fed.index.next()..=up_to;
        let entries: Vec<Entry> = self.replication.entries(range).cloned().collect();
        let mut changes = Changes::default();
        let mut released = Released::default();
        for entry in &entries {
            assert_eq!(
                entry.index,
                self.fed.index.next(),
                "entries are fed one after another"
            );
            self.feed(entry, &mut changes, &mut released);
            // A batch ends where an entry that is not durable here begins, so that none waits for it.
            if entry.index == self.replication.durable() {
                self.hold_back(std::mem::take(&mut changes));
            }
        }
        if self.held_back.back().map(|batch| batch.applied) != Some(self.fed) {
            self.hold_back(changes);
        }
        self.hand_to_store(out);
        self.maybe_discard(out);
        self.on_settled(cx, released, out);
    }

    fn feed(&mut self, entry: &Entry, changes: &mut Changes, released: &mut Released) {
        self.fed = entry.position();
        if let Some(change) = ConfigurationEntry::decode(&entry.body) {
            return self.state.configure(entry.position(), change, changes);
        }
        let effects = effects::decode(&entry.body);
        let effects = effects.unwrap_or_else(|error| {
            panic!("entry {:?} cannot be applied: {error}", entry.position())
        });
        for effect in effects {
            #[cfg(feature = "mutants")]
            let ended = self.unmarked(&effect);
            #[cfg(feature = "mutants")]
            let committed = self.unrecorded(&effect);
            self.state.apply(entry.index, effect, changes, released);
            #[cfg(feature = "mutants")]
            if let Some(id) = ended {
                self.state.forget_marker(id, changes);
            }
            #[cfg(feature = "mutants")]
            if let Some(id) = committed {
                self.state.forget_outcome(id);
            }
        }
        if let Some(leadership) = &mut self.leadership {
            leadership.overlay.remove(entry.index);
        }
    }

    #[cfg(feature = "mutants")]
    fn unmarked(&self, effect: &effects::Effect) -> Option<wire::ids::TransactionId> {
        let resolves = matches!(effect, effects::Effect::Resolve { .. });
        let mutant = self.mutant == Some(crate::Mutant::NoEndedMarker);
        effect.transaction().filter(|_| resolves && mutant)
    }

    #[cfg(feature = "mutants")]
    fn unrecorded(&self, effect: &effects::Effect) -> Option<wire::ids::TransactionId> {
        let commits = matches!(effect, effects::Effect::Commit { .. });
        let mutant = self.mutant == Some(crate::Mutant::CommitWithoutOutcome);
        effect.transaction().filter(|_| commits && mutant)
    }

    fn hold_back(&mut self, changes: Changes) {
        self.held_back.push_back(StoreBatch {
            partition: self.descriptor.partition,
            incarnation: self.incarnation,
            applied: self.fed,
            closed: self.state.closed(),
            horizon: self.state.horizon(),
            versions: changes.versions,
            swept: changes.swept.into_iter().collect(),
            meta: changes.meta.into_iter().collect(),
        });
    }

    /// Hands on what is durable here.
    pub(crate) fn hand_to_store(&mut self, out: &mut Vec<ReplicaEffect>) {
        let durable = self.replication.durable();
        while let Some(batch) = self.held_back.pop_front() {
            if batch.applied.index > durable {
                self.held_back.push_front(batch);
                return;
            }
            out.push(ReplicaEffect::Store(StoreTask::Apply(batch)));
        }
    }

    /// The store says something of this partition.
    pub(crate) fn on_store_report(
        &mut self,
        cx: &ReplicaContext,
        report: StoreReport,
        out: &mut Vec<ReplicaEffect>,
    ) {
        match report {
            StoreReport::Applied {
                incarnation,
                position,
                ..
            } if incarnation != self.incarnation => self.on_chunks_applied(incarnation, position),
            StoreReport::Persisted {
                incarnation,
                position,
                ..
            } if incarnation != self.incarnation => {
                self.on_chunks_persisted(incarnation, position, out);
            }
            StoreReport::Snapshot { view, page, .. } => {
                self.on_snapshot_page(cx.now.monotonic, view, page, out);
            }
            StoreReport::Applied { position, .. } => {
                self.stored = self.stored.max(position.index);
                self.state.on_stored(self.stored);
            }
            StoreReport::Persisted { position, .. } => {
                if position.index > self.persisted.index {
                    self.persisted = position;
                    self.stored = self.stored.max(position.index);
                }
                self.maybe_discard(out);
            }
            StoreReport::Answer { ticket, answer, .. } => {
                if self.take_small_rows(cx, ticket, &answer, out) {
                    return;
                }
                self.on_store_answer(cx, ticket, answer, out);
            }
            StoreReport::Failed { why } => panic!("a failed store stops its node: {why}"),
        }
    }

    /// Discards what is in the store's tables here, and of which the leader has said that nobody needs it.
    pub(crate) fn maybe_discard(&mut self, out: &mut Vec<ReplicaEffect>) {
        let replicated = self.state.collected().replicated;
        let index = self.persisted.index.min(replicated);
        if index <= self.replication.base().index {
            return;
        }
        let term = self.replication.term_at(index);
        let term = term.expect("what is applied and above the base is in the log");
        let up_to = LogPosition { term, index };
        self.replication.discard(up_to);
        out.push(ReplicaEffect::Discard { up_to });
    }
}
