//! Acknowledgements and beginnings against true time (protocol R1 and R6; Corbett et al., *Spanner*,
//! 2012, section 4.1: start and commit wait).
//!
//! With clocks inside their bounds, `c` lies below the true time of the acknowledgement, and a fresh
//! snapshot at or above the true time of its beginning. Real-time order follows from the two; this is
//! the sharper of the checks, for it needs no second transaction.

use super::Violation;
use crate::history::{Fate, History, Told};
use crate::simulation::clocks::true_timestamp;

const PROPERTY: &str = "clock-bound wait";

pub(super) fn check(history: &History) -> Result<(), Violation> {
    for (index, transaction) in history.iter() {
        if let (Fate::Committed { at }, Some(end)) =
            (transaction.fate(), transaction.acknowledged())
        {
            let truth = true_timestamp(end);
            if at >= truth {
                let why = format!(
                    "{index:?} was acknowledged at the true time {truth}, not after its commit timestamp {at}"
                );
                return Err(Violation::new(PROPERTY, &[index], why));
            }
        }
        let begun = true_timestamp(transaction.invoked);
        let answered = matches!(transaction.told, Told::Read | Told::Committed { .. });
        let reads = answered && !transaction.past;
        if let Some(snapshot) = transaction.snapshot.filter(|r| reads && *r < begun) {
            let why = format!(
                "{index:?} began at the true time {begun} and reads at {snapshot}, before that"
            );
            return Err(Violation::new(PROPERTY, &[index], why));
        }
        // Found values are versions too: nobody sees one before its time has passed (invariant 5).
        let newest = transaction
            .reads
            .iter()
            .flat_map(|o| o.found())
            .map(|(_, v)| v.timestamp);
        if let (Some(newest), Some(end)) = (newest.max(), transaction.completed) {
            let truth = true_timestamp(end);
            if newest >= truth {
                let why =
                    format!("{index:?} was shown a version of {newest} at the true time {truth}");
                return Err(Violation::new(PROPERTY, &[index], why));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, during, history, key};
    use super::*;
    use crate::workload::put;
    use std::time::Duration;

    #[test]
    fn an_acknowledgement_before_its_own_timestamp_is_found() {
        let end = true_timestamp(Duration::from_millis(5));
        let late = end.plus(Duration::from_millis(1)).to_bits();
        let on_time = end.minus(Duration::from_millis(1)).to_bits();
        let one = |at| history([during(0, 5, commit(at, vec![put(&key("a"), "x")]))]);
        assert!(check(&one(late)).is_err());
        assert_eq!(check(&one(on_time)), Ok(()));
    }
}
