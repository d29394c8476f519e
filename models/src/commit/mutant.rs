//! Rules that can be broken, to show that the model notices.

use std::fmt;

macro_rules! mutants {
    ($($name:ident = $option:literal: $about:literal,)*) => {
        /// A rule of the protocol page that is not kept.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $(#[doc = $about] $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$name => $option,)* }
            }

            /// Which rule it breaks.
            pub fn about(self) -> &'static str {
                match self { $(Mutant::$name => $about,)* }
            }
        }
    };
}

mutants! {
    NoRefusalMarker = "no-refusal-marker":
        "recovery finds a share not prepared and leaves no refused marker (R8)",
    RecoveryWithoutRecord = "recovery-without-record":
        "recovery resolves what it found without changing the record first (R5, R8)",
    RecoveryIgnoresLimit = "recovery-ignores-limit":
        "recovery commits what is prepared everywhere, whatever the limit is (R8)",
    LimitNotCompared = "limit-not-compared":
        "a record is changed by state and attempt alone, whatever its limit is (R5)",
    AbortedBeforeDurable = "aborted-before-durable":
        "the client is told \"aborted\" before closed is durable (R5)",
    ToldAfterAbortSent = "told-after-abort-sent":
        "a coordinator that has sent an abort still acts on the last prepared answer (R5)",
    ResolvedBeforeRecord = "resolved-before-record":
        "participants are resolved before the explicit record is durable (R7)",
    MissingTakenAsRecorded = "missing-taken-as-recorded":
        "a coordinator that is told of no record takes it for recorded and forgotten (R7, R9)",
    NextAttemptBeforeAborted = "next-attempt-before-aborted":
        "attempt n + 1 is staged without aborted (n) (R5)",
    AttemptOfTwoGateways = "attempt-of-two-gateways":
        "an attempt's number counts, whoever's incarnation made it (R5, R10)",
    PreparedAnew = "prepared-anew":
        "the same attempt again is evaluated anew (R5)",
    NoEndedMarker = "no-ended-marker":
        "a resolved share leaves no ended marker (R7)",
    ResolvesAnyAttempt = "resolves-any-attempt":
        "a resolve discards what is prepared, whatever its attempt (R7)",
    UnboundedLimit = "unbounded-limit":
        "the limit is unbounded although not everything that was read is locked (R5)",
    RefreshIgnoresLocks = "refresh-ignores-locks":
        "a refresh does not count another's lock as a change (R5)",
    RefreshDoesNotRaise = "refresh-does-not-raise":
        "a refresh does not raise the timestamp cache (R5)",
    PrepareIgnoresReads = "prepare-ignores-reads":
        "a prepare neither raises nor waits for what its transaction read (R4)",
    NoTimestampCache = "no-timestamp-cache":
        "writes are placed without regard to what others read (R2)",
    ReadSkipsLock = "read-skips-lock":
        "a read ignores a lock at or below its timestamp (R2)",
    LockAfterProposal = "lock-after-proposal":
        "entries under way do not count until they are committed (R4, R5)",
    EmptyCacheOfNewLeader = "empty-cache-of-new-leader":
        "a new leader starts with an empty timestamp cache (R9)",
    CacheWithoutPromise = "cache-without-promise":
        "a new leader's cache starts at what was read, not at what was promised (R9)",
    ServesBeforeOwnEntry = "serves-before-own-entry":
        "a new leader answers before the end of its log is committed and rebuilt (R9)",
    SnapshotFromThePast = "snapshot-from-the-past":
        "a snapshot is drawn at or below what was acknowledged before (R1)",
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
