//! The trace of a run: a hash over every event, and if wanted a line for each.
//!
//! Invariant: two runs of one seed have the same hash. What is hashed is what happened, contents of
//! messages included, so that a difference anywhere shows (TigerBeetle's VOPR checks itself so too).

use std::time::Duration;

/// A running hash (FNV-1a over 64-bit words, with a final mix) and the lines if they are wanted.
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace that keeps lines or not.
    pub fn new(readable: bool) -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: readable.then(Vec::new),
        }
    }

    /// Something happened: a tag for its kind, numbers and bytes that say what.
    pub fn record(&mut self, time: Duration, tag: &'static str, words: &[u64], bytes: &[u8]) {
        self.events += 1;
        self.mix(time.as_nanos() as u64);
        self.mix_bytes(tag.as_bytes());
        for word in words {
            self.mix(*word);
        }
        self.mix_bytes(bytes);
    }

    /// Adds a line, if lines are wanted; the closure runs only then.
    pub fn line(&mut self, time: Duration, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>13.6} {}", time.as_secs_f64() * 1e3, text()));
        }
    }

    /// Whether lines are kept.
    pub fn is_readable(&self) -> bool {
        self.lines.is_some()
    }

    /// The lines so far, milliseconds first.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        let mixed = (self.hash ^ (self.hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    /// How many events were recorded.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        let mut last = [0; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(events: &[(u64, &'static str, &[u8])]) -> u64 {
        let mut trace = Trace::new(false);
        for (time, tag, bytes) in events {
            trace.record(Duration::from_nanos(*time), tag, &[], bytes);
        }
        trace.hash()
    }

    #[test]
    fn every_part_of_an_event_counts() {
        let base = hash(&[(1, "frame", b"abcdefghi")]);
        assert_eq!(base, hash(&[(1, "frame", b"abcdefghi")]));
        assert_ne!(base, hash(&[(2, "frame", b"abcdefghi")]));
        assert_ne!(base, hash(&[(1, "turn", b"abcdefghi")]));
        assert_ne!(base, hash(&[(1, "frame", b"abcdefghj")]));
        assert_ne!(base, hash(&[(1, "frame", b"abcdefghi"), (1, "turn", b"")]));
    }
}
