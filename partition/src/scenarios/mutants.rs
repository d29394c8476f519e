//! Each rule that is switched off is noticed by a random history.

use super::histories::caught;
use crate::Mutant;

#[test]
fn random_histories_notice_mutants() {
    for mutant in [
        Mutant::NoTimestampCache,
        Mutant::ReadSkipsLock,
        Mutant::LockAfterProposal,
        Mutant::EmptyCacheOfNewLeader,
    ] {
        let seed = caught(mutant, 400);
        assert!(seed.is_some(), "nothing notices {mutant:?}");
    }
}
