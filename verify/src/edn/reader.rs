//! Events of a history from a stream of EDN.
//!
//! A history is events one after another (one a line, as Jepsen writes it), or all of them in one
//! vector or list. The stream is read in chunks; whatever of an event has come is parsed, and parsed
//! again with the next chunk if it was not all of it. So memory for text is bounded by one event.

use super::cursor::{Cursor, Fault};
use crate::history::{Event, History, Kind, Node, Process, Value, Values};
use std::io::Read;

/// The longest text of one event: what is longer is no event.
pub const EVENT_BYTES_MAX: usize = 64 << 20;
/// Bytes that are asked for at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not what it should be.
    #[error("line {line}, column {column}: {why}")]
    Syntax {
        /// From 1.
        line: u32,
        /// From 1, in bytes.
        column: u32,
        /// What is wrong.
        why: String,
    },
    /// The file or stream gave an error.
    #[error("the history cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// What stands around the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    /// Not known yet: nothing was read.
    Unknown,
    Nothing,
    /// All of them stand in brackets; this one closes.
    Brackets(u8),
    /// The brackets are closed.
    Closed,
}

/// Reads events from a stream.
pub struct EdnReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where in the buffer the next event is looked for.
    start: usize,
    /// Of the buffer's first byte.
    line: u32,
    column: u32,
    at_end: bool,
    around: Around,
}

/// What was found at a place of the buffer.
enum Found {
    Event,
    End,
    Opening(u8),
    Closing,
}

impl<R: Read> EdnReader<R> {
    /// Reads from here on.
    pub fn new(source: R) -> EdnReader<R> {
        EdnReader {
            source,
            buffer: Vec::new(),
            start: 0,
            line: 1,
            column: 1,
            at_end: false,
            around: Around::Unknown,
        }
    }

    /// Adds the next event to the history; `false` at the end.
    pub fn read_event(&mut self, history: &mut History) -> Result<bool, ReadError> {
        loop {
            let (events, nodes) = (history.events.len(), history.values.nodes.len());
            let mut cursor = Cursor::within(&self.buffer[self.start..]);
            let found = read_item(&mut cursor, self.around, history);
            let used = cursor.at;
            match found {
                Ok(Found::End) if !self.at_end => {}
                Ok(Found::End) if matches!(self.around, Around::Brackets(_)) => {
                    return Err(self.syntax(
                        self.buffer.len(),
                        "the bracket around the events is not closed",
                    ));
                }
                Ok(Found::End) => return Ok(false),
                Ok(Found::Event) => {
                    if self.around == Around::Unknown {
                        self.around = Around::Nothing;
                    }
                    let begun = event_start(&self.buffer[self.start..]);
                    self.advance(begun);
                    if let Some(event) = history.events.last_mut() {
                        event.line = self.line;
                    }
                    self.advance(used - begun);
                    return Ok(true);
                }
                Ok(Found::Opening(closing)) => {
                    self.advance(used);
                    self.around = Around::Brackets(closing);
                    continue;
                }
                Ok(Found::Closing) => {
                    self.advance(used);
                    self.around = Around::Closed;
                    continue;
                }
                Err(Fault::Wrong { at, why }) => return Err(self.syntax(self.start + at, &why)),
                Err(Fault::Incomplete { what }) if self.at_end => {
                    let why = format!("the history ends in the middle of an event: {what}");
                    return Err(self.syntax(self.buffer.len(), &why));
                }
                Err(Fault::Incomplete { .. }) => {}
            }
            history.events.truncate(events);
            history.values.nodes.truncate(nodes);
            self.fill()?;
        }
    }

    /// Passes over bytes, and counts lines.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.buffer[self.start..self.start + bytes];
        let (line, column) = place(passed, self.line, self.column);
        (self.line, self.column) = (line, column);
        self.start += bytes;
    }

    fn syntax(&self, at: usize, why: &str) -> ReadError {
        let at = at.min(self.buffer.len());
        let passed = &self.buffer[self.start.min(at)..at];
        let (line, column) = place(passed, self.line, self.column);
        ReadError::Syntax {
            line,
            column,
            why: why.to_owned(),
        }
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        if self.buffer.len() - self.start > EVENT_BYTES_MAX {
            let why = format!("the event is longer than {} MiB", EVENT_BYTES_MAX >> 20);
            return Err(self.syntax(self.start, &why));
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        // What is half there is parsed again each time: with doubled steps that stays linear.
        let wanted = CHUNK_BYTES.max(self.buffer.len());
        let mut chunk = (&mut self.source).take(wanted as u64);
        let got = chunk.read_to_end(&mut self.buffer)?;
        self.at_end = got < wanted;
        Ok(())
    }
}

fn place(passed: &[u8], line: u32, column: u32) -> (u32, u32) {
    let lines = passed.iter().filter(|b| **b == b'\n').count() as u32;
    match passed.iter().rposition(|b| *b == b'\n') {
        Some(last) => (line + lines, (passed.len() - last) as u32),
        None => (line, column + passed.len() as u32),
    }
}

/// Where the first form begins.
fn event_start(bytes: &[u8]) -> usize {
    let mut cursor = Cursor::within(bytes);
    match cursor.peek() {
        Ok(_) => cursor.at,
        Err(_) => 0,
    }
}

fn read_item(cursor: &mut Cursor, around: Around, history: &mut History) -> Result<Found, Fault> {
    let next = cursor.peek()?;
    let at = cursor.at;
    match (next, around) {
        (None, _) => Ok(Found::End),
        (Some(byte), Around::Brackets(closing)) if byte == closing => {
            cursor.at += 1;
            Ok(Found::Closing)
        }
        (Some(byte @ (b'[' | b'(')), Around::Unknown) => {
            cursor.at += 1;
            Ok(Found::Opening(if byte == b'[' { b']' } else { b')' }))
        }
        (Some(_), Around::Closed) => {
            cursor.wrong(at, "something stands behind the bracket around the events")
        }
        (Some(_), _) => read_event(cursor, history).map(|()| Found::Event),
    }
}

/// One map, straight into an [`Event`]: only the value, and what is not known, goes into the array.
fn read_event(cursor: &mut Cursor, history: &mut History) -> Result<(), Fault> {
    let mut start = cursor.at;
    while cursor.bytes[cursor.at] == b'#' && cursor.bytes.get(cursor.at + 1) != Some(&b'{') {
        // `#jepsen.history.Op{…}`: the tag says what is known.
        let tag = cursor.bytes[cursor.at..].iter().position(|b| *b == b'{');
        cursor.at += tag.ok_or(Fault::Incomplete {
            what: "a tag without a value",
        })?;
        start = cursor.at;
    }
    if cursor.bytes[cursor.at] != b'{' {
        return cursor.wrong(
            start,
            "an event is a map: {:type :invoke, :process 0, :f …, :value …}",
        );
    }
    cursor.at += 1;
    let mut event = Event {
        index: history.events.len() as u64,
        time: -1,
        process: Process::Client(-1),
        kind: Kind::Invoke,
        f: None,
        value: u32::MAX,
        line: 0,
    };
    let (mut has_kind, mut has_process) = (false, false);
    loop {
        let missing = Fault::Incomplete {
            what: "the event's bracket is not closed",
        };
        let key_at = {
            let byte = cursor.peek()?.ok_or(missing)?;
            if byte == b'}' {
                break;
            }
            cursor.at
        };
        if cursor.bytes[key_at] != b':' {
            return cursor.wrong(key_at, "an event's key is a keyword, such as :value");
        }
        cursor.at += 1;
        let key = cursor.token();
        if cursor.at == cursor.bytes.len() {
            return Err(Fault::Incomplete {
                what: "a key without a value",
            });
        }
        let kept = history.values.nodes.len();
        let value = cursor.form(&mut history.values, 1)?;
        match key {
            b"value" => {
                event.value = value;
                continue;
            }
            b"type" => {
                has_kind = true;
                event.kind = kind(history.values.view(value), cursor, key_at)?;
            }
            b"process" => {
                has_process = true;
                event.process = process(history.values.view(value), cursor, key_at)?;
            }
            b"f" => event.f = function(history.values.view(value), cursor, key_at)?,
            b"index" => {
                let index = history.values.view(value).int();
                event.index = match index.map(u64::try_from) {
                    Some(Ok(index)) => index,
                    _ => return cursor.wrong(key_at, ":index is a number from 0"),
                };
            }
            b"time" => event.time = history.values.view(value).int().unwrap_or(-1),
            _ => {}
        }
        history.values.nodes.truncate(kept);
    }
    cursor.at += 1;
    if !has_kind {
        return cursor.wrong(
            start,
            "the event has no :type; it is :invoke, :ok, :fail or :info",
        );
    }
    if !has_process {
        return cursor.wrong(start, "the event has no :process");
    }
    if event.value == u32::MAX {
        event.value = history.values.nodes.len() as u32;
        history.values.nodes.push(Node::Nil);
    }
    history.events.push(event);
    Ok(())
}

fn kind(value: Value, cursor: &Cursor, at: usize) -> Result<Kind, Fault> {
    match value.name().and_then(Kind::from_name) {
        Some(kind) => Ok(kind),
        None => cursor.wrong(
            at,
            format!("the :type {value} is none of :invoke, :ok, :fail, :info"),
        ),
    }
}

fn process(value: Value, cursor: &Cursor, at: usize) -> Result<Process, Fault> {
    match value.node() {
        Node::Int(number) if number >= 0 => Ok(Process::Client(number)),
        Node::Keyword(name) | Node::Text(name) => Ok(Process::Other(name)),
        _ => cursor.wrong(
            at,
            format!("the :process {value} is neither a number from 0 nor a keyword"),
        ),
    }
}

fn function(
    value: Value,
    cursor: &Cursor,
    at: usize,
) -> Result<Option<crate::intern::Name>, Fault> {
    match value.node() {
        Node::Nil => Ok(None),
        Node::Keyword(name) | Node::Text(name) | Node::Symbol(name) => Ok(Some(name)),
        _ => cursor.wrong(at, format!("the :f {value} is no keyword")),
    }
}

impl History {
    /// Reads a whole history in EDN.
    pub fn read_edn(source: impl Read) -> Result<History, ReadError> {
        let mut history = History::new();
        let mut reader = EdnReader::new(source);
        while reader.read_event(&mut history)? {}
        Ok(history)
    }
}

/// Forms of any kind: what a manifest or a configuration holds.
pub struct Forms {
    values: Values,
    roots: Vec<u32>,
}

impl Forms {
    /// One after another.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        self.roots.iter().map(|root| self.values.view(*root))
    }
}

/// Reads all forms of a text.
pub fn parse_forms(text: &str) -> Result<Forms, ReadError> {
    let mut values = Values::default();
    let mut roots = Vec::new();
    let mut cursor = Cursor::new(text.as_bytes());
    let mut read = || {
        while cursor.peek()?.is_some() {
            roots.push(cursor.form(&mut values, 0)?);
        }
        Ok(())
    };
    let result: Result<(), Fault> = read();
    result.map_err(|fault| {
        let (at, why) = match fault {
            Fault::Incomplete { what } => (text.len(), format!("the text ends too early: {what}")),
            Fault::Wrong { at, why } => (at, why),
        };
        let (line, column) = place(&text.as_bytes()[..at.min(text.len())], 1, 1);
        ReadError::Syntax { line, column, why }
    })?;
    Ok(Forms { values, roots })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<History, ReadError> {
        History::read_edn(text.as_bytes())
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn events_are_read_bare_in_brackets_and_behind_tags() {
        let bare = "{:type :invoke, :process 0, :f :read, :value nil}\n{:process 0 :type :ok :f :read :value [1 2]}";
        for text in [
            bare.to_owned(),
            format!("; a comment\n[{bare}] ; another"),
            format!("({bare}\n)"),
            bare.replace("{:type", "#jepsen.history.Op{:type"),
            bare.replace("\n", " #_{:skipped 1} "),
        ] {
            let history = read(&text).unwrap();
            assert_eq!(history.events().len(), 2, "{text}");
            assert_eq!(history.events()[1].kind, Kind::Ok);
            assert_eq!(history.value(&history.events()[1]).to_string(), "[1 2]");
            assert_eq!(history.function(&history.events()[0]), "read");
        }
        assert_eq!(read("").unwrap().events().len(), 0);
        assert_eq!(read("[]").unwrap().events().len(), 0);
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was_written() {
        let value = r#"[nil true -17 1.5 "a\"b\n" :k/w sym \a \space (1) #{2} {:a [3]} 9223372036854775807 -9223372036854775808]"#;
        let line = format!(
            "{{:index 4, :time 7, :type :info, :process :nemesis, :f :cut, :value {value}}}"
        );
        let history = read(&line).unwrap();
        let mut text = String::new();
        crate::edn::write_event(&history, &history.events()[0], &mut text).unwrap();
        assert_eq!(text, line);
    }

    #[test]
    fn errors_name_line_and_column() {
        let first = "{:type :ok, :process 0, :f :r, :value nil}\n";
        assert_eq!(
            error(&format!("{first}  {{:type :okay, :process 0}}")),
            "line 2, column 4: the :type :okay is none of :invoke, :ok, :fail, :info"
        );
        assert_eq!(
            error("{:process 1}"),
            "line 1, column 1: the event has no :type; it is :invoke, :ok, :fail or :info"
        );
        assert_eq!(
            error("{:type :ok}"),
            "line 1, column 1: the event has no :process"
        );
        assert!(error("17").contains("an event is a map"), "{}", error("17"));
        let cut = error(&format!("{first}{{:type :ok"));
        assert!(
            cut.starts_with("line 2, column 11: the history ends in the middle"),
            "{cut}"
        );
        assert!(error(&format!("[{first}")).contains("not closed"));
        assert!(error(&format!("[{first}] 3")).contains("behind the bracket"));
        assert!(
            error("{:type :ok, :process 0, :value 99999999999999999999}")
                .contains("column 32: the integer does not fit")
        );
        assert!(error("{:type :ok, :process 0, :value 1/2}").contains("'1/2' is not a number"));
        assert!(error("{:type :ok, :process 0, :value {:a}}").contains("a key without a value"));
        assert!(error("{:type :ok, :process 0, :value ]}").contains("closes nothing"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            format!(
                "{{:type :ok, :process 0, :value {}{}}}",
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(read(&nested(super::super::NESTING_MAX)).is_ok());
        assert!(error(&nested(100_000)).contains("nested deeper than 64"));
    }

    /// Gives its bytes one at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let bytes = self.0.len().min(out.len()).min(1);
            out[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    #[test]
    fn events_across_the_borders_of_chunks_are_whole_and_lines_are_counted() {
        let line = |n: usize| {
            format!(
                "{{:index {n}, :time 1, :type :ok, :process {n}, :f :txn, :value [[:append 1234 {n}]]}}\n"
            )
        };
        let text: String = (0..12_000).map(line).collect();
        assert!(
            text.len() > 3 * CHUNK_BYTES,
            "the text spans several chunks"
        );
        let history = History::read_edn(Drip(text.as_bytes())).unwrap();
        assert_eq!(history.to_edn(), text);
        assert_eq!(history.events()[11_999].line, 12_000);
        // Wherever a chunk ends, the half of a word is no wrong word.
        for shift in 0..90 {
            let shifted = " ".repeat(shift) + &text;
            assert_eq!(
                History::read_edn(shifted.as_bytes()).unwrap().to_edn(),
                text
            );
        }
        let broken = format!("{text}{{:type 3}}");
        assert!(
            History::read_edn(broken.as_bytes())
                .unwrap_err()
                .to_string()
                .starts_with("line 12001, column 2")
        );
    }
}
