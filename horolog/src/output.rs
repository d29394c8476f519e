//! What a command prints: lines for people, or one JSON object a line for scripts.
//!
//! Bytes in JSON are a string under their own name if they are UTF-8, else base64 under the name with
//! `_base64` behind it: `"key"` or `"key_base64"`. Timestamps are strings as the store prints them.

use crate::text::bytes::shown;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clock::Timestamp;
use serde_json::{Map, Value};
use std::io::{self, Write};
use wire::message::VersionedValue;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// One JSON object to print, its members by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// An empty one.
    pub(crate) fn new() -> Object {
        Object::default()
    }

    /// Adds a member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Object {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds bytes: as a string if they are UTF-8, else in base64.
    pub(crate) fn bytes(self, name: &str, bytes: &[u8]) -> Object {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(&format!("{name}_base64"), BASE64_STANDARD.encode(bytes)),
        }
    }

    /// Adds bytes, or null.
    pub(crate) fn maybe_bytes(self, name: &str, bytes: Option<&[u8]>) -> Object {
        match bytes {
            Some(bytes) => self.bytes(name, bytes),
            None => self.with(name, Value::Null),
        }
    }

    /// Adds a timestamp.
    pub(crate) fn timestamp(self, name: &str, timestamp: Timestamp) -> Object {
        self.with(name, timestamp.to_string())
    }

    /// Adds `value` and `timestamp` of a version; both null if there is none, the timestamp also of a
    /// write that is not committed yet.
    pub(crate) fn version(self, version: Option<&VersionedValue>) -> Object {
        let object = self.maybe_bytes("value", version.map(|v| &v.value[..]));
        let committed = version.filter(|version| !is_own_write(version));
        object.with("timestamp", committed.map(|v| v.timestamp.to_string()))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object.0)
    }
}

/// Prints to standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output(pub(crate) Format);

impl Output {
    /// Prints one result, in the form that is wanted.
    pub(crate) fn print(
        self,
        text: impl FnOnce() -> String,
        object: impl FnOnce() -> Object,
    ) -> io::Result<()> {
        let line = match self.0 {
            Format::Text => text(),
            Format::Json => Value::from(object()).to_string(),
        };
        writeln!(io::stdout().lock(), "{line}")
    }

    /// Prints a key with its version, or that it has none.
    pub(crate) fn version(self, key: &[u8], version: Option<&VersionedValue>) -> io::Result<()> {
        self.print(
            || version_line(key, version),
            || Object::new().bytes("key", key).version(version),
        )
    }

    /// Whether scripts read this.
    pub(crate) fn is_json(self) -> bool {
        self.0 == Format::Json
    }
}

/// What an open transaction wrote itself has no timestamp yet; the client library shows `MAX`.
fn is_own_write(version: &VersionedValue) -> bool {
    version.timestamp == Timestamp::MAX
}

fn version_line(key: &[u8], version: Option<&VersionedValue>) -> String {
    match version {
        None => format!("{} is absent", shown(key)),
        Some(version) if is_own_write(version) => {
            format!(
                "{} = {}   not committed yet",
                shown(key),
                shown(&version.value)
            )
        }
        Some(VersionedValue { timestamp, value }) => {
            format!("{} = {}   @ {timestamp}", shown(key), shown(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(object: Object) -> String {
        Value::from(object).to_string()
    }

    #[test]
    fn bytes_that_are_not_text_are_base64() {
        let version = VersionedValue {
            timestamp: Timestamp::from_micros(1_500_000),
            value: (&b"\xff\x00"[..]).into(),
        };
        assert_eq!(
            json(Object::new().bytes("key", b"a\"b").version(Some(&version))),
            r#"{"key":"a\"b","timestamp":"1.500000+0","value_base64":"/wA="}"#
        );
        assert_eq!(
            json(Object::new().bytes("key", b"a").version(None)),
            r#"{"key":"a","timestamp":null,"value":null}"#
        );
    }

    #[test]
    fn a_line_for_people_shows_key_value_and_version() {
        let version = VersionedValue {
            timestamp: Timestamp::from_micros(1_500_000).next(),
            value: (&b"two words"[..]).into(),
        };
        assert_eq!(
            version_line(b"a", Some(&version)),
            "a = \"two words\"   @ 1.500000+1"
        );
        assert_eq!(version_line(b"", None), "\"\" is absent");
    }
}
