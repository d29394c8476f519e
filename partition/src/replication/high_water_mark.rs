//! The commit index (pattern High-Water Mark): everything up to it is durable at a majority and never
//! changes.
//!
//! Invariant: it never moves back.

use wire::ids::LogIndex;

/// The highest index known to be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HighWaterMark(LogIndex);

impl HighWaterMark {
    pub(super) fn new(index: LogIndex) -> HighWaterMark {
        HighWaterMark(index)
    }

    pub(super) fn index(&self) -> LogIndex {
        self.0
    }

    /// Moves up to `index` if it is higher; says whether it was.
    pub(super) fn maybe_raise(&mut self, index: LogIndex) -> bool {
        if index <= self.0 {
            return false;
        }
        self.0 = index;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rises() {
        let mut mark = HighWaterMark::new(LogIndex(4));
        assert!(!mark.maybe_raise(LogIndex(4)));
        assert!(!mark.maybe_raise(LogIndex(2)));
        assert!(mark.maybe_raise(LogIndex(5)));
        assert_eq!(mark.index(), LogIndex(5));
    }
}
