//! What a history must show, and what it may.

use crate::error::SuiteError;
use crate::nemesis::Promise;
use verify::history::History;
use verify::{Checker, Expectation, Found, Model, Verdict, Workload};

/// Anomalies that are about the order of real time alone: whoever reads the past in a consistent way can
/// show them. They are allowed while a clock is out of its bound.
const OF_REAL_TIME: &[&str] = &[
    "stale-read",
    "causal-reverse",
    "later-without-earlier",
    "went-back",
    "out-of-bounds",
    "not-linearizable",
];

/// What is expected, in the words of a report.
pub fn expected(promise: Promise) -> &'static str {
    match promise {
        Promise::StrictSerializability => "strict-serializable",
        Promise::Serializability => "serializable",
    }
}

fn expectation(promise: Promise) -> Expectation {
    let model = Model::from_name(expected(promise)).expect("both are models");
    let mut expectation = Expectation::of(model);
    // Of what is strictly serializable every key by itself is linearizable, so real time orders its versions.
    expectation.assumptions.linearizable_keys = promise == Promise::StrictSerializability;
    expectation
}

/// Checks a history of a workload, with all that was said of its commits later.
pub fn judge(workload: &str, history: &History, promise: Promise) -> Result<Verdict, SuiteError> {
    let workload = Workload::from_name(workload)
        .ok_or_else(|| SuiteError::Load(format!("there is no checker for '{workload}'")))?;
    let malformed = |error| SuiteError::Load(format!("the history is not well formed: {error}"));
    let settled = history.settled().map_err(malformed)?;
    let judged = workload.judge(&settled, &expectation(promise));
    let judged = judged.ok_or_else(|| {
        let name = workload.name;
        SuiteError::Load(format!(
            "the checker of '{name}' waits for what is not built"
        ))
    })?;
    let mut verdict = judged.map_err(malformed)?;
    if promise == Promise::Serializability && matches!(workload.checker, Checker::Property(_)) {
        let is_allowed = |found: &Found| OF_REAL_TIME.contains(&found.anomaly.name());
        let (allowed, broken) = verdict.broken.into_iter().partition(is_allowed);
        verdict.broken = broken;
        verdict.harmless.extend::<Vec<Found>>(allowed);
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(edn: &str) -> History {
        History::read_edn(edn.as_bytes()).unwrap()
    }

    const STALE: &str = "
        {:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
        {:process 0, :type :ok,     :f :txn, :value [[:append :x 1]]}
        {:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
        {:process 1, :type :ok,     :f :txn, :value [[:r :x []]]}";

    #[test]
    fn a_stale_read_is_found_where_clocks_are_right() {
        let stale = history(STALE);
        let strict = judge("list-append", &stale, Promise::StrictSerializability).unwrap();
        assert_eq!(strict.is_valid(), Some(false));
        let weaker = judge("list-append", &stale, Promise::Serializability).unwrap();
        assert_eq!(weaker.is_valid(), Some(true));
    }

    #[test]
    fn a_lost_append_is_found_whatever_the_clocks_did() {
        let lost = history(
            "{:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
             {:process 0, :type :ok,     :f :txn, :value [[:append :x 1]]}
             {:process 0, :type :invoke, :f :txn, :value [[:append :x 2] [:r :x nil]]}
             {:process 0, :type :ok,     :f :txn, :value [[:append :x 2] [:r :x [1 2]]]}
             {:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
             {:process 1, :type :ok,     :f :txn, :value [[:r :x [2]]]}",
        );
        for promise in [Promise::StrictSerializability, Promise::Serializability] {
            let verdict = judge("list-append", &lost, promise).unwrap();
            assert_eq!(verdict.is_valid(), Some(false), "{promise:?}");
        }
    }

    #[test]
    fn properties_of_real_time_are_allowed_to_fail_and_named() {
        let causal = history(
            "{:process 0, :type :invoke, :f :write, :value 1}
             {:process 0, :type :ok,     :f :write, :value 1}
             {:process 0, :type :invoke, :f :write, :value 2}
             {:process 1, :type :invoke, :f :read,  :value nil}
             {:process 1, :type :ok,     :f :read,  :value [2]}
             {:process 0, :type :ok,     :f :write, :value 2}",
        );
        let strict = judge("comments", &causal, Promise::StrictSerializability).unwrap();
        assert_eq!(strict.anomalies(), ["causal-reverse"]);
        let weaker = judge("comments", &causal, Promise::Serializability).unwrap();
        assert!(weaker.broken.is_empty());
        assert_eq!(weaker.harmless.len(), 1);
    }
}
