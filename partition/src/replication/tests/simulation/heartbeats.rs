//! Heartbeats and the promises that they carry, as the node exchanges them.

use super::super::*;
use super::world::{Packet, World};

impl World {
    pub(super) fn on_heartbeat(
        &mut self,
        to: NodeId,
        from: NodeId,
        term: Term,
        commit: LogIndex,
        promise: Timestamp,
    ) {
        let now = self.now;
        let mut answer = Ok(promise);
        let runs = self.machine(to).running.is_some();
        self.turn(to, |replication, _, out| {
            let heard = replication.on_heartbeat(now, from, term, commit, out);
            answer = heard.map(|()| promise);
        });
        if !runs {
            return;
        }
        if answer.is_ok() {
            let ceiling = &mut self.machine(to).disk.ceiling;
            *ceiling = promise.max(*ceiling);
        }
        self.send(to, from, Packet::HeartbeatReply { term, answer });
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        to: NodeId,
        from: NodeId,
        term: Term,
        answer: Result<Timestamp, Term>,
    ) {
        let now = self.now;
        match answer {
            Err(later) => self.turn(to, |replication, _, out| {
                replication.on_later_term(now, later, out);
            }),
            Ok(promise) => {
                self.turn(to, |replication, _, _| {
                    replication.on_contact(now, from, term);
                });
                self.on_promise(to, from, term, promise);
            }
        }
    }

    pub(super) fn send_heartbeats(&mut self, member: NodeId) {
        let promise = Timestamp::from_micros(self.now.as_micros() as u64);
        let machine = self.machine(member);
        let Some(replication) = &machine.running else {
            return;
        };
        if replication.role() != Role::Leader || !replication.may_be_heard() {
            return;
        }
        let term = replication.term();
        // Learners hear of no promise here, which is the least that a new voter may know.
        let others: Vec<_> = replication
            .others()
            .map(|other| (other, replication.heartbeat_commit_for(other)))
            .collect();
        machine.disk.ceiling = promise.max(machine.disk.ceiling);
        self.on_promise(member, member, term, promise);
        for (to, commit) in others {
            let packet = Packet::Heartbeat {
                term,
                commit,
                promise,
            };
            self.send(member, to, packet);
        }
    }
}
