//! The nemeses: what is done to a cluster, one family a file.
//!
//! A nemesis acts in intervals. To begin, it draws from its seed whom it hits and does its harm; what it
//! did is a list of [`Undo`]s, and to end it takes them back, the last one first. So whatever a family
//! does, healing is one piece of code, and a run that is broken off can heal too.
//!
//! Invariants:
//! - All that is random comes from the nemesis' seed and from what the cluster says of itself.
//! - A fault that could not be done (its victim is already down) is told as such and counts as none.

mod client;
mod clock;
mod disk;
mod hook;
mod kill;
mod packets;
mod partition;
mod pause;
mod table;
mod transfer;

pub(crate) use clock::truth;
pub use clock::{ClockChange, Promise};
pub use disk::Damage;
pub use hook::Hook;
pub use packets::Trouble;
pub use partition::Shape;
pub use table::{Built, Kind, NEMESES, find};

use crate::error::SuiteError;
use crate::io::proxy::{Proxy, Seat};
use crate::io::{ClockSetting, Cluster, Watcher};
use rustix::process::Signal;
use tokio::sync::Mutex;
use wire::SplitMix64;
use wire::ids::PartitionId;

/// What a nemesis acts upon.
pub struct Arena {
    /// The processes.
    pub cluster: Mutex<Cluster>,
    /// What lies between them.
    pub proxy: Proxy,
    /// What they say of themselves.
    pub watcher: Watcher,
}

impl Arena {
    async fn size(&self) -> usize {
        self.cluster.lock().await.size()
    }
}

/// Whom a nemesis hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// One node.
    One,
    /// As many as a majority can spare.
    Minority,
    /// So many that no majority is left.
    Majority,
    /// Everyone.
    All,
    /// The node that leads a partition, drawn among the partitions.
    Leader,
}

/// How a piece of harm is taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undo {
    /// Remove these rules from the proxy.
    Rules(Vec<u64>),
    /// Start the node again.
    Start(Seat),
    /// Let the node go on.
    GoOn(Seat),
    /// Tell the node this of time.
    Clock(Seat, ClockSetting),
    /// Kill the node.
    Kill(Seat),
    /// Stop the node, drop what it holds, start it: the others rebuild it.
    Rebuild(Seat),
    /// Run the user's command.
    Hook(Hook),
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Harm {
    /// In words, with whom it hit.
    pub detail: String,
    /// How it is taken back.
    pub undo: Vec<Undo>,
    /// Partitions whose leader was hit.
    pub led: Vec<PartitionId>,
}

/// Does harm of one kind.
pub async fn begin(
    built: &Built,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    match *built {
        Built::Nothing => Ok(None),
        Built::Partition(shape) => partition::begin(shape, arena, random).await.map(Some),
        Built::Packets(trouble) => packets::begin(trouble, arena, random).await.map(Some),
        Built::Client(what) => client::begin(what, arena).await.map(Some),
        Built::Kill(whom) => kill::begin(whom, arena, random).await,
        Built::Pause(whom) => pause::begin(whom, arena, random).await,
        Built::Clock(change) => clock::begin(change, arena, random).await,
        Built::Disk(damage) => disk::begin(damage, arena, random).await,
        Built::Transfer => transfer::begin(arena, random).await,
        Built::Hook(ref hook) => hook.begin().await.map(Some),
    }
}

/// Takes harm back, all of it, whatever fails; tells the first failure.
pub async fn end(harm: &Harm, arena: &Arena) -> Result<(), SuiteError> {
    let mut ended = Ok(());
    for undo in harm.undo.iter().rev() {
        ended = ended.and(take_back(undo, arena).await);
    }
    ended
}

async fn take_back(undo: &Undo, arena: &Arena) -> Result<(), SuiteError> {
    match undo {
        Undo::Rules(numbers) => arena.proxy.remove(numbers),
        Undo::Start(seat) => {
            let mut cluster = arena.cluster.lock().await;
            cluster.look()?;
            cluster.start(*seat)?;
        }
        Undo::GoOn(seat) => {
            arena.cluster.lock().await.signal(*seat, Signal::CONT)?;
        }
        Undo::Kill(seat) => {
            arena.cluster.lock().await.kill(*seat)?;
        }
        Undo::Clock(seat, setting) => arena.cluster.lock().await.set_clock(*seat, *setting)?,
        Undo::Rebuild(seat) => {
            let mut cluster = arena.cluster.lock().await;
            cluster.kill(*seat)?;
            cluster.rebuild(*seat).await?;
            cluster.start(*seat)?;
        }
        Undo::Hook(hook) => hook.end().await?,
    }
    Ok(())
}

/// Draws so many of the seats of a cluster, in an order of their own.
fn draw(seats: &[Seat], count: usize, random: &mut SplitMix64) -> Vec<Seat> {
    let mut left = seats.to_vec();
    let count = count.min(left.len());
    (0..count)
        .map(|_| left.remove(random.below(left.len() as u64) as usize))
        .collect()
}

/// Draws whom to hit among the nodes that run, and the partitions that they lead.
async fn victims(
    whom: Whom,
    arena: &Arena,
    random: &mut SplitMix64,
) -> (Vec<Seat>, Vec<PartitionId>) {
    let leaders = arena.watcher.leaders().await;
    let (size, up) = {
        let cluster = arena.cluster.lock().await;
        (cluster.size(), cluster.up())
    };
    let spare = (size - 1) / 2;
    let seats = match whom {
        Whom::One => draw(&up, 1, random),
        Whom::Minority => draw(&up, spare.max(1), random),
        Whom::Majority => draw(&up, size - spare, random),
        Whom::All => up,
        Whom::Leader => {
            let leading: Vec<Seat> = leaders.values().copied().collect();
            let leading: Vec<Seat> = leading
                .into_iter()
                .filter(|seat| up.contains(seat))
                .collect();
            draw(&leading, 1, random)
        }
    };
    let led = leaders.iter().filter(|(_, seat)| seats.contains(seat));
    let led = led.map(|(partition, _)| *partition).collect();
    (seats, led)
}

/// Names for people: `n1, n3`.
fn names(seats: &[Seat]) -> String {
    let mut seats = seats.to_vec();
    seats.sort_unstable();
    let names: Vec<String> = seats.iter().map(|seat| format!("n{}", seat + 1)).collect();
    names.join(", ")
}

/// Partitions for people: ` (leads p1, p4)`.
fn leading(led: &[PartitionId]) -> String {
    match led {
        [] => " (leading nothing)".to_owned(),
        led => {
            let names: Vec<String> = led.iter().map(ToString::to_string).collect();
            format!(" (leading {})", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_without_repetition_and_repeat_with_the_seed() {
        let drawn = |seed| draw(&[0, 1, 2, 3, 4], 3, &mut SplitMix64::new(seed));
        assert_eq!(drawn(4), drawn(4));
        for seed in 0..20 {
            let mut all = drawn(seed);
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 3, "seed {seed}");
        }
        assert_eq!(draw(&[7], 3, &mut SplitMix64::new(1)), [7]);
    }
}
