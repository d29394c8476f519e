//! Who should lead what: what other nodes say of themselves, and the transfers of leadership that are
//! under way here.
//!
//! There is no coordinator. Each node looks at what it leads itself and at what the others told it in
//! their answers to its heartbeats, and gives away one leadership at a time:
//!
//! - only to a node that leads at least [`DIFFERENCE_MIN`] fewer: so the two are closer afterwards, and
//!   neither has a reason to give it back;
//! - only to one that is up, fit and not behind, and never before it was heard since the last transfer;
//! - at times drawn at random, so that several nodes seldom give to the same one at once. If they do, it
//!   gives one back: the sum of the differences still falls.

use std::collections::BTreeMap;
use std::time::Duration;
use txn::ClientTag;
use wire::ids::{NodeId, PartitionId};
use wire::message::{Standing, Unfit};

/// Leaderships are spread only between nodes whose numbers differ by at least so many.
pub(crate) const DIFFERENCE_MIN: u32 = 2;
/// What a node told of itself counts for so long.
const STANDING_KEPT: Duration = Duration::from_secs(1);
/// A node whose disk stalled, or was nearly full, is left alone for so long afterwards.
const DISK_SUSPECT_FOR: Duration = Duration::from_secs(5);
/// So often a node that should lead nothing tries to give away what it leads.
const RELINQUISH_EVERY: Duration = Duration::from_millis(100);
/// Clients that wait for one transfer; more are told that one is under way.
pub(crate) const ASKERS_MAX: usize = 64;

/// What this node knows about leaderships. See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    standings: BTreeMap<NodeId, (Duration, Standing)>,
    /// Under way here: to whom, and who asked for it.
    under_way: BTreeMap<PartitionId, (NodeId, Vec<ClientTag>)>,
    last_ended: Duration,
    spread_due: Duration,
    relinquish_due: Duration,
    disk_suspect_until: Duration,
    disk_short_until: Duration,
    leaving: bool,
}

impl Transfers {
    /// Another node said how it stands. One that is about to stop stays so until its connection is lost:
    /// it says so at once, and overtakes answers that wait for its log.
    pub(crate) fn on_standing(&mut self, now: Duration, node: NodeId, mut standing: Standing) {
        if let Some((_, known)) = self.standings.get(&node)
            && known.unfit == Some(Unfit::Leaving)
        {
            standing.unfit = known.unfit;
        }
        self.standings.insert(node, (now, standing));
    }

    /// A connection is lost: whoever comes back may be another by then.
    pub(crate) fn forget_standing(&mut self, node: NodeId) {
        self.standings.remove(&node);
    }

    /// How a node stands, if it was heard of late.
    pub(crate) fn standing(&self, now: Duration, node: NodeId) -> Option<Standing> {
        let (heard, standing) = self.standings.get(&node)?;
        (now.saturating_sub(*heard) < STANDING_KEPT).then_some(*standing)
    }

    /// How a node stands, if it was heard of late and since the last transfer.
    pub(crate) fn settled_standing(&self, now: Duration, node: NodeId) -> Option<Standing> {
        let (heard, _) = self.standings.get(&node)?;
        (*heard > self.last_ended).then(|| self.standing(now, node))?
    }

    /// A transfer has begun.
    pub(crate) fn begin(&mut self, partition: PartitionId, to: NodeId, asker: Option<ClientTag>) {
        let askers = asker.into_iter().collect();
        let previous = self.under_way.insert(partition, (to, askers));
        assert!(
            previous.is_none(),
            "one transfer of {partition} at a time: to {to} and to {previous:?}"
        );
    }

    /// Another client wants the same; says whether that transfer is under way and has room for it.
    pub(crate) fn join(&mut self, partition: PartitionId, to: NodeId, asker: ClientTag) -> bool {
        match self.under_way.get_mut(&partition) {
            Some((target, askers)) if *target == to && askers.len() < ASKERS_MAX => {
                askers.push(asker);
                true
            }
            _ => false,
        }
    }

    /// A transfer has ended; gives who asked for it.
    pub(crate) fn end(&mut self, now: Duration, partition: PartitionId) -> Vec<ClientTag> {
        self.last_ended = now;
        let ended = self.under_way.remove(&partition);
        ended.map_or_else(Vec::new, |(_, askers)| askers)
    }

    /// To whom a partition is being transferred.
    pub(crate) fn target(&self, partition: PartitionId) -> Option<NodeId> {
        self.under_way.get(&partition).map(|(to, _)| *to)
    }

    /// The node is about to stop.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.relinquish_due = Duration::ZERO;
    }

    /// Whether this node is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.leaving
    }

    /// The disk does not finish a write.
    pub(crate) fn on_disk_stalled(&mut self, now: Duration) {
        self.disk_suspect_until = now + DISK_SUSPECT_FOR;
    }

    /// The disk is nearly full.
    pub(crate) fn on_disk_short(&mut self, now: Duration) {
        self.disk_short_until = now + DISK_SUSPECT_FOR;
    }

    /// Why the node should lead nothing, as far as that is known here.
    pub(crate) fn unfit(&self, now: Duration) -> Option<Unfit> {
        if self.leaving {
            return Some(Unfit::Leaving);
        }
        let stalls = (now < self.disk_suspect_until).then_some(Unfit::DiskStalls);
        stalls.or((now < self.disk_short_until).then_some(Unfit::DiskShort))
    }

    /// Whether another node has said that it is about to stop, too: then nothing comes of handing over.
    pub(crate) fn is_leaving(&self, now: Duration, node: NodeId) -> bool {
        let standing = self.standing(now, node);
        standing.is_some_and(|standing| standing.unfit == Some(Unfit::Leaving))
    }

    /// How many are under way to nodes that can take them.
    pub(crate) fn hopeful(&self, now: Duration) -> usize {
        let targets = self.under_way.values().map(|(to, _)| *to);
        targets.filter(|to| !self.is_leaving(now, *to)).count()
    }

    /// Whether it is time to try to give away everything.
    pub(crate) fn is_relinquish_due(&mut self, now: Duration) -> bool {
        let due = now >= self.relinquish_due;
        if due {
            self.relinquish_due = now + RELINQUISH_EVERY;
        }
        due
    }

    /// Whether it is time to look whether leaderships are spread; the next time is `pause` away.
    pub(crate) fn is_spread_due(
        &mut self,
        now: Duration,
        pause: impl FnOnce() -> Duration,
    ) -> bool {
        let due = now >= self.spread_due;
        if due {
            self.spread_due = now + pause();
        }
        due && self.under_way.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: NodeId = NodeId(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_a_node_said_counts_for_a_while_and_not_across_a_transfer() {
        let mut transfers = Transfers::default();
        let standing = Standing {
            leads: 3,
            unfit: None,
        };
        transfers.on_standing(ms(100), OTHER, standing);
        assert_eq!(transfers.settled_standing(ms(200), OTHER), Some(standing));
        transfers.begin(PartitionId(1), OTHER, None);
        transfers.end(ms(300), PartitionId(1));
        assert_eq!(transfers.settled_standing(ms(301), OTHER), None);
        assert_eq!(transfers.standing(ms(301), OTHER), Some(standing));
        transfers.on_standing(ms(400), OTHER, standing);
        assert_eq!(transfers.settled_standing(ms(401), OTHER), Some(standing));
        assert_eq!(transfers.standing(ms(1_400), OTHER), None);
        transfers.on_standing(ms(1_500), OTHER, standing);
        transfers.forget_standing(OTHER);
        assert_eq!(transfers.standing(ms(1_501), OTHER), None);
    }

    #[test]
    fn whoever_asks_for_the_same_transfer_is_told_with_the_first() {
        let client = |number| ClientTag {
            connection: 9,
            number,
        };
        let mut transfers = Transfers::default();
        transfers.begin(PartitionId(1), OTHER, Some(client(1)));
        assert!(transfers.join(PartitionId(1), OTHER, client(2)));
        assert!(!transfers.join(PartitionId(1), NodeId(3), client(3)));
        assert!(!transfers.join(PartitionId(2), OTHER, client(3)));
        let told = transfers.end(ms(1), PartitionId(1));
        assert_eq!(told, [client(1), client(2)]);
    }

    #[test]
    fn a_disk_that_stalled_is_suspect_for_a_while() {
        let mut transfers = Transfers::default();
        assert_eq!(transfers.unfit(ms(1)), None);
        transfers.on_disk_stalled(ms(1_000));
        assert_eq!(transfers.unfit(ms(5_999)), Some(Unfit::DiskStalls));
        assert_eq!(transfers.unfit(ms(6_000)), None);
        transfers.on_disk_short(ms(6_000));
        assert_eq!(transfers.unfit(ms(10_999)), Some(Unfit::DiskShort));
        assert_eq!(transfers.unfit(ms(11_000)), None);
    }

    #[test]
    fn nothing_is_hoped_for_from_a_node_that_is_about_to_stop_too() {
        let mut transfers = Transfers::default();
        transfers.begin(PartitionId(1), OTHER, None);
        assert_eq!(transfers.hopeful(ms(1)), 1);
        let leaving = Standing {
            leads: 1,
            unfit: Some(Unfit::Leaving),
        };
        transfers.on_standing(ms(1), OTHER, leaving);
        assert_eq!(transfers.hopeful(ms(2)), 0);
        assert!(transfers.is_leaving(ms(2), OTHER));
        // An answer from before waited for its log.
        transfers.on_standing(ms(3), OTHER, Standing::default());
        assert!(transfers.is_leaving(ms(4), OTHER));
        // It has started again.
        transfers.forget_standing(OTHER);
        transfers.on_standing(ms(5), OTHER, Standing::default());
        assert!(!transfers.is_leaving(ms(6), OTHER));
    }
}
