//! Small numbers for names and for pairs: two hash tables with open addressing.
//!
//! A history of 100,000 transactions holds millions of keywords and list elements; each becomes a `u32`
//! once, and everything after that compares and indexes numbers. The tables only grow, are never
//! walked through, and so give the same numbers for the same history on every run.

const EMPTY: u32 = u32::MAX;
/// Of 8 slots at most 6 are taken.
const LOAD: (usize, usize) = (6, 8);

/// The name of a keyword, string or symbol in a [`Names`] table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(pub(crate) u32);

/// Texts by number and numbers by text.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    slots: Vec<u32>,
    ends: Vec<u32>,
    text: String,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            slots: vec![EMPTY; 64],
            ends: Vec::new(),
            text: String::new(),
        }
    }
}

impl Names {
    pub(crate) fn text(&self, name: Name) -> &str {
        let index = name.0 as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start as usize..self.ends[index] as usize]
    }

    /// The number of a text; `None` when the table is full (4 GiB of distinct names).
    pub(crate) fn intern(&mut self, text: &str) -> Option<Name> {
        if (self.ends.len() + 1) * LOAD.1 > self.slots.len() * LOAD.0 {
            self.grow();
        }
        let slot = self.slot(text);
        if self.slots[slot] == EMPTY {
            let end = u32::try_from(self.text.len() + text.len()).ok()?;
            self.slots[slot] = self.ends.len() as u32;
            self.text.push_str(text);
            self.ends.push(end);
        }
        Some(Name(self.slots[slot]))
    }

    fn slot(&self, text: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash_bytes(text.as_bytes()) as usize & mask;
        while self.slots[slot] != EMPTY && self.text(Name(self.slots[slot])) != text {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        self.slots = vec![EMPTY; size];
        for number in 0..self.ends.len() as u32 {
            let mask = size - 1;
            let mut slot = hash_bytes(self.text(Name(number)).as_bytes()) as usize & mask;
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = number;
        }
    }
}

/// A multiplicative hash over words of eight bytes (as in rustc's FxHash).
fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut hash = bytes.len() as u64;
    for word in &mut words {
        let word = word
            .try_into()
            .expect("a chunk of eight bytes is eight bytes long");
        hash = mix(hash, u64::from_le_bytes(word));
    }
    let mut rest = 0;
    for byte in words.remainder() {
        rest = rest << 8 | u64::from(*byte);
    }
    finish(mix(hash, rest))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

fn finish(hash: u64) -> u64 {
    hash ^ hash >> 32
}

/// Numbers for pairs: a key's number and a value, as [`crate::transactions::Atom`] packs it.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    slots: Vec<u32>,
    pairs: Vec<(u32, u64)>,
}

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs {
            slots: vec![EMPTY; 64],
            pairs: Vec::new(),
        }
    }
}

impl Pairs {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn get(&self, number: u32) -> (u32, u64) {
        self.pairs[number as usize]
    }

    /// The pair's number, and whether it is new.
    pub(crate) fn intern(&mut self, pair: (u32, u64)) -> (u32, bool) {
        if (self.pairs.len() + 1) * LOAD.1 > self.slots.len() * LOAD.0 {
            self.grow();
        }
        let slot = self.slot(pair);
        let number = self.slots[slot];
        if number != EMPTY {
            return (number, false);
        }
        let number = u32::try_from(self.pairs.len())
            .ok()
            .filter(|number| *number != EMPTY)
            .expect("a history holds fewer than 2^32 versions: its events are counted in 32 bits");
        self.slots[slot] = number;
        self.pairs.push(pair);
        (number, true)
    }

    pub(crate) fn find(&self, pair: (u32, u64)) -> Option<u32> {
        let number = self.slots[self.slot(pair)];
        (number != EMPTY).then_some(number)
    }

    fn slot(&self, pair: (u32, u64)) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = Self::hash(pair) as usize & mask;
        while self.slots[slot] != EMPTY && self.pairs[self.slots[slot] as usize] != pair {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn hash((key, value): (u32, u64)) -> u64 {
        finish(mix(mix(0, u64::from(key)), value))
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        self.slots = vec![EMPTY; size];
        for (number, pair) in self.pairs.iter().enumerate() {
            let mut slot = Self::hash(*pair) as usize & (size - 1);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = number as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_while_the_table_grows() {
        let mut names = Names::default();
        let numbers: Vec<Name> = (0..1_000)
            .map(|n| names.intern(&format!("name-{n}")).unwrap())
            .collect();
        for (n, name) in numbers.iter().enumerate() {
            assert_eq!(names.text(*name), format!("name-{n}"));
        }
        assert_eq!(names.intern("name-7"), Some(numbers[7]));
        assert_eq!(names.intern("").map(|name| names.text(name).len()), Some(0));
    }

    #[test]
    fn pairs_keep_their_numbers_while_the_table_grows() {
        let mut pairs = Pairs::default();
        for n in 0..1_000u32 {
            assert_eq!(pairs.intern((n % 10, u64::from(n))), (n, true));
        }
        assert_eq!(pairs.intern((3, 13)), (13, false));
        assert_eq!(pairs.find((3, 14)), None);
        assert_eq!(pairs.get(13), (3, 13));
        assert_eq!(pairs.len(), 1_000);
    }
}
