//! One founder: its acceptor, its attempts to propose, and what it heard.

use super::acceptor::Acceptor;
use super::proposer::Proposer;
use super::{REFUSALS_MAX, ROUND_MAX};
use crate::founding::{FoundingError, FoundingPlan};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{ClusterId, NodeId};
use wire::message::{Ballot, Founding, FoundingMessage};

/// What a founder wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FounderEffect {
    /// Log this, the latest holds; it is the first effect of its turn.
    Persist(Bytes),
    /// Send a message to another founder.
    Send {
        /// Its address, as the list names it.
        to: String,
        /// What.
        message: FoundingMessage,
        /// Only once everything that was logged in this turn is durable.
        after_log: bool,
    },
    /// The cluster is founded: told once a start, also if it was recovered. The node may act on it at
    /// once if what it does waits for the log: what it logs then comes after the founding. (With a
    /// list of one, the founding holds only once this turn's log write is durable.)
    Founded(Founding),
}

/// Why another founder cannot be founded with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It was started with this list.
    OtherList(Vec<String>),
    /// It belongs to a cluster of these nodes.
    OtherCluster(ClusterId, Vec<String>),
}

/// A node on its way into a cluster that it founds with others.
///
/// `now` is monotonic time since any fixed point. The order of a turn's effects is: at most one
/// [`FounderEffect::Persist`], the messages, at most one [`FounderEffect::Founded`].
#[derive(Clone, Debug)]
pub struct Founder {
    pub(super) plan: FoundingPlan,
    /// Place of this node in the list; 0 if it is founded and the list does not matter any more.
    pub(super) place: usize,
    /// What this node proposes if nothing was accepted before.
    pub(super) proposal: Founding,
    pub(super) random: SplitMix64,
    pub(super) acceptor: Acceptor,
    pub(super) proposer: Proposer,
    /// The highest round heard of.
    pub(super) round_seen: u64,
    /// How often this founder stood back.
    pub(super) outbid: u32,
    /// Who refused, and why; a proper answer takes it back.
    pub(super) refusals: BTreeMap<String, Refusal>,
    turn: Turn,
}

/// What a turn has collected so far.
#[derive(Clone, Default, Debug)]
struct Turn {
    persist: bool,
    sends: Vec<FounderEffect>,
    founded: Option<Founding>,
}

impl Founder {
    /// A founder by this plan; `recovered` is what it persisted last, if it ever did. Of a plan for
    /// what is founded already only the address counts.
    pub fn new(plan: FoundingPlan, recovered: Option<Bytes>) -> Result<Founder, FoundingError> {
        let acceptor = match recovered {
            Some(stored) => Acceptor::recover(&stored, &plan.list)?,
            None => Acceptor::new(plan.list.clone()),
        };
        match acceptor.founded() {
            Some(founding) => check_member(&plan.me, founding)?,
            None => plan.check()?,
        }
        let place = plan.list.iter().position(|address| *address == plan.me);
        let place = place.unwrap_or_default();
        // Founders that were given equal seeds must not stand back for equal times.
        let mut random = SplitMix64::new(plan.seed ^ ((place as u64) << 56));
        let proposer = match acceptor.founded() {
            Some(_) => Proposer::Done { announced: false },
            None => Proposer::Starting,
        };
        Ok(Founder {
            proposal: plan.proposal(&mut random),
            round_seen: acceptor.promised().round,
            plan,
            place,
            random,
            acceptor,
            proposer,
            outbid: 0,
            refusals: BTreeMap::new(),
            turn: Turn::default(),
        })
    }

    /// A message came from a node that names itself `from`.
    pub fn step(
        &mut self,
        now: Duration,
        from: String,
        message: FoundingMessage,
        out: &mut Vec<FounderEffect>,
    ) {
        if from == self.plan.me {
            tracing::warn!(from, ?message, "another node uses this node's address");
            return;
        }
        match message {
            FoundingMessage::Prepare { list, ballot } => {
                if self.admits(&from, list, ballot) {
                    self.on_prepare(now, from, ballot);
                }
            }
            FoundingMessage::Accept {
                list,
                ballot,
                value,
            } => {
                if self.admits(&from, list, ballot) {
                    self.on_accept(now, from, ballot, value);
                }
            }
            answer => self.on_answer(now, &from, answer),
        }
        self.maybe_begin_accepting(now);
        self.end_turn(out);
    }

    /// Time passed: begins, or sends again what was not answered.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<FounderEffect>) {
        match &self.proposer {
            Proposer::Starting => self.on_started(now),
            Proposer::Waiting { until } if *until <= now => self.begin_preparing(now),
            Proposer::Preparing { resend_at, .. } | Proposer::Accepting { resend_at, .. }
                if *resend_at <= now =>
            {
                self.ask_silent(now);
            }
            Proposer::Done { announced: false } => self.on_recovered_founding(),
            _ => {}
        }
        self.end_turn(out);
    }

    /// In how much time from `now` [`Founder::tick`] has something to do; `None` if never again.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        match &self.proposer {
            Proposer::Starting | Proposer::Done { announced: false } => Some(Duration::ZERO),
            Proposer::Waiting { until: at }
            | Proposer::Preparing { resend_at: at, .. }
            | Proposer::Accepting { resend_at: at, .. } => Some(at.saturating_sub(now)),
            Proposer::Done { announced: true } => None,
        }
    }

    /// The founding, once it is known.
    pub fn founding(&self) -> Option<&Founding> {
        self.acceptor.founded()
    }

    /// Whether this node's own log shows that it was there at the founding: it had accepted it. One that
    /// was only told of it later is late, or has lost its log since, and cannot tell which.
    pub fn took_part(&self) -> bool {
        let accepted = self.acceptor.accepted().map(|(_, value)| value);
        self.founding().is_some() && accepted == self.founding()
    }

    /// The id of this node in the founding, once it is known and names this node.
    pub fn node(&self) -> Option<NodeId> {
        let mut members = self.founding()?.members.iter();
        members
            .find(|member| member.address == self.plan.me)
            .map(|member| member.node)
    }

    /// What keeps the founding from going on and does not go away by waiting, in words.
    pub fn problem(&self) -> Option<String> {
        let (who, refusal) = self.refusals.first_key_value()?;
        let words = match refusal {
            Refusal::OtherList(list) => format!(
                "node {who} was started with the founders {}, this one ({}) with {}: start all of them with the same --join",
                list.join(", "),
                self.plan.me,
                self.plan.list.join(", ")
            ),
            Refusal::OtherCluster(cluster, members) => format!(
                "node {who} belongs to the cluster {cluster} of {}, which does not name this one ({}): leave {who} out of --join, or start this node with --join of that cluster's nodes and the address that it knows",
                members.join(", "),
                self.plan.me
            ),
        };
        let others = self.refusals.len() - 1;
        Some(match others {
            0 => words,
            _ => format!("{words} (and {others} other nodes refuse)"),
        })
    }

    /// What this founder is doing, in words, for a status.
    pub fn state(&self) -> String {
        match (&self.proposer, self.problem()) {
            (Proposer::Done { .. }, _) => self.founded_in_words(),
            (_, Some(problem)) => format!("not founded: {problem}"),
            (Proposer::Starting | Proposer::Waiting { .. }, None) => format!(
                "not founded: another founder proposes, or this one is about to ask the others ({})",
                self.plan.list.join(", ")
            ),
            (Proposer::Preparing { promised, .. }, None) => {
                self.asking_in_words("whether the cluster is founded", promised)
            }
            (Proposer::Accepting { accepted, .. }, None) => {
                self.asking_in_words("to accept the founding", accepted)
            }
        }
    }

    fn founded_in_words(&self) -> String {
        let founding = self
            .founding()
            .expect("a proposer is done once it knows the founding");
        match self.node() {
            Some(node) => format!("founded: cluster {}, this node is {node}", founding.cluster),
            None => format!("founded: cluster {}", founding.cluster),
        }
    }

    fn asking_in_words(&self, what: &str, answered: &BTreeSet<usize>) -> String {
        let silent: Vec<&str> = self.others(answered).map(|(_, address)| address).collect();
        format!(
            "not founded: asking the others {what}: {} of {} have agreed, {} are needed; no answer yet from {}",
            answered.len() + 1,
            self.plan.list.len(),
            self.majority(),
            silent.join(", ")
        )
    }
}

fn check_member(me: &str, founding: &Founding) -> Result<(), FoundingError> {
    let members = founding.members.iter().map(|m| m.address.clone());
    let members: Vec<String> = members.collect();
    match members.iter().any(|address| address == me) {
        true => Ok(()),
        false => Err(FoundingError::AddressChanged {
            cluster: founding.cluster,
            members,
            me: me.to_owned(),
        }),
    }
}

/// The acceptor's and the learner's side.
impl Founder {
    /// Whether a question deserves the acceptor's answer; otherwise it is answered here.
    fn admits(&mut self, from: &str, list: Vec<String>, ballot: Ballot) -> bool {
        if let Some(founding) = self.founding() {
            let value = founding.clone();
            self.send(from, FoundingMessage::Founded { value }, false);
            return false;
        }
        if list != self.plan.list {
            let message = FoundingMessage::OtherList {
                list: self.plan.list.clone(),
            };
            self.send(from, message, false);
            self.refuse(from, Refusal::OtherList(list));
            return false;
        }
        let proposer = self.plan.list.get(ballot.proposer as usize);
        if proposer.is_none_or(|name| name != from) || ballot.round > ROUND_MAX {
            tracing::warn!(from, ?ballot, "a founding ballot that is not its sender's");
            return false;
        }
        self.refusals.remove(from);
        true
    }

    fn on_prepare(&mut self, now: Duration, from: String, ballot: Ballot) {
        self.maybe_stand_back(now, ballot);
        let answer = self.acceptor.on_prepare(ballot);
        self.answer(&from, answer);
    }

    fn on_accept(&mut self, now: Duration, from: String, ballot: Ballot, value: Founding) {
        self.maybe_stand_back(now, ballot);
        let answer = self.acceptor.on_accept(ballot, value);
        self.answer(&from, answer);
    }

    /// A refusal leans on nothing new; everything else does.
    fn answer(&mut self, to: &str, answer: FoundingMessage) {
        let after_log = !matches!(answer, FoundingMessage::Outbid { .. });
        self.send(to, answer, after_log);
    }

    pub(super) fn on_founded(&mut self, from: &str, value: Founding) {
        let known = self.founding().is_some_and(|founding| *founding == value);
        if known {
            return;
        }
        let names_me = value.members.iter().any(|m| m.address == self.plan.me);
        if names_me && self.founding().is_none() {
            self.become_founded(value);
        } else {
            let members = value.members.into_iter().map(|m| m.address).collect();
            self.refuse(from, Refusal::OtherCluster(value.cluster, members));
        }
    }

    pub(super) fn become_founded(&mut self, value: Founding) {
        self.acceptor.on_founded(value.clone());
        self.refusals.clear();
        self.proposer = Proposer::Done { announced: true };
        self.turn.persist = true;
        self.turn.founded = Some(value);
    }

    fn on_recovered_founding(&mut self) {
        self.proposer = Proposer::Done { announced: true };
        self.turn.founded = self.founding().cloned();
    }

    pub(super) fn refuse(&mut self, from: &str, refusal: Refusal) {
        if self.refusals.contains_key(from) || self.refusals.len() < REFUSALS_MAX {
            self.refusals.insert(from.to_owned(), refusal);
        }
    }
}

/// What both sides use.
impl Founder {
    pub(super) fn majority(&self) -> usize {
        self.plan.list.len() / 2 + 1
    }

    /// The other founders without those that answered, but with those that refuse: they are asked
    /// until they no longer do.
    fn others<'a>(
        &'a self,
        answered: &'a BTreeSet<usize>,
    ) -> impl Iterator<Item = (usize, &'a str)> {
        let all = self.plan.list.iter().map(String::as_str).enumerate();
        all.filter(move |(place, address)| {
            let agreed = answered.contains(place) && !self.refusals.contains_key(*address);
            *place != self.place && !agreed
        })
    }

    pub(super) fn other_addresses(&self, answered: &BTreeSet<usize>) -> Vec<String> {
        self.others(answered).map(|(_, to)| to.to_owned()).collect()
    }

    /// A message that leans on the acceptor's state (`after_log`) has that state logged before it.
    pub(super) fn send(&mut self, to: &str, message: FoundingMessage, after_log: bool) {
        self.turn.persist |= after_log;
        self.turn.sends.push(FounderEffect::Send {
            to: to.to_owned(),
            message,
            after_log,
        });
    }

    fn end_turn(&mut self, out: &mut Vec<FounderEffect>) {
        let turn = std::mem::take(&mut self.turn);
        if turn.persist {
            out.push(FounderEffect::Persist(self.acceptor.encode()));
        }
        out.extend(turn.sends);
        out.extend(turn.founded.map(FounderEffect::Founded));
    }
}
