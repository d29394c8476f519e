//! The same history as JSON lines, for tools that do not read EDN.
//!
//! ```text
//! {"index":0,"time":5,"type":"invoke","process":3,"f":"txn","value":[["append",4,17],["r",4,null]]}
//! ```
//!
//! Keywords become strings, lists and sets arrays, and the keys of maps strings; a checker takes a string
//! wherever it takes a keyword. So a history whose keys are keywords gives the same verdict from both
//! forms; one that tells `:x` from `"x"` does not survive.

use crate::edn::ReadError;
use crate::history::{Event, Form, History, Kind, Node, Process, Sequence, Value};
use serde_json::{Map, Value as Json};
use std::io::{BufRead, BufReader, Read};

/// One event as one line of JSON, without the end of the line.
pub fn write_event(history: &History, event: &Event) -> String {
    let mut object = Map::new();
    object.insert("index".into(), event.index.into());
    object.insert("time".into(), event.time.into());
    object.insert("type".into(), event.kind.name().into());
    let process = match event.process {
        Process::Client(number) => number.into(),
        Process::Other(name) => history.name(name).into(),
    };
    object.insert("process".into(), process);
    object.insert("f".into(), event.f.map(|f| history.name(f)).into());
    object.insert("value".into(), to_json(history.value(event)));
    Json::Object(object).to_string()
}

/// A value as JSON.
pub fn to_json(value: Value<'_>) -> Json {
    match value.node() {
        Node::Nil => Json::Null,
        Node::Bool(value) => value.into(),
        Node::Int(value) => value.into(),
        Node::Float(value) => value.into(),
        Node::Char(value) => value.to_string().into(),
        Node::Keyword(name) | Node::Text(name) | Node::Symbol(name) => value.text_of(name).into(),
        Node::Sequence {
            sequence: Sequence::Map,
            ..
        } => {
            let entry = |(key, value): (Value, Value)| {
                let key = key.name().map_or_else(|| key.to_string(), str::to_owned);
                (key, to_json(value))
            };
            Json::Object(value.entries().map(entry).collect())
        }
        Node::Sequence { .. } => Json::Array(value.members().map(to_json).collect()),
    }
}

fn from_json(json: &Json) -> Result<Form, String> {
    Ok(match json {
        Json::Null => Form::Nil,
        Json::Bool(value) => Form::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Form::Int(value),
            (None, Some(value)) if !number.is_u64() => Form::Float(value),
            _ => {
                return Err(format!(
                    "the number {number} does not fit 64 bits with a sign"
                ));
            }
        },
        Json::String(text) => Form::Text(text.clone()),
        Json::Array(members) => {
            let members: Result<Vec<Form>, String> = members.iter().map(from_json).collect();
            Form::Sequence(Sequence::Vector, members?)
        }
        Json::Object(entries) => {
            let mut members = Vec::with_capacity(2 * entries.len());
            for (key, value) in entries {
                members.push(Form::Text(key.clone()));
                members.push(from_json(value)?);
            }
            Form::Sequence(Sequence::Map, members)
        }
    })
}

impl History {
    /// Reads a whole history of JSON lines; empty lines are passed over.
    pub fn read_json(source: impl Read) -> Result<History, ReadError> {
        let mut history = History::new();
        let mut source = BufReader::new(source);
        let mut text = String::new();
        let mut line = 0;
        loop {
            text.clear();
            line += 1;
            if source.read_line(&mut text)? == 0 {
                return Ok(history);
            }
            if text.trim().is_empty() {
                continue;
            }
            let json = serde_json::from_str::<Json>(&text);
            let json =
                json.map_err(|error| syntax(line, error.column() as u32, error.to_string()))?;
            push(&mut history, &json, line).map_err(|why| syntax(line, 1, why))?;
        }
    }

    /// The whole history as JSON lines.
    pub fn to_json_lines(&self) -> String {
        let line = |event: &Event| write_event(self, event) + "\n";
        self.events.iter().map(line).collect()
    }
}

fn syntax(line: u32, column: u32, why: String) -> ReadError {
    ReadError::Syntax { line, column, why }
}

fn push(history: &mut History, json: &Json, line: u32) -> Result<(), String> {
    let Json::Object(object) = json else {
        return Err("an event is an object: {\"type\":\"invoke\",\"process\":0,…}".to_owned());
    };
    let full = || "the history holds more than 2^32 values".to_owned();
    let kind = object
        .get("type")
        .and_then(Json::as_str)
        .and_then(Kind::from_name);
    let kind = kind.ok_or("the event has no \"type\" of \"invoke\", \"ok\", \"fail\", \"info\"")?;
    let process = match object.get("process") {
        Some(Json::Number(number)) => number.as_i64().filter(|n| *n >= 0).map(Process::Client),
        Some(Json::String(name)) => Some(Process::Other(
            history.values.names.intern(name).ok_or_else(full)?,
        )),
        _ => None,
    };
    let process =
        process.ok_or("the event has no \"process\" that is a number from 0 or a string")?;
    let f = match object.get("f") {
        Some(Json::String(name)) => Some(history.values.names.intern(name).ok_or_else(full)?),
        Some(Json::Null) | None => None,
        Some(other) => return Err(format!("\"f\" is {other}, not a string")),
    };
    let value = from_json(object.get("value").unwrap_or(&Json::Null))?;
    let count = history.events.len() as u64;
    let event = Event {
        index: object.get("index").and_then(Json::as_u64).unwrap_or(count),
        time: object.get("time").and_then(Json::as_i64).unwrap_or(-1),
        process,
        kind,
        f,
        value: history.values.push(&value).ok_or_else(full)?,
        line,
    };
    history.events.push(event);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_goes_through_json_and_back() {
        let edn = "{:index 0, :time 5, :type :invoke, :process 3, :f :txn, :value [[:append 4 17] [:r 4 nil]]}\n\
                   {:index 1, :time 6, :type :ok, :process 3, :f :txn, :value [[:append 4 17] [:r 4 [1 17]]]}\n\
                   {:index 2, :time 7, :type :info, :process :nemesis, :f nil, :value {:a 1.5}}\n";
        let history = History::read_edn(edn.as_bytes()).unwrap();
        let json = history.to_json_lines();
        assert!(
            json.contains(r#""value":[["append",4,17],["r",4,[1,17]]]"#),
            "{json}"
        );
        let back = History::read_json(json.as_bytes()).unwrap();
        assert_eq!(back.to_json_lines(), json);
        assert_eq!(back.events()[1].line, 2);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| History::read_json(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error("\n{").starts_with("line 2, column"),
            "{}",
            error("\n{")
        );
        assert!(error("[1]").contains("an event is an object"));
        assert!(error(r#"{"type":"okay"}"#).contains("no \"type\" of"));
        assert!(error(r#"{"type":"ok"}"#).contains("no \"process\""));
    }
}
