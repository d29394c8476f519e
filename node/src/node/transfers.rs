//! Gives leaderships away: when a client asks for it, when this node should lead nothing, and so that
//! each node leads about its share ([`crate::transfers`]).

use super::Node;
use crate::disk_space::DiskSpace;
use crate::transfers::DIFFERENCE_MIN;
use clock::Now;
use partition::Replica;
use std::collections::BTreeSet;
use std::time::Duration;
use txn::ClientTag;
use wire::ids::{NodeId, PartitionId};
use wire::message::{
    ClientAnswer, HeartbeatReply, PeerMessage, RequestError, Standing, TransferFailure,
    Transferred, Unfit,
};

/// A member that lacks more entries than this is behind: leaderships are not moved to it unasked.
const NEAR_ENTRIES: u64 = 256;

/// Whether nothing is handed to a member that says this of itself. One that has just started can lead, and
/// one that is short of disk serves reads.
fn bars(unfit: Unfit) -> bool {
    !matches!(unfit, Unfit::Starting | Unfit::DiskShort)
}

impl Node {
    /// Begins to hand over the leadership of a partition; `to`: `None` for the fittest member. Gives
    /// whom it goes to.
    ///
    /// # Errors
    /// If this node does not lead and serve it, or the target cannot take it.
    pub fn begin_transfer(
        &mut self,
        now: &Now,
        partition: PartitionId,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferFailure> {
        self.start_transfer(now, partition, to, None)
    }

    /// How many partitions this node leads.
    pub fn leads(&self) -> usize {
        self.replicas.values().filter(|r| r.is_serving()).count()
    }

    /// How many leaderships it is handing over, or could: a node that is told to leave
    /// ([`crate::Event::Leave`]) has nothing more to wait for when there are none.
    pub fn yet_to_hand_over(&self, now: &Now) -> usize {
        let others = self.replicas.iter().filter(|(partition, replica)| {
            let is_under_way = self.transfers.target(**partition).is_some();
            !is_under_way && replica.is_serving() && self.fittest(now, replica).is_some()
        });
        self.transfers.hopeful(now.monotonic) + others.count()
    }

    /// Why this node should lead nothing at present.
    pub fn unfit(&self, now: &Now) -> Option<Unfit> {
        if !now.is_vouched() {
            return Some(Unfit::NoClock);
        }
        let settling = now.monotonic < self.started_at + self.config.timing.settle;
        let unfit = self.transfers.unfit(now.monotonic);
        // One replica that has forgotten is enough: it would ignore what is handed to it.
        let rebuilding = self.has_forgotten().then_some(Unfit::Rebuilding);
        let starting = settling.then_some(Unfit::Starting);
        unfit.or(rebuilding).or(starting)
    }

    /// What this node tells others of itself.
    pub(super) fn standing_to_lead(&self, now: &Now) -> Standing {
        Standing {
            leads: self.leads() as u32,
            unfit: self.unfit(now),
        }
    }

    pub(super) fn on_client_transfer(
        &mut self,
        now: &Now,
        client: ClientTag,
        partition: PartitionId,
        to: Option<NodeId>,
    ) {
        // Who does not say to whom is content with the one that it goes to already.
        if let Some(under_way) = to.or(self.transfers.target(partition))
            && self.transfers.join(partition, under_way, client)
        {
            return;
        }
        if let Err(why) = self.start_transfer(now, partition, to, Some(client)) {
            let error = RequestError::NotTransferred { partition, why };
            self.answer(now, client, Err(error));
        }
    }

    fn start_transfer(
        &mut self,
        now: &Now,
        partition: PartitionId,
        to: Option<NodeId>,
        asker: Option<ClientTag>,
    ) -> Result<NodeId, TransferFailure> {
        let to = self.check_target(now, partition, to)?;
        self.transfers.begin(partition, to, asker);
        let begun = self.with_replica(now, partition, |replica, context, out| {
            let begun = replica.begin_transfer(context, to, out);
            if begun.is_ok() {
                tracing::info!(%partition, %to, "hands its leadership over");
            }
            begun
        });
        let begun = begun.expect("the target of a partition was chosen by its replica");
        if let Err(why) = begun {
            self.transfers.end(now.monotonic, partition);
            return Err(why);
        }
        Ok(to)
    }

    fn check_target(
        &self,
        now: &Now,
        partition: PartitionId,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferFailure> {
        let Some(replica) = self.replicas.get(&partition) else {
            return Err(self.elsewhere(partition));
        };
        if let Some(target) = self.transfers.target(partition) {
            return Err(TransferFailure::UnderWay { target });
        }
        let leader = replica.leader();
        if leader.is_none() || leader != self.me() {
            return Err(TransferFailure::NotLeader { leader });
        }
        let Some(target) = to else {
            let fittest = self.fittest(now, replica);
            return fittest.ok_or(TransferFailure::NobodyFit);
        };
        if self.me() == Some(target) {
            return Err(TransferFailure::LeadsAlready { target });
        }
        if !replica.configured().configuration.voters.contains(&target) {
            return Err(TransferFailure::NotMember { target });
        }
        self.check_can_lead(now, target)?;
        Ok(target)
    }

    /// Whether a member was heard of late, and can lead.
    fn check_can_lead(&self, now: &Now, target: NodeId) -> Result<(), TransferFailure> {
        let Some(standing) = self.standing_of(now, target) else {
            return Err(TransferFailure::Unreachable { target });
        };
        match standing.unfit.filter(|why| bars(*why)) {
            Some(why) => Err(TransferFailure::Unfit { target, why }),
            None => Ok(()),
        }
    }

    /// Why a partition of which this node holds no replica is not transferred by it.
    fn elsewhere(&self, partition: PartitionId) -> TransferFailure {
        let membership = self.membership.as_ref();
        match membership.filter(|m| m.map.get(partition).is_some()) {
            Some(membership) => TransferFailure::NotLeader {
                leader: membership.channel.leader_hint(partition),
            },
            None => TransferFailure::NoSuchPartition,
        }
    }

    /// How a node stands, if it is connected and was heard of late.
    fn standing_of(&self, now: &Now, node: NodeId) -> Option<Standing> {
        let is_connected = self.peers.get(node).is_some_and(|peer| peer.connected);
        let standing = self.transfers.standing(now.monotonic, node)?;
        is_connected.then_some(standing)
    }

    /// The member that should lead instead of this node: one that has room on its disk before one that has
    /// little, one that is fit before one that has just started, one that has the log before one that is
    /// behind, then the one that leads least. None that gets a snapshot.
    fn fittest(&self, now: &Now, replica: &Replica) -> Option<NodeId> {
        let rank = |member: &NodeId| {
            let standing = self.standing_of(now, *member)?;
            if standing.unfit.is_some_and(bars) || replica.needs_snapshot(*member) {
                return None;
            }
            let is_short = standing.unfit == Some(Unfit::DiskShort);
            let is_starting = standing.unfit == Some(Unfit::Starting);
            let is_behind = replica.lag_of(*member) > NEAR_ENTRIES;
            Some((is_short, is_starting, is_behind, standing.leads, *member))
        };
        let members = replica.configured().configuration.voters.iter();
        let others = members.filter(|member| self.me() != Some(**member));
        let (.., fittest) = others.filter_map(rank).min()?;
        Some(fittest)
    }

    pub(super) fn on_transfer_ended(
        &mut self,
        now: &Now,
        partition: PartitionId,
        to: NodeId,
        ended: Result<(), TransferFailure>,
    ) {
        match ended {
            Ok(()) => tracing::info!(%partition, %to, "leadership is handed over"),
            Err(why) => {
                // A node that stops tells at its end what it could not hand over. Whether the other stops too
                // is forgotten as soon as it has.
                if self.transfers.is_stopping() || self.transfers.is_leaving(now.monotonic, to) {
                    tracing::info!(%partition, %to, %why, "about to stop: leadership is not handed over");
                } else {
                    tracing::warn!(%partition, %to, %why, "leadership is not handed over");
                }
                if self.clock_watch.is_quarantined() {
                    self.resign(now, partition);
                }
            }
        }
        let Some(from) = self.me() else { return };
        for client in self.transfers.end(now.monotonic, partition) {
            let reply = match ended {
                Ok(()) => Ok(ClientAnswer::Transferred(Transferred {
                    partition,
                    from,
                    to,
                })),
                Err(why) => Err(RequestError::NotTransferred { partition, why }),
            };
            self.answer(now, client, reply);
        }
    }

    /// Before the replicas' own ticks: whether they may lead, and what is to be given away.
    pub(super) fn tick_transfers(&mut self, now: &Now) {
        let stalls = self.log.stalled_for(now.monotonic) >= self.config.timing.disk_stall;
        if stalls {
            self.transfers.on_disk_stalled(now.monotonic);
        }
        if self.disk.is_some_and(DiskSpace::is_short) {
            self.transfers.on_disk_short(now.monotonic);
        }
        let unfit = self.unfit(now);
        // One that is short of disk can lead if nobody else does: reads go on.
        let may_lead = !stalls && !matches!(unfit, Some(Unfit::Leaving | Unfit::NoClock));
        for replica in self.replicas.values_mut() {
            replica.set_fit_to_lead(may_lead);
        }
        self.take_back_hopeless(now);
        match unfit {
            // What it does lead, it can lead on.
            Some(Unfit::Starting | Unfit::Rebuilding) => {}
            Some(why) => self.maybe_relinquish(now, why),
            None => self.maybe_spread(now),
        }
    }

    /// Whether a partition is being handed over, or can be to a member that has its log.
    pub(super) fn hands_over_soon(&mut self, now: &Now, partition: PartitionId) -> bool {
        let Some(replica) = self.replicas.get(&partition) else {
            return false;
        };
        if let Some(target) = self.transfers.target(partition) {
            return replica.lag_of(target) <= NEAR_ENTRIES;
        }
        let fittest = self.fittest(now, replica);
        let near = fittest.filter(|member| replica.lag_of(*member) <= NEAR_ENTRIES);
        near.is_some_and(|to| self.start_transfer(now, partition, Some(to), None).is_ok())
    }

    /// Gives away everything that it leads, to whoever can take it.
    fn maybe_relinquish(&mut self, now: &Now, why: Unfit) {
        if !self.transfers.is_relinquish_due(now.monotonic) {
            return;
        }
        for partition in self.led() {
            let fittest = self.fittest(now, &self.replicas[&partition]);
            if why == Unfit::DiskShort && fittest.is_some_and(|member| self.is_short(now, member)) {
                // All are: nothing comes of it.
                continue;
            }
            if let Err(why) = self.start_transfer(now, partition, None, None) {
                tracing::debug!(%partition, %why, "a leadership that should go stays for now");
            }
        }
    }

    fn is_short(&self, now: &Now, node: NodeId) -> bool {
        let standing = self.standing_of(now, node);
        standing.is_some_and(|standing| standing.unfit == Some(Unfit::DiskShort))
    }

    /// Another node is about to stop: nothing is handed to it any more.
    pub(super) fn on_leaving(&mut self, now: &Now, node: NodeId) {
        let (target, why) = (node, Unfit::Leaving);
        self.take_back_transfers_to(now, node, TransferFailure::Unfit { target, why });
    }

    /// Leads on what was about to go to a member that was not heard of late, or can no longer lead: the next
    /// one is tried, and requests do not wait for it.
    fn take_back_hopeless(&mut self, now: &Now) {
        let targets = self.replicas.values().filter_map(Replica::transfers_to);
        for target in targets.collect::<BTreeSet<_>>() {
            if let Err(why) = self.check_can_lead(now, target) {
                self.take_back_transfers_to(now, target, why);
            }
        }
    }

    pub(super) fn take_back_transfers_to(
        &mut self,
        now: &Now,
        target: NodeId,
        why: TransferFailure,
    ) {
        let replicas = self.replicas.iter();
        let to_it = replicas.filter(|(_, replica)| replica.transfers_to() == Some(target));
        for partition in to_it.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.with_replica(now, partition, |replica, context, out| {
                replica.take_back_transfer(context, target, why, out);
            });
        }
    }

    /// The node is about to stop. The others hear of it before their next heartbeat: nodes that are all
    /// stopped at once need not try to hand over to each other.
    pub(super) fn leave(&mut self, now: &Now) {
        self.transfers.leave();
        let standing = self.standing_to_lead(now);
        let connected = self.peers.iter().filter(|(_, peer)| peer.connected);
        for node in connected.map(|(node, _)| node).collect::<Vec<_>>() {
            let unasked = HeartbeatReply::unasked(standing);
            self.outbox.push(node, PeerMessage::HeartbeatReply(unasked));
        }
    }

    fn led(&self) -> Vec<PartitionId> {
        let served = self.replicas.iter().filter(|(_, r)| r.is_serving());
        served.map(|(partition, _)| *partition).collect()
    }

    /// Gives one leadership to a node that leads fewer.
    fn maybe_spread(&mut self, now: &Now) {
        let Some(every) = self.config.timing.spread_every else {
            return;
        };
        let random = &mut self.random;
        let pause = || every / 2 + Duration::from_nanos(random.below(every.as_nanos() as u64 + 1));
        if !self.transfers.is_spread_due(now.monotonic, pause) {
            return;
        }
        let mine = self.leads() as u32;
        let lesser = |node: NodeId| {
            let standing = self.transfers.settled_standing(now.monotonic, node)?;
            let is_fit = standing.unfit.is_none() && self.standing_of(now, node).is_some();
            let differ = standing.leads + DIFFERENCE_MIN <= mine;
            (is_fit && differ).then_some(standing.leads)
        };
        let choices = self.led().into_iter().flat_map(|partition| {
            let replica = &self.replicas[&partition];
            let members = replica.configured().configuration.voters.iter();
            let near = members.filter(|member| {
                replica.lag_of(**member) <= NEAR_ENTRIES && !replica.needs_snapshot(**member)
            });
            near.filter_map(|member| Some((lesser(*member)?, partition, *member)))
                .collect::<Vec<_>>()
        });
        if let Some((leads, partition, to)) = choices.min() {
            tracing::info!(%partition, %to, mine, leads, "spreads leaderships");
            if let Err(why) = self.start_transfer(now, partition, Some(to), None) {
                tracing::debug!(%partition, %to, %why, "a leadership stays for now");
            }
        }
    }
}
