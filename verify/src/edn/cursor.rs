//! One form of EDN from bytes, without copies: names are compared with what is known already, numbers
//! go straight into the array of values.
//!
//! A form that ends before the bytes do not is [`Fault::Incomplete`]: whoever streams reads more and
//! begins the form again.

use crate::history::{Node, Sequence, Values};

/// How deep values may be nested: vectors of micro-operations of lists need four.
pub const NESTING_MAX: usize = 64;

/// Why there is no form here.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// The bytes end first.
    Incomplete { what: &'static str },
    /// It is none.
    Wrong { at: usize, why: String },
}

type Parsed<T> = Result<T, Fault>;

/// A place in bytes.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// The last token may touch the end of the bytes; in a stream it may go on.
    whole: bool,
}

impl<'a> Cursor<'a> {
    /// Over a whole text.
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        let (at, whole) = (0, true);
        Cursor { bytes, at, whole }
    }

    /// Over what has come of a stream.
    pub(super) fn within(bytes: &'a [u8]) -> Cursor<'a> {
        let (at, whole) = (0, false);
        Cursor { bytes, at, whole }
    }

    pub(super) fn wrong<T>(&self, at: usize, why: impl Into<String>) -> Parsed<T> {
        let why = why.into();
        Err(Fault::Wrong { at, why })
    }

    /// The next byte that belongs to a form; `None` at the end of the bytes.
    pub(super) fn peek(&mut self) -> Parsed<Option<u8>> {
        loop {
            match self.bytes.get(self.at) {
                None => return Ok(None),
                Some(b' ' | b'\n' | b',' | b'\t' | b'\r' | 0x0c) => self.at += 1,
                Some(b';') => match self.bytes[self.at..].iter().position(|b| *b == b'\n') {
                    Some(end) => self.at += end + 1,
                    None => self.at = self.bytes.len(),
                },
                Some(b'#') if self.bytes.get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.form(&mut Values::default(), 0)?;
                }
                Some(byte) => return Ok(Some(*byte)),
            }
        }
    }

    fn some(&mut self, what: &'static str) -> Parsed<u8> {
        self.peek()?.ok_or(Fault::Incomplete { what })
    }

    /// Reads one form into the array, and gives its place.
    pub(super) fn form(&mut self, values: &mut Values, depth: usize) -> Parsed<u32> {
        let byte = self.some("a value is missing")?;
        let start = self.at;
        if depth > NESTING_MAX {
            return self.wrong(
                start,
                format!("values are nested deeper than {NESTING_MAX}"),
            );
        }
        let Ok(place) = u32::try_from(values.nodes.len()) else {
            return self.wrong(start, "the history holds more than 2^32 values");
        };
        match byte {
            b'[' => return self.sequence(values, Sequence::Vector, 1, depth),
            b'(' => return self.sequence(values, Sequence::List, 1, depth),
            b'{' => return self.sequence(values, Sequence::Map, 1, depth),
            b'#' => return self.dispatch(values, depth),
            _ => {}
        }
        let node = self.scalar(byte, values);
        if self.at >= self.bytes.len() && !self.whole {
            return Err(Fault::Incomplete {
                what: "a value is cut off",
            });
        }
        values.nodes.push(node?);
        Ok(place)
    }

    fn scalar(&mut self, byte: u8, values: &mut Values) -> Parsed<Node> {
        let start = self.at;
        match byte {
            b'"' => self.text(values),
            b':' => {
                self.at += 1;
                let name = self.token();
                if name.is_empty() {
                    return self.wrong(start, "a keyword has no name");
                }
                Ok(Node::Keyword(self.intern(values, name)?))
            }
            b'\\' => self.character(),
            b'0'..=b'9' => self.number(),
            b'-' | b'+' if self.bytes.get(start + 1).is_some_and(u8::is_ascii_digit) => {
                self.number()
            }
            b']' | b')' | b'}' => {
                self.wrong(start, format!("'{}' closes nothing", char::from(byte)))
            }
            _ => self.word(values),
        }
    }

    fn sequence(
        &mut self,
        values: &mut Values,
        sequence: Sequence,
        opening: usize,
        depth: usize,
    ) -> Parsed<u32> {
        let start = self.at;
        self.at += opening;
        let place = values.nodes.len();
        values.nodes.push(Node::Sequence { sequence, end: 0 });
        let (_, closing) = sequence.brackets();
        let mut members = 0;
        while self.some("a bracket is not closed")? != closing as u8 {
            self.form(values, depth + 1)?;
            members += 1;
        }
        self.at += 1;
        if sequence == Sequence::Map && members % 2 == 1 {
            return self.wrong(start, "a map has a key without a value");
        }
        let end = values.nodes.len() as u32;
        values.nodes[place] = Node::Sequence { sequence, end };
        Ok(place as u32)
    }

    /// `#{set}`, `#tag form`, `##Inf`.
    fn dispatch(&mut self, values: &mut Values, depth: usize) -> Parsed<u32> {
        let start = self.at;
        match self.bytes.get(start + 1) {
            None => Err(Fault::Incomplete {
                what: "a '#' begins nothing",
            }),
            Some(b'{') => self.sequence(values, Sequence::Set, 2, depth),
            Some(byte) if byte.is_ascii_alphabetic() => {
                self.at += 1;
                self.token();
                self.form(values, depth + 1)
            }
            Some(byte) => self.wrong(
                start,
                format!("'#{}' is not read here", char::from(*byte).escape_default()),
            ),
        }
    }

    /// The bytes up to the next one that ends a token.
    pub(super) fn token(&mut self) -> &'a [u8] {
        let start = self.at;
        let rest = &self.bytes[start..];
        let ends = |b: &u8| {
            matches!(
                b,
                b' ' | b'\n'
                    | b','
                    | b'\t'
                    | b'\r'
                    | b']'
                    | b'}'
                    | b')'
                    | b'['
                    | b'{'
                    | b'('
                    | b'"'
                    | b';'
            )
        };
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.bytes[start..self.at]
    }

    fn intern(&self, values: &mut Values, bytes: &[u8]) -> Parsed<crate::intern::Name> {
        let start = self.at - bytes.len().min(self.at);
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.wrong(start, "the text is not UTF-8");
        };
        match values.names.intern(text) {
            Some(name) => Ok(name),
            None => self.wrong(start, "the history holds more than 4 GiB of distinct names"),
        }
    }

    fn word(&mut self, values: &mut Values) -> Parsed<Node> {
        let start = self.at;
        Ok(match self.token() {
            b"nil" => Node::Nil,
            b"true" => Node::Bool(true),
            b"false" => Node::Bool(false),
            b"" => return self.wrong(start, "a value is expected here"),
            word if word[0].is_ascii_control() || word.starts_with(b"@") => {
                let shown = String::from_utf8_lossy(word).escape_default().to_string();
                return self.wrong(start, format!("'{shown}' begins no value"));
            }
            word => Node::Symbol(self.intern(values, word)?),
        })
    }

    pub(super) fn number(&mut self) -> Parsed<Node> {
        let start = self.at;
        let negative = self.bytes[start] == b'-';
        let mut at = start + usize::from(matches!(self.bytes[start], b'-' | b'+'));
        let mut value: i64 = 0;
        let mut fits = true;
        while let Some(digit) = self.bytes.get(at).filter(|b| b.is_ascii_digit()) {
            let digit = i64::from(digit - b'0');
            let signed = if negative { -digit } else { digit };
            let next = value.checked_mul(10).and_then(|v| v.checked_add(signed));
            fits &= next.is_some();
            value = next.unwrap_or(0);
            at += 1;
        }
        if self.bytes.get(at) == Some(&b'N') {
            at += 1;
        }
        self.at = at;
        let rest = self.token();
        if rest.is_empty() {
            return match fits {
                true => Ok(Node::Int(value)),
                false => self.wrong(start, "the integer does not fit 64 bits"),
            };
        }
        let whole = &self.bytes[start..self.at];
        let text = std::str::from_utf8(whole).unwrap_or("");
        match text.strip_suffix('M').unwrap_or(text).parse::<f64>() {
            Ok(value) if matches!(rest[0], b'.' | b'e' | b'E' | b'M') => Ok(Node::Float(value)),
            _ => {
                let shown = String::from_utf8_lossy(whole);
                self.wrong(
                    start,
                    format!("'{shown}' is not a number that is read here"),
                )
            }
        }
    }

    fn text(&mut self, values: &mut Values) -> Parsed<Node> {
        let start = self.at;
        let body = start + 1;
        let mut at = body;
        let mut plain = true;
        loop {
            match self.bytes.get(at) {
                None => {
                    return Err(Fault::Incomplete {
                        what: "a string is not closed",
                    });
                }
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        let raw = &self.bytes[body..at];
        if plain {
            return Ok(Node::Text(self.intern(values, raw)?));
        }
        let text = self.unescape(start, raw)?;
        Ok(Node::Text(self.intern(values, text.as_bytes())?))
    }

    fn unescape(&self, start: usize, raw: &[u8]) -> Parsed<String> {
        let Ok(raw) = std::str::from_utf8(raw) else {
            return self.wrong(start, "the text is not UTF-8");
        };
        let mut text = String::with_capacity(raw.len());
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            let escaped = match chars.next() {
                Some('n') => Some('\n'),
                Some('t') => Some('\t'),
                Some('r') => Some('\r'),
                Some('b') => Some('\u{8}'),
                Some('f') => Some('\u{c}'),
                Some(c @ ('"' | '\\')) => Some(c),
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&hex, 16).ok();
                    code.and_then(char::from_u32)
                }
                _ => None,
            };
            match escaped {
                Some(c) => text.push(c),
                None => return self.wrong(start, "the string holds an unknown escape"),
            }
        }
        Ok(text)
    }

    fn character(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.at += 1;
        // The first character may be one that ends tokens: `\[`.
        let width = match std::str::from_utf8(&self.bytes[self.at..]) {
            Ok(text) => text.chars().next().map_or(0, char::len_utf8),
            Err(_) => 1,
        };
        self.at += width;
        self.token();
        let name = std::str::from_utf8(&self.bytes[start + 1..self.at]).unwrap_or("");
        let mut chars = name.chars();
        let one = match (chars.next(), chars.next()) {
            (None, _) => {
                return Err(Fault::Incomplete {
                    what: "a character is missing",
                });
            }
            (Some(c), None) => Some(c),
            _ => match name {
                "newline" => Some('\n'),
                "space" => Some(' '),
                "tab" => Some('\t'),
                "return" => Some('\r'),
                _ => name
                    .strip_prefix('u')
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                    .and_then(char::from_u32),
            },
        };
        match one {
            Some(c) => Ok(Node::Char(c)),
            None => self.wrong(start, format!("'\\{name}' is no character")),
        }
    }
}
