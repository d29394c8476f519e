//! Who is a member, as the log says it (joint consensus; Ongaro 2014, section 4.3).
//!
//! ```text
//!   base                      C1                 C2 (joint)             end of the log
//!   what is known there ──────┴── entry ─────────┴── entry ──────────── the last one holds
//! ```
//!
//! An entry that brings a configuration has a body that begins with [`MARK`]; all other bodies are opaque.
//!
//! Invariants:
//! - a configuration holds from the moment its entry is in the log, committed or not, and no longer when
//!   the entry is replaced;
//! - the positions of the configurations in a log rise;
//! - what others have told stands in only until the own log reaches as far: then the log knows better.
//!   *Kept on, a configuration that never came about would go on counting votes.*

use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wire::ids::{LogIndex, NodeId};
use wire::message::{Configuration, Configured, Entry, LogPosition};

use super::Quorum;
use bytes::Bytes;

/// The first byte of the body of an entry that brings a configuration.
pub const MARK: u8 = 255;

/// What such an entry says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigurationEntry {
    /// Who is what from now on.
    pub configuration: Configuration,
    /// No leader up to this entry has answered above it, nor will before the entry is committed
    /// (protocol, R9).
    pub promised: Timestamp,
}

impl ConfigurationEntry {
    /// The body of its entry.
    pub fn encode(&self) -> Bytes {
        let body = postcard::to_extend(self, vec![MARK]);
        body.expect("a configuration is plain data and a vector takes any length")
            .into()
    }

    /// What an entry's body says, if it brings a configuration.
    ///
    /// # Panics
    /// If it does and cannot be read: its checksum held, so another version wrote it.
    pub fn decode(body: &Bytes) -> Option<ConfigurationEntry> {
        let (mark, rest) = body.split_first()?;
        if *mark != MARK {
            return None;
        }
        let entry = postcard::from_bytes(rest);
        Some(entry.unwrap_or_else(|error| {
            panic!("a configuration in the log is not one of this version: {error}")
        }))
    }
}

/// What a configuration decides by.
pub(super) fn quorum_of(configuration: &Configuration) -> Quorum {
    let sets = [&configuration.voters, &configuration.outgoing];
    let sets = sets.into_iter().filter(|set| !set.is_empty());
    Quorum::all_of(sets.cloned().collect())
}

/// The configurations of one log.
#[derive(Clone, Debug)]
pub(super) struct Configurations {
    /// The last one at or below the base of the log.
    known: Configured,
    /// Those above, by rising position.
    in_log: Vec<Configured>,
    /// What others told, to go by until the log reaches its position.
    told: Option<Configured>,
    /// The highest promise that any of them carried, also one that was replaced.
    promised: Timestamp,
}

impl Configurations {
    /// Of a log with these entries, after what is known.
    pub(super) fn new(known: Configured, promised: Timestamp, entries: &[Entry]) -> Configurations {
        let mut configurations = Configurations {
            known,
            in_log: Vec::new(),
            told: None,
            promised,
        };
        for entry in entries {
            configurations.on_appended(entry);
        }
        configurations
    }

    /// The one that holds.
    pub(super) fn latest(&self) -> &Configured {
        let own = self.in_log.last().unwrap_or(&self.known);
        self.told
            .as_ref()
            .filter(|told| told.at > own.at)
            .unwrap_or(own)
    }

    /// Nobody has answered above it when the last of them was proposed.
    pub(super) fn promised(&self) -> Timestamp {
        self.promised
    }

    /// The last one in the own log at or below an index.
    pub(super) fn up_to(&self, index: LogIndex) -> &Configured {
        let reached = self.in_log.iter().rev();
        let mut reached = reached.filter(|configured| configured.at.index <= index);
        reached.next().unwrap_or(&self.known)
    }

    /// An entry is in the log now. Says whether another configuration holds.
    pub(super) fn on_appended(&mut self, entry: &Entry) -> bool {
        let at = entry.position();
        let before = self.latest().at;
        if let Some(entry) = ConfigurationEntry::decode(&entry.body)
            && at > self.known.at
        {
            self.promised = self.promised.max(entry.promised);
            let configuration = entry.configuration;
            self.in_log.push(Configured { configuration, at });
        }
        self.told.take_if(|told| at >= told.at);
        self.latest().at != before
    }

    /// The entry at an index and all above were replaced.
    pub(super) fn on_truncated(&mut self, from: LogIndex) {
        self.in_log.retain(|configured| configured.at.index < from);
    }

    /// The log begins after `base` now.
    pub(super) fn on_discarded(&mut self, base: LogIndex) {
        self.known = self.up_to(base).clone();
        self.in_log.retain(|configured| configured.at.index > base);
    }

    /// A snapshot of the state at `base` takes the log's place.
    pub(super) fn on_installed(
        &mut self,
        known: Configured,
        promised: Timestamp,
        base: LogPosition,
    ) {
        self.known = known;
        self.promised = self.promised.max(promised);
        self.in_log.clear();
        self.told.take_if(|told| base >= told.at);
    }

    /// Others say so, of a log that ends here. Says whether it is news.
    pub(super) fn on_told(&mut self, told: &Configured, last: LogPosition) -> bool {
        let is_news = told.at > self.latest().at && told.at > last;
        // Nobody is a majority of nobody: that is no configuration.
        let is_news = is_news && !told.configuration.voters.is_empty();
        if is_news {
            self.told = Some(told.clone());
        }
        is_news
    }

    /// The own log is as good as anybody's: it knows better.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    /// Asserts what must hold of a log between these.
    pub(super) fn invariants(&self, base: LogIndex, last: LogPosition) {
        let positions: Vec<LogPosition> = self.in_log.iter().map(|c| c.at).collect();
        assert!(
            positions.is_sorted() && self.known.at.index <= base.max(self.known.at.index),
            "configurations follow each other: {positions:?}"
        );
        assert!(
            positions.last().is_none_or(|at| *at <= last),
            "a configuration of the log lies in it: {positions:?} and {last:?}"
        );
        assert!(
            self.told.as_ref().is_none_or(|told| told.at > last),
            "what the log knows is not told: {:?}, and it ends at {last:?}",
            self.told
        );
    }
}

/// Those of the first who are not among the second.
pub(super) fn without(members: &BTreeSet<NodeId>, others: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    members.difference(others).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::Term;

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition {
            term: Term(term),
            index: LogIndex(index),
        }
    }

    fn configured(term: u64, index: u64, voter: u32) -> Configured {
        Configured {
            configuration: Configuration::of([NodeId(voter)]),
            at: position(term, index),
        }
    }

    fn entry(of: &Configured) -> Entry {
        let body = ConfigurationEntry {
            configuration: of.configuration.clone(),
            promised: Timestamp::ZERO,
        };
        Entry {
            term: of.at.term,
            index: of.at.index,
            body: body.encode(),
        }
    }

    #[test]
    fn the_last_one_of_the_log_holds_until_its_entry_is_replaced() {
        let (first, second) = (configured(1, 3, 2), configured(1, 5, 3));
        let entries = [entry(&first), entry(&second)];
        let mut all = Configurations::new(configured(0, 0, 1), Timestamp::ZERO, &entries);
        assert_eq!(*all.latest(), second);
        assert_eq!(*all.up_to(LogIndex(4)), first);
        all.on_truncated(LogIndex(5));
        assert_eq!(*all.latest(), first);
        all.on_discarded(LogIndex(4));
        assert_eq!(*all.latest(), first);
        all.on_truncated(LogIndex(5));
        assert_eq!(*all.latest(), first, "what is discarded is committed");
    }

    #[test]
    fn what_others_tell_holds_until_the_log_reaches_as_far() {
        let told = configured(4, 8, 9);
        let mut all = Configurations::new(configured(0, 0, 1), Timestamp::ZERO, &[]);
        assert!(all.on_told(&told, LogPosition::default()));
        assert!(!all.on_told(&configured(4, 7, 8), LogPosition::default()));
        let in_between = configured(1, 3, 2);
        assert!(!all.on_appended(&entry(&in_between)));
        assert_eq!(*all.latest(), told);
        // The log went another way: what was told never came about.
        let other = Entry {
            term: Term(5),
            index: LogIndex(4),
            body: Bytes::new(),
        };
        assert!(all.on_appended(&other));
        assert_eq!(*all.latest(), in_between);
    }

    #[test]
    fn nobody_is_no_configuration() {
        let mut all = Configurations::new(configured(0, 0, 1), Timestamp::ZERO, &[]);
        let mut nobody = configured(4, 8, 9);
        nobody.configuration = Configuration::default();
        assert!(!all.on_told(&nobody, LogPosition::default()));
    }

    #[test]
    fn other_bodies_are_opaque() {
        for body in [&b""[..], b"\x01abc", b"text"] {
            assert_eq!(
                ConfigurationEntry::decode(&Bytes::copy_from_slice(body)),
                None
            );
        }
    }
}
