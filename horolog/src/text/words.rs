//! A line divided into words, much as a Unix shell does it, so that one grammar serves both.
//!
//! Blanks divide. Single quotes take everything literally and vanish. Double quotes stay, with their
//! escapes, for [`super::bytes::Text`] to read. A `#` at the start of a word begins a comment.

/// Why a line cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quote {quote} at column {column} is not closed")]
pub(crate) struct UnclosedQuote {
    quote: char,
    column: usize,
}

/// The words of a line, in order.
pub(crate) fn words(line: &str) -> Result<Vec<String>, UnclosedQuote> {
    let mut words = Vec::new();
    let mut chars = line.char_indices().peekable();
    while let Some(&(_, first)) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
        } else if first == '#' {
            break;
        } else {
            words.push(word(line, &mut chars)?);
        }
    }
    Ok(words)
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn word(line: &str, chars: &mut Chars<'_>) -> Result<String, UnclosedQuote> {
    let mut word = String::new();
    while let Some((at, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
        let unclosed = || UnclosedQuote {
            quote: c,
            column: line[..at].chars().count() + 1,
        };
        match c {
            '\'' => loop {
                match chars.next().ok_or_else(unclosed)?.1 {
                    '\'' => break,
                    inside => word.push(inside),
                }
            },
            '"' => {
                word.push(c);
                loop {
                    let inside = chars.next().ok_or_else(unclosed)?.1;
                    word.push(inside);
                    match inside {
                        '"' => break,
                        '\\' => word.push(chars.next().ok_or_else(unclosed)?.1),
                        _ => {}
                    }
                }
            }
            plain => word.push(plain),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_divide_and_quotes_join() {
        assert_eq!(words("  get   a\t").unwrap(), ["get", "a"]);
        assert_eq!(words("").unwrap(), [""; 0]);
        assert_eq!(
            words(r#"put "a \" b" '{"x": 1}' # why"#).unwrap(),
            ["put", r#""a \" b""#, r#"{"x": 1}"#]
        );
        assert_eq!(words("a#b ''").unwrap(), ["a#b", ""]);
        assert_eq!(words(r"'a\'").unwrap(), [r"a\"]);
    }

    #[test]
    fn an_open_quote_is_named() {
        let error = words(r#"put ä "b"#).unwrap_err();
        assert_eq!(error.to_string(), "the quote \" at column 7 is not closed");
        assert!(words("put 'b").is_err());
        assert!(words(r#"put "b\"#).is_err());
    }
}
