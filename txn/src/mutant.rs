//! Rules of the coordinator that can be switched off, to show that the suite notices. Compiled in only
//! under the feature `mutants`, which the program refuses to be built with.

/// A rule of the protocol that is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A snapshot is drawn from the middle of the clock's interval, not from its end (R1).
    SnapshotFromMiddle,
    /// A read is answered before `earliest` has passed the versions that it shows (R6).
    YoungerVersionRevealed,
    /// The limit is unbounded although not everything that was read is locked (R5).
    UnboundedLimit,
    /// "Aborted" is told before *closed* is durable (R5).
    AbortedBeforeDurable,
    /// Participants are resolved before the explicit record is durable (R7).
    ResolvedBeforeRecord,
}
