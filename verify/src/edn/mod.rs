//! EDN, the notation of Jepsen's histories (<https://github.com/edn-format/edn>): what of it a history
//! can hold.
//!
//! Read are `nil`, booleans, integers of 64 bits, floats, characters, strings, keywords, symbols, lists,
//! vectors, maps and sets; comments and `#_` are skipped, a tag is passed over and its value taken.
//! Refused by name: integers beyond 64 bits, ratios, and nesting beyond [`NESTING_MAX`].
//!
//! [`EdnReader`] streams: it holds one event's text at a time, whatever the size of the history.

mod cursor;
mod reader;
mod writer;

pub use cursor::NESTING_MAX;
pub use reader::{EVENT_BYTES_MAX, EdnReader, Forms, ReadError, parse_forms};
pub use writer::write_event;
pub(crate) use writer::write_value;
