//! The durable ceiling of a node (protocol R9): one number in its log, raised about once a second,
//! in place of a log write for every promise and every timestamp.

use crate::{Now, Timestamp};
use std::time::Duration;

/// How far ahead of `latest` a ceiling is set.
pub const CEILING_AHEAD: Duration = Duration::from_secs(2);
/// A new ceiling is written when the durable one is nearer than this.
pub const CEILING_RAISE_WITHIN: Duration = Duration::from_secs(1);

/// Decides when a higher ceiling must be written, and knows what is durable.
///
/// Invariant: `durable <= proposed`, and neither ever shrinks.
#[derive(Clone, Debug)]
pub struct DurableCeiling {
    durable: Timestamp,
    proposed: Timestamp,
}

impl DurableCeiling {
    /// Starts from what the log held at start; `ZERO` for a new node.
    pub fn new(recovered: Timestamp) -> DurableCeiling {
        DurableCeiling {
            durable: recovered,
            proposed: recovered,
        }
    }

    /// The ceiling to write now, if one is due. Ask again only after writing it.
    pub fn maybe_raise(&mut self, now: &Now) -> Option<Timestamp> {
        let latest = now.latest();
        if self.proposed > latest.plus(CEILING_RAISE_WITHIN) {
            return None;
        }
        self.proposed = latest.plus(CEILING_AHEAD);
        Some(self.proposed)
    }

    /// A ceiling that another reason asks for is being written.
    pub fn propose(&mut self, ceiling: Timestamp) {
        self.proposed = self.proposed.max(ceiling);
    }

    /// A ceiling that was written is durable.
    pub fn on_durable(&mut self, ceiling: Timestamp) {
        assert!(
            ceiling <= self.proposed,
            "a ceiling of {ceiling} became durable that was never proposed (highest {})",
            self.proposed
        );
        self.durable = self.durable.max(ceiling);
    }

    /// No timestamp is issued and no promise acknowledged above this.
    pub fn durable(&self) -> Timestamp {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now {
            monotonic: Duration::ZERO,
            physical: Duration::from_millis(millis),
            bound: Some(Duration::ZERO),
        }
    }

    #[test]
    fn it_is_written_about_once_a_second() {
        let mut ceiling = DurableCeiling::new(Timestamp::ZERO);
        let mut writes = 0;
        for millis in (10_000..20_000).step_by(10) {
            if let Some(raised) = ceiling.maybe_raise(&at(millis)) {
                ceiling.on_durable(raised);
                writes += 1;
            }
            assert!(ceiling.durable() > at(millis).latest());
        }
        assert!((9..=11).contains(&writes), "{writes} writes in 10 s");
    }

    #[test]
    fn what_is_written_is_not_yet_durable() {
        let mut ceiling = DurableCeiling::new(Timestamp::ZERO);
        assert!(ceiling.maybe_raise(&at(5)).is_some());
        assert_eq!(ceiling.durable(), Timestamp::ZERO);
        assert_eq!(ceiling.maybe_raise(&at(6)), None, "one is under way");
    }
}
