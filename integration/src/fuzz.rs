//! Inputs that are nearly right, for parsers of what strangers write: pieces of a corpus, changed and joined
//! (the mutations are those of AFL; Zalewski, 2014). Without a compiler that counts branches, what reaches
//! deep is the corpus: whatever a parser accepts belongs there, and whatever it once failed on.
//!
//! A run is a function of its seed; a failing test names it.

use wire::SplitMix64;

/// Bytes that parsers like to stumble over.
const INTERESTING: [u8; 12] = [0, 1, 9, 10, b'"', b'(', b'[', b'\\', b'{', 0x7f, 0x80, 0xff];
/// Changes made to one input at the most.
const CHANGES_MAX: u64 = 6;
/// Bytes moved or repeated at once at the most.
const PIECE_MAX: u64 = 32;
/// No input grows beyond this.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// An input made from a corpus, which must not be empty.
pub fn mutated(random: &mut SplitMix64, corpus: &[Vec<u8>]) -> Vec<u8> {
    assert!(
        !corpus.is_empty(),
        "a mutation needs something to begin with"
    );
    let mut input = pick(random, corpus).clone();
    input.truncate(INPUT_BYTES_MAX);
    for _ in 0..1 + random.below(CHANGES_MAX) {
        change(random, &mut input, corpus);
    }
    input
}

fn pick<'a>(random: &mut SplitMix64, corpus: &'a [Vec<u8>]) -> &'a Vec<u8> {
    &corpus[random.below(corpus.len() as u64) as usize]
}

/// A piece of something so long: from and to.
fn piece(random: &mut SplitMix64, length: usize) -> (usize, usize) {
    let from = random.below(length as u64 + 1) as usize;
    let most = (length - from) as u64;
    (from, from + random.below(most.min(PIECE_MAX) + 1) as usize)
}

fn change(random: &mut SplitMix64, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.below(input.len() as u64 + 1) as usize;
    let kind = random.below(8);
    if input.is_empty() || input.len() > INPUT_BYTES_MAX {
        *input = pick(random, corpus).clone();
        input.truncate(INPUT_BYTES_MAX);
        return;
    }
    let place = at.min(input.len() - 1);
    match kind {
        0 => input[place] ^= 1 << random.below(8),
        1 => input[place] = INTERESTING[random.below(INTERESTING.len() as u64) as usize],
        2 => input[place] = random.below(256) as u8,
        3 => input.truncate(at),
        4 => {
            let (from, to) = piece(random, input.len());
            input.drain(from..to);
        }
        5 => {
            let (from, to) = piece(random, input.len());
            let copy = input[from..to].to_vec();
            input.splice(at..at, copy);
        }
        6 => {
            let other = pick(random, corpus);
            let (from, to) = piece(random, other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let other = pick(random, corpus);
            let from = at.min(other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_differ_stay_bounded_and_come_from_the_seed() {
        let corpus = vec![b"{:a 1}".to_vec(), Vec::new(), vec![7; 100]];
        let all = |seed| -> Vec<Vec<u8>> {
            let mut random = SplitMix64::new(seed);
            (0..500).map(|_| mutated(&mut random, &corpus)).collect()
        };
        assert_eq!(all(1), all(1));
        let distinct: std::collections::BTreeSet<_> = all(1).into_iter().collect();
        assert!(distinct.len() > 300, "{} distinct inputs", distinct.len());
        assert!(distinct.iter().all(|input| input.len() < 1000));
    }
}
