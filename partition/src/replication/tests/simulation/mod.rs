//! Whole groups of replicas under a network that loses, delays, doubles, reorders and is cut, and under
//! crashes that forget what was not on the disk; one seed is one world. Then everything is healed, and
//! progress is demanded.
//!
//! Checked while it runs:
//! - election safety: one leader a term;
//! - leader completeness: whoever is elected holds what is committed;
//! - log matching: logs that agree at an index and term agree below it;
//! - what is committed lies on a majority of disks, and never changes;
//! - whatever promise a leader obtains from a quorum, every later leader was told one as high, or was
//!   handed a high water at or above all that was answered before (R9).
//!
//! The disks take "after the log" at its weakest: a message waits for what was logged in its own turn,
//! and if that is nothing, it leaves at once.

mod changes;
mod checks;
mod heartbeats;
mod machine;
mod snapshots;
mod transfers;
mod world;

use super::ReplicationTiming;
use std::time::Duration;
use world::World;

/// Impatient, so that a world of a few seconds sees many elections.
const TIMING: ReplicationTiming = ReplicationTiming {
    heartbeat: Duration::from_millis(40),
    election_timeout: Duration::from_millis(150),
    resend_after: Duration::from_millis(80),
};
const TICK: Duration = Duration::from_millis(10);
const FAULTY_TICKS: u64 = 600;
const HEALED_TICKS: u64 = 300;

/// What a run did, so that a test can see that it was worth something.
#[derive(Default, Debug)]
struct Deeds {
    elections: usize,
    committed: usize,
    crashes: usize,
    replaced: usize,
    discarded: usize,
    handed_over: usize,
    given_up: usize,
    installed: usize,
    wiped: usize,
    /// Changes of voters that came to their end; replicas that began, and that were dropped, by them.
    changed: usize,
    begun: usize,
    removed: usize,
    /// Learners that lost their memory and were named since.
    named_anew: usize,
}

fn run(members: u32, seeds: std::ops::Range<u64>) -> Deeds {
    run_with(members, seeds, |_| {})
}

fn run_with(
    members: u32,
    seeds: std::ops::Range<u64>,
    change: impl Fn(&mut World) + std::panic::RefUnwindSafe,
) -> Deeds {
    let mut sum = Deeds::default();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(members, seed);
            change(&mut world);
            world.run(FAULTY_TICKS);
            world.heal_and_check_progress();
            world.deeds
        });
        let deeds = result.unwrap_or_else(|why| {
            eprintln!("members {members}, seed {seed}");
            std::panic::resume_unwind(why);
        });
        sum.elections += deeds.elections;
        sum.committed += deeds.committed;
        sum.crashes += deeds.crashes;
        sum.replaced += deeds.replaced;
        sum.discarded += deeds.discarded;
        sum.handed_over += deeds.handed_over;
        sum.given_up += deeds.given_up;
        sum.installed += deeds.installed;
        sum.wiped += deeds.wiped;
        sum.changed += deeds.changed;
        sum.begun += deeds.begun;
        sum.removed += deeds.removed;
        sum.named_anew += deeds.named_anew;
    }
    sum
}

/// A run in which nothing happened would show nothing.
fn check_eventful(deeds: &Deeds, seeds: usize) {
    assert!(
        deeds.elections > 2 * seeds
            && deeds.committed > 100 * seeds
            && deeds.crashes > seeds
            && deeds.replaced > seeds / 2
            && deeds.discarded > seeds
            && deeds.handed_over > seeds / 2
            && deeds.given_up > seeds / 2
            && deeds.installed > seeds / 2,
        "too little happened in {seeds} worlds: {deeds:?}"
    );
}

#[test]
fn three_replicas_survive_what_may_happen() {
    check_eventful(&run(3, 0..600), 600);
}

#[test]
fn five_replicas_survive_what_may_happen() {
    check_eventful(&run(5, 10_000..10_400), 400);
}

/// One at a time loses its disk, at any instant: no entry, no promise and no vote is lost with it.
#[test]
fn members_that_lose_their_memory_lose_nothing_for_the_others() {
    let wipes = |world: &mut World| {
        world.faults.wipes = 300;
        world.faults.crashes = world.faults.crashes.max(3);
    };
    for (members, seeds) in [
        (3, 0..300),
        (2, 1000..1100),
        (4, 2000..2100),
        (5, 3000..3100),
    ] {
        let count = seeds.clone().count();
        let deeds = run_with(members, seeds, wipes);
        assert!(
            deeds.wiped > count && deeds.committed > 50 * count,
            "too little happened in {count} worlds of {members}: {deeds:?}"
        );
    }
}

#[test]
fn one_seed_is_one_world() {
    let history = |seed| {
        let mut world = World::new(3, seed);
        world.run(FAULTY_TICKS);
        (world.committed, world.elected, world.sequence)
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
