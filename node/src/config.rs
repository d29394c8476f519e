//! What a node is told at its start.

use crate::QuarantineTiming;
use std::time::Duration;
use wire::keys::Key;

/// The times that a node lives by. All are lengths of monotonic time, except the two that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats to the same node.
    pub heartbeat: Duration,
    /// How far ahead of `latest` a leader asks for its promise (R9), in timestamp space.
    pub promise: Duration,
    /// A follower that hears nothing for this long (up to twice this long, drawn anew each time)
    /// stands for election. At least `promise`: otherwise every change of leader costs a wait for the
    /// old promise to pass.
    pub election_timeout: Duration,
    /// How far ahead of `latest` a stamp may lie before it is refused, in timestamp space.
    pub drift_max: Duration,
    /// Timeouts are looked at this often.
    pub tick: Duration,
    /// An unanswered request to a leader is sent again after this long.
    pub resend_after: Duration,
    /// A prepared lock that was waited for so long is pushed: does its coordinator live (R8)?
    pub push_after: Duration,
    /// A prepared lock of a younger transaction that an older one waited for so long is ended (R11).
    pub wound_after: Duration,
    /// How the clock is watched.
    pub quarantine: QuarantineTiming,
    /// About so often a node looks whether it should give a leadership to a node that leads fewer;
    /// `None`: leaders stay where they are.
    pub spread_every: Option<Duration>,
    /// A node that started is left alone by the spread of leaders for so long.
    pub settle: Duration,
    /// A disk that has not finished a write for so long stalls: the node gives up what it leads.
    pub disk_stall: Duration,
    /// How long old versions are kept unless the cluster's setting says otherwise, in timestamp space.
    pub retention: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(100),
            promise: Duration::from_millis(500),
            election_timeout: Duration::from_millis(500),
            drift_max: Duration::from_millis(500),
            tick: Duration::from_millis(10),
            resend_after: Duration::from_secs(1),
            push_after: Duration::from_millis(100),
            wound_after: Duration::from_millis(250),
            quarantine: QuarantineTiming::default(),
            spread_every: Some(Duration::from_secs(2)),
            settle: Duration::from_secs(10),
            disk_stall: Duration::from_secs(1),
            retention: wire::settings::RETENTION_DEFAULT,
        }
    }
}

/// So many bytes of log a member that is away may hold back, unless another maximum is given.
pub const HELD_BACK_BYTES_MAX: u64 = 1 << 30;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where other nodes and clients reach it, as the list of founders names it.
    pub address: String,
    /// The nodes that found the cluster together, this one among them.
    pub join: Vec<String>,
    /// The borders between the first partitions of the default keyspace. Used at founding only.
    pub splits: Vec<Key>,
    /// Times.
    pub timing: Timing,
    /// A member that is away holds back at most so many bytes of the log of all partitions together;
    /// then it is discarded, and that member gets snapshots.
    pub held_back_bytes_max: u64,
    /// The seed of everything that is drawn at random.
    pub seed: u64,
    /// Where the clock bound comes from, in words, for `status`.
    pub clock_source: String,
    /// A rule that is broken on purpose, so that the suite can be seen to notice.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::Mutant>,
}

impl NodeConfig {
    /// A node at `address` that founds a cluster with `join`; everything else as usual.
    pub fn new(address: impl Into<String>, join: Vec<String>, seed: u64) -> NodeConfig {
        NodeConfig {
            address: address.into(),
            join,
            splits: Vec::new(),
            timing: Timing::default(),
            held_back_bytes_max: HELD_BACK_BYTES_MAX,
            seed,
            clock_source: "simulated".to_owned(),
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn takes_part_without_memory(&self) -> bool {
        self.mutant == Some(crate::Mutant::ForgottenMemberVotes)
    }

    #[cfg(not(feature = "mutants"))]
    pub(crate) fn takes_part_without_memory(&self) -> bool {
        false
    }
}
