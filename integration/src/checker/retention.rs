//! Retention: reads above the horizon are answered, reads below it are refused with an error that names
//! it, and the horizon is where it is said to be. What is answered is held against the model, which
//! forgets nothing (`serializability`).
//!
//! A horizon stands at least as far in the past as versions are kept: it is `earliest` minus that, and
//! `earliest` lies below true time (decision 0040).

use super::{Retention, Violation};
use crate::history::{History, Told, Transaction};
use crate::simulation::clocks::true_timestamp;
use clock::Timestamp;
use wire::message::{AbortReason, RequestError};

const PROPERTY: &str = "retention";

pub(super) fn check(history: &History, retention: Retention) -> Result<(), Violation> {
    for (index, transaction) in history.iter() {
        let Some((timestamp, horizon)) = refused(transaction) else {
            continue;
        };
        let wrong = |why: String| Err(Violation::new(PROPERTY, &[index], why));
        if timestamp >= horizon {
            return wrong(format!(
                "{index:?} is refused below the horizon {horizon}, at {timestamp}, which is not below it"
            ));
        }
        if let Some(told) = transaction.completed.filter(|_| retention.is_by_true_time) {
            let kept_since = told.saturating_sub(retention.kept_for);
            if horizon > true_timestamp(kept_since) {
                return wrong(format!(
                    "{index:?} was told at {told:?} of the horizon {horizon}, though versions are kept for {:?}, since {}",
                    retention.kept_for,
                    true_timestamp(kept_since)
                ));
            }
        }
    }
    Ok(())
}

/// The timestamp and the horizon that a client was told of.
fn refused(transaction: &Transaction) -> Option<(Timestamp, Timestamp)> {
    match &transaction.told {
        Told::NotServed(RequestError::BelowHorizon { timestamp, horizon })
        | Told::Aborted {
            reason: AbortReason::BelowHorizon { timestamp, horizon },
            ..
        } => Some((*timestamp, *horizon)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{during, history, read};
    use super::*;
    use std::time::Duration;

    fn verdict(timestamp: u64, horizon: u64, told_ms: u64) -> Result<(), Violation> {
        let at = |ms| true_timestamp(Duration::from_millis(ms));
        let (timestamp, horizon) = (at(timestamp), at(horizon));
        let mut refused = during(0, told_ms, read(1, vec![]));
        refused.completed = Some(Duration::from_millis(told_ms));
        refused.told = Told::NotServed(RequestError::BelowHorizon { timestamp, horizon });
        let retention = Retention {
            kept_for: Duration::from_millis(500),
            is_by_true_time: true,
        };
        check(&history([refused]), retention)
    }

    #[test]
    fn a_refusal_above_the_horizon_and_a_horizon_that_is_too_high_are_found() {
        assert_eq!(verdict(100, 200, 700), Ok(()));
        assert!(verdict(200, 200, 700).is_err());
        assert!(verdict(100, 201, 700).is_err());
    }
}
