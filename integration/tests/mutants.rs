//! A checker that cannot fail is worth nothing: for each rule broken here on purpose, the simulator
//! finds a violation within a stated number of seeds, and without it finds none in the same seeds.
//! Where the swarm would take thousands of seeds, a mixture is aimed at the rule.

use integration::io::run_many;
use integration::simulation::{Mixture, SimulationOptions};
use node::Mutant;
use partition::Mutant::{
    AttemptOfTwoGateways, EmptyCacheOfNewLeader, HorizonAboveRetention, LimitNotCompared,
    LockAfterProposal, NoEndedMarker, NoRefusalMarker, NoTimestampCache, ReadSkipsLock,
    ResentEvaluatedAnew, ResentRefusedWithoutClosing, ServesBeforeOwnEntry,
};
use std::time::Duration;

const JOBS: usize = 2;

fn options(mixture: Mixture, mutant: Option<Mutant>, seconds: u64) -> SimulationOptions {
    SimulationOptions {
        mixture,
        mutant,
        duration: Duration::from_secs(seconds),
        acknowledged_min: 0,
        faults_min: 0,
        ..SimulationOptions::default()
    }
}

/// The mutant is caught within so many seeds; the rule itself passes the very seed that catches it.
fn is_caught(mutant: Mutant, mixture: Mixture, seeds: u64) {
    is_caught_in(mutant, mixture, seeds, 10);
}

fn is_caught_in(mutant: Mutant, mixture: Mixture, seeds: u64, seconds: u64) {
    let with = options(mixture, Some(mutant), seconds);
    let broken = run_many(0..seeds, JOBS, &with, 1, |_| {});
    let failure = broken.failures.first();
    let failure = failure.unwrap_or_else(|| panic!("{mutant:?} went unseen in {seeds} seeds"));
    println!("{mutant:?} is caught by {failure}");
    let seed = failure.seed;
    let sound = run_many(
        seed..seed + 1,
        1,
        &options(mixture, None, seconds),
        1,
        |_| {},
    );
    assert!(
        sound.failures.is_empty(),
        "without {mutant:?} seed {seed} must pass: {:?}",
        sound.failures
    );
}

#[test]
fn no_clock_bound_wait() {
    is_caught(Mutant::NoClockBoundWait, Mixture::SkewedClocks, 10);
}

#[test]
fn acknowledged_before_fsync() {
    is_caught(Mutant::AcknowledgeBeforeFsync, Mixture::PowerCuts, 20);
}

#[test]
fn no_timestamp_cache() {
    is_caught(Mutant::Partition(NoTimestampCache), Mixture::Contention, 20);
}

#[test]
fn a_read_skips_a_lock() {
    is_caught(Mutant::Partition(ReadSkipsLock), Mixture::Contention, 20);
}

#[test]
fn a_lock_counts_only_after_the_proposal() {
    is_caught(
        Mutant::Partition(LockAfterProposal),
        Mixture::Contention,
        20,
    );
}

#[test]
fn a_new_leader_starts_with_an_empty_cache() {
    is_caught(
        Mutant::Partition(EmptyCacheOfNewLeader),
        Mixture::Contention,
        100,
    );
}

#[test]
fn a_leader_serves_before_an_entry_of_its_own_term() {
    is_caught(
        Mutant::Partition(ServesBeforeOwnEntry),
        Mixture::Contention,
        100,
    );
}

#[test]
fn a_commit_that_is_sent_again_is_evaluated_anew() {
    is_caught(
        Mutant::Partition(ResentEvaluatedAnew),
        Mixture::Contention,
        20,
    );
}

#[test]
fn a_refusal_of_what_was_sent_before_is_not_in_the_log() {
    is_caught(
        Mutant::Partition(ResentRefusedWithoutClosing),
        Mixture::Contention,
        60,
    );
}

#[test]
fn one_attempt_is_accepted_from_two_gateways() {
    is_caught(
        Mutant::Partition(AttemptOfTwoGateways),
        Mixture::Contention,
        100,
    );
}

#[test]
fn no_ended_marker() {
    is_caught(Mutant::Partition(NoEndedMarker), Mixture::Contention, 100);
}

#[test]
fn recovery_leaves_no_refusal_marker() {
    is_caught(
        Mutant::Partition(NoRefusalMarker),
        Mixture::LateMessages,
        100,
    );
}

#[test]
fn a_record_is_changed_whatever_its_limit_is() {
    is_caught(
        Mutant::Partition(LimitNotCompared),
        Mixture::LateMessages,
        100,
    );
}

#[test]
fn a_member_that_lost_its_memory_votes() {
    is_caught(Mutant::ForgottenMemberVotes, Mixture::LostMemory, 20);
}

#[test]
fn compaction_removes_above_the_horizon() {
    is_caught(Mutant::CompactionAboveHorizon, Mixture::Swarm, 10);
}

#[test]
fn the_horizon_is_above_the_retention() {
    // It is never above what is closed, 15 s ago, so a run must be longer than that.
    is_caught_in(
        Mutant::Partition(HorizonAboveRetention),
        Mixture::Swarm,
        40,
        40,
    );
}
