//! What a history says of time: when each operation began, how long it took, how it ended.

use std::collections::BTreeMap;
use verify::history::{History, Kind, Malformed, Value};

/// One operation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    /// When it was invoked, nanoseconds on the run's clock.
    pub(super) begin_ns: u64,
    /// When it was completed.
    pub(super) end_ns: u64,
    pub(super) kind: Kind,
    /// Its function: a place in [`Samples::functions`].
    pub(super) function: usize,
    /// Whether it wrote something.
    pub(super) writes: bool,
}

impl Sample {
    pub(super) fn latency_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.begin_ns)
    }
}

/// All operations that were completed, in the order of their invocations.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Samples {
    pub(super) all: Vec<Sample>,
    pub(super) functions: Vec<String>,
}

impl Samples {
    pub(super) fn of(history: &History) -> Result<Samples, Malformed> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut samples = Samples::default();
        for operation in history.operations()?.all {
            let Some(completion) = operation.completion() else {
                continue;
            };
            let begin = &history.events()[operation.invocation()];
            let end = &history.events()[completion];
            let name = history.function(begin);
            let function = *names.entry(name.to_owned()).or_insert_with(|| {
                samples.functions.push(name.to_owned());
                samples.functions.len() - 1
            });
            samples.all.push(Sample {
                begin_ns: begin.time.max(0) as u64,
                end_ns: end.time.max(0) as u64,
                kind: end.kind,
                function,
                writes: writes(name, history.value(begin)),
            });
        }
        Ok(samples)
    }

    /// When the last of them ended.
    pub(super) fn end_ns(&self) -> u64 {
        self.all
            .iter()
            .map(|sample| sample.end_ns)
            .max()
            .unwrap_or(0)
    }

    /// How many of a kind there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.all.iter().filter(|sample| sample.kind == kind).count()
    }

    /// Of a function: how many were done, and the latencies of these at the median, at 99 of 100, and at most.
    pub(super) fn latencies(&self, function: usize) -> Option<(usize, [u64; 3])> {
        let of_function = |sample: &&Sample| sample.function == function && sample.kind == Kind::Ok;
        let done = self.all.iter().filter(of_function);
        let mut all: Vec<u64> = done.map(Sample::latency_ns).collect();
        all.sort_unstable();
        let last = all.len().checked_sub(1)?;
        Some((all.len(), [all[last / 2], all[last * 99 / 100], all[last]]))
    }
}

/// Whether an operation writes, by its name or by what it holds.
fn writes(function: &str, asked: Value) -> bool {
    match function {
        "txn" => asked.members().any(|micro| {
            let name = micro.members().next().and_then(|name| name.name());
            matches!(name, Some("append" | "w" | "delete" | "delete-range"))
        }),
        "add" | "transfer" | "write" | "cas" | "inc" | "insert" | "commit" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_a_time_a_kind_and_write_or_not() {
        let edn = "{:time 1000, :process 0, :type :invoke, :f :txn, :value [[:r 1 nil] [:w 2 3]]}
            {:time 2000, :process 1, :type :invoke, :f :read, :value nil}
            {:time 4000, :process 0, :type :ok, :f :txn, :value [[:r 1 nil] [:w 2 3]]}
            {:time 9000, :process 1, :type :fail, :f :read, :value nil}
            {:time 9500, :process 2, :type :invoke, :f :read, :value nil}";
        let samples = Samples::of(&History::read_edn(edn.as_bytes()).unwrap()).unwrap();
        let seen: Vec<_> = samples
            .all
            .iter()
            .map(|s| (s.latency_ns(), s.kind, s.writes))
            .collect();
        assert_eq!(seen, [(3000, Kind::Ok, true), (7000, Kind::Fail, false)]);
        assert_eq!(samples.functions, ["txn", "read"]);
        assert_eq!(samples.latencies(0), Some((1, [3000, 3000, 3000])));
        assert_eq!(samples.latencies(1), None);
    }
}
