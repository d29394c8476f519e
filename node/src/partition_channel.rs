//! Finds the leader for each request of the gateway, and asks until there is an answer.
//!
//! A request is sent again after *not the leader*, *leadership lost*, *overloaded*, a lost connection
//! or a long silence. Every request is idempotent by transaction and attempt (pattern Idempotent
//! Receiver), with one exception that is handled here: a refused one-partition commit leaves nothing
//! durable, so once such a commit **may have been evaluated before**, only a durable refusal is
//! believed. *Otherwise the first copy could still commit after the second one's refusal was told.*
//!
//! Invariant: each request gets one answer, or one "unreachable" at its deadline.

use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};
use wire::keys::RangeMap;
use wire::message::{PartitionError, PartitionReply, PartitionRequest, RequestNumber};

/// After a reply that names no better node, or a node without a leader, the next try waits this long.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// So many times in a row a request follows at once whom a node names as the leader. Two nodes that name
/// each other, while leadership is on its way from one to the other, would make it run to and fro.
const REDIRECTS_MAX: u32 = 4;
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// A request to be sent now.
#[derive(Debug, PartialEq)]
pub(crate) struct Send {
    pub(crate) to: NodeId,
    pub(crate) number: RequestNumber,
    pub(crate) partition: PartitionId,
    pub(crate) body: PartitionRequest,
}

/// A request that was sent and whose answer is no longer wanted.
#[derive(Debug, PartialEq)]
pub(crate) struct Cancelled {
    pub(crate) to: NodeId,
    pub(crate) number: RequestNumber,
    pub(crate) partition: PartitionId,
}

/// What a tick brings about.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Due {
    pub(crate) ended: Vec<Ended>,
    pub(crate) sends: Vec<Send>,
    pub(crate) cancelled: Vec<Cancelled>,
}

/// How a request ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    Reply {
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    },
    Unreachable {
        number: RequestNumber,
        partition: PartitionId,
        waited: Duration,
    },
}

#[derive(Debug)]
struct Outstanding {
    /// The gateway's own number, unique within this start.
    asked_as: RequestNumber,
    partition: PartitionId,
    body: PartitionRequest,
    asked_at: Duration,
    deadline: Duration,
    /// Where the last copy went and when; `None` between two tries.
    sent: Option<(NodeId, Duration)>,
    try_again_at: Duration,
    backoff: Duration,
    /// Which member is tried when nobody names a leader.
    turn: usize,
    /// How often it followed a named leader since it last waited.
    redirects: u32,
    /// A copy went out whose fate is not known.
    perhaps_evaluated: bool,
}

/// What the channel knows of the world when it chooses a node.
pub(crate) struct Whereabouts<'a> {
    pub(crate) now: Duration,
    pub(crate) map: &'a RangeMap,
    /// The leader that this node's own replica knows of.
    pub(crate) local_leader: &'a dyn Fn(PartitionId) -> Option<NodeId>,
    pub(crate) is_up: &'a dyn Fn(NodeId) -> bool,
    /// All nodes that are known.
    pub(crate) nodes: &'a dyn Fn() -> Vec<NodeId>,
}

/// All unanswered requests of this node's gateway.
#[derive(Debug)]
pub(crate) struct PartitionChannel {
    /// Numbers on the wire: this start's number in the upper bits, so that a reply to an earlier life
    /// pairs with nothing.
    next_number: u64,
    outstanding: BTreeMap<RequestNumber, Outstanding>,
    by_asked_as: BTreeMap<RequestNumber, RequestNumber>,
    leaders: BTreeMap<PartitionId, NodeId>,
    resend_after: Duration,
}

impl PartitionChannel {
    pub(crate) fn new(start: u32, resend_after: Duration) -> PartitionChannel {
        PartitionChannel {
            next_number: u64::from(start) << 40,
            outstanding: BTreeMap::new(),
            by_asked_as: BTreeMap::new(),
            leaders: BTreeMap::new(),
            resend_after,
        }
    }

    /// Who leads a partition, as far as replies have told.
    pub(crate) fn leader_hint(&self, partition: PartitionId) -> Option<NodeId> {
        self.leaders.get(&partition).copied()
    }

    /// Takes on a request and sends its first copy if a node to send it to is up.
    pub(crate) fn ask(
        &mut self,
        at: &Whereabouts<'_>,
        asked_as: RequestNumber,
        partition: PartitionId,
        body: PartitionRequest,
        deadline: Duration,
    ) -> Option<Send> {
        self.next_number += 1;
        let number = RequestNumber(self.next_number);
        let previous = self.by_asked_as.insert(asked_as, number);
        assert!(
            previous.is_none(),
            "request {asked_as:?} was asked twice, the first as {previous:?}"
        );
        let outstanding = Outstanding {
            asked_as,
            partition,
            body,
            asked_at: at.now,
            deadline,
            sent: None,
            try_again_at: at.now,
            backoff: BACKOFF_FIRST,
            turn: 0,
            redirects: 0,
            perhaps_evaluated: false,
        };
        self.outstanding.insert(number, outstanding);
        self.try_send(at, number)
    }

    /// The answer is no longer wanted. Who was asked last, and under which number, so that it need not
    /// keep the request.
    pub(crate) fn cancel(&mut self, asked_as: RequestNumber) -> Option<Cancelled> {
        let number = self.by_asked_as.remove(&asked_as)?;
        let request = self.outstanding.remove(&number)?;
        let (to, _) = request.sent?;
        let partition = request.partition;
        Some(Cancelled {
            to,
            number,
            partition,
        })
    }

    /// A leader, or a node that was taken for one, answered.
    pub(crate) fn on_reply(
        &mut self,
        at: &Whereabouts<'_>,
        from: NodeId,
        number: RequestNumber,
        reply: PartitionReply,
    ) -> (Option<Ended>, Option<Send>) {
        let Some(request) = self.outstanding.get_mut(&number) else {
            return (None, None);
        };
        let is_latest_copy = request.sent.is_some_and(|(to, _)| to == from);
        match &reply {
            PartitionReply::Error(PartitionError::NotLeader { leader, .. }) => {
                if !is_latest_copy {
                    return (None, None);
                }
                let better = leader.filter(|leader| *leader != from && (at.is_up)(*leader));
                request.sent = None;
                match better {
                    Some(leader) => {
                        self.leaders.insert(request.partition, leader);
                        request.redirect(at.now);
                    }
                    None => {
                        self.leaders.remove(&request.partition);
                        request.wait_and_turn(at.now);
                    }
                }
                (None, self.try_send(at, number))
            }
            PartitionReply::Error(PartitionError::LeadershipLost { .. }) => {
                request.perhaps_evaluated = true;
                if is_latest_copy {
                    request.sent = None;
                    request.wait_and_turn(at.now);
                }
                (None, None)
            }
            PartitionReply::Error(PartitionError::Overloaded { .. }) => {
                if is_latest_copy {
                    request.sent = None;
                    request.wait_and_turn(at.now);
                }
                (None, None)
            }
            PartitionReply::Refused { durable: false, .. }
                if request.perhaps_evaluated
                    && matches!(request.body, PartitionRequest::Commit(_)) =>
            {
                // Not believed; the copy that asks for a durable refusal is on its way or due.
                if is_latest_copy && !request.asks_for_durable_refusal() {
                    request.sent = None;
                    request.try_again_at = at.now;
                    return (None, self.try_send(at, number));
                }
                (None, None)
            }
            _ => {
                let partition = request.partition;
                self.leaders.insert(partition, from);
                let request = self
                    .outstanding
                    .remove(&number)
                    .expect("it was just looked up");
                self.by_asked_as.remove(&request.asked_as);
                (
                    Some(Ended::Reply {
                        number: request.asked_as,
                        partition,
                        reply,
                    }),
                    None,
                )
            }
        }
    }

    /// The connection to a node is gone: what it was asked may or may not have been evaluated.
    pub(crate) fn on_peer_down(&mut self, at: &Whereabouts<'_>, node: NodeId) {
        self.leaders.retain(|_, leader| *leader != node);
        for request in self.outstanding.values_mut() {
            if request.sent.is_some_and(|(to, _)| to == node) {
                request.perhaps_evaluated = true;
                request.sent = None;
                request.wait_and_turn(at.now);
            }
        }
    }

    /// Sends again what is due, and gives up what has reached its deadline.
    pub(crate) fn tick(&mut self, at: &Whereabouts<'_>) -> Due {
        let mut due = Due::default();
        let numbers: Vec<RequestNumber> = self.outstanding.keys().copied().collect();
        for number in numbers {
            let Some(request) = self.outstanding.get_mut(&number) else {
                continue;
            };
            if at.now >= request.deadline {
                let waited = at.now.saturating_sub(request.asked_at);
                let (asked_as, partition) = (request.asked_as, request.partition);
                due.cancelled.extend(self.cancel(asked_as));
                due.ended.push(Ended::Unreachable {
                    number: asked_as,
                    partition,
                    waited,
                });
                continue;
            }
            if let Some((to, sent_at)) = request.sent {
                let silent = at.now >= sent_at + self.resend_after;
                let leader_moved = (at.local_leader)(request.partition)
                    .is_some_and(|leader| leader != to && at.now >= sent_at + BACKOFF_MAX);
                if silent || leader_moved || !(at.is_up)(to) {
                    request.perhaps_evaluated = true;
                    request.sent = None;
                    request.try_again_at = at.now;
                    request.turn += 1;
                    // Otherwise it is sent there again and again, to a node that stands still.
                    if self.leaders.get(&request.partition) == Some(&to) {
                        self.leaders.remove(&request.partition);
                    }
                }
            }
            due.sends.extend(self.try_send(at, number));
        }
        due
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.outstanding.len()
    }

    fn try_send(&mut self, at: &Whereabouts<'_>, number: RequestNumber) -> Option<Send> {
        let request = self.outstanding.get_mut(&number)?;
        if request.sent.is_some() || request.try_again_at > at.now {
            return None;
        }
        let hint = self.leaders.get(&request.partition).copied();
        let local = (at.local_leader)(request.partition);
        let named = [hint, local]
            .into_iter()
            .flatten()
            .find(|node| (at.is_up)(*node));
        let to = named.or_else(|| request.next_member(at));
        let Some(to) = to else {
            request.wait_and_turn(at.now);
            return None;
        };
        if request.perhaps_evaluated
            && let PartitionRequest::Commit(commit) = &mut request.body
        {
            commit.resent = true;
        }
        request.sent = Some((to, at.now));
        Some(Send {
            to,
            number,
            partition: request.partition,
            body: request.body.clone(),
        })
    }
}

impl Outstanding {
    fn wait_and_turn(&mut self, now: Duration) {
        self.try_again_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.redirects = 0;
        self.turn += 1;
    }

    /// Follows whoever was named, at once unless it did so too often.
    fn redirect(&mut self, now: Duration) {
        self.redirects += 1;
        if self.redirects > REDIRECTS_MAX {
            self.wait_and_turn(now);
        } else {
            self.try_again_at = now;
        }
    }

    fn next_member(&self, at: &Whereabouts<'_>) -> Option<NodeId> {
        let mut members = at.map.get(self.partition)?.members.clone();
        if self.turn >= members.len() {
            // None of them knew: the members may have changed since the map was made.
            let mut others = (at.nodes)();
            others.retain(|node| !members.contains(node));
            members.extend(others);
        }
        (0..members.len())
            .map(|step| members[(self.turn + step) % members.len()])
            .find(|node| (at.is_up)(*node))
    }

    fn asks_for_durable_refusal(&self) -> bool {
        matches!(&self.body, PartitionRequest::Commit(commit) if commit.resent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::ids::{Attempt, CoordinatorIncarnation, Generation, Term, TransactionId};
    use wire::keys::{Descriptor, Key, KeyRange};
    use wire::message::{CommitOne, Refusal, TransactionName};

    const P: PartitionId = PartitionId(1);
    const ASKED: RequestNumber = RequestNumber(77);

    fn map() -> RangeMap {
        RangeMap::new(vec![Descriptor {
            partition: P,
            generation: Generation(1),
            range: KeyRange::all(),
            members: vec![NodeId(1), NodeId(2), NodeId(3)],
        }])
        .unwrap()
    }

    fn commit() -> PartitionRequest {
        let id = TransactionId {
            time: Timestamp::from_micros(1),
            random: 1,
        };
        let coordinator = CoordinatorIncarnation {
            node: NodeId(1),
            start: 1,
            sequence: 1,
        };
        PartitionRequest::Commit(CommitOne {
            name: TransactionName {
                id,
                expires: Timestamp::MAX,
                anchor: Key::least(),
            },
            attempt: Attempt {
                number: 1,
                coordinator,
            },
            age: id,
            timestamp: Timestamp::ZERO,
            reads: Vec::new(),
            guards: Vec::new(),
            operations: Vec::new(),
            resent: false,
        })
    }

    fn refused(durable: bool) -> PartitionReply {
        PartitionReply::Refused {
            refusal: Refusal::Expired,
            durable,
            depends_on: Timestamp::ZERO,
        }
    }

    fn is_resent(send: &Send) -> bool {
        matches!(&send.body, PartitionRequest::Commit(commit) if commit.resent)
    }

    struct World {
        map: RangeMap,
        down: Vec<NodeId>,
        leader: Option<NodeId>,
    }

    impl World {
        fn at<T>(&self, millis: u64, act: impl FnOnce(&Whereabouts<'_>) -> T) -> T {
            act(&Whereabouts {
                now: Duration::from_millis(millis),
                map: &self.map,
                local_leader: &|_| self.leader,
                is_up: &|node| !self.down.contains(&node),
                nodes: &|| (1..=4).map(NodeId).collect(),
            })
        }
    }

    fn world() -> World {
        World {
            map: map(),
            down: Vec::new(),
            leader: Some(NodeId(2)),
        }
    }

    fn ask(channel: &mut PartitionChannel, world: &World) -> Send {
        let deadline = Duration::from_secs(5);
        world
            .at(0, |at| channel.ask(at, ASKED, P, commit(), deadline))
            .expect("a node is up")
    }

    #[test]
    fn it_follows_the_leader_that_a_follower_names() {
        let (world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        let first = ask(&mut channel, &world);
        assert_eq!(first.to, NodeId(2));
        let not_leader = PartitionReply::Error(PartitionError::NotLeader {
            partition: P,
            leader: Some(NodeId(3)),
            term: Term(4),
        });
        let (ended, again) = world.at(1, |at| {
            channel.on_reply(at, NodeId(2), first.number, not_leader)
        });
        assert_eq!(ended, None);
        let again = again.expect("it is sent to the named leader at once");
        assert_eq!(again.to, NodeId(3));
        assert!(
            !is_resent(&again),
            "who is not the leader has evaluated nothing"
        );
        let reply = refused(false);
        let (ended, _) = world.at(2, |at| {
            channel.on_reply(at, NodeId(3), first.number, reply.clone())
        });
        assert_eq!(
            ended,
            Some(Ended::Reply {
                number: ASKED,
                partition: P,
                reply
            })
        );
        assert_eq!(channel.len(), 0);
    }

    #[test]
    fn two_nodes_that_name_each_other_are_asked_a_few_times_and_then_waited_for() {
        let (world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        let first = ask(&mut channel, &world);
        let name = |channel: &mut PartitionChannel, from: NodeId| {
            let other = NodeId(5 - from.0);
            let not_leader = PartitionReply::Error(PartitionError::NotLeader {
                partition: P,
                leader: Some(other),
                term: Term(4),
            });
            let (ended, again) =
                world.at(1, |at| channel.on_reply(at, from, first.number, not_leader));
            assert_eq!(ended, None);
            again.map(|send| send.to)
        };
        let mut asked = first.to;
        for _ in 0..REDIRECTS_MAX {
            asked = name(&mut channel, asked).expect("it follows at once");
        }
        assert_eq!(name(&mut channel, asked), None, "now it waits");
        let Due { sends, .. } = world.at(11, |at| channel.tick(at));
        assert_eq!(sends.len(), 1);
        assert_eq!(sends[0].to, NodeId(5 - asked.0), "the one named last");
    }

    #[test]
    fn after_a_lost_connection_only_a_durable_refusal_is_believed() {
        let (mut world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        let first = ask(&mut channel, &world);
        world.at(5, |at| channel.on_peer_down(at, NodeId(2)));
        world.down.push(NodeId(2));
        world.leader = Some(NodeId(1));
        let Due { sends, .. } = world.at(50, |at| channel.tick(at));
        assert_eq!(sends.len(), 1);
        assert_eq!(sends[0].to, NodeId(1));
        assert!(is_resent(&sends[0]));
        // The first copy's answer comes after all, over a new connection: not believed.
        let late = world.at(60, |at| {
            channel.on_reply(at, NodeId(2), first.number, refused(false))
        });
        assert_eq!(late, (None, None));
        let (ended, _) = world.at(61, |at| {
            channel.on_reply(at, NodeId(1), first.number, refused(true))
        });
        assert_eq!(
            ended,
            Some(Ended::Reply {
                number: ASKED,
                partition: P,
                reply: refused(true)
            })
        );
    }

    #[test]
    fn at_its_deadline_a_request_ends_as_unreachable_once() {
        let (mut world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        world.down = vec![NodeId(1), NodeId(2), NodeId(3)];
        let deadline = Duration::from_secs(5);
        let sent = world.at(0, |at| channel.ask(at, ASKED, P, commit(), deadline));
        assert_eq!(sent, None);
        let Due { ended, sends, .. } = world.at(5_000, |at| channel.tick(at));
        assert_eq!(sends, []);
        let waited = Duration::from_secs(5);
        assert_eq!(
            ended,
            [Ended::Unreachable {
                number: ASKED,
                partition: P,
                waited
            }]
        );
        assert_eq!(world.at(6_000, |at| channel.tick(at)), Due::default());
    }

    #[test]
    fn silence_is_followed_by_another_copy() {
        let (world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        ask(&mut channel, &world);
        assert_eq!(world.at(999, |at| channel.tick(at)), Due::default());
        let Due { sends, .. } = world.at(1_000, |at| channel.tick(at));
        assert_eq!(sends.len(), 1);
        assert!(is_resent(&sends[0]));
    }

    #[test]
    fn a_leader_that_stands_still_is_left_for_its_successor() {
        let (mut world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        let first = ask(&mut channel, &world);
        world.at(1, |at| {
            channel.on_reply(at, NodeId(2), first.number, refused(true))
        });
        assert_eq!(channel.leader_hint(P), Some(NodeId(2)), "it has answered");
        // Its connections stay, and it says nothing more.
        assert_eq!(ask(&mut channel, &world).to, NodeId(2));
        world.leader = Some(NodeId(3));
        let Due { sends, .. } = world.at(300, |at| channel.tick(at));
        let sent_to: Vec<NodeId> = sends.iter().map(|send| send.to).collect();
        assert_eq!(sent_to, [NodeId(3)]);
        assert!(is_resent(&sends[0]));
    }

    #[test]
    fn a_cancelled_request_is_forgotten() {
        let (world, mut channel) = (world(), PartitionChannel::new(1, Duration::from_secs(1)));
        let sent = ask(&mut channel, &world);
        let number = sent.number;
        let cancelled = Cancelled {
            to: NodeId(2),
            number,
            partition: P,
        };
        assert_eq!(channel.cancel(ASKED), Some(cancelled));
        assert_eq!(channel.cancel(ASKED), None);
        let after = world.at(1, |at| {
            channel.on_reply(at, NodeId(2), sent.number, refused(true))
        });
        assert_eq!(after, (None, None));
        assert_eq!(channel.len(), 0);
    }
}
