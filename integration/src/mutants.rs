//! Every rule whose loss the suite must notice, and how it does.

use node::Mutant;
use partition::Mutant as Rule;

/// The rules that the simulator can break.
pub const ALL: &[Mutant] = &[
    Mutant::NoClockBoundWait,
    Mutant::AcknowledgeBeforeFsync,
    Mutant::ForgottenMemberVotes,
    Mutant::CompactionAboveHorizon,
    Mutant::Partition(Rule::NoTimestampCache),
];

/// A mutant's name, as a table or a scenario has it.
pub fn name(mutant: Mutant) -> String {
    match mutant {
        Mutant::Partition(rule) => format!("{rule:?}"),
        other => format!("{other:?}"),
    }
}

/// The mutant with this name.
pub fn from_name(wanted: &str) -> Option<Mutant> {
    ALL.iter().copied().find(|mutant| name(*mutant) == wanted)
}
