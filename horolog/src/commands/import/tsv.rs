//! Tab-separated values: a header of column names, then one row a line.
//!
//! The field of the key column is the key. The value is a JSON object of the other columns, each a
//! string, in their order: `{"name":"Ada","city":"London"}`. There are no quotes and no escapes, so
//! a field holds neither tab nor line end.

use super::ImportRow;
use std::fmt::Write;

/// The columns of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    names: Vec<String>,
    key: usize,
}

impl Columns {
    /// Reads the header. Without a name, the first column holds the keys.
    pub(super) fn parse(header: &[u8], key: Option<&str>) -> Result<Columns, String> {
        let header = text(header)?;
        let names: Vec<String> = header.split('\t').map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(format!("the column '{name}' is there twice"));
            }
        }
        let key = match key {
            None => 0,
            Some(key) => names.iter().position(|name| name == key).ok_or_else(|| {
                let known = names.join(", ");
                format!("there is no column '{key}' for --key-column; the columns are: {known}")
            })?,
        };
        Ok(Columns { names, key })
    }

    /// Reads one row.
    pub(super) fn row(&self, line: &[u8]) -> Result<ImportRow, String> {
        let fields: Vec<&str> = text(line)?.split('\t').collect();
        if fields.len() != self.names.len() {
            let (found, wanted) = (fields.len(), self.names.len());
            return Err(format!(
                "it has {found} fields, the header names {wanted} columns"
            ));
        }
        let mut value = String::from("{");
        for (at, (name, field)) in self.names.iter().zip(&fields).enumerate() {
            if at != self.key {
                let comma = if value.len() > 1 { "," } else { "" };
                let (name, field) = (json_string(name), json_string(field));
                write!(value, "{comma}{name}:{field}").expect("a String takes everything");
            }
        }
        value.push('}');
        Ok(ImportRow {
            key: fields[self.key].to_owned().into(),
            value: value.into(),
        })
    }
}

fn text(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_columns_become_an_object_in_their_order() {
        let columns = Columns::parse(b"name\tid\tcity", Some("id")).unwrap();
        let row = columns.row("Ada \"A\"\t7\tZürich".as_bytes()).unwrap();
        assert_eq!(row.key, "7");
        assert_eq!(row.value, r#"{"name":"Ada \"A\"","city":"Zürich"}"#);
        let first = Columns::parse(b"name\tid", None).unwrap();
        assert_eq!(first.row(b"\t").unwrap().value, r#"{"id":""}"#);
        let only = Columns::parse(b"k", None).unwrap();
        assert_eq!(only.row(b"x").unwrap().value, "{}");
    }

    #[test]
    fn rows_and_headers_that_do_not_fit_are_refused() {
        let columns = Columns::parse(b"a\tb", None).unwrap();
        let message = columns.row(b"1\t2\t3").unwrap_err();
        assert_eq!(message, "it has 3 fields, the header names 2 columns");
        assert!(columns.row(b"1\t\xff").unwrap_err().contains("UTF-8"));
        assert!(Columns::parse(b"a\ta", None).unwrap_err().contains("twice"));
        let message = Columns::parse(b"a\tb", Some("c")).unwrap_err();
        assert!(message.contains("the columns are: a, b"), "{message}");
    }
}
