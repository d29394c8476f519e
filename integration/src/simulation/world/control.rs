//! Questions asked of nodes from outside the simulated clients: for tests, and at the end of a run.

use super::World;
use crate::checker::ClusterState;
use crate::simulation::network::Seat;
use node::Event;
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};
use wire::message::{ClientAnswer, ClientReply, ClientRequest};

/// The connection that questions from outside come over; clients have others.
pub(super) const CONTROL_CONNECTION: u64 = 1;

/// An answer to a question from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlReply {
    /// How long it took, from the question to the answer's leaving the node.
    pub took: Duration,
    /// The answer.
    pub reply: ClientReply,
}

impl World {
    /// Asks a node something, without any delay between asker and node, and lets things happen until
    /// it answers; `None` if it does not within `patience`.
    pub fn ask(
        &mut self,
        seat: Seat,
        request: ClientRequest,
        patience: Duration,
    ) -> Result<Option<ControlReply>, String> {
        self.control_requests += 1;
        let number = self.control_requests;
        let asked = self.now();
        let connection = CONTROL_CONNECTION;
        self.give(
            seat,
            Event::Client {
                connection,
                number,
                request,
            },
        );
        let limit = asked + patience;
        self.run_until(limit, |world| world.control_replies.contains_key(&number))?;
        let answer = self.control_replies.remove(&number);
        Ok(answer.map(|(at, reply)| ControlReply {
            took: at - asked,
            reply,
        }))
    }

    /// Which partitions are led and served now, and at which seat.
    pub fn serving(&self) -> Vec<(Seat, PartitionId)> {
        let mut serving = Vec::new();
        for machine in &self.machines {
            let replicas = machine.node.iter().flat_map(|node| node.replicas());
            let led = replicas.filter(|(_, replica)| replica.is_serving());
            serving.extend(led.map(|(partition, _)| (machine.seat, *partition)));
        }
        serving
    }

    /// Asks a leader to hand over a partition, and does not wait for what comes of it.
    pub fn begin_transfer(&mut self, seat: Seat, partition: PartitionId, to: Option<NodeId>) {
        self.control_requests += 1;
        let event = Event::Client {
            connection: CONTROL_CONNECTION,
            number: self.control_requests,
            request: ClientRequest::Transfer { partition, to },
        };
        self.give(seat, event);
    }

    /// Tells a node to hand over everything, as one that is about to stop.
    pub fn leave(&mut self, seat: Seat) {
        self.give(seat, Event::Leave);
    }

    pub(super) fn control_answer(
        &mut self,
        connection: u64,
        number: u64,
        reply: &ClientReply,
    ) -> bool {
        let is_control = connection == CONTROL_CONNECTION;
        if is_control {
            let answer = (self.now(), reply.clone());
            self.control_replies.insert(number, answer);
        }
        is_control
    }

    /// Whether some replica still holds a marker or a record, or is to get other members.
    pub(in crate::simulation) fn has_left_over(&self) -> Result<bool, String> {
        if self.wanted_members() > 0 {
            return Ok(true);
        }
        for machine in &self.machines {
            if machine.has_left_over()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the whole cluster says of itself and holds. Nodes that do not answer are left out.
    pub fn state(&mut self) -> Result<ClusterState, String> {
        let mut state = ClusterState::default();
        let patience = Duration::from_secs(1);
        for seat in 0..self.options.nodes {
            let status = self.ask(seat, ClientRequest::Status, patience)?;
            if let Some(Ok(ClientAnswer::Status(status))) = status.map(|s| s.reply) {
                state.statuses.push(*status);
            }
            let map = self.ask(seat, ClientRequest::Map, patience)?;
            if let Some(Ok(ClientAnswer::Map(map))) = map.map(|m| m.reply) {
                state.maps.push(map);
            }
        }
        for machine in &self.machines {
            state.replicas.extend(machine.contents()?);
            for row in machine.removed() {
                let versions = state.removed.entry(row.key).or_default();
                versions.push((row.timestamp, row.value));
            }
        }
        Ok(state)
    }

    /// Versions that the stores of all machines removed because nobody could read them any more.
    pub fn removed(&self) -> usize {
        let stores = self.machines.iter().map(|machine| &machine.store);
        stores.map(|store| store.removed().count()).sum()
    }
}
