//! The trace of a run: a hash over every event, and if wanted a line for each.
//!
//! Invariant: two runs of one seed have the same hash. What is hashed is what happened, contents of
//! messages included, so that a difference anywhere shows (TigerBeetle's VOPR checks itself so too).

use super::network::Seat;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};
use wire::message::RequestNumber;

/// A running hash (FNV-1a over 64-bit words, with a final mix) and the lines if they are wanted.
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<Line>>,
    /// Which partition a node's open question is for: its answer does not say it.
    asked: BTreeMap<(Seat, RequestNumber), PartitionId>,
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The nodes; of what is sent, from and to.
    pub seats: [Option<Seat>; 2],
    /// The partition, if it is one.
    pub partition: Option<PartitionId>,
    /// It is shown whichever partition is looked at: a fault, a start, what a client is told.
    pub is_landmark: bool,
}

impl About {
    /// One node.
    pub fn node(seat: Seat) -> About {
        About {
            seats: [Some(seat), None],
            ..About::default()
        }
    }

    /// What one node says to another.
    pub fn pair(from: Seat, to: Seat) -> About {
        About {
            seats: [Some(from), Some(to)],
            ..About::default()
        }
    }

    /// Of this partition, if one is known.
    pub fn of(self, partition: Option<PartitionId>) -> About {
        About { partition, ..self }
    }

    /// Shown whichever partition is looked at.
    pub fn landmark(self) -> About {
        About {
            is_landmark: true,
            ..self
        }
    }
}

/// One line of a readable trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Virtual time.
    pub at: Duration,
    /// What it is about.
    pub about: About,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>13.6} ", self.at.as_secs_f64() * 1e3)?;
        match self.about.partition {
            Some(partition) => write!(f, "{:<3} {}", partition.to_string(), self.text),
            None => write!(f, "    {}", self.text),
        }
    }
}

/// Which lines are shown: of these nodes and partitions; an empty set stands for all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceFilter {
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Partitions.
    pub partitions: BTreeSet<PartitionId>,
}

impl TraceFilter {
    /// Whether a line is shown.
    pub fn shows(&self, line: &Line) -> bool {
        let About {
            seats,
            partition,
            is_landmark,
        } = line.about;
        let mut seats = seats.iter().flatten().peekable();
        let of_nodes = self.nodes.is_empty()
            || seats.peek().is_none()
            || seats.any(|seat| self.nodes.contains(&node(*seat)));
        let of_partitions = self.partitions.is_empty()
            || match partition {
                Some(partition) => self.partitions.contains(&partition),
                None => is_landmark,
            };
        of_nodes && of_partitions
    }
}

/// The node at a seat, as it is called in a trace: ids follow the sorted list of founders.
pub fn node(seat: Seat) -> NodeId {
    NodeId(seat as u32 + 1)
}

impl Trace {
    /// An empty trace that keeps lines or not.
    pub fn new(readable: bool) -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: readable.then(Vec::new),
            asked: BTreeMap::new(),
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

    /// Adds a line about everything, if lines are wanted; the closure runs only then.
    pub fn line(&mut self, time: Duration, text: impl FnOnce() -> String) {
        self.line_about(time, About::default().landmark(), text);
    }

    /// Adds a line, if lines are wanted; the closure runs only then.
    pub fn line_about(&mut self, at: Duration, about: About, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let text = text();
            lines.push(Line { at, about, text });
        }
    }

    /// A node asks something of a partition's leader.
    pub(super) fn on_asked(&mut self, by: Seat, number: RequestNumber, partition: PartitionId) {
        if self.is_readable() {
            self.asked.insert((by, number), partition);
        }
    }

    /// Which partition a node asked under this number.
    pub(super) fn asked(&self, by: Seat, number: RequestNumber) -> Option<PartitionId> {
        self.asked.get(&(by, number)).copied()
    }

    /// Whether lines are kept.
    pub fn is_readable(&self) -> bool {
        self.lines.is_some()
    }

    /// The lines so far.
    pub fn lines(&self) -> &[Line] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// The lines, taken away.
    pub(super) fn take_lines(&mut self) -> Vec<Line> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
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

    #[test]
    fn a_filter_shows_what_concerns_its_nodes_and_partitions() {
        let mut trace = Trace::new(true);
        let text = |text: &'static str| move || text.to_owned();
        let now = Duration::from_millis(7);
        let of = |about: About, partition| about.of(Some(PartitionId(partition)));
        trace.line_about(now, of(About::pair(0, 1), 2), text("n1 → n2 of p2"));
        trace.line_about(now, of(About::pair(1, 2), 3), text("n2 → n3 of p3"));
        trace.line_about(now, About::pair(0, 1), text("heartbeat"));
        trace.line_about(now, About::node(2).landmark(), text("n3 crashes"));
        trace.line(now, text("all is healed"));
        let shown = |nodes: &[u32], partitions: &[u32]| -> Vec<&str> {
            let filter = TraceFilter {
                nodes: nodes.iter().map(|n| NodeId(*n)).collect(),
                partitions: partitions.iter().map(|p| PartitionId(*p)).collect(),
            };
            let lines = trace.lines().iter().filter(|line| filter.shows(line));
            lines.map(|line| line.text.as_str()).collect()
        };
        assert_eq!(shown(&[], &[]).len(), 5);
        assert_eq!(
            shown(&[1], &[]),
            ["n1 → n2 of p2", "heartbeat", "all is healed"]
        );
        assert_eq!(
            shown(&[], &[3]),
            ["n2 → n3 of p3", "n3 crashes", "all is healed"]
        );
        assert_eq!(shown(&[1], &[3]), ["all is healed"]);
        assert_eq!(
            trace.lines()[0].to_string(),
            "     7.000000 p2  n1 → n2 of p2"
        );
    }
}
