//! Where the first partitions of a new cluster meet.

use wire::keys::{DEFAULT_KEYSPACE, Key};

const LETTERS: u32 = 26;

/// The borders of `partitions` ranges of the default keyspace, spread evenly over the letters a to z:
/// four partitions meet at `gn`, `n` and `tn`. People's keys begin with letters; whoever has others
/// says so with `--split-at`.
pub(crate) fn spread_over_letters(partitions: u32) -> Vec<Key> {
    let pairs = LETTERS * LETTERS;
    (1..partitions)
        .map(|border| {
            let pair = border * pairs / partitions;
            let letter = |number: u32| b'a' + number as u8;
            let text = [letter(pair / LETTERS), letter(pair % LETTERS)];
            let text = text.strip_suffix(b"a").unwrap_or(&text);
            Key::new(DEFAULT_KEYSPACE, text)
        })
        .collect()
}

/// The most partitions that letters can tell apart.
pub(crate) const PARTITIONS_MAX: i64 = (LETTERS * LETTERS) as i64;

/// The borders that the command line asks for, ascending, each once.
pub(crate) fn chosen(split_at: &[crate::text::bytes::Text], partitions: u32) -> Vec<Key> {
    if split_at.is_empty() {
        return spread_over_letters(partitions);
    }
    let keys = split_at
        .iter()
        .map(|key| Key::new(DEFAULT_KEYSPACE, &key.0));
    let keys: std::collections::BTreeSet<Key> = keys.collect();
    keys.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::bytes::Text;

    fn users(keys: &[Key]) -> Vec<&[u8]> {
        keys.iter().map(Key::user).collect()
    }

    #[test]
    fn borders_are_spread_over_the_letters() {
        assert!(spread_over_letters(1).is_empty());
        assert_eq!(users(&spread_over_letters(2)), [b"n"]);
        let four: [&[u8]; 3] = [b"gn", b"n", b"tn"];
        assert_eq!(users(&spread_over_letters(4)), four);
        let most = spread_over_letters(PARTITIONS_MAX as u32);
        assert!(most.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(most.len() as i64, PARTITIONS_MAX - 1);
    }

    #[test]
    fn chosen_borders_are_sorted_and_single() {
        let typed = ["n", "b", "n"].map(|key| Text(key.into()));
        let two: [&[u8]; 2] = [b"b", b"n"];
        assert_eq!(users(&chosen(&typed, 4)), two);
        assert_eq!(chosen(&[], 4).len(), 3);
    }
}
