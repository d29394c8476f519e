//! What a node says of itself.

use super::{Membership, Node};
use crate::counters::Counters;
use clock::Now;
use wire::message::{NodeStatus, PeerStatus, RequestError};

impl Node {
    /// What it says of itself, once it is a member.
    pub fn told_status(&self, now: &Now) -> Option<NodeStatus> {
        self.status(now).ok()
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn status(&self, now: &Now) -> Result<NodeStatus, RequestError> {
        let Membership {
            identity, gateway, ..
        } = self.membership.as_ref().ok_or_else(|| self.not_founded())?;
        Ok(NodeStatus {
            cluster: identity.cluster,
            node: identity.node,
            start: identity.start,
            address: self.config.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_bound_us: self.raw.bound.map(|bound| bound.as_micros() as u64),
            clock_source: self.config.clock_source.clone(),
            clock_trouble: self.clock_watch.trouble_now(now.monotonic),
            clock_quarantines: self.clock_watch.quarantines(),
            unfit: self.unfit(now),
            hybrid_clock: self.clock.stamp(),
            ceiling: self.ceiling.durable(),
            up_ms: now.monotonic.saturating_sub(self.started_at).as_millis() as u64,
            log_bytes: self.log_bytes,
            disk_free: self.disk.map(|disk| disk.free),
            disk_reserve: self.disk.map_or(0, |disk| disk.reserve),
            drift_refused: self.drift_refused,
            coordinating: gateway.coordinating() as u64,
            replicas: self
                .replicas
                .values()
                .map(|replica| replica.status())
                .collect(),
            peers: self.peer_statuses(now),
        })
    }

    fn peer_statuses(&self, now: &Now) -> Vec<PeerStatus> {
        let with_clock = |peer: PeerStatus| PeerStatus {
            clock: self.clock_peers.of(now.monotonic, peer.node),
            ..peer
        };
        let peers = self.peers.status(now.monotonic);
        peers.into_iter().map(with_clock).collect()
    }
}
