//! What all property checkers look at: operations with what was asked and what was told.

use crate::history::{Event, History, Kind, Malformed, Problem, Process, Value};

/// One operation of a client.
#[derive(Clone, Copy)]
pub(super) struct Call<'h> {
    pub(super) history: &'h History,
    /// Its function.
    pub(super) f: &'h str,
    pub(super) process: i64,
    pub(super) outcome: Kind,
    /// What was asked.
    pub(super) asked: Value<'h>,
    /// What was told; of one without a completion what was asked.
    pub(super) told: Value<'h>,
    /// Its invocation, as a place of events.
    pub(super) begin: usize,
    /// Its completion; `usize::MAX` for one whose outcome is unknown: it may happen at any time.
    pub(super) end: usize,
    /// The last that is known of it, as a place of events.
    pub(super) last: usize,
}

impl<'h> Call<'h> {
    fn event(&self) -> &'h Event {
        &self.history.events()[self.last]
    }

    pub(super) fn is_ok(&self) -> bool {
        self.outcome == Kind::Ok
    }

    /// Whether it had been answered before the other began.
    pub(super) fn precedes(&self, other: &Call) -> bool {
        self.end < other.begin
    }

    /// In the words of the history.
    pub(super) fn quote(&self) -> String {
        let index = self.event().index;
        let (outcome, f, process) = (self.outcome.name(), self.f, self.process);
        format!(
            "event {index} (process {process}, {outcome}): {f} {}",
            self.told
        )
    }

    /// It is none that the workload knows.
    pub(super) fn unknown(&self, what: &str) -> Malformed {
        let why = format!("{} {} is not {what}", self.f, self.told);
        Malformed::new(Problem::UnknownOperation, self.event(), why)
    }
}

/// The operations of clients in the order in which they began. All these properties speak of real time
/// or of processes, so a history in which these mean nothing is refused.
pub(super) fn calls(history: &History) -> Result<Vec<Call<'_>>, Malformed> {
    let operations = history.operations()?;
    if let Some(disorder) = operations.disorder {
        return Err(disorder);
    }
    let events = history.events();
    Ok(operations
        .all
        .into_iter()
        .map(|operation| {
            let invocation = &events[operation.invocation()];
            Call {
                history,
                f: history.function(invocation),
                process: match invocation.process {
                    Process::Client(number) => number,
                    Process::Other(_) => -1,
                },
                outcome: operation.outcome(history),
                asked: history.value(invocation),
                told: history.value(&events[operation.last()]),
                begin: operation.invocation(),
                end: operation.end(history).unwrap_or(usize::MAX),
                last: operation.last(),
            }
        })
        .collect())
}

/// The places of calls, for a finding.
pub(super) fn places(calls: &[&Call]) -> Vec<usize> {
    calls.iter().map(|call| call.last).collect()
}

/// Calls in the words of the history, one a line.
pub(super) fn quotes(calls: &[&Call]) -> String {
    let lines: Vec<String> = calls.iter().map(|call| call.quote()).collect();
    lines.join("\n")
}

#[cfg(test)]
pub(super) mod fixtures {
    use crate::history::History;
    use crate::verdict::Verdict;

    /// A history of lines such as `0 invoke add 3`: process, kind, function, value in EDN.
    pub(crate) fn history(lines: &str) -> History {
        let mut edn = String::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(4, ' ');
            let mut word = || {
                words
                    .next()
                    .expect("a line is process, kind, function, value")
            };
            let (process, kind, f, value) = (word(), word(), word(), word());
            edn += &format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n");
        }
        History::read_edn(edn.as_bytes()).expect("a fixture is well formed")
    }

    /// The anomalies that a checker finds.
    pub(crate) fn found(
        check: impl Fn(&History) -> Result<Verdict, crate::history::Malformed>,
        lines: &str,
    ) -> Vec<&'static str> {
        check(&history(lines))
            .expect("a fixture is well formed")
            .anomalies()
    }
}
