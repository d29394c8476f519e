//! A history: what clients asked and what they were told, in real-time order.
//!
//! One event a line, in Jepsen's EDN or as JSON lines:
//!
//! ```text
//! {:index 0, :time 123456, :type :invoke, :process 3, :f :txn, :value [[:append 4 17] [:r 4 nil]]}
//! {:index 1, :time 125000, :type :ok,     :process 3, :f :txn, :value [[:append 4 17] [:r 4 [3 17]]]}
//! ```
//!
//! - **The order of the lines is the order of real time**: an invocation is written before the request
//!   is sent, a completion after the answer came, all into one log. `:time` (ns) is for people and plots.
//! - `:ok`: it certainly happened. `:fail`: it certainly did not and never will. `:info`: nobody knows.
//! - A process has one operation open at a time; after an `:info` its number is never used again.
//! - Events of processes that are no integers (`:nemesis`) are kept and are no client's operations.
//!
//! [`History`] holds the events, [`operations`](History::operations) pairs invocations with completions
//! and names what is not well formed, [`settled`](History::settled) adds what was said of them later,
//! [`Recorder`] writes a history as it happens.

mod operations;
mod outcomes;
mod recorder;
mod value;

pub use operations::{Malformed, Operation, Operations, Problem};
pub use outcomes::Settled;
pub use recorder::{Misuse, Recorder};
pub use value::{Form, Members, Sequence, Value};
pub(crate) use value::{Node, Values};

use crate::intern::Name;
use std::fmt;

/// What an event says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The operation is about to be sent.
    Invoke,
    /// It certainly happened.
    Ok,
    /// It certainly did not happen, and never will.
    Fail,
    /// Nobody knows whether it happened or will.
    Info,
}

impl Kind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        }
    }

    /// From what is written.
    pub fn from_name(name: &str) -> Option<Kind> {
        [Kind::Invoke, Kind::Ok, Kind::Fail, Kind::Info]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Who did it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Process {
    /// A client: one thread of operations, one after another.
    Client(i64),
    /// Anything else, such as `:nemesis`.
    Other(Name),
}

/// One line of a history.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// As it was written, or counted from 0.
    pub index: u64,
    /// Nanoseconds, for people; −1 if it was not written.
    pub time: i64,
    /// Who.
    pub process: Process,
    /// What it says.
    pub kind: Kind,
    /// Which function; `nil` for none.
    pub f: Option<Name>,
    pub(crate) value: u32,
    /// The line it stands in; 0 if it was never written.
    pub line: u32,
}

/// All events of a run.
#[derive(Clone, Default)]
pub struct History {
    pub(crate) events: Vec<Event>,
    pub(crate) values: Values,
}

impl History {
    /// No event yet.
    pub fn new() -> History {
        History::default()
    }

    /// The events, in real-time order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// An event's value.
    pub fn value(&self, event: &Event) -> Value<'_> {
        self.values.view(event.value)
    }

    /// An event's function; empty if it has none.
    pub fn function(&self, event: &Event) -> &str {
        event.f.map_or("", |f| self.name(f))
    }

    /// The text of a name.
    pub fn name(&self, name: Name) -> &str {
        self.values.names.text(name)
    }

    /// Adds an event, for histories that are built by hand.
    ///
    /// # Panics
    /// If the history holds 2^32 values.
    pub fn push(&mut self, process: i64, kind: Kind, f: &str, value: &Form) {
        let full = "a history built by hand holds fewer than 2^32 values";
        let event = Event {
            index: self.events.len() as u64,
            time: self.events.len() as i64,
            process: Process::Client(process),
            kind,
            f: Some(self.values.names.intern(f).expect(full)),
            value: self.values.push(value).expect(full),
            line: 0,
        };
        self.events.push(event);
    }

    /// The whole history as EDN, one event a line.
    pub fn to_edn(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            let written = crate::edn::write_event(self, event, &mut text);
            written.expect("a String takes whatever is written");
            text.push('\n');
        }
        text
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_edn())
    }
}
