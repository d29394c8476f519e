//! Writes a history as it happens, and refuses to write one that is not well formed.
//!
//! The rule that makes a history worth checking: write an invocation *before* its request is sent, a
//! completion *after* its answer came, through one recorder. Threads share it behind a lock.

use super::{Event, Form, History, Kind, Process};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The recorder was asked for something that would make the history worthless.
#[derive(Debug, thiserror::Error)]
pub enum Misuse {
    /// An operation begins while the process has one open.
    #[error("process {0} begins an operation while its operation is open")]
    Overlapping(i64),
    /// A completion without an invocation.
    #[error("process {0} has no operation open to complete")]
    NothingOpen(i64),
    /// The process's last outcome is unknown: its client goes on under a new number.
    #[error(
        "process {0} may not go on: the outcome of its operation is unknown; take a new number"
    )]
    Ended(i64),
    /// The history cannot be written.
    #[error("the history cannot be written: {0}")]
    Io(#[from] io::Error),
}

enum State {
    Idle,
    Open(String),
    Ended,
}

/// Writes events, one a line of EDN.
pub struct Recorder<W> {
    out: W,
    index: u64,
    processes: BTreeMap<i64, State>,
    next_process: i64,
    line: String,
}

impl<W: Write> Recorder<W> {
    /// Writes to `out`, which should buffer.
    pub fn new(out: W) -> Recorder<W> {
        Recorder {
            out,
            index: 0,
            processes: BTreeMap::new(),
            next_process: 0,
            line: String::new(),
        }
    }

    /// A process number that nobody has had: for a new client, and after each `info`.
    pub fn new_process(&mut self) -> i64 {
        self.next_process += 1;
        self.next_process - 1
    }

    /// An operation is about to be sent; `time` in nanoseconds.
    pub fn invoke(&mut self, time: i64, process: i64, f: &str, value: &Form) -> Result<(), Misuse> {
        match self.processes.get(&process) {
            Some(State::Open(_)) => return Err(Misuse::Overlapping(process)),
            Some(State::Ended) => return Err(Misuse::Ended(process)),
            Some(State::Idle) | None => {}
        }
        self.next_process = self.next_process.max(process + 1);
        self.processes.insert(process, State::Open(f.to_owned()));
        self.write(time, process, Kind::Invoke, f, value)
    }

    /// It certainly happened; `value` with all that was read.
    pub fn ok(&mut self, time: i64, process: i64, value: &Form) -> Result<(), Misuse> {
        self.complete(time, process, Kind::Ok, value)
    }

    /// It certainly did not happen and never will.
    pub fn fail(&mut self, time: i64, process: i64, value: &Form) -> Result<(), Misuse> {
        self.complete(time, process, Kind::Fail, value)
    }

    /// Nobody knows. The process is at its end.
    pub fn info(&mut self, time: i64, process: i64, value: &Form) -> Result<(), Misuse> {
        self.complete(time, process, Kind::Info, value)
    }

    /// What was said later of the operation whose invocation is the event `index`: with `told` that it is
    /// committed and what its `:ok` would have told (`nil` if that is not all known), without that it is
    /// aborted. See [`History::settled`].
    pub fn outcome(&mut self, time: i64, index: u64, told: Option<&Form>) -> Result<(), Misuse> {
        let word = if told.is_some() {
            "committed"
        } else {
            "aborted"
        };
        let said = [Form::Int(index as i64), Form::keyword(word)];
        let said = Form::vector(said.into_iter().chain(told.cloned()));
        let mut one = History::new();
        one.push(0, Kind::Info, super::outcomes::PROCESS, &said);
        let f = one.events[0].f;
        let process = Process::Other(f.expect("an event that was pushed has a function"));
        self.write_event(&one, time, process)
    }

    /// How many events were written.
    pub fn events(&self) -> u64 {
        self.index
    }

    /// Writes out what is buffered, and gives the writer back.
    pub fn finish(mut self) -> Result<W, Misuse> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn complete(
        &mut self,
        time: i64,
        process: i64,
        kind: Kind,
        value: &Form,
    ) -> Result<(), Misuse> {
        let next = if kind == Kind::Info {
            State::Ended
        } else {
            State::Idle
        };
        let f = match self.processes.insert(process, next) {
            Some(State::Open(f)) => f,
            Some(State::Ended) => return Err(Misuse::Ended(process)),
            Some(State::Idle) | None => return Err(Misuse::NothingOpen(process)),
        };
        self.write(time, process, kind, &f, value)
    }

    fn write(
        &mut self,
        time: i64,
        process: i64,
        kind: Kind,
        f: &str,
        value: &Form,
    ) -> Result<(), Misuse> {
        let mut one = History::new();
        one.push(process, kind, f, value);
        self.write_event(&one, time, Process::Client(process))
    }

    /// Writes the one event of a history.
    fn write_event(&mut self, one: &History, time: i64, process: Process) -> Result<(), Misuse> {
        let event = Event {
            index: self.index,
            time,
            process,
            ..one.events[0]
        };
        self.line.clear();
        let written = crate::edn::write_event(one, &event, &mut self.line);
        written.expect("a String takes whatever is written");
        self.line.push('\n');
        self.index += 1;
        Ok(self.out.write_all(self.line.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back() {
        let mut recorder = Recorder::new(Vec::new());
        let one = recorder.new_process();
        let write = Form::vector([Form::vector([Form::keyword("append"), 1.into(), 2.into()])]);
        recorder.invoke(5, one, "txn", &write).unwrap();
        recorder.info(9, one, &write).unwrap();
        assert!(matches!(
            recorder.invoke(10, one, "txn", &write),
            Err(Misuse::Ended(0))
        ));
        let two = recorder.new_process();
        assert!(matches!(
            recorder.ok(10, two, &write),
            Err(Misuse::NothingOpen(1))
        ));
        let text = String::from_utf8(recorder.finish().unwrap()).unwrap();
        assert_eq!(
            text,
            "{:index 0, :time 5, :type :invoke, :process 0, :f :txn, :value [[:append 1 2]]}\n\
             {:index 1, :time 9, :type :info, :process 0, :f :txn, :value [[:append 1 2]]}\n"
        );
        let history = History::read_edn(text.as_bytes()).unwrap();
        assert_eq!(history.to_edn(), text);
    }

    #[test]
    fn what_is_said_later_is_written_beside_the_operations() {
        let mut recorder = Recorder::new(Vec::new());
        recorder.invoke(0, 4, "add", &1.into()).unwrap();
        recorder.info(1, 4, &1.into()).unwrap();
        recorder.outcome(2, 0, Some(&1.into())).unwrap();
        recorder.outcome(3, 0, None).unwrap();
        let text = String::from_utf8(recorder.finish().unwrap()).unwrap();
        let said: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            said,
            [
                "{:index 2, :time 2, :type :info, :process :outcome, :f :outcome, :value [0 :committed 1]}",
                "{:index 3, :time 3, :type :info, :process :outcome, :f :outcome, :value [0 :aborted]}"
            ]
        );
        let settled = History::read_edn(text.as_bytes())
            .unwrap()
            .settled()
            .unwrap();
        assert_eq!(settled.contradictions.len(), 1);
    }

    #[test]
    fn a_process_has_one_operation_open() {
        let mut recorder = Recorder::new(Vec::new());
        recorder.invoke(0, 7, "read", &Form::Nil).unwrap();
        assert!(matches!(
            recorder.invoke(0, 7, "read", &Form::Nil),
            Err(Misuse::Overlapping(7))
        ));
        recorder.ok(0, 7, &Form::Nil).unwrap();
        recorder.invoke(0, 7, "read", &Form::Nil).unwrap();
        assert_eq!((recorder.events(), recorder.new_process()), (3, 8));
    }
}
