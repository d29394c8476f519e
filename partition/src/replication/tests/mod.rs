//! Scenarios compare the exact effects, written as lines of text:
//!
//! ```text
//!   log t2.i3 "x"                                   an entry goes to the log
//!   log t2 for n1                                   term and vote go to the log
//!   n2 <- Append t2 after t1.i2 [t2.i3] commit i2   a message leaves at once
//!   n2 <= Appended t2 i3                            a message leaves when the log is durable
//! ```

mod discarding;
mod election;
mod following;
mod forgotten;
mod joint_consensus;
mod leading;
mod simulation;
mod snapshots;
mod transferring;

use super::*;
use std::collections::BTreeSet;
use wire::message::{Configuration, Configured, SnapshotChunk};

/// The timing of all tests.
pub(super) const TIMING: ReplicationTiming = ReplicationTiming {
    heartbeat: Duration::from_millis(100),
    election_timeout: Duration::from_millis(500),
    resend_after: Duration::from_millis(200),
};

pub(super) fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn node(number: u32) -> NodeId {
    NodeId(number)
}

pub(super) fn position(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term: Term(term),
        index: LogIndex(index),
    }
}

pub(super) fn entry(term: u64, index: u64, body: &'static str) -> Entry {
    Entry {
        term: Term(term),
        index: LogIndex(index),
        body: Bytes::from_static(body.as_bytes()),
    }
}

pub(super) fn show(position: LogPosition) -> String {
    format!("{}.{}", position.term, position.index)
}

fn show_entries(entries: &[Entry]) -> String {
    let shown: Vec<String> = entries.iter().map(|e| show(e.position())).collect();
    format!("[{}]", shown.join(" "))
}

fn show_message(message: &ReplicationMessage) -> String {
    use ReplicationMessage as M;
    match message {
        M::PreVote { term, last } => format!("PreVote {term} last {}", show(*last)),
        M::PreVoteReply { term, granted } => format!("PreVoteReply {term} {granted}"),
        M::Vote { term, last } => format!("Vote {term} last {}", show(*last)),
        M::VoteReply {
            term,
            granted,
            promised,
        } => format!("VoteReply {term} {granted} promised {}", promised.to_bits()),
        M::Append {
            term,
            previous,
            entries,
            commit,
        } => format!(
            "Append {term} after {} {} commit {commit}",
            show(*previous),
            show_entries(entries)
        ),
        M::Appended { term, matched } => format!("Appended {term} {matched}"),
        M::AppendRefused {
            term,
            previous,
            hint,
        } => format!("AppendRefused {term} after {} hint {hint}", show(*previous)),
        M::HandOver { term, high_water } => format!("HandOver {term} at {}", high_water.to_bits()),
        M::Snapshot {
            term,
            number,
            chunk,
        } => format!("Snapshot {term} #{number} {}", show_chunk(chunk)),
        M::SnapshotReceived {
            term,
            number,
            chunks,
        } => format!("SnapshotReceived {term} #{number} {chunks}"),
        // The nonce is drawn.
        M::AskMemory { .. } => "AskMemory".to_owned(),
        M::Memory { memory: None, .. } => "Memory none".to_owned(),
        M::Memory {
            memory: Some(memory),
            ..
        } => format!(
            "Memory {} last {} promised {} members {}",
            memory.term,
            show(memory.last),
            memory.promised.to_bits(),
            show_configured(&memory.configured)
        ),
        M::Join { configured, since } => format!(
            "Join {}{}",
            show_configured(configured),
            since.map(|_| ", who asked before").unwrap_or_default()
        ),
        M::Removed { configured, as_of } => format!(
            "Removed {} as of {}",
            show_configured(configured),
            show(*as_of)
        ),
    }
}

/// `1 2 4, outgoing 1 2 3, learning 5 @t1.i3`
pub(super) fn show_configured(configured: &Configured) -> String {
    let set = |set: &BTreeSet<NodeId>| {
        let names: Vec<String> = set.iter().map(|node| node.0.to_string()).collect();
        names.join(" ")
    };
    let Configuration {
        voters,
        outgoing,
        learners,
    } = &configured.configuration;
    let mut shown = set(voters);
    for (what, others) in [("outgoing", outgoing), ("learning", learners)] {
        if !others.is_empty() {
            shown += &format!(", {what} {}", set(others));
        }
    }
    format!("{shown} @{}", show(configured.at))
}

/// The body of an entry, or the configuration that it brings.
fn show_body(body: &Bytes) -> String {
    match ConfigurationEntry::decode(body) {
        None => format!("{:?}", String::from_utf8_lossy(body)),
        Some(entry) => {
            let configured = Configured {
                configuration: entry.configuration,
                at: LogPosition::default(),
            };
            let shown = show_configured(&configured);
            let members = shown.strip_suffix(" @t0.i0").expect("it ends so");
            format!("members {members} promised {}", entry.promised.to_bits())
        }
    }
}

fn show_chunk(chunk: &SnapshotChunk) -> String {
    let end = if chunk.is_last { " last" } else { "" };
    let body = String::from_utf8_lossy(&chunk.body);
    let position = show(chunk.position);
    format!("of {position} chunk {} {body:?}{end}", chunk.sequence)
}

fn show_effect(effect: &ReplicationEffect) -> String {
    use ReplicationEffect as E;
    match effect {
        E::LogEntry(entry) => {
            format!("log {} {}", show(entry.position()), show_body(&entry.body))
        }
        E::LogHardState { term, voted_for } => match voted_for {
            Some(voted_for) => format!("log {term} for {voted_for}"),
            None => format!("log {term} for nobody"),
        },
        E::Send {
            to,
            message,
            after_log,
        } => {
            let arrow = if *after_log { "<=" } else { "<-" };
            format!("{to} {arrow} {}", show_message(message))
        }
        E::ReadSnapshot { number } => format!("read snapshot #{number}"),
        E::EndSnapshot => "end snapshot".to_owned(),
        E::TakeSnapshot(chunk) => format!("take {}", show_chunk(chunk)),
        E::DropSnapshot => "drop snapshot".to_owned(),
        E::Promised { promised } => format!("promised {}", promised.to_bits()),
        E::Remembered => "remembers".to_owned(),
        E::Begins { at } => format!("begins at {}", show(*at)),
        E::Removed { configured, as_of } => format!(
            "is removed by {} as of {}",
            show_configured(configured),
            show(*as_of)
        ),
        E::Committed { up_to } => format!("committed {up_to}"),
        E::BecameFollower { term, leader } => match leader {
            Some(leader) => format!("follows {leader} in {term}"),
            None => format!("follows nobody in {term}"),
        },
        E::BecameCandidate { term } => format!("candidate in {term}"),
        E::BecameLeader { term } => format!("leads in {term}"),
        E::TransferEnded { to, ended: Ok(()) } => format!("handed over to {to}"),
        E::TransferEnded {
            ended: Err(why), ..
        } => format!("not handed over: {why}"),
    }
}

/// The members that a partition begins with.
pub(super) fn founded(members: impl IntoIterator<Item = u32>) -> Configured {
    Configured {
        configuration: Configuration::of(members.into_iter().map(NodeId)),
        at: LogPosition::default(),
    }
}

/// One replica, node 1, whose effects are looked at turn by turn.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) replication: Replication,
    /// The time of all that happens until it is changed.
    pub(super) now: Duration,
    /// The highest promise that this node has acknowledged.
    pub(super) promised: Timestamp,
}

impl Scene {
    /// Node 1 of so many, in a term, with a log of which nothing is known to be committed.
    pub(super) fn new(members: u32, term: u64, entries: &[Entry]) -> Scene {
        let config = ReplicationConfig {
            me: node(1),
            configured: founded(1..=members),
            carried: Timestamp::ZERO,
            told: None,
            nodes: BTreeSet::new(),
            timing: TIMING,
            seed: 1,
            memory: Recollection::Whole,
        };
        let replication = Replication::new(
            config,
            Term(term),
            None,
            LogPosition::default(),
            entries.to_vec(),
            LogIndex(0),
            at(0),
        );
        Scene {
            replication,
            now: at(0),
            promised: Timestamp::ZERO,
        }
    }

    /// One turn: what `act` does, then the end of the turn.
    #[track_caller]
    pub(super) fn turn(
        &mut self,
        act: impl FnOnce(&mut Replication, &mut Vec<ReplicationEffect>),
        expected: &[&str],
    ) {
        let mut out = Vec::new();
        act(&mut self.replication, &mut out);
        self.replication.flush(self.now, &mut out);
        self.replication.invariants();
        let shown: Vec<String> = out.iter().map(show_effect).collect();
        assert_eq!(shown, expected);
    }

    /// A turn whose effects are of no interest.
    pub(super) fn turn_unseen(
        &mut self,
        act: impl FnOnce(&mut Replication, &mut Vec<ReplicationEffect>),
    ) {
        let mut out = Vec::new();
        act(&mut self.replication, &mut out);
        self.replication.flush(self.now, &mut out);
        self.replication.invariants();
    }

    #[track_caller]
    pub(super) fn step(&mut self, from: u32, message: ReplicationMessage, expected: &[&str]) {
        let (now, promised) = (self.now, self.promised);
        self.turn(
            |replication, out| replication.step(now, promised, node(from), message, out),
            expected,
        );
    }

    #[track_caller]
    pub(super) fn tick(&mut self, now: Duration, expected: &[&str]) {
        self.now = now;
        let promised = self.promised;
        self.turn(
            |replication, out| replication.tick(now, promised, out),
            expected,
        );
    }

    #[track_caller]
    pub(super) fn propose(&mut self, body: &'static str, expected: &[&str]) {
        self.turn(
            |replication, out| {
                let body = Bytes::from_static(body.as_bytes());
                replication.propose(body, out).expect("it leads");
            },
            expected,
        );
    }

    #[track_caller]
    pub(super) fn durable(&mut self, term: u64, index: u64, expected: &[&str]) {
        self.turn(
            |replication, out| replication.on_durable(position(term, index), out),
            expected,
        );
    }

    #[track_caller]
    pub(super) fn append(
        &mut self,
        from: u32,
        term: u64,
        previous: LogPosition,
        entries: &[Entry],
        commit: u64,
        expected: &[&str],
    ) {
        let message = ReplicationMessage::Append {
            term: Term(term),
            previous,
            entries: entries.to_vec(),
            commit: LogIndex(commit),
        };
        self.step(from, message, expected);
    }

    #[track_caller]
    pub(super) fn appended(&mut self, from: u32, term: u64, matched: u64, expected: &[&str]) {
        let message = ReplicationMessage::Appended {
            term: Term(term),
            matched: LogIndex(matched),
        };
        self.step(from, message, expected);
    }

    #[track_caller]
    pub(super) fn refused(
        &mut self,
        from: u32,
        term: u64,
        previous: LogPosition,
        hint: u64,
        expected: &[&str],
    ) {
        let message = ReplicationMessage::AppendRefused {
            term: Term(term),
            previous,
            hint: LogIndex(hint),
        };
        self.step(from, message, expected);
    }

    #[track_caller]
    pub(super) fn vote_reply(
        &mut self,
        from: u32,
        term: u64,
        granted: bool,
        promised: u64,
        expected: &[&str],
    ) {
        let message = ReplicationMessage::VoteReply {
            term: Term(term),
            granted,
            promised: Timestamp::from_bits(promised),
        };
        self.step(from, message, expected);
    }

    #[track_caller]
    pub(super) fn pre_vote_reply(
        &mut self,
        from: u32,
        term: u64,
        granted: bool,
        expected: &[&str],
    ) {
        let message = ReplicationMessage::PreVoteReply {
            term: Term(term),
            granted,
        };
        self.step(from, message, expected);
    }

    /// Makes node 1 the leader of the next term, at second 10, without a look at the effects. Its
    /// first entry is sent to all, durable nowhere.
    pub(super) fn elect(&mut self) {
        self.now = at(10_000);
        let mut out = Vec::new();
        let term = self.replication.term().next();
        let granted = true;
        let answers = [
            ReplicationMessage::PreVoteReply { term, granted },
            ReplicationMessage::VoteReply {
                term,
                granted,
                promised: Timestamp::ZERO,
            },
        ];
        self.replication.tick(self.now, self.promised, &mut out);
        for answer in answers {
            for other in self.replication.others() {
                self.replication
                    .step(self.now, self.promised, other, answer.clone(), &mut out);
            }
        }
        self.replication.flush(self.now, &mut out);
        assert_eq!(self.replication.role(), Role::Leader);
        assert_eq!(self.replication.term(), term);
    }
}
