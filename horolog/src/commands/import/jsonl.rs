//! JSON lines: one object a line, `{"key": …, "value": …}`.
//!
//! - A `value` that is a JSON string is stored as the bytes of the string; any other JSON value as
//!   its exact source text, so numbers keep their digits and objects their order.
//! - `key_base64` and `value_base64` take bytes that are not text.
//! - Other members are refused: a misspelt name would lose data silently.

use super::ImportRow;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
}

/// A `null` is a value like others; only a missing member is `None`.
fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<ImportRow, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| told(&error))?;
    let key = match (line.key, line.key_base64) {
        (Some(key), None) => key.into(),
        (None, Some(base64)) => decode("key_base64", &base64)?,
        (None, None) => return Err("there is no \"key\" (nor \"key_base64\")".to_owned()),
        (Some(_), Some(_)) => {
            return Err("it has both \"key\" and \"key_base64\": give one".to_owned());
        }
    };
    let value = match (line.value, line.value_base64) {
        (Some(value), None) => value_bytes(value)?,
        (None, Some(base64)) => decode("value_base64", &base64)?,
        (None, None) => return Err("there is no \"value\" (nor \"value_base64\")".to_owned()),
        (Some(_), Some(_)) => {
            return Err("it has both \"value\" and \"value_base64\": give one".to_owned());
        }
    };
    Ok(ImportRow { key, value })
}

/// The parser counts lines of its own text, which is always one.
fn told(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let what = whole.split(" at line ").next().unwrap_or(&whole);
    let column = error.column();
    match error.classify() {
        Category::Eof => "it ends in the middle: a line is one whole JSON object".to_owned(),
        Category::Data => format!("{what} (column {column})"),
        Category::Syntax if what.starts_with("expected ident") => {
            format!("it is not JSON (column {column})")
        }
        Category::Syntax | Category::Io => format!("it is not JSON: {what} (column {column})"),
    }
}

fn value_bytes(value: &RawValue) -> Result<Bytes, String> {
    let source = value.get();
    if !source.starts_with('"') {
        return Ok(Bytes::copy_from_slice(source.as_bytes()));
    }
    let text: String =
        serde_json::from_str(source).map_err(|error| format!("\"value\": {}", told(&error)))?;
    Ok(text.into())
}

fn decode(name: &str, base64: &str) -> Result<Bytes, String> {
    let bytes = BASE64_STANDARD.decode(base64);
    let wrong =
        || format!("\"{name}\" is not base64: A-Z a-z 0-9 + / in groups of four, = at the end");
    Ok(bytes.map_err(|_| wrong())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Vec<u8>, Vec<u8>) {
        let row = parse(line.as_bytes()).unwrap();
        (row.key.to_vec(), row.value.to_vec())
    }

    #[test]
    fn strings_are_bytes_and_other_values_their_source() {
        for (source, stored) in [
            (r#""tab\tä""#, "tab\tä"),
            ("1.50", "1.50"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("null", "null"),
            ("true", "true"),
            (r#"{"b": 1,  "a": [2]}"#, r#"{"b": 1,  "a": [2]}"#),
            (r#""""#, ""),
        ] {
            let line = format!(r#"{{"key": "k", "value": {source}}}"#);
            assert_eq!(read(&line), (b"k".to_vec(), stored.into()), "{line}");
        }
    }

    #[test]
    fn base64_is_for_bytes() {
        assert_eq!(
            read(r#"{"value_base64":"/wA=","key_base64":"AP8="}"#),
            (b"\x00\xff".to_vec(), b"\xff\x00".to_vec())
        );
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        for (line, part) in [
            ("", "ends in the middle"),
            ("{", "ends in the middle"),
            ("not json", "it is not JSON (column 2)"),
            (r#"{"key":"a","value":nope}"#, "it is not JSON"),
            ("[1]", "invalid"),
            (r#"{"value":1}"#, "no \"key\""),
            (r#"{"key":"a"}"#, "no \"value\""),
            (r#"{"key":1,"value":1}"#, "invalid type: integer"),
            (
                r#"{"key":"a","valeu":1,"value":1}"#,
                "unknown field `valeu`",
            ),
            (r#"{"key":"a","key":"b","value":1}"#, "duplicate field"),
            (r#"{"key":"a","key_base64":"AA==","value":1}"#, "both"),
            (r#"{"key":"a","value_base64":"AA==","value":1}"#, "both"),
            (
                r#"{"key":"a","value_base64":"!"}"#,
                "\"value_base64\" is not base64",
            ),
            (r#"{"key":"a","value":"\ud800"}"#, "value"),
            (r#"{"key":"a","value":1} x"#, "trailing"),
        ] {
            let message = parse(line.as_bytes()).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
            assert!(!message.contains("line 1"), "{line}: {message}");
        }
        assert!(parse(b"{\"key\":\"\xff\",\"value\":1}").is_err());
    }
}
