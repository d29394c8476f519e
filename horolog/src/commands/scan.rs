//! `scan`: keys of a range.

use crate::failure::Failure;
use crate::session::{Session, Wanted};
use crate::text::bytes::Text;
use crate::text::quantity;
use clap::Args;
use wire::client::{IntoKeyRange, prefix};
use wire::ids::KeyspaceId;
use wire::keys::{Key, KeyRange};
use wire::message::Row;

/// Read the keys of a range, in order
///
/// All rows are of one snapshot, however many partitions the range covers and however long it takes.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog scan                              the first 100 keys of the keyspace
  horolog scan --prefix user/ --limit 10
  horolog scan --from a --to n --reverse    from the last one below n
  horolog scan --all --json > keyspace.jsonl")]
pub(crate) struct Scan {
    /// The first key
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub(crate) from: Option<Text>,

    /// The first key that is no longer wanted
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub(crate) to: Option<Text>,

    /// All keys that begin with this
    #[arg(long, value_name = "BYTES")]
    pub(crate) prefix: Option<Text>,

    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,

    /// All rows, without a limit
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,

    /// From the end of the range backwards
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Read as of this timestamp
    #[arg(long, value_name = "TIMESTAMP")]
    pub(crate) at: Option<clock::Timestamp>,
}

impl Scan {
    fn range(&self, keyspace: KeyspaceId) -> KeyRange {
        if let Some(Text(bytes)) = &self.prefix {
            return prefix(bytes).into_key_range(keyspace);
        }
        let whole = KeyRange::keyspace(keyspace);
        let border = |typed: &Option<Text>| typed.as_ref().map(|t| Key::new(keyspace, &t.0));
        KeyRange::new(
            border(&self.from).unwrap_or(whole.start),
            border(&self.to).or(whole.end),
        )
    }

    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let limit = if self.all { None } else { Some(self.limit) };
        let wanted = Wanted {
            range: self.range(session.keyspace_id()),
            reverse: self.reverse,
            limit,
            at: self.at,
        };
        let output = session.output;
        let mut rows = 0;
        let each = |row: &Row| {
            rows += 1;
            output.version(row.key.user(), Some(&row.version))
        };
        session.scan(wanted, each).await?;
        if !output.is_json() {
            let note = if limit == Some(rows) {
                " (the limit: there may be more, see --limit and --all)"
            } else {
                ""
            };
            eprintln!("{}{note}", quantity::rows(rows));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use wire::keys::DEFAULT_KEYSPACE;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        scan: Scan,
    }

    fn range(arguments: &[&str]) -> String {
        let line = std::iter::once(&"scan").chain(arguments);
        let range = Line::parse_from(line).scan.range(DEFAULT_KEYSPACE);
        format!("{range:?}")
    }

    #[test]
    fn ranges_stay_in_their_keyspace() {
        assert_eq!(range(&["--prefix", "ab"]), "[ab, ac)");
        assert_eq!(range(&["--from", "a", "--to", "\"b\\x00\""]), "[a, b\\x00)");
        assert_eq!(range(&[]), "[, ks2:)");
        assert_eq!(range(&["--to", "b"]), "[, b)");
    }
}
