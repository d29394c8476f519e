//! What must hold of a world, checked while it runs and at its end.

use super::super::*;
use super::HEALED_TICKS;
use super::machine::Faults;
use super::world::{Start, World};

impl World {
    pub(super) fn on_elected(&mut self, member: NodeId, term: Term) {
        self.machine(member).promises.clear();
        let replication = self.running(member);
        let told = replication.votes_promised().expect("it leads");
        for committed in &self.committed {
            let position = committed.position();
            assert!(
                position.index <= replication.base().index || replication.log.holds(position),
                "{member}, elected in {term}, lacks {position:?}, which is committed"
            );
        }
        let handed_over = replication.handed_over();
        let start = Start {
            at: handed_over.unwrap_or(told),
            is_handed_over: handed_over.is_some(),
        };
        for (earlier, obtained) in self.obtained.range(..term) {
            assert!(
                start.is_handed_over || told >= *obtained,
                "the leader of {term} was told {told}, but that of {earlier} obtained {obtained}"
            );
        }
        for (earlier, answered) in self.answered.range(..term) {
            assert!(
                start.at >= *answered,
                "the leader of {term} starts from {start:?}, that of {earlier} answered at {answered}"
            );
        }
        let is_heard = replication.may_be_heard();
        let other = self.elected.insert(term, (member, start));
        assert!(
            other.is_none() || self.unheard.contains(&term),
            "{member} and {other:?} were elected in {term}"
        );
        self.unheard.remove(&term);
        if !is_heard {
            self.unheard.insert(term);
        }
        self.deeds.elections += 1;
    }

    /// What a member takes for committed is what others do, and is on a majority of disks.
    pub(super) fn check_committed_prefix(&mut self, member: NodeId) {
        let replication = self.running(member);
        let (base, commit) = (replication.base().index, replication.commit());
        let taken: Vec<Entry> = replication.entries(base.next()..=commit).cloned().collect();
        assert_eq!(taken.len() as u64, commit.0 - base.0, "{member}: no gaps");
        for entry in taken {
            let at = entry.index.0 as usize - 1;
            if let Some(known) = self.committed.get(at) {
                assert_eq!(*known, entry, "what is committed never changes");
                continue;
            }
            assert_eq!(at, self.committed.len(), "committed in order");
            let position = entry.position();
            // By the members of then, or of now: a change may have come in between.
            let replication = self.running(member);
            let holds = |m: NodeId| self.machines[&m].disk.holds(position);
            let then = quorum_of(&replication.configured_at(entry.index).configuration);
            let disks: Vec<NodeId> = self.members().into_iter().filter(|m| holds(*m)).collect();
            assert!(
                then.is_reached(holds) || replication.quorum().is_reached(holds),
                "{position:?} is committed, but on the disks of {disks:?} only: {then:?}"
            );
            self.committed.push(entry);
            self.deeds.committed += 1;
        }
    }

    /// A member has acknowledged a promise to the leader of a term.
    pub(super) fn on_promise(
        &mut self,
        leader: NodeId,
        by: NodeId,
        term: Term,
        promise: Timestamp,
    ) {
        let machine = self.machine(leader);
        let Some(replication) = &machine.running else {
            return;
        };
        if replication.role() != Role::Leader || replication.term() != term {
            return;
        }
        let known = machine.promises.entry(by).or_default();
        *known = promise.max(*known);
        if !replication.is_configuration_committed() {
            // From its proposal until it is applied, nothing is extended.
            return;
        }
        let obtained = replication
            .quorum
            .highest_reached_by_quorum(|m| machine.promises.get(&m).copied().unwrap_or_default());
        let known = self.obtained.entry(term).or_default();
        *known = obtained.max(*known);
        for (later, (_, start)) in self.elected.range(term.next()..) {
            assert!(
                start.is_handed_over || start.at >= obtained,
                "the leader of {later} starts from {start:?}, but that of {term} obtained {obtained}"
            );
        }
    }

    pub(super) fn check_log_matching(&self) {
        let logs: Vec<&Replication> = self
            .machines
            .values()
            .filter_map(|machine| machine.running.as_ref())
            .collect();
        for (i, one) in logs.iter().enumerate() {
            for other in &logs[i + 1..] {
                check_logs_match(one, other);
            }
        }
    }

    /// Without faults, one leader is followed by all, and all hold the same.
    pub(super) fn heal_and_check_progress(&mut self) {
        self.faults = Faults::none();
        self.cut_off.clear();
        for member in self.members() {
            let machine = self.machine(member);
            if machine.disk.exists && machine.running.is_none() {
                self.start(member);
            }
        }
        let before = self.committed.len();
        self.run(HEALED_TICKS);
        assert!(
            self.committed.len() > before + 50,
            "progress after healing: {before} committed before, {} after",
            self.committed.len()
        );
        let (_, (leader, _)) = self.elected.last_key_value().expect("elected");
        let members = self.running(*leader).members().collect::<Vec<_>>();
        self.check_changed(*leader);
        for member in members {
            let replication = self.running(member);
            assert_eq!(replication.leader(), Some(*leader), "{member} follows");
            assert!(
                replication.commit().0 + 50 > self.committed.len() as u64,
                "{member} keeps up"
            );
        }
        self.check_log_matching();
    }
}

/// From the highest index at which they agree on, they agree below.
fn check_logs_match(one: &Replication, other: &Replication) {
    let end = one.last().index.min(other.last().index);
    let start = one.base().index.max(other.base().index);
    let range = start.next()..=end;
    let pairs: Vec<_> = one
        .entries(range.clone())
        .zip(other.entries(range))
        .collect();
    let agreed = pairs.iter().rposition(|(a, b)| a.term == b.term);
    for (a, b) in &pairs[..agreed.map_or(0, |at| at + 1)] {
        assert_eq!(a, b, "logs that agree above agree here");
    }
}
