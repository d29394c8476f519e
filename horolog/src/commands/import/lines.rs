//! Lines of a file with their numbers.

use std::io::{self, BufRead};
use wire::keys::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// The longest line: the longest key and value with every byte escaped (`\u00XX`), and some room.
pub(super) const LINE_BYTES_MAX: usize = 6 * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + 4096;

/// Reads lines and counts them.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    bytes: u64,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// 1 for the first.
    pub(super) number: u64,
    /// Its bytes; of a line above [`LINE_BYTES_MAX`] nothing is kept.
    pub(super) bytes: Result<Vec<u8>, TooLong>,
}

/// A line is longer than any that could be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        Lines {
            reader,
            number: 0,
            bytes: 0,
        }
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut too_long = false;
        let mut started = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            started = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            too_long |= bytes.len() + taken > LINE_BYTES_MAX;
            if too_long {
                bytes = Vec::new();
            } else {
                bytes.extend_from_slice(&buffer[..taken]);
            }
            self.reader.consume(taken);
            self.bytes += taken as u64;
            if end.is_some() {
                break;
            }
        }
        if !started {
            return Ok(None);
        }
        self.number += 1;
        while bytes
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            bytes.pop();
        }
        Ok(Some(Line {
            number: self.number,
            bytes: if too_long { Err(TooLong) } else { Ok(bytes) },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_are_numbered_and_lose_their_ends() {
        let file = b"a\r\n\nlast";
        let mut lines = Lines::new(BufReader::with_capacity(2, &file[..]));
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.number, line.bytes.unwrap()));
        }
        let expected: [(u64, &[u8]); 3] = [(1, b"a"), (2, b""), (3, b"last")];
        assert_eq!(seen, expected.map(|(n, l)| (n, l.to_vec())));
        assert_eq!(lines.bytes(), file.len() as u64);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_without_being_kept() {
        let mut file = vec![b'x'; LINE_BYTES_MAX + 1];
        file.extend_from_slice(b"\nnext\n");
        let mut lines = Lines::new(&file[..]);
        assert_eq!(lines.next().unwrap().unwrap().bytes, Err(TooLong));
        let next = lines.next().unwrap().unwrap();
        assert_eq!((next.number, next.bytes), (2, Ok(b"next".to_vec())));
    }
}
