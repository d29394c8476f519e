//! What was said later of operations: `outcome(id)` gives a definite answer where the first was lost.
//!
//! One line each, beside the operations: `[INDEX :committed VALUE]` or `[INDEX :aborted]` by the process
//! `:outcome`. `INDEX` is the `:index` of the operation's invocation, `VALUE` what its `:ok` would have
//! told; `nil` if that is not all known.
//!
//! ```text
//! {:index 7, :type :info, :process 3, :f :txn, :value [[:append 4 17]]}
//! {:index 9, :type :info, :process :outcome, :f :outcome, :value [2 :committed [[:append 4 17]]]}
//! ```
//!
//! A [`Settled`] history knows more than the one that was recorded: an `:info` that turned out to be
//! committed is an `:ok`, an aborted one a `:fail`, both at the place where that was told. So a commit that
//! was said to be aborted and is seen, or was said to be committed and is not, is found by the workload's
//! own checker. What was told first and what was said later must agree; where they do not,
//! [`Settled::contradictions`] has it. Tools that know no such lines read the history as it was recorded.

use super::{Event, History, Kind, Malformed, Operation, Problem, Process};
use std::collections::BTreeMap;

/// The process of these lines.
pub(super) const PROCESS: &str = "outcome";

/// A history in which what was said later has been put where it belongs.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The history.
    pub history: History,
    /// First answers and outcomes that cannot both be true, in words.
    pub contradictions: Vec<String>,
    /// How many operations of unknown outcome were settled.
    pub settled: usize,
}

/// What was said of one operation.
#[derive(Clone, Copy, Default)]
struct Said {
    /// Places of events.
    committed: Option<usize>,
    aborted: Option<usize>,
}

impl History {
    /// Puts what was said later of operations where it belongs.
    ///
    /// # Errors
    /// If an outcome is of no operation, or not written as it must be.
    pub fn settled(&self) -> Result<Settled, Malformed> {
        let said = self.said()?;
        let mut contradictions = Vec::new();
        // Of events what they become; of outcomes which completion stands there.
        let mut gone = vec![false; self.events.len()];
        let mut become_of: BTreeMap<usize, Event> = BTreeMap::new();
        let mut settled = 0;
        for operation in self.operations()?.all {
            let Some(said) = said.get(&operation.invocation()) else {
                continue;
            };
            contradictions.extend(self.contradiction(operation, *said));
            if operation.outcome(self) == Kind::Info
                && let Some((place, completion)) = self.completion(operation, *said)
            {
                gone.iter_mut()
                    .zip(0..)
                    .filter(|(_, at)| operation.completion() == Some(*at))
                    .for_each(|(gone, _)| *gone = true);
                become_of.insert(place, completion);
                settled += 1;
            }
        }
        let mut history = self.clone();
        let events = self.events.iter().enumerate();
        history.events = events
            .filter(|(at, _)| !gone[*at])
            .map(|(at, event)| become_of.get(&at).copied().unwrap_or(*event))
            .collect();
        Ok(Settled {
            history,
            contradictions,
            settled,
        })
    }

    /// What was said, by the place of the invocation.
    fn said(&self) -> Result<BTreeMap<usize, Said>, Malformed> {
        let mut all: BTreeMap<usize, Said> = BTreeMap::new();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, event) in self.events.iter().enumerate() {
            let Process::Other(process) = event.process else {
                if event.kind == Kind::Invoke {
                    places.insert(event.index, at);
                }
                continue;
            };
            if self.name(process) != PROCESS {
                continue;
            }
            let wrong = || {
                let why = format!(
                    "{} is neither [INDEX :committed VALUE] nor [INDEX :aborted] of an operation that began before",
                    self.value(event)
                );
                Malformed::new(Problem::UnknownOperation, event, why)
            };
            let mut members = self.value(event).members();
            let index = members.next().and_then(|index| index.int());
            let place = index.and_then(|index| places.get(&u64::try_from(index).ok()?));
            let said = all.entry(*place.ok_or_else(wrong)?).or_default();
            match members.next().and_then(|word| word.name()) {
                Some("committed") => said.committed.get_or_insert(at),
                Some("aborted") => said.aborted.get_or_insert(at),
                _ => return Err(wrong()),
            };
        }
        Ok(all)
    }

    fn contradiction(&self, operation: Operation, said: Said) -> Option<String> {
        let told = operation.outcome(self);
        let other = match (told, said) {
            (
                _,
                Said {
                    committed: Some(yes),
                    aborted: Some(_),
                },
            ) => yes,
            (
                Kind::Ok,
                Said {
                    aborted: Some(no), ..
                },
            ) => no,
            (
                Kind::Fail,
                Said {
                    committed: Some(yes),
                    ..
                },
            ) => yes,
            _ => return None,
        };
        let (last, other) = (&self.events[operation.last()], &self.events[other]);
        Some(format!(
            "event {} was told as :{} ({} {}), and event {} says {}",
            last.index,
            told.name(),
            self.function(last),
            self.value(last),
            other.index,
            self.value(other),
        ))
    }

    /// Where an operation of unknown outcome ends, and how.
    fn completion(&self, operation: Operation, said: Said) -> Option<(usize, Event)> {
        let invocation = self.events[operation.invocation()];
        let at = said.committed.or(said.aborted)?;
        let (kind, value) = match said.committed {
            Some(_) => {
                let value = self.value(&self.events[at]).members().nth(2)?;
                (
                    Kind::Ok,
                    Some(value).filter(|value| !value.is_nil())?.place(),
                )
            }
            None => (Kind::Fail, invocation.value),
        };
        let outcome = self.events[at];
        Some((
            at,
            Event {
                kind,
                value,
                process: invocation.process,
                f: invocation.f,
                ..outcome
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(lines: &str) -> Settled {
        let begun = "{:index 0, :process 0, :type :invoke, :f :add, :value 1}\n";
        let history = History::read_edn(format!("{begun}{lines}").as_bytes()).unwrap();
        history.settled().unwrap()
    }

    fn outcomes(settled: &Settled) -> Vec<(Kind, String)> {
        let all = settled.history.operations().unwrap().all;
        let told = |operation: &Operation| {
            let event = &settled.history.events()[operation.last()];
            let value = settled.history.value(event).to_string();
            (operation.outcome(&settled.history), value)
        };
        all.iter().map(told).collect()
    }

    const UNKNOWN: &str = "{:index 1, :process 0, :type :info, :f :add, :value 1}\n";

    fn said(what: &str) -> String {
        format!("{{:index 2, :process :outcome, :type :info, :f :outcome, :value {what}}}\n")
    }

    #[test]
    fn an_unknown_outcome_becomes_what_was_said_where_it_was_said() {
        let committed = settled(&(UNKNOWN.to_owned() + &said("[0 :committed 1]")));
        assert_eq!(outcomes(&committed), [(Kind::Ok, "1".to_owned())]);
        assert_eq!(
            (committed.settled, committed.history.events().len()),
            (1, 2)
        );
        assert_eq!(committed.history.events()[1].index, 2);
        let aborted = settled(&(UNKNOWN.to_owned() + &said("[0 :aborted]")));
        assert_eq!(outcomes(&aborted), [(Kind::Fail, "1".to_owned())]);
        let never_told = settled(&said("[0 :committed 1]"));
        assert_eq!(outcomes(&never_told), [(Kind::Ok, "1".to_owned())]);
        let not_all_known = settled(&(UNKNOWN.to_owned() + &said("[0 :committed nil]")));
        assert_eq!(outcomes(&not_all_known), [(Kind::Info, "1".to_owned())]);
        assert_eq!(not_all_known.settled, 0);
    }

    #[test]
    fn first_answers_and_outcomes_must_agree() {
        let told = |kind: &str, what: &str| {
            let told = format!("{{:index 1, :process 0, :type :{kind}, :f :add, :value 1}}\n");
            settled(&(told + &said(what))).contradictions
        };
        assert!(told("ok", "[0 :committed 1]").is_empty());
        assert!(told("fail", "[0 :aborted]").is_empty());
        assert_eq!(
            told("ok", "[0 :aborted]"),
            ["event 1 was told as :ok (add 1), and event 2 says [0 :aborted]"]
        );
        assert_eq!(told("fail", "[0 :committed nil]").len(), 1);
        let both = UNKNOWN.to_owned() + &said("[0 :aborted]") + &said("[0 :committed 1]");
        assert_eq!(settled(&both).contradictions.len(), 1);
    }

    #[test]
    fn an_outcome_of_nothing_is_refused() {
        for what in ["[3 :committed 1]", "[0 :perhaps]", "nil"] {
            let history = History::read_edn(said(what).as_bytes()).unwrap();
            let refused = history.settled().unwrap_err();
            assert_eq!(refused.problem, Problem::UnknownOperation, "{what}");
        }
    }
}
