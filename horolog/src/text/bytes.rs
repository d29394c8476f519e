//! Keys and values as people type and read them.
//!
//! ```text
//!   alice           these five bytes
//!   "a b"           in double quotes: blanks and escapes
//!   "\x00\n\""      \x and two hexadecimal digits, \n \r \t \0 \\ \" \'
//! ```
//!
//! - What [`shown`] writes, [`Text`] reads back as the same bytes.
//! - A text that begins with a double quote and is not a whole quoted text is refused, never taken
//!   literally: half a quote is a slip of the hand more often than a key.

use ::bytes::Bytes;
use clap::builder::{OsStringValueParser, TryMapValueParser, TypedValueParser, ValueParserFactory};
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;

/// Bytes that were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Bytes);

/// Why a quoted text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuoteError {
    #[error(
        "a text that begins with a double quote must end with one: \"…\" (a quote inside is written \\\")"
    )]
    Open,
    #[error("nothing may follow the closing double quote (a quote inside is written \\\")")]
    Trailing,
    #[error(
        "unknown escape '\\{0}': use \\xHH, \\n, \\r, \\t, \\0, \\\\, \\\" or \\' (in single quotes if your shell takes away backslashes)"
    )]
    Escape(String),
}

impl Text {
    /// Reads what was typed: as it is, or with escapes if it stands in double quotes.
    pub(crate) fn parse(typed: &[u8]) -> Result<Text, QuoteError> {
        match typed.strip_prefix(b"\"") {
            None => Ok(Text(Bytes::copy_from_slice(typed))),
            Some(rest) => unescape(rest).map(Text),
        }
    }
}

impl ValueParserFactory for Text {
    type Parser = TryMapValueParser<OsStringValueParser, fn(OsString) -> Result<Text, QuoteError>>;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(|typed| Text::parse(&typed.into_vec()))
    }
}

/// Reads up to the closing quote, which must be the last byte.
fn unescape(quoted: &[u8]) -> Result<Bytes, QuoteError> {
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter().copied();
    loop {
        match rest.next().ok_or(QuoteError::Open)? {
            b'"' if rest.len() == 0 => return Ok(bytes.into()),
            b'"' => return Err(QuoteError::Trailing),
            b'\\' => bytes.push(unescape_one(&mut rest)?),
            plain => bytes.push(plain),
        }
    }
}

fn unescape_one(rest: &mut impl Iterator<Item = u8>) -> Result<u8, QuoteError> {
    match rest.next().ok_or(QuoteError::Open)? {
        b'n' => Ok(b'\n'),
        b'r' => Ok(b'\r'),
        b't' => Ok(b'\t'),
        b'0' => Ok(0),
        same @ (b'\\' | b'"' | b'\'') => Ok(same),
        b'x' => {
            let digits: Vec<u8> = rest.take(2).collect();
            hex_byte(&digits)
                .ok_or_else(|| QuoteError::Escape(format!("x{}", digits.escape_ascii())))
        }
        other => Err(QuoteError::Escape([other].escape_ascii().to_string())),
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |d: &u8| char::from(*d).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Bytes as [`Text`] reads them back: bare if that is unambiguous, else in double quotes.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_bare(text) => text.to_owned(),
        _ => quoted(bytes),
    }
}

fn is_bare(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    !text.is_empty() && !text.starts_with(['-', '#']) && text.chars().all(plain)
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => escape_bytes(&mut out, c.encode_utf8(&mut [0; 4])),
                c => out.push(c),
            }
        }
        escape_bytes(&mut out, chunk.invalid());
    }
    out.push('"');
    out
}

fn escape_bytes(out: &mut String, bytes: impl AsRef<[u8]>) {
    for byte in bytes.as_ref() {
        write!(out, "\\x{byte:02x}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use QuoteError::{Escape, Open, Trailing};

    fn read(typed: &str) -> Result<Vec<u8>, QuoteError> {
        Text::parse(typed.as_bytes()).map(|text| text.0.to_vec())
    }

    #[test]
    fn unquoted_text_is_literal() {
        assert_eq!(read(r"a\n'b"), Ok(br"a\n'b".to_vec()));
        assert_eq!(Text::parse(b"\xff\"").unwrap().0[..], b"\xff\""[..]);
    }

    #[test]
    fn quoted_text_has_escapes() {
        assert_eq!(
            read(r#""\x00\xfF\n\r\t\0\\\"\' ä""#),
            Ok(b"\x00\xff\n\r\t\0\\\"' \xc3\xa4".to_vec())
        );
        assert_eq!(read(r#""""#), Ok(Vec::new()));
    }

    #[test]
    fn half_a_quote_is_refused() {
        assert_eq!(read(r#""abc"#), Err(Open));
        assert_eq!(read(r#"""#), Err(Open));
        assert_eq!(read(r#""abc\"#), Err(Open));
        assert_eq!(read(r#""abc\""#), Err(Open));
        assert_eq!(read(r#""a"b""#), Err(Trailing));
        assert_eq!(read(r#""\q""#), Err(Escape("q".into())));
        assert_eq!(read(r#""\x0g""#), Err(Escape("x0g".into())));
        assert_eq!(read(r#""\x+1""#), Err(Escape("x+1".into())));
    }

    #[test]
    fn what_is_shown_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            &b""[..],
            b"plain",
            b"two words",
            b"-5",
            b"#x",
            "grün \u{85}\u{2028}".as_bytes(),
            &all,
            b"\"",
            b"it's",
            b"\xf0\x9f",
        ] {
            let text = shown(bytes);
            assert_eq!(
                Text::parse(text.as_bytes()).unwrap().0[..],
                *bytes,
                "{text}"
            );
            assert!(!text.chars().any(char::is_control), "{text}");
        }
        assert_eq!(shown(b"plain/1"), "plain/1");
        assert_eq!(shown(b"a\x00b"), r#""a\x00b""#);
    }
}
