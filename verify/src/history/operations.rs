//! Invocations and their completions, and what is not well formed about a history.
//!
//! A history that breaks these rules proves nothing: an order of real time that is read off it would be
//! wrong, and with it each verdict. So what is wrong is named, with its line, before anything is
//! checked.

use super::{Event, History, Kind, Process};
use std::fmt;

/// No event.
const NONE: u32 = u32::MAX;

/// One operation of a client: places in [`History::events`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    invocation: u32,
    completion: u32,
}

impl Operation {
    /// The place of its invocation.
    pub fn invocation(self) -> usize {
        self.invocation as usize
    }

    /// The place of its completion, if it has one.
    pub fn completion(self) -> Option<usize> {
        (self.completion != NONE).then_some(self.completion as usize)
    }

    /// The last that is known of it: its completion, else its invocation.
    pub fn last(self) -> usize {
        self.completion().unwrap_or(self.invocation())
    }

    /// How it ended; `Info` if it never did.
    pub fn outcome(self, history: &History) -> Kind {
        self.completion()
            .map_or(Kind::Info, |at| history.events[at].kind)
    }

    /// When its end was known, in places of events; `None` for one whose outcome is unknown: it may
    /// take effect at any time.
    pub fn end(self, history: &History) -> Option<usize> {
        self.completion()
            .filter(|at| history.events[*at].kind != Kind::Info)
    }
}

/// What is wrong with a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A completion of a process that has nothing open.
    CompletionWithoutInvocation,
    /// A process begins an operation while one of its own is open.
    OverlappingOperations,
    /// A process goes on after the outcome of its operation was unknown.
    ProcessReusedAfterInfo,
    /// A completion is of another function than the invocation.
    FunctionChanged,
    /// An append of a value to a key, or a write of it, that was invoked before.
    DuplicateWrite,
    /// A completion writes something else than its invocation.
    WritesChanged,
    /// A micro-operation, or a value, that the workload does not know.
    UnknownOperation,
}

impl Problem {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Problem::CompletionWithoutInvocation => "completion-without-invocation",
            Problem::OverlappingOperations => "overlapping-operations",
            Problem::ProcessReusedAfterInfo => "process-reused-after-info",
            Problem::FunctionChanged => "function-changed",
            Problem::DuplicateWrite => "duplicate-write",
            Problem::WritesChanged => "writes-changed",
            Problem::UnknownOperation => "unknown-operation",
        }
    }
}

/// A history that is not well formed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the history is not well formed ({}) at {place}: {why}", .problem.name())]
pub struct Malformed {
    /// What kind of wrong.
    pub problem: Problem,
    /// The line, or the event if it was built by hand.
    pub place: String,
    /// What stands there, and what should.
    pub why: String,
}

impl Malformed {
    pub(crate) fn new(problem: Problem, event: &Event, why: impl fmt::Display) -> Malformed {
        let place = match event.line {
            0 => format!("event {}", event.index),
            line => format!("line {line} (event {})", event.index),
        };
        Malformed {
            problem,
            place,
            why: why.to_string(),
        }
    }
}

/// All operations of clients, in the order of their invocations.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    /// In the order of invocation.
    pub all: Vec<Operation>,
    /// What makes the order of real time and of processes worthless, the first of it. Whoever reads
    /// these orders refuses such a history; the order of the data can be checked all the same.
    pub disorder: Option<Malformed>,
    /// Each completion belongs to one invocation for certain: a process that had several open can be
    /// believed about real time, though not about its own order.
    pub pairs_are_certain: bool,
}

/// What a process is doing.
#[derive(Default)]
struct State {
    /// Operations that are open, oldest first; more than one is disorder.
    open: Vec<u32>,
    /// The line of its `:info`.
    ended: Option<u64>,
}

impl History {
    /// Pairs invocations with completions.
    ///
    /// Refused are completions without an invocation, and of another function than theirs. Processes
    /// that overlap themselves or go on after an `:info` are noted in [`Operations::disorder`].
    pub fn operations(&self) -> Result<Operations, Malformed> {
        let mut operations = Operations {
            pairs_are_certain: true,
            ..Operations::default()
        };
        let mut states: Vec<State> = Vec::new();
        let mut numbers = crate::intern::Pairs::default();
        for (at, event) in self.events.iter().enumerate() {
            let Process::Client(process) = event.process else {
                continue;
            };
            let (number, new) = numbers.intern((0, process as u64));
            if new {
                states.push(State::default());
            }
            let state = &mut states[number as usize];
            if event.kind == Kind::Invoke {
                if let Some(disorder) = disorder(state, process, event) {
                    operations.disorder.get_or_insert(disorder);
                }
                state.open.push(operations.all.len() as u32);
                operations.all.push(Operation {
                    invocation: at as u32,
                    completion: NONE,
                });
                continue;
            }
            let Some((which, certain)) = self.matching(&state.open, &operations.all, event) else {
                let why = format!("process {process} completes an operation but has none open");
                return Err(Malformed::new(
                    Problem::CompletionWithoutInvocation,
                    event,
                    why,
                ));
            };
            operations.pairs_are_certain &= certain;
            let operation = &mut operations.all[state.open.remove(which) as usize];
            operation.completion = at as u32;
            let invocation = &self.events[operation.invocation()];
            if invocation.f != event.f {
                let (asked, told) = (self.function(invocation), self.function(event));
                let why = format!("process {process} invoked :{asked} and completes :{told}");
                return Err(Malformed::new(Problem::FunctionChanged, event, why));
            }
            if event.kind == Kind::Info {
                state.ended = Some(event.index);
            }
        }
        Ok(operations)
    }

    /// Which of the open operations a completion ends: the first of the same function whose
    /// micro-operations are the same but for what was read, else the oldest; and whether it is the only
    /// one that fits.
    fn matching(&self, open: &[u32], all: &[Operation], event: &Event) -> Option<(usize, bool)> {
        if open.len() <= 1 {
            return (!open.is_empty()).then_some((0, true));
        }
        let fits = |operation: &u32| {
            let invocation = &self.events[all[*operation as usize].invocation()];
            let (mut asked, mut told) = (
                self.value(invocation).members(),
                self.value(event).members(),
            );
            invocation.f == event.f
                && loop {
                    match (asked.next(), told.next()) {
                        (None, None) => break true,
                        (Some(asked), Some(told)) => {
                            let (mut a, mut b) = (asked.members(), told.members());
                            let is_read = a.clone().next().and_then(|f| f.name()) == Some("r");
                            let shown = if is_read { 2 } else { usize::MAX };
                            let same = (0..shown.min(3)).all(|_| match (a.next(), b.next()) {
                                (Some(a), Some(b)) => a.same(b),
                                (None, None) => true,
                                _ => false,
                            });
                            if !same {
                                break false;
                            }
                        }
                        _ => break false,
                    }
                }
        };
        let mut all_that_fit = (0..open.len()).filter(|place| fits(&open[*place]));
        let first = all_that_fit.next();
        Some((
            first.unwrap_or(0),
            first.is_some() && all_that_fit.next().is_none(),
        ))
    }
}

fn disorder(state: &State, process: i64, event: &Event) -> Option<Malformed> {
    if let Some(ended) = state.ended {
        let why = format!(
            "process {process} goes on though the outcome of its operation is unknown since event {ended}; that one may still take effect, so its client must go on under a new process number"
        );
        return Some(Malformed::new(Problem::ProcessReusedAfterInfo, event, why));
    }
    (!state.open.is_empty()).then(|| {
        let why = format!("process {process} begins an operation while another of its own is open");
        Malformed::new(Problem::OverlappingOperations, event, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Form;

    fn history(events: &[(i64, Kind, &str)]) -> History {
        let mut history = History::new();
        for (process, kind, f) in events {
            history.push(*process, *kind, f, &Form::Nil);
        }
        history
    }

    #[test]
    fn invocations_meet_their_completions() {
        let history = history(&[
            (0, Kind::Invoke, "a"),
            (1, Kind::Invoke, "b"),
            (0, Kind::Ok, "a"),
            (2, Kind::Invoke, "c"),
            (1, Kind::Info, "b"),
        ]);
        let operations = history.operations().unwrap();
        let ends: Vec<_> = operations
            .all
            .iter()
            .map(|o| (o.completion(), o.end(&history)))
            .collect();
        assert_eq!(ends, [(Some(2), Some(2)), (Some(4), None), (None, None)]);
        assert_eq!(operations.all[2].outcome(&history), Kind::Info);
        assert_eq!(operations.disorder, None);
    }

    #[test]
    fn what_is_not_well_formed_is_named() {
        let alone = history(&[(0, Kind::Ok, "a")]).operations().unwrap_err();
        assert_eq!(alone.problem, Problem::CompletionWithoutInvocation);
        assert_eq!(
            alone.to_string(),
            "the history is not well formed (completion-without-invocation) at event 0: process 0 completes an operation but has none open"
        );
        let changed = history(&[(0, Kind::Invoke, "a"), (0, Kind::Ok, "b")]);
        assert_eq!(
            changed.operations().unwrap_err().problem,
            Problem::FunctionChanged
        );
        let disorder = |events: &[_]| {
            history(events)
                .operations()
                .unwrap()
                .disorder
                .map(|d| d.problem)
        };
        let reused = [
            (0, Kind::Invoke, "a"),
            (0, Kind::Info, "a"),
            (0, Kind::Invoke, "a"),
        ];
        assert_eq!(disorder(&reused), Some(Problem::ProcessReusedAfterInfo));
        let overlapping = [(0, Kind::Invoke, "a"), (0, Kind::Invoke, "a")];
        assert_eq!(disorder(&overlapping), Some(Problem::OverlappingOperations));
    }

    #[test]
    fn several_open_operations_are_told_apart_by_what_they_do() {
        let read = |both: &str| {
            let edn = format!(
                "{{:process 0, :type :invoke, :f :txn, :value [[:append 1 1]]}}
                 {{:process 0, :type :invoke, :f :txn, :value [[:r {both} nil]]}}
                 {{:process 0, :type :invoke, :f :txn, :value [[:r 2 nil]]}}
                 {{:process 0, :type :ok, :f :txn, :value [[:r 2 [7]]]}}
                 {{:process 0, :type :ok, :f :txn, :value [[:append 1 1]]}}"
            );
            let operations = History::read_edn(edn.as_bytes())
                .unwrap()
                .operations()
                .unwrap();
            let ends: Vec<_> = operations.all.iter().map(|o| o.completion()).collect();
            (ends, operations.pairs_are_certain)
        };
        assert_eq!(read("1"), (vec![Some(4), None, Some(3)], true));
        assert_eq!(read("2"), (vec![Some(4), Some(3), None], false));
    }

    #[test]
    fn other_processes_are_no_clients() {
        let text = "{:type :info, :process :nemesis, :f :kill, :value nil}";
        let history = History::read_edn(text.as_bytes()).unwrap();
        assert!(history.operations().unwrap().all.is_empty());
    }
}
