//! The table of mutants: every rule whose loss must be noticed, and what notices it.
//!
//! Most are broken in a running cluster, in the simulator. What needs more steps than a swarm comes
//! through, or a world that the simulator does not have, is broken in the model or in a scenario of its
//! crate; the row names it. What is not built yet says what it waits for.

use crate::io::run_many;
use crate::simulation::{Failure, Mixture, SimulationOptions};
use node::Mutant;
use partition::Mutant as Partition;
use std::time::Duration;
use txn::Mutant as Coordinator;

/// What notices that a rule is broken.
#[derive(Clone, Copy, Debug)]
pub enum Caught {
    /// The simulator, with these seeds.
    Simulated {
        /// The rule, as it is broken.
        mutant: Mutant,
        /// What the seeds are drawn around.
        mixture: Mixture,
        /// In so many seeds at the most, from 0.
        seeds: u64,
        /// Each so long, virtual seconds.
        seconds: u64,
    },
    /// The model of the crate `models`, by the name of its mutant.
    Model(&'static str),
    /// A test, by what `cargo test` takes.
    Test(&'static str),
    /// Nothing yet: the rule is of something that is not built.
    WaitsFor(&'static str),
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is done instead of it.
    pub broken: &'static str,
    /// What notices.
    pub caught: Caught,
}

const fn seen(broken: &'static str, mutant: Mutant, mixture: Mixture, seeds: u64) -> Row {
    let caught = Caught::Simulated {
        mutant,
        mixture,
        seeds,
        seconds: 10,
    };
    Row { broken, caught }
}

const fn row(broken: &'static str, caught: Caught) -> Row {
    Row { broken, caught }
}

const fn partition(rule: Partition) -> Mutant {
    Mutant::Partition(rule)
}

const fn coordinator(rule: Coordinator) -> Mutant {
    Mutant::Coordinator(rule)
}

/// Every rule, in the order of the protocol page.
pub const TABLE: &[Row] = &[
    seen(
        "no timestamp cache",
        partition(Partition::NoTimestampCache),
        Mixture::Contention,
        20,
    ),
    seen(
        "a snapshot takes the clock's middle instead of `latest`",
        coordinator(Coordinator::SnapshotFromMiddle),
        Mixture::SkewedClocks,
        20,
    ),
    seen(
        "no clock-bound wait at the acknowledgement",
        Mutant::NoClockBoundWait,
        Mixture::SkewedClocks,
        10,
    ),
    seen(
        "a younger version revealed early",
        coordinator(Coordinator::YoungerVersionRevealed),
        Mixture::SkewedClocks,
        20,
    ),
    row(
        "a tombstone or absence revealed early",
        Caught::Test("-p partition an_absence_that_is_a_tombstone_depends_on_it"),
    ),
    seen(
        "a read skips a lock at or below `r`",
        partition(Partition::ReadSkipsLock),
        Mixture::Contention,
        20,
    ),
    seen(
        "a write does not wait for another's prepared lock",
        partition(Partition::WritesPastLock),
        Mixture::Contention,
        20,
    ),
    seen(
        "a lock registered only after the proposal",
        partition(Partition::LockAfterProposal),
        Mixture::Contention,
        20,
    ),
    seen(
        "what was read is not protected up to the commit timestamp",
        partition(Partition::ReadsNotRaised),
        Mixture::LateMessages,
        20,
    ),
    seen(
        "limit always unbounded",
        coordinator(Coordinator::UnboundedLimit),
        Mixture::LateMessages,
        20,
    ),
    row(
        "unbounded limit with a scan",
        Caught::Model("unbounded-limit"),
    ),
    seen(
        "a refresh that checks nothing",
        partition(Partition::RefreshChecksNothing),
        Mixture::LateMessages,
        20,
    ),
    seen(
        "a refresh that ignores locks",
        partition(Partition::RefreshIgnoresLocks),
        Mixture::LateMessages,
        20,
    ),
    seen(
        "a prepared answer evaluated anew on retry",
        partition(Partition::PreparedAnew),
        Mixture::Contention,
        20,
    ),
    seen(
        "one attempt accepted from two gateways",
        partition(Partition::AttemptOfTwoGateways),
        Mixture::Contention,
        100,
    ),
    row(
        "a guard on an unwritten partition checked beside the prepares",
        Caught::Test("-p txn a_guard_elsewhere_is_read_before_any_prepare"),
    ),
    seen(
        "compare-and-set that ignores the limit",
        partition(Partition::LimitNotCompared),
        Mixture::LateMessages,
        100,
    ),
    row(
        "attempt n + 1 staged before *aborted (n)* is durable, or its prepares sent beside that",
        Caught::Model("next-attempt-before-aborted"),
    ),
    row(
        "the coordinator acknowledges after it sent an abort",
        Caught::Model("told-after-abort-sent"),
    ),
    seen(
        "\"aborted\" told before it is durable",
        coordinator(Coordinator::AbortedBeforeDurable),
        Mixture::LateMessages,
        20,
    ),
    seen(
        "resolved before the explicit record is durable",
        coordinator(Coordinator::ResolvedBeforeRecord),
        Mixture::LateMessages,
        150,
    ),
    seen(
        "no *ended* marker",
        partition(Partition::NoEndedMarker),
        Mixture::Contention,
        100,
    ),
    seen(
        "recovery without refusal markers",
        partition(Partition::NoRefusalMarker),
        Mixture::LateMessages,
        100,
    ),
    row(
        "recovery that acts without changing the record",
        Caught::Model("recovery-without-record"),
    ),
    seen(
        "a leader answers before an entry of its own term is committed",
        partition(Partition::ServesBeforeOwnEntry),
        Mixture::Contention,
        100,
    ),
    seen(
        "a new leader with an empty timestamp cache",
        partition(Partition::EmptyCacheOfNewLeader),
        Mixture::Contention,
        100,
    ),
    row(
        "a promise not durable at the voter",
        Caught::Test("-p node nothing_is_acknowledged_above_the_durable_ceiling_or_too_far_ahead"),
    ),
    row(
        "a voter acknowledges above its durable ceiling",
        Caught::Test("-p node nothing_is_acknowledged_above_the_durable_ceiling_or_too_far_ahead"),
    ),
    row(
        "a handover used in a later term",
        Caught::Test("-p partition --features mutants scenarios::mutants"),
    ),
    row(
        "a change of members without the promise",
        Caught::Test("-p partition --features mutants scenarios::mutants"),
    ),
    row(
        "closed above the promise",
        Caught::WaitsFor("follower reads: nothing else rests on it"),
    ),
    seen(
        "one-partition commit without its outcome",
        partition(Partition::CommitWithoutOutcome),
        Mixture::Contention,
        20,
    ),
    seen(
        "a commit that is sent again is evaluated anew",
        partition(Partition::ResentEvaluatedAnew),
        Mixture::Contention,
        20,
    ),
    seen(
        "a refusal of what was sent before is told durable and is not",
        partition(Partition::ResentRefusedWithoutClosing),
        Mixture::Contention,
        60,
    ),
    seen(
        "acknowledged before fsync",
        Mutant::AcknowledgeBeforeFsync,
        Mixture::PowerCuts,
        20,
    ),
    row("a vote not synced", Caught::Model("vote-not-durable")),
    row(
        "commit of an earlier term's entry by counting",
        Caught::Test("-p partition an_entry_of_an_older_term_is_not_committed_by_counting"),
    ),
    row(
        "a torn tail accepted",
        Caught::Test(
            "-p partition a_power_cut_at_every_byte_of_the_unsynced_tail_keeps_what_was_synced",
        ),
    ),
    seen(
        "a member that lost its memory takes part",
        Mutant::ForgottenMemberVotes,
        Mixture::LostMemory,
        20,
    ),
    seen(
        "compaction removes above the horizon",
        Mutant::CompactionAboveHorizon,
        Mixture::Swarm,
        10,
    ),
    Row {
        broken: "the horizon raised above the retention",
        caught: Caught::Simulated {
            mutant: partition(Partition::HorizonAboveRetention),
            mixture: Mixture::Swarm,
            seeds: 40,
            // It is never above what is closed, 15 s ago, so a run must be longer than that.
            seconds: 40,
        },
    },
    row(
        "a split that forgets timestamp cache or markers",
        Caught::WaitsFor("splits"),
    ),
    row(
        "a follower read above the closed timestamp",
        Caught::WaitsFor("follower reads"),
    ),
    row(
        "a watch that starts one event late",
        Caught::WaitsFor("watches"),
    ),
];

/// A mutant's name, as a table or a scenario has it.
pub fn name(mutant: Mutant) -> String {
    match mutant {
        Mutant::Partition(rule) => format!("{rule:?}"),
        Mutant::Coordinator(rule) => format!("{rule:?}"),
        other => format!("{other:?}"),
    }
}

/// The mutant with this name.
pub fn from_name(wanted: &str) -> Option<Mutant> {
    let mutants = TABLE.iter().filter_map(|row| match row.caught {
        Caught::Simulated { mutant, .. } => Some(mutant),
        _ => None,
    });
    let mut named = mutants.filter(|mutant| name(*mutant) == wanted);
    named.next()
}

/// The options of a simulated row, with its rule broken or kept.
pub fn options(mixture: Mixture, mutant: Option<Mutant>, seconds: u64) -> SimulationOptions {
    SimulationOptions {
        mixture,
        mutant,
        duration: Duration::from_secs(seconds),
        acknowledged_min: 0,
        faults_min: 0,
        ..SimulationOptions::default()
    }
}

/// Looks for a seed that notices a simulated row's mutant. `Ok(None)`: of another kind, nothing to run.
///
/// # Errors
/// The mutant went unseen, or its seed fails also with the rule kept; in words.
pub fn hunt(row: &Row, jobs: usize) -> Result<Option<Failure>, String> {
    let Caught::Simulated {
        mutant,
        mixture,
        seeds,
        seconds,
    } = row.caught
    else {
        return Ok(None);
    };
    let broken = options(mixture, Some(mutant), seconds);
    let swarm = run_many(0..seeds, jobs, &broken, 1, |_| {});
    let Some(failure) = swarm.failures.into_iter().next() else {
        return Err(format!("{} went unseen in {seeds} seeds", name(mutant)));
    };
    let seed = failure.seed;
    let kept = run_many(
        seed..seed + 1,
        1,
        &options(mixture, None, seconds),
        1,
        |_| {},
    );
    match kept.failures.first() {
        None => Ok(Some(failure)),
        Some(also) => Err(format!(
            "seed {seed} notices {}, and fails without it too: {also}",
            name(mutant)
        )),
    }
}
