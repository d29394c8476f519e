//! Three nodes around the production core: their disks, their promises, and what the world knows.
//!
//! The core takes the time from its caller. Here it is always zero, and so are all its timeouts: an
//! election is a tick, a voter never thinks that it hears a leader, and two states that differ only in
//! when things happened are one. Disks are done at the end of each turn. A pre-vote is always granted:
//! nothing may rest on one.

use super::scope::{Budget, Mutant, Scope};
use bytes::Bytes;
use clock::Timestamp;
use partition::replication::{
    Quorum, Recollection, Replication, ReplicationConfig, ReplicationEffect, ReplicationTiming,
    Role,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{Configuration, Configured, Entry, LogPosition, ReplicationMessage};

/// The nodes.
pub const NODES: usize = 3;
const NOW: Duration = Duration::ZERO;

/// How a state is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    /// Two leaders of one term.
    TwoLeaders,
    /// Logs that agree at an index and term differ below it.
    LogsPart,
    /// A leader lacks what was committed in an earlier term.
    LeaderIncomplete,
    /// What was committed at an index is now another.
    CommittedChanged,
    /// A leader places above less than another may have answered.
    BelowAnswer,
    /// A leader serves and does not know all that was committed before its term.
    ServesUnknowing,
    /// An assertion of the core itself.
    CoreAsserts,
}

/// What travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Between the cores.
    Core(ReplicationMessage),
    /// A leader of this term asks for a promise.
    Promise(Term, u64),
    /// It is acknowledged, durably.
    Promised(Term, u64),
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Of whom.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// What.
    pub said: Said,
}

/// What outlives a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    term: Term,
    voted_for: Option<NodeId>,
    entries: Vec<Entry>,
    promised: u64,
    has_forgotten: bool,
}

/// What a leader knows beside the core: its promise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leading {
    acknowledged: BTreeMap<NodeId, u64>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    core: Replication,
    disk: Disk,
    leading: Option<Leading>,
    lives: u64,
    /// Of all that.
    print: u64,
}

/// What a leadership has done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reign {
    leader: usize,
    /// It places above this; `None`: it does not serve yet.
    floor: Option<u64>,
    /// It may have answered up to here.
    answered: u64,
}

/// A state.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// All nodes.
    pub nodes: Vec<Arc<Node>>,
    /// On their way, by fingerprint.
    pub messages: BTreeMap<u64, Arc<Envelope>>,
    /// What may still happen.
    pub budget: Budget,
    /// What was committed at each index: in which term it was appended, what, and in which term that was
    /// known first.
    committed: Vec<(Term, Bytes, Term)>,
    reigns: BTreeMap<Term, Reign>,
    /// What went wrong first.
    pub broken: Option<Broken>,
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Cluster) -> bool {
        let prints = |it: &Cluster| it.nodes.iter().map(|node| node.print).collect::<Vec<_>>();
        prints(self) == prints(other)
            && self.messages.keys().eq(other.messages.keys())
            && self.budget == other.budget
            && self.committed == other.committed
            && self.reigns == other.reigns
            && self.broken == other.broken
    }
}

impl Hash for Cluster {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in &self.nodes {
            node.print.hash(hasher);
        }
        for print in self.messages.keys() {
            print.hash(hasher);
        }
        (self.budget, &self.committed, &self.reigns, self.broken).hash(hasher);
    }
}

/// Hashes what is written to it.
struct Printer(DefaultHasher);

impl fmt::Write for Printer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn fingerprint(value: &dyn fmt::Debug) -> u64 {
    let mut printer = Printer(DefaultHasher::new());
    write!(printer, "{value:?}").expect("a hasher takes what is written");
    printer.0.finish()
}

/// What the core would show of itself, without its source of random timeouts, which are all zero.
fn fingerprint_of_core(core: &Replication) -> u64 {
    let text = format!("{core:?}");
    let random = "random: SplitMix64(";
    let from = text
        .find(random)
        .expect("the core draws its timeouts at random");
    let to = from + text[from..].find(')').expect("a number ends");
    let mut hasher = DefaultHasher::new();
    (&text[..from], &text[to..]).hash(&mut hasher);
    hasher.finish()
}

fn id(node: usize) -> NodeId {
    NodeId(node as u32 + 1)
}

fn core_of(node: usize, disk: &Disk, lives: u64) -> Replication {
    let config = ReplicationConfig {
        me: id(node),
        configured: Configured {
            configuration: Configuration::of((0..NODES).map(id)),
            at: LogPosition::default(),
        },
        carried: Timestamp::ZERO,
        told: None,
        nodes: BTreeSet::new(),
        timing: ReplicationTiming {
            heartbeat: Duration::ZERO,
            election_timeout: Duration::ZERO,
            resend_after: Duration::ZERO,
        },
        seed: lives * NODES as u64 + node as u64,
        memory: match disk.has_forgotten {
            true => Recollection::Lost,
            false => Recollection::Whole,
        },
    };
    let base = LogPosition::default();
    let entries = disk.entries.clone();
    Replication::new(
        config,
        disk.term,
        disk.voted_for,
        base,
        entries,
        LogIndex(0),
        NOW,
    )
}

impl Node {
    fn new(node: usize, disk: Disk, lives: u64) -> Node {
        let mut it = Node {
            core: core_of(node, &disk, lives),
            disk,
            leading: None,
            lives,
            print: 0,
        };
        it.renew_print();
        it
    }

    fn renew_print(&mut self) {
        let core = fingerprint_of_core(&self.core);
        let rest = (&self.disk, &self.leading, self.lives);
        self.print = core.rotate_left(1) ^ fingerprint(&rest);
    }

    fn promised(&self) -> Timestamp {
        Timestamp::from_bits(self.disk.promised)
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.core.role() == Role::Leader && self.core.handed_over_to().is_none()
    }

    /// Whether it has forgotten and is still asking.
    pub fn has_forgotten(&self) -> bool {
        self.core.has_forgotten()
    }

    /// Whether it has been told all, and its log has everything.
    pub fn is_settled(&self) -> bool {
        let last = self.core.last();
        self.core.commit() == last.index && self.core.first_of_term_committed()
    }
}

impl Cluster {
    /// Three nodes that were just founded.
    pub fn new(scope: &Scope) -> Cluster {
        Cluster {
            nodes: (0..NODES)
                .map(|node| Arc::new(Node::new(node, Disk::default(), 0)))
                .collect(),
            messages: BTreeMap::new(),
            budget: scope.budget,
            committed: Vec::new(),
            reigns: BTreeMap::new(),
            broken: None,
        }
    }

    fn flag(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    fn send(&mut self, from: usize, to: usize, said: Said) {
        let envelope = Envelope { from, to, said };
        self.messages
            .insert(fingerprint(&envelope), Arc::new(envelope));
    }

    /// One turn of a node: something happens to its core, then whatever comes of it.
    pub fn turn(
        &mut self,
        scope: &Scope,
        node: usize,
        happens: impl FnOnce(&mut Replication, Timestamp, &mut Vec<ReplicationEffect>),
    ) {
        // What a broken rule leads to may be refused by the core's own assertions first.
        let turn = AssertUnwindSafe(|| self.undergo(node, happens));
        if catch_unwind(turn).is_err() {
            return self.flag(Broken::CoreAsserts);
        }
        self.check_logs(node);
        self.maybe_serve(scope, node);
        self.tidy();
    }

    fn undergo(
        &mut self,
        node: usize,
        happens: impl FnOnce(&mut Replication, Timestamp, &mut Vec<ReplicationEffect>),
    ) {
        let mut it = Node::clone(&self.nodes[node]);
        let mut effects = Vec::new();
        let promised = it.promised();
        happens(&mut it.core, promised, &mut effects);
        loop {
            if effects.is_empty() {
                it.core.flush(NOW, &mut effects);
            }
            if effects.is_empty() {
                break;
            }
            for effect in std::mem::take(&mut effects) {
                self.perform(node, &mut it, effect);
            }
            let last = it.core.last();
            it.core.on_durable(last, &mut effects);
        }
        it.core.invariants();
        it.renew_print();
        self.nodes[node] = Arc::new(it);
    }

    fn perform(&mut self, node: usize, it: &mut Node, effect: ReplicationEffect) {
        match effect {
            ReplicationEffect::LogEntry(entry) => {
                it.disk.entries.truncate(entry.index.0 as usize - 1);
                it.disk.entries.push(entry);
            }
            ReplicationEffect::LogHardState { term, voted_for } => {
                it.disk.term = term;
                it.disk.voted_for = voted_for;
            }
            ReplicationEffect::Send { to, message, .. } => {
                self.send(node, to.0 as usize - 1, Said::Core(message));
            }
            ReplicationEffect::Committed { up_to } => self.on_committed(it, up_to),
            ReplicationEffect::Promised { promised } => {
                it.disk.promised = it.disk.promised.max(promised.to_bits());
            }
            ReplicationEffect::Remembered => it.disk.has_forgotten = false,
            ReplicationEffect::BecameLeader { term } => {
                it.leading = Some(Leading::default());
                self.on_leader(node, it, term);
            }
            ReplicationEffect::BecameFollower { .. }
            | ReplicationEffect::BecameCandidate { .. } => {
                it.leading = None;
            }
            ReplicationEffect::TransferEnded { .. } => {}
            other => unreachable!("nothing is discarded, so nobody needs a snapshot: {other:?}"),
        }
    }

    fn on_committed(&mut self, it: &Node, up_to: LogIndex) {
        let entries: Vec<Entry> = it.core.entries(LogIndex(1)..=up_to).cloned().collect();
        for (place, entry) in entries.into_iter().enumerate() {
            match self.committed.get(place) {
                None => self
                    .committed
                    .push((entry.term, entry.body, it.core.term())),
                Some((term, body, _)) if (*term, body) == (entry.term, &entry.body) => {}
                Some(_) => self.flag(Broken::CommittedChanged),
            }
        }
    }

    fn on_leader(&mut self, node: usize, it: &Node, term: Term) {
        let reign = Reign {
            leader: node,
            floor: None,
            answered: 0,
        };
        if self
            .reigns
            .insert(term, reign)
            .is_some_and(|before| before.leader != node)
        {
            self.flag(Broken::TwoLeaders);
        }
        let lacks = |(place, (entry, _, known)): (usize, &(Term, Bytes, Term))| {
            *known < term && it.core.term_at(LogIndex(place as u64 + 1)) != Some(*entry)
        };
        if self.committed.iter().enumerate().any(lacks) {
            self.flag(Broken::LeaderIncomplete);
        }
    }

    fn check_logs(&mut self, node: usize) {
        let mine = &self.nodes[node].disk.entries;
        let parts = self.nodes.iter().any(|other| {
            let both = mine.iter().zip(&other.disk.entries);
            let agree: Vec<bool> = both.clone().map(|(a, b)| a.term == b.term).collect();
            let same = agree
                .iter()
                .rposition(|agree| *agree)
                .map_or(0, |last| last + 1);
            both.take(same).any(|(a, b)| a != b)
        });
        if parts {
            self.flag(Broken::LogsPart);
        }
    }

    /// A leader begins to serve: what it places lies above its floor (R9).
    fn maybe_serve(&mut self, scope: &Scope, node: usize) {
        let it = Arc::clone(&self.nodes[node]);
        let term = it.core.term();
        let is_ready =
            it.core.first_of_term_committed() || scope.mutant == Some(Mutant::ServesBeforeOwnEntry);
        let Some(reign) = self.reigns.get(&term).filter(|reign| reign.leader == node) else {
            return;
        };
        if !it.leads() || !is_ready || reign.floor.is_some() {
            return;
        }
        let told = it.core.votes_promised().unwrap_or_default().to_bits();
        let handed_over = it.core.handed_over().map(Timestamp::to_bits);
        let floor = match scope.mutant {
            Some(Mutant::VotersPromiseIgnored) => it.disk.promised,
            _ => handed_over.unwrap_or(told),
        };
        self.reigns.insert(
            term,
            Reign {
                leader: node,
                floor: Some(floor),
                answered: 0,
            },
        );
        let known = self
            .committed
            .iter()
            .filter(|(_, _, known)| *known < term)
            .count();
        if (it.core.commit().0 as usize) < known {
            self.flag(Broken::ServesUnknowing);
        }
        self.answer(scope, node);
    }

    /// The promise that holds for a leader.
    fn promise(&self, scope: &Scope, node: usize) -> u64 {
        let it = &self.nodes[node];
        let Some(leading) = &it.leading else {
            return 0;
        };
        let of = |member| {
            leading
                .acknowledged
                .get(&member)
                .copied()
                .unwrap_or_default()
        };
        match scope.mutant {
            Some(Mutant::PromiseOfOne) => of(id(node)),
            _ => Quorum::of((0..NODES).map(id)).highest_reached_by_quorum(of),
        }
    }

    /// A leader that serves may have answered up to its promise, and has never answered above the floor of
    /// a later leader.
    fn answer(&mut self, scope: &Scope, node: usize) {
        let promise = self.promise(scope, node);
        let term = self.nodes[node].core.term();
        if self.nodes[node].leads()
            && let Some(reign) = self.reigns.get_mut(&term)
            && reign.leader == node
            && reign.floor.is_some()
        {
            reign.answered = reign.answered.max(promise);
        }
        let reigns: Vec<(Term, Reign)> = self.reigns.iter().map(|(t, r)| (*t, *r)).collect();
        let is_below = |later: &(Term, Reign)| {
            reigns.iter().any(|earlier| {
                earlier.0 < later.0
                    && later
                        .1
                        .floor
                        .is_some_and(|floor| floor < earlier.1.answered)
            })
        };
        if reigns.iter().any(is_below) {
            self.flag(Broken::BelowAnswer);
        }
    }

    /// A leader asks for a promise above all that it knows.
    pub fn ask_promise(&mut self, node: usize) {
        let mut it = Node::clone(&self.nodes[node]);
        let promise = it.disk.promised + 1;
        it.disk.promised = promise;
        if let Some(leading) = &mut it.leading {
            leading.acknowledged.insert(id(node), promise);
        }
        let term = it.core.term();
        it.renew_print();
        self.nodes[node] = Arc::new(it);
        for to in (0..NODES).filter(|to| *to != node) {
            self.send(node, to, Said::Promise(term, promise));
        }
    }

    /// A member hears that it shall promise.
    pub fn on_promise(&mut self, scope: &Scope, from: usize, to: usize, term: Term, promise: u64) {
        let mut is_heard = false;
        self.turn(scope, to, |core, _, out| {
            is_heard = core
                .on_heartbeat(NOW, id(from), term, LogIndex(0), out)
                .is_ok();
        });
        if !is_heard {
            return;
        }
        let mut it = Node::clone(&self.nodes[to]);
        it.disk.promised = it.disk.promised.max(promise);
        it.renew_print();
        self.nodes[to] = Arc::new(it);
        self.send(to, from, Said::Promised(term, promise));
    }

    /// A leader hears that a member has promised.
    pub fn on_promised(&mut self, scope: &Scope, from: usize, to: usize, term: Term, promise: u64) {
        let mut it = Node::clone(&self.nodes[to]);
        if it.core.term() != term {
            return;
        }
        if let Some(leading) = &mut it.leading {
            let known = leading.acknowledged.entry(id(from)).or_default();
            *known = promise.max(*known);
        }
        it.renew_print();
        self.nodes[to] = Arc::new(it);
        self.answer(scope, to);
    }

    /// A core's message comes in.
    pub fn on_message(
        &mut self,
        scope: &Scope,
        from: usize,
        to: usize,
        message: &ReplicationMessage,
    ) {
        let message = message.clone();
        self.turn(scope, to, |core, promised, out| {
            core.step(NOW, promised, id(from), message, out);
        });
    }

    /// Asks for votes, and gets the pre-votes.
    pub fn stand(&mut self, scope: &Scope, node: usize) {
        self.turn(scope, node, |core, promised, out| {
            core.tick(NOW, promised, out);
            let granted = ReplicationMessage::PreVoteReply {
                term: core.term().next(),
                granted: true,
            };
            core.step(NOW, promised, id((node + 1) % NODES), granted, out);
        });
    }

    /// Time passes for a node that has forgotten: it asks.
    pub fn ask_memory(&mut self, scope: &Scope, node: usize) {
        self.turn(scope, node, |core, promised, out| {
            core.tick(NOW, promised, out)
        });
    }

    /// A leader appends an entry.
    pub fn propose(&mut self, scope: &Scope, node: usize) {
        let body = Bytes::from_static(b"entry");
        self.turn(scope, node, |core, _, out| {
            core.propose(body, out);
        });
    }

    /// A leader hands over, with the highest timestamp at which it or one before it has answered.
    pub fn hand_over(&mut self, scope: &Scope, node: usize, to: usize) {
        let reign = self.reigns.get(&self.nodes[node].core.term()).copied();
        let high_water = reign.map_or(0, |reign| reign.floor.unwrap_or(0).max(reign.answered));
        self.turn(scope, node, |core, _, out| {
            let begun = core.begin_transfer(NOW, id(to));
            if begun.is_ok() && core.is_drained() {
                core.hand_over(NOW, Timestamp::from_bits(high_water), out);
            }
        });
    }

    /// A node stops and starts.
    pub fn restart(&mut self, scope: &Scope, node: usize) {
        let it = &self.nodes[node];
        let mut disk = it.disk.clone();
        match scope.mutant {
            Some(Mutant::VoteNotDurable) => disk.voted_for = None,
            Some(Mutant::EntryNotDurable) => {
                disk.entries.pop();
            }
            _ => {}
        }
        self.nodes[node] = Arc::new(Node::new(node, disk, it.lives + 1));
    }

    /// A node starts with an empty disk.
    pub fn lose_memory(&mut self, scope: &Scope, node: usize) {
        let disk = Disk {
            has_forgotten: scope.mutant != Some(Mutant::ForgottenTakesPart),
            ..Disk::default()
        };
        let lives = self.nodes[node].lives + 1;
        self.nodes[node] = Arc::new(Node::new(node, disk, lives));
    }

    /// Drops what is of a term before its receiver's, except that it would teach its sender the later one,
    /// as any other message can.
    fn tidy(&mut self) {
        let terms: Vec<Term> = self.nodes.iter().map(|node| node.core.term()).collect();
        self.messages.retain(|_, envelope| {
            let term = match &envelope.said {
                Said::Promise(term, _) | Said::Promised(term, _) => Some(*term),
                Said::Core(message) => term_of(message),
            };
            term.is_none_or(|term| term >= terms[envelope.to])
        });
    }
}

/// The term that a message is of; none if that does not decide whether it is heard, or if it is of no use.
fn term_of(message: &ReplicationMessage) -> Option<Term> {
    use ReplicationMessage as M;
    match message {
        M::PreVote { .. } | M::PreVoteReply { .. } => Some(Term(0)),
        M::Vote { term, .. }
        | M::VoteReply { term, .. }
        | M::Append { term, .. }
        | M::Appended { term, .. }
        | M::AppendRefused { term, .. }
        | M::HandOver { term, .. }
        | M::Snapshot { term, .. }
        | M::SnapshotReceived { term, .. } => Some(*term),
        M::AskMemory { .. } | M::Memory { .. } | M::Join { .. } | M::Removed { .. } => None,
    }
}
