//! All nemeses by name, and what those that are not built wait for.

use super::{ClockChange, Damage, Hook, Shape, Trouble, Whom};
use crate::io::proxy::ClientFault;

/// What a nemesis that is built does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Built {
    /// Nothing: what a run looks like in calm.
    Nothing,
    /// Cuts links.
    Partition(Shape),
    /// Disturbs frames between nodes.
    Packets(Trouble),
    /// Disturbs the connections of clients.
    Client(ClientFault),
    /// Kills processes.
    Kill(Whom),
    /// Makes processes stand still.
    Pause(Whom),
    /// Sets clocks.
    Clock(ClockChange),
    /// Fills or damages disks.
    Disk(Damage),
    /// Hands leaderships over.
    Transfer,
    /// Runs a command of the user's.
    Hook(Hook),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Kind {
    /// As `--nemesis` takes it.
    pub name: &'static str,
    /// What it does, in one line.
    pub meaning: &'static str,
    /// How; or what it waits for.
    pub built: Result<Built, &'static str>,
}

const fn built(name: &'static str, meaning: &'static str, built: Built) -> Kind {
    Kind {
        name,
        meaning,
        built: Ok(built),
    }
}

const fn waits(name: &'static str, meaning: &'static str, waits_for: &'static str) -> Kind {
    Kind {
        name,
        meaning,
        built: Err(waits_for),
    }
}

const CUTS: ClientFault = ClientFault {
    cut_before: 100,
    cut_after: 400,
    replay: 0,
};
const REPLAYS: ClientFault = ClientFault {
    cut_before: 0,
    cut_after: 0,
    replay: 2000,
};

/// All of them.
pub const NEMESES: &[Kind] = &[
    built(
        "none",
        "nothing: what the cluster does in calm",
        Built::Nothing,
    ),
    built(
        "partition-one",
        "one node is cut off from all nodes and clients",
        Built::Partition(Shape::One),
    ),
    built(
        "partition-halves",
        "a minority of the nodes is cut off from the others",
        Built::Partition(Shape::Halves),
    ),
    built(
        "partition-ring",
        "every node sees a majority, no two the same",
        Built::Partition(Shape::Ring),
    ),
    built(
        "partition-bridge",
        "two halves, one node that sees both",
        Built::Partition(Shape::Bridge),
    ),
    built(
        "partition-one-way",
        "one node is heard and does not hear, or the other way round",
        Built::Partition(Shape::OneWay),
    ),
    built(
        "partition-leader",
        "a leader is cut off from a node that coordinates",
        Built::Partition(Shape::LeaderFromCoordinator),
    ),
    built(
        "packet-delay",
        "frames are late",
        Built::Packets(Trouble::Delay),
    ),
    built(
        "packet-loss",
        "single frames are lost",
        Built::Packets(Trouble::Loss),
    ),
    built(
        "packet-doubling",
        "frames come twice",
        Built::Packets(Trouble::Doubling),
    ),
    built(
        "packet-reordering",
        "frames overtake each other",
        Built::Packets(Trouble::Reordering),
    ),
    built(
        "packet-corruption",
        "a bit of a frame is flipped",
        Built::Packets(Trouble::Corruption),
    ),
    built(
        "kill-one",
        "a node is killed (SIGKILL) and started again",
        Built::Kill(Whom::One),
    ),
    built(
        "kill-leader",
        "the same, a node that leads",
        Built::Kill(Whom::Leader),
    ),
    built(
        "kill-minority",
        "as many nodes as a majority can spare are killed",
        Built::Kill(Whom::Minority),
    ),
    built(
        "kill-majority",
        "so many nodes are killed that no majority is left",
        Built::Kill(Whom::Majority),
    ),
    built(
        "kill-all",
        "all nodes are killed at once",
        Built::Kill(Whom::All),
    ),
    built(
        "pause-one",
        "a node stands still (SIGSTOP) beyond its promise and goes on",
        Built::Pause(Whom::One),
    ),
    built(
        "pause-leader",
        "the same, a node that leads",
        Built::Pause(Whom::Leader),
    ),
    built(
        "pause-majority",
        "a majority stands still and goes on",
        Built::Pause(Whom::Majority),
    ),
    built(
        "clock-inside",
        "every clock is set by up to half its bound",
        Built::Clock(ClockChange::Inside),
    ),
    built(
        "clock-twice",
        "a clock is set by twice its bound",
        Built::Clock(ClockChange::Twice),
    ),
    built(
        "clock-thousand",
        "a clock is set by a thousand times its bound",
        Built::Clock(ClockChange::Thousand),
    ),
    built(
        "clock-strobe",
        "a clock is set back and forth",
        Built::Clock(ClockChange::Strobe),
    ),
    built(
        "clock-drift",
        "a clock runs 5 % too fast or too slow",
        Built::Clock(ClockChange::Drift),
    ),
    built(
        "clock-back",
        "a clock is set back while its node is down",
        Built::Clock(ClockChange::BackOverRestart),
    ),
    built(
        "clock-source",
        "nothing vouches for a clock any more",
        Built::Clock(ClockChange::SourceDead),
    ),
    built(
        "disk-full",
        "a node cannot write its log, and stops",
        Built::Disk(Damage::Full),
    ),
    built(
        "disk-log",
        "a bit flips in the log of a node that is down; it is rebuilt",
        Built::Disk(Damage::FlippedInLog),
    ),
    built(
        "disk-table",
        "a bit flips in a table of a node that is down; it is rebuilt",
        Built::Disk(Damage::FlippedInTable),
    ),
    built(
        "transfer",
        "leaderships are handed over by command",
        Built::Transfer,
    ),
    built(
        "client-cut",
        "connections of clients end before and after requests",
        Built::Client(CUTS),
    ),
    built(
        "client-replay",
        "commits are sent once more, through any node",
        Built::Client(REPLAYS),
    ),
    waits(
        "disk-unsynced",
        "unsynced writes are lost, torn",
        "nothing: no process can be made to suffer it; the simulator does it",
    ),
    waits(
        "disk-slow",
        "fsync is slow or fails",
        "a file system of the suite's own (FUSE) or dm-flakey; the simulator stalls disks",
    ),
    waits(
        "kill-coordinator",
        "the coordinator dies at a named step",
        "nothing: a process has no named steps; the simulator does it",
    ),
    waits(
        "members",
        "nodes are added, removed, replaced",
        "a command that changes members (decision 0012)",
    ),
    waits(
        "split",
        "partitions are split and merged",
        "splits and merges",
    ),
    waits("rebalance", "replicas are moved", "moves of replicas"),
    waits(
        "namespaces",
        "each node in a network namespace of its own",
        "nothing: the proxy cuts and disturbs without privileges",
    ),
];

/// By its name.
pub fn find(name: &str) -> Option<&'static Kind> {
    NEMESES.iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_into_a_list() {
        for (number, kind) in NEMESES.iter().enumerate() {
            let fits = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(kind.name.chars().all(fits), "{}", kind.name);
            let before = &NEMESES[..number];
            assert!(
                before.iter().all(|other| other.name != kind.name),
                "{}",
                kind.name
            );
        }
    }
}
