//! Text for people: keys and values as they are typed and shown, words of a line, tables, quantities.

pub(crate) mod bytes;
pub(crate) mod quantity;
pub(crate) mod table;
pub(crate) mod words;
