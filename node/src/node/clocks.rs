//! What the node does when its clock is not to be relied on, and what it says of it.
//!
//! In quarantine it gives up what it leads, begins nothing strong, and tells those whom it was about to
//! answer that it cannot: another node can, for what was decided is in the logs (R6, R10). It goes on
//! voting and appending, with promises up to its ceiling.

use super::Node;
use crate::clock_watch::{ClockChange, Judged};
use clock::Now;
use txn::ClientTag;
use wire::ids::{NodeId, PartitionId};
use wire::message::{ClockReading, PeerMessage, RequestError};

impl Node {
    /// What the node lives by instead of a reading.
    pub(super) fn judge_clock(&mut self, raw: &Now) -> Judged {
        self.raw = *raw;
        let issued = self.clock.stamp().max(self.reached_before);
        let judged = self.clock_watch.look(raw, issued, &mut self.clock_peers);
        if let Some(change) = self.clock_watch.take_change() {
            self.on_clock_change(&judged.now, change);
        }
        judged
    }

    fn on_clock_change(&mut self, now: &Now, change: ClockChange) {
        match change {
            ClockChange::Distrusted(cause) => {
                tracing::warn!(
                    "this node's clock is not relied on any more: {cause}. It leads and coordinates nothing until the clock is good"
                );
                self.next_probe = now.monotonic;
                for (client, _) in self.answers.take_all() {
                    self.refuse_for_clock(now, client);
                }
            }
            ClockChange::Another(cause) => {
                tracing::warn!("this node's clock is still not relied on: {cause}");
            }
            ClockChange::Trusted { after } => {
                tracing::info!(?after, "this node's clock is relied on");
            }
        }
    }

    /// The answer to a request that was begun before the clock was found wanting.
    pub(super) fn refuse_for_clock(&mut self, now: &Now, client: ClientTag) {
        let error = self.clock_unusable(now, true);
        self.answer(now, client, Err(error));
    }

    /// What a client is told.
    pub(super) fn clock_unusable(&self, now: &Now, begun: bool) -> RequestError {
        let trouble = self.clock_watch.trouble_now(now.monotonic);
        RequestError::ClockUnusable {
            node: self.me().unwrap_or(NodeId(0)),
            why: trouble.map_or_else(|| "it is good again".to_owned(), |t| t.to_string()),
            begun,
        }
    }

    /// Gives up what is led, and looks at the other nodes' clocks if it is time to.
    pub(super) fn tick_clocks(&mut self, now: &Now) {
        let is_quarantined = self.clock_watch.is_quarantined();
        if is_quarantined {
            self.give_up_leaderships(now);
        }
        if now.monotonic < self.next_probe {
            return;
        }
        let timing = self.config.timing.quarantine;
        let pause = match is_quarantined {
            true => timing.probe_soon,
            false => timing.probe_every,
        };
        self.next_probe = now.monotonic + pause;
        self.tell_contradicting(now);
        let connected = self.peers.iter().filter(|(_, peer)| peer.connected);
        for node in connected.map(|(node, _)| node).collect::<Vec<_>>() {
            let sequence = self.clock_peers.probe(node, now.monotonic);
            self.outbox.push(node, PeerMessage::ClockProbe { sequence });
        }
    }

    /// Another node can be asked: in quarantine, or before the first comparison, there is no better time.
    pub(super) fn compare_clocks_soon(&mut self, now: &Now) {
        if self.clock_watch.is_quarantined() {
            self.next_probe = now.monotonic;
        }
    }

    /// A single node whose clock contradicts this one's is told of, once, and not acted upon here.
    fn tell_contradicting(&mut self, now: &Now) {
        let contradicting = self.clock_peers.contradicting(now.monotonic);
        for node in &contradicting {
            if !self.contradicting.contains(node)
                && let Some(clock) = self.clock_peers.of(now.monotonic, *node)
            {
                tracing::warn!(
                    peer = %node,
                    ahead_us = clock.ahead_us,
                    within_us = clock.within_us,
                    "the clock of another node contradicts this one's: one of them is out of its bound"
                );
            }
        }
        self.contradicting = contradicting;
    }

    /// Hands over what can be handed over within a moment, and resigns from the rest.
    fn give_up_leaderships(&mut self, now: &Now) {
        let leads = |(partition, replica): (&PartitionId, &partition::Replica)| {
            (replica.leader() == self.me()).then_some(*partition)
        };
        for partition in self.replicas.iter().filter_map(leads).collect::<Vec<_>>() {
            if !self.hands_over_soon(now, partition) {
                self.resign(now, partition);
            }
        }
    }

    /// Leads a partition no more, whoever may lead it next.
    pub(super) fn resign(&mut self, now: &Now, partition: PartitionId) {
        self.with_replica(now, partition, |replica, context, out| {
            replica.resign(context, out);
        });
    }

    /// Tells this node's clock as it reads.
    pub(super) fn on_clock_probe(&mut self, from: NodeId, sequence: u64) {
        let reading = ClockReading {
            sequence,
            physical_ns: self.raw.physical.as_nanos() as u64,
            bound_ns: self.raw.bound.map(|bound| bound.as_nanos() as u64),
            standing: self.clock_watch.standing(),
        };
        self.outbox.push(from, PeerMessage::ClockReading(reading));
    }

    pub(super) fn on_clock_reading(&mut self, from: NodeId, reading: &ClockReading) {
        self.clock_peers.on_reading(&self.raw, from, reading);
    }

    /// Of a frame that is dropped for its stamp, the clocks are still compared: they say who is wrong.
    pub(super) fn compare_clocks_only(&mut self, from: NodeId, messages: Vec<PeerMessage>) {
        for message in messages {
            match message {
                PeerMessage::ClockProbe { sequence } => self.on_clock_probe(from, sequence),
                PeerMessage::ClockReading(reading) => self.on_clock_reading(from, &reading),
                _ => {}
            }
        }
    }
}
