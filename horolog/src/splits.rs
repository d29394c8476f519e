//! Where the first partitions of a new cluster meet.

use crate::text::bytes::Text;
use std::collections::BTreeSet;
use wire::keys::{DEFAULT_KEYSPACE, Key};

/// The most partitions that `--partitions` takes.
pub(crate) const PARTITIONS_MAX: i64 = cluster::PARTITIONS_MAX as i64;

/// The borders that the command line asks for, ascending, each once.
pub(crate) fn chosen(split_at: &[Text], partitions: u32) -> Vec<Key> {
    if split_at.is_empty() {
        return cluster::even_splits(partitions as usize);
    }
    let keys = split_at
        .iter()
        .map(|key| Key::new(DEFAULT_KEYSPACE, &key.0));
    let keys: BTreeSet<Key> = keys.collect();
    keys.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_borders_are_sorted_and_single() {
        let typed = ["n", "b", "n"].map(|key| Text(key.into()));
        let two: [&[u8]; 2] = [b"b", b"n"];
        let keys = chosen(&typed, 4);
        assert_eq!(keys.iter().map(Key::user).collect::<Vec<_>>(), two);
    }

    #[test]
    fn borders_are_even_unless_they_are_named() {
        assert_eq!(chosen(&[], 4), cluster::even_splits(4));
    }
}
