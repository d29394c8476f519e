//! Rules that can be switched off, to show that the tests notice. Compiled in only under the feature
//! `mutants`, which the program refuses to be built with.

/// A rule of the protocol that is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Writes are placed without regard to what was read (R2).
    NoTimestampCache,
    /// Reads do not wait for locks and entries under way at or below their timestamp (R2).
    ReadSkipsLock,
    /// Locks and writes count from their commit on, not from before their proposal (R5).
    LockAfterProposal,
    /// A new leader starts with an empty timestamp cache (R9).
    EmptyCacheOfNewLeader,
    /// A leader answers before an entry of its own term is committed (R9).
    ServesBeforeOwnEntry,
    /// A change of members does not carry the promise (R9).
    MembersWithoutPromise,
    /// A resolved share leaves no *ended* marker (R7).
    NoEndedMarker,
    /// What a planned transfer handed over is used in a later term, too (R9).
    HandoverInLaterTerm,
    /// A commit in one partition that is sent again is evaluated anew (R10).
    ResentEvaluatedAnew,
    /// A refusal of what was sent before is told as durable, but is in no log (R10).
    ResentRefusedWithoutClosing,
    /// One attempt's prepare is accepted from two gateways (R5, R10).
    AttemptOfTwoGateways,
    /// Recovery finds a share not prepared and leaves no *refused* marker (R8).
    NoRefusalMarker,
    /// The retention horizon is raised as high as `closed`, whatever the retention is.
    HorizonAboveRetention,
    /// A record is changed whatever its limit is (R5).
    LimitNotCompared,
    /// A refresh finds nothing changed, whatever was (R5).
    RefreshChecksNothing,
    /// A refresh does not count another's lock or entry under way as a change (R5).
    RefreshIgnoresLocks,
    /// The same attempt again is evaluated anew (R5).
    PreparedAnew,
    /// What a transaction read is not protected up to its commit timestamp (R4).
    ReadsNotRaised,
    /// A commit in one partition leaves no outcome (R4, R10).
    CommitWithoutOutcome,
    /// A write does not wait for another's prepared lock on its key (R4).
    WritesPastLock,
}
