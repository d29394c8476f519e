//! Leaders that answer, and hand over what they answered.

use super::super::*;
use super::world::World;

impl World {
    /// A leader answers as far as its promise reaches, unless it hands over.
    pub(super) fn answer(&mut self, member: NodeId) {
        let Some(replication) = &self.machines[&member].running else {
            return;
        };
        let answers = replication.first_of_term_committed()
            && replication.is_configuration_committed()
            && !replication.is_draining()
            && replication.handed_over_to().is_none();
        let term = replication.term();
        let Some(at) = self.obtained.get(&term).copied().filter(|_| answers) else {
            return;
        };
        let answered = self.answered.entry(term).or_default();
        *answered = at.max(*answered);
        for (later, (_, start)) in self.elected.range(term.next()..) {
            assert!(
                start.at >= at,
                "the leader of {later} starts from {start:?}, but that of {term} answers at {at}"
            );
        }
    }

    pub(super) fn begin_transfer(&mut self, member: NodeId) {
        if !self.leads(member) {
            return;
        }
        let members = self.members();
        let to = members[self.random.below(members.len() as u64) as usize];
        let now = self.now;
        self.turn(member, |replication, _, _| {
            // To itself, or a second time: refused, which is as good a thing to try.
            let _refused = replication.begin_transfer(now, to).is_err();
        });
    }

    pub(super) fn maybe_hand_over(&mut self, member: NodeId) {
        let Some(replication) = &self.machines[&member].running else {
            return;
        };
        if !replication.is_drained() {
            return;
        }
        let term = replication.term();
        let (_, start) = self.elected[&term];
        let answered = self.answered.get(&term).copied().unwrap_or_default();
        let now = self.now;
        self.turn(member, |replication, _, out| {
            replication.hand_over(now, start.at.max(answered), out);
        });
    }
}
