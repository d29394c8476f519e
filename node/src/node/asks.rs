//! What this node's gateway asks of partitions and of other nodes' coordinators.

use super::{Membership, Node, Work};
use crate::partition_channel::{Cancelled, Due, Ended, PartitionChannel, Send, Whereabouts};
use clock::Now;
use cluster::Peers;
use partition::{Asker, Replica, ReplicaEvent};
use std::collections::BTreeMap;
use std::time::Duration;
use txn::GatewayEvent;
use wire::ids::{Attempt, Generation, NodeId, PartitionId, Term};
use wire::message::{
    CoordinatorState, PartitionError, PartitionReply, PartitionRequest, PeerMessage, RequestNumber,
    TransactionName, TransferFailure,
};

impl Node {
    /// Calls the channel with what it needs to know to choose a node.
    fn with_channel<T>(
        &mut self,
        now: &Now,
        act: impl FnOnce(&mut PartitionChannel, &Whereabouts<'_>) -> T,
    ) -> Option<T> {
        let Node {
            membership,
            replicas,
            peers,
            ..
        } = self;
        let Membership {
            map,
            channel,
            identity,
            ..
        } = membership.as_mut()?;
        let me = identity.node;
        let (replicas, peers): (&BTreeMap<PartitionId, Replica>, &Peers) = (replicas, peers);
        let whereabouts = Whereabouts {
            now: now.monotonic,
            map,
            local_leader: &|partition| replicas.get(&partition).and_then(Replica::leader),
            is_up: &|node| is_up(me, peers, node),
            nodes: &|| peers.iter().map(|(node, _)| node).chain([me]).collect(),
        };
        Some(act(channel, &whereabouts))
    }

    pub(super) fn ask_partition(
        &mut self,
        now: &Now,
        number: RequestNumber,
        partition: PartitionId,
        body: PartitionRequest,
        deadline: Duration,
    ) {
        let send = self.with_channel(now, |channel, at| {
            channel.ask(at, number, partition, body, deadline)
        });
        if let Some(send) = send.flatten() {
            self.send_request(send);
        }
    }

    fn send_request(&mut self, send: Send) {
        let Send {
            to,
            number,
            partition,
            body,
        } = send;
        let Some(membership) = &self.membership else {
            return;
        };
        let generation = membership
            .map
            .get(partition)
            .map_or(Generation(0), |d| d.generation);
        if to == membership.identity.node {
            let from = Asker { node: to, number };
            let event = ReplicaEvent::Request {
                from,
                generation,
                request: body,
            };
            self.work.push_back(Work::Replica(partition, event));
        } else {
            let message = PeerMessage::Request {
                number,
                partition,
                generation,
                body,
            };
            self.outbox.push(to, message);
        }
    }

    pub(super) fn on_partition_reply(
        &mut self,
        now: &Now,
        from: NodeId,
        number: RequestNumber,
        reply: PartitionReply,
    ) {
        let outcome =
            self.with_channel(now, |channel, at| channel.on_reply(at, from, number, reply));
        let Some((ended, send)) = outcome else { return };
        if let Some(ended) = ended {
            self.end_ask(ended);
        }
        if let Some(send) = send {
            self.send_request(send);
        }
    }

    /// Wants no answer any more, and says so to whoever was asked.
    pub(super) fn cancel_ask(&mut self, number: RequestNumber) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        if let Some(cancelled) = membership.channel.cancel(number) {
            self.tell_cancelled(cancelled);
        }
    }

    fn tell_cancelled(&mut self, cancelled: Cancelled) {
        let Cancelled {
            to,
            number,
            partition,
        } = cancelled;
        if self.me() == Some(to) {
            let from = Asker { node: to, number };
            let event = ReplicaEvent::Cancel { from };
            self.work.push_back(Work::Replica(partition, event));
        } else {
            self.outbox
                .push(to, PeerMessage::Cancel { number, partition });
        }
    }

    fn end_ask(&mut self, ended: Ended) {
        let event = match ended {
            Ended::Reply {
                number,
                partition,
                reply,
            } => GatewayEvent::Reply {
                number,
                partition,
                reply,
            },
            Ended::Unreachable {
                number,
                partition,
                waited,
            } => GatewayEvent::Unreachable {
                number,
                partition,
                waited,
            },
        };
        self.work.push_back(Work::Gateway(event));
    }

    pub(super) fn tick_channel(&mut self, now: &Now) {
        let due = self.with_channel(now, |channel, at| channel.tick(at));
        let Due {
            ended,
            sends,
            cancelled,
        } = due.unwrap_or_default();
        for cancelled in cancelled {
            self.tell_cancelled(cancelled);
        }
        for ended in ended {
            self.end_ask(ended);
        }
        for send in sends {
            self.send_request(send);
        }
    }

    pub(super) fn on_peer_down(&mut self, now: &Now, node: NodeId) {
        self.peers.on_disconnected(node);
        self.outbox.forget(node);
        self.transfers.forget_standing(node);
        let why = TransferFailure::Unreachable { target: node };
        self.take_back_transfers_to(now, node, why);
        self.with_channel(now, |channel, at| channel.on_peer_down(at, node));
    }

    /// A request or message for a partition of which this node holds no replica.
    pub(super) fn refuse_for_missing_replica(
        &mut self,
        partition: PartitionId,
        event: ReplicaEvent,
    ) {
        let ReplicaEvent::Request { from, .. } = event else {
            return;
        };
        let error = match self.map().and_then(|map| map.get(partition)) {
            // It exists, elsewhere: the asker's next try goes to another member.
            Some(_) => PartitionError::NotLeader {
                partition,
                leader: None,
                term: Term(0),
            },
            None => PartitionError::WrongRange {
                partition,
                descriptor: None,
            },
        };
        self.reply_to(from, PartitionReply::Error(error));
    }

    pub(super) fn reply_to(&mut self, asker: Asker, body: PartitionReply) {
        let Asker { node, number } = asker;
        if self.me() == Some(node) {
            self.own_replies.push_back((number, body));
        } else {
            self.outbox.push(node, PeerMessage::Reply { number, body });
        }
    }

    pub(super) fn ask_coordinator(
        &mut self,
        now: &Now,
        number: RequestNumber,
        node: NodeId,
        name: TransactionName,
        attempt: Attempt,
    ) {
        let asked = self.questions.ask(now.monotonic, number, node);
        if self.me() == Some(node) {
            let event = GatewayEvent::AskedAbout {
                by: node,
                number: asked,
                name,
                attempt,
            };
            self.work.push_back(Work::Gateway(event));
        } else {
            let message = PeerMessage::AskCoordinator {
                number: asked,
                name,
                attempt,
            };
            self.outbox.push(node, message);
        }
    }

    pub(super) fn tell_coordinator_state(
        &mut self,
        to: NodeId,
        number: RequestNumber,
        state: CoordinatorState,
    ) {
        if self.me() != Some(to) {
            self.outbox
                .push(to, PeerMessage::CoordinatorState { number, state });
        } else if let Some(number) = self.questions.on_answer(to, number) {
            let event = GatewayEvent::CoordinatorState { number, state };
            self.work.push_back(Work::Gateway(event));
        }
    }

    pub(super) fn tick_questions(&mut self, now: &Now) {
        let Some(me) = self.me() else { return };
        let Node {
            questions, peers, ..
        } = self;
        for number in questions.take_unanswered(now.monotonic, |node| is_up(me, peers, node)) {
            let state = CoordinatorState::Unknown;
            self.work
                .push_back(Work::Gateway(GatewayEvent::CoordinatorState {
                    number,
                    state,
                }));
        }
    }
}

/// Whether something sent to a node now has a connection to go by; one's own needs none.
fn is_up(me: NodeId, peers: &Peers, node: NodeId) -> bool {
    node == me || peers.get(node).is_some_and(|peer| peer.connected)
}
