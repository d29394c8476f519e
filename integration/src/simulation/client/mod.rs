//! A simulated client: carries out one plan after another, one request at a time, and writes down what
//! it is told.
//!
//! It keeps the client's half of the protocol (R10):
//! - A commit without an answer is sent again, with the same name, to another gateway.
//! - "Aborted" is believed only if the commit was sent once, or if the refusal is durable. Until then
//!   the outcome is not known, and the store is asked for it.
//! - One that is patient leaves a gateway that is silent and not one that is slow: while it waits it asks
//!   for a sign of life, the cheapest question there is, and waits on if one comes (decision 0018).
//! - A process whose transaction's outcome is not known runs no further one: the client goes on under
//!   another process number, and asks for the outcome in the end.
//!
//! ```text
//!   think ─► lock* ─► read round* ─► decide ─► commit ──answer──► told ─► think
//!                                                └─silence─► send again ─► ask the outcome, or leave it
//! ```

mod answers;
mod beside;
mod patience;
mod requests;
#[cfg(test)]
mod tests;

use super::clocks::true_timestamp;
use super::network::Seat;
use super::scenario::{nanoseconds, nanoseconds_of_both, nanoseconds_or_none};
use crate::history::{History, Observation, Told, TransactionIndex};
use crate::workload::{Plan, Writes};
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::TransactionId;
use wire::keys::Key;
use wire::message::{ClientReply, ClientRequest, Commit, TransactionName};

/// How patient and how busy a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientTiming {
    /// The shortest and the longest pause between two transactions.
    #[serde(with = "nanoseconds_of_both")]
    pub think: (Duration, Duration),
    /// How long it waits for an answer.
    #[serde(with = "nanoseconds")]
    pub timeout: Duration,
    /// Instead it waits as long as it takes, as long as its gateway gives a sign of life when it has been
    /// silent for this long; `None`: it asks for none.
    #[serde(with = "nanoseconds_or_none")]
    pub sign_after: Option<Duration>,
    /// The pause before it tries the same again.
    #[serde(with = "nanoseconds")]
    pub retry: Duration,
    /// How often it sends one commit at the most.
    pub sends_max: u32,
    /// How often it runs a plan again after a conflict.
    pub reruns_max: u32,
    /// How long after its first sending a commit expires.
    #[serde(with = "nanoseconds")]
    pub expires: Duration,
    /// One commit in so many is sent through other gateways as well, or asked about there, while the
    /// first copy may be at work; 0: none.
    pub asides_one_in: u64,
    /// One transaction in so many that only read reads in the past; 0: none.
    pub past_one_in: u64,
}

/// Something that happens to a client.
#[derive(Debug)]
pub enum ClientEvent {
    /// The timer with this ticket rings.
    Timer(u64),
    /// An answer to the request with this number.
    Reply {
        /// The request's number.
        number: u64,
        /// What is answered.
        reply: ClientReply,
    },
    /// The connection is gone.
    Lost,
}

/// What a client wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientEffect {
    /// Gives up the connection and opens one to this node.
    Connect(Seat),
    /// Sends a request over the connection.
    Send {
        /// Its number.
        number: u64,
        /// What is asked.
        request: ClientRequest,
    },
    /// Sends a copy of a commit, or a question for its outcome, over a connection of its own.
    Aside {
        /// In this time.
        after: Duration,
        /// To this node.
        gateway: Seat,
        /// Of which transaction.
        index: TransactionIndex,
        /// What.
        request: ClientRequest,
    },
    /// Rings after this time; an earlier timer no longer counts.
    Timer {
        /// The delay.
        after: Duration,
        /// Names it.
        ticket: u64,
    },
}

/// What a client acts on besides itself.
pub struct ClientContext<'a> {
    /// Virtual time.
    pub now: Duration,
    /// Since when everything is there that plans rely on.
    pub begun: Duration,
    /// Where it writes down what happens.
    pub history: &'a mut History,
    /// Gives the next plan; `None`: nothing more is to be begun.
    pub plans: &'a mut dyn FnMut(&mut SplitMix64) -> Option<Plan>,
    /// Gives process numbers that nobody had before.
    pub processes: &'a mut u32,
}

/// What the client waits for an answer to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Lock,
    Move { to: Timestamp },
    Round,
    Commit,
    Outcome,
    Rollback,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Thinking,
    Waiting(Want),
    Pausing(Want),
    Finished,
}

/// One plan being carried out.
struct Run {
    plan: Plan,
    index: TransactionIndex,
    id: TransactionId,
    age: TransactionId,
    snapshot: Option<Timestamp>,
    seen: Vec<Observation>,
    locked: Vec<Key>,
    rounds_done: usize,
    commit: Option<Commit>,
    sends: u32,
    tries: u32,
    reruns: u32,
}

/// A transaction whose outcome is to be asked for.
#[derive(Clone, Debug)]
struct OpenQuestion {
    index: TransactionIndex,
    name: TransactionName,
}

/// How often a read or lock is tried before the transaction is given up.
const TRIES_MAX: u32 = 4;
/// How long a client waits for an answer to what must be committed first, at least.
const SET_UP_PATIENCE: Duration = Duration::from_secs(8);

/// One client.
pub struct Client {
    timing: ClientTiming,
    gateways: usize,
    gateway: Seat,
    connected: bool,
    process: u32,
    /// The client's own clock, against true time. It may be as wrong as it likes.
    skew: Duration,
    random: SplitMix64,
    phase: Phase,
    run: Option<Run>,
    /// What must be committed and was not yet: run again after a pause, with its age and its count.
    again: Option<(Plan, TransactionId, u32)>,
    requests: u64,
    /// The number of the request whose answer it waits for.
    wanted: u64,
    /// The question for a sign of life that is out, since it last heard something.
    sign: Option<u64>,
    ticket: u64,
    /// Outcomes that are not known.
    open: VecDeque<OpenQuestion>,
    /// Outcomes that are known, asked for in the end to compare.
    compare: VecDeque<OpenQuestion>,
    asking: Option<OpenQuestion>,
    /// One in so many known outcomes is asked for in the end; 0: none.
    compare_one_in: u64,
}

impl Client {
    /// A client that uses `gateways` nodes, the first one being `gateway`.
    pub fn new(
        timing: ClientTiming,
        gateway: Seat,
        gateways: usize,
        process: u32,
        seed: u64,
    ) -> Client {
        let mut random = SplitMix64::new(seed);
        let skew = Duration::from_micros(random.below(200_000));
        Client {
            timing,
            gateways,
            gateway,
            connected: false,
            process,
            skew,
            random,
            phase: Phase::Thinking,
            run: None,
            again: None,
            requests: 0,
            wanted: 0,
            sign: None,
            ticket: 0,
            open: VecDeque::new(),
            compare: VecDeque::new(),
            asking: None,
            compare_one_in: 3,
        }
    }

    /// Whether it has finished: nothing more to begin, nothing left unknown.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// What it is doing, for a message about a client that does not finish.
    pub fn describe(&self) -> String {
        let run = self.run.as_ref().map(|run| (run.index, run.plan.workload));
        format!(
            "{:?}, running {run:?}, {} outcomes not known, asking {:?}",
            self.phase,
            self.open.len(),
            self.asking.as_ref().map(|question| question.index)
        )
    }

    /// The first timer: when it begins its first transaction.
    pub fn start(&mut self, out: &mut Vec<ClientEffect>) {
        self.think(out);
    }

    /// Something happens.
    pub fn step(
        &mut self,
        cx: &mut ClientContext,
        event: ClientEvent,
        out: &mut Vec<ClientEffect>,
    ) {
        match (event, self.phase) {
            (ClientEvent::Timer(ticket), _) if ticket != self.ticket => {}
            (ClientEvent::Timer(_), Phase::Thinking) => self.begin_next(cx, out),
            (ClientEvent::Timer(_), Phase::Pausing(want)) => self.ask(cx, want, out),
            (ClientEvent::Timer(_), Phase::Waiting(_)) if self.may_ask_for_sign() => {
                self.ask_for_sign(out);
            }
            (ClientEvent::Timer(_), Phase::Waiting(want)) => self.on_silence(cx, want, out),
            (ClientEvent::Lost, Phase::Waiting(want)) => self.on_silence(cx, want, out),
            (ClientEvent::Lost, _) => self.connected = false,
            (ClientEvent::Reply { number, reply }, Phase::Waiting(want))
                if number == self.wanted =>
            {
                self.on_reply(cx, want, reply, out);
            }
            (ClientEvent::Reply { number, .. }, Phase::Waiting(_)) if Some(number) == self.sign => {
                self.sign = None;
                self.set_timer(self.patience(), out);
            }
            (ClientEvent::Reply { .. }, _) | (ClientEvent::Timer(_), Phase::Finished) => {}
        }
    }

    fn client_time(&self, now: Duration) -> Timestamp {
        true_timestamp(now + self.skew)
    }

    fn fresh_id(&mut self, now: Duration) -> TransactionId {
        TransactionId {
            time: self.client_time(now),
            random: self.random.next_u64(),
        }
    }

    fn set_timer(&mut self, after: Duration, out: &mut Vec<ClientEffect>) {
        self.ticket += 1;
        let ticket = self.ticket;
        out.push(ClientEffect::Timer { after, ticket });
    }

    fn think(&mut self, out: &mut Vec<ClientEffect>) {
        let (least, most) = self.timing.think;
        let spread = most.saturating_sub(least).as_nanos() as u64;
        let pause = least + Duration::from_nanos(self.random.below(spread + 1));
        self.phase = Phase::Thinking;
        self.set_timer(pause, out);
    }

    fn pause(&mut self, want: Want, out: &mut Vec<ClientEffect>) {
        let retry = self.timing.retry.as_nanos() as u64;
        let pause = Duration::from_nanos(retry / 2 + self.random.below(retry + 1));
        self.phase = Phase::Pausing(want);
        self.set_timer(pause, out);
    }

    /// Takes another gateway for the next request.
    fn move_on(&mut self) {
        if self.gateways > 1 {
            let step = 1 + self.random.below(self.gateways as u64 - 1) as usize;
            self.gateway = (self.gateway + step) % self.gateways;
        }
        self.connected = false;
    }

    fn begin_next(&mut self, cx: &mut ClientContext, out: &mut Vec<ClientEffect>) {
        if let Some((plan, age, reruns)) = self.again.take() {
            return self.begin(cx, plan, age, reruns, out);
        }
        match (cx.plans)(&mut self.random) {
            Some(plan) => {
                let id = self.fresh_id(cx.now);
                self.begin(cx, plan, id, 0, out);
            }
            None => self.ask_next_outcome(cx, out),
        }
    }

    fn begin(
        &mut self,
        cx: &mut ClientContext,
        plan: Plan,
        age: TransactionId,
        reruns: u32,
        out: &mut Vec<ClientEffect>,
    ) {
        let id = if reruns == 0 {
            age
        } else {
            self.fresh_id(cx.now)
        };
        let index = cx.history.begin(self.process, plan.workload, cx.now);
        let transaction = cx.history.get_mut(index);
        transaction.locking = !plan.locks.is_empty();
        let only_reads = plan.locks.is_empty() && plan.decide.is_none();
        let snapshot = match only_reads {
            true => self.past_snapshot(cx.now, cx.begun),
            false => None,
        };
        transaction.past = snapshot.is_some();
        self.run = Some(Run {
            plan,
            index,
            id,
            age,
            snapshot,
            seen: Vec::new(),
            locked: Vec::new(),
            rounds_done: 0,
            commit: None,
            sends: 0,
            tries: 0,
            reruns,
        });
        self.advance(cx, out);
    }

    /// Takes the next step of the plan.
    fn advance(&mut self, cx: &mut ClientContext, out: &mut Vec<ClientEffect>) {
        let run = self.run.as_mut().expect("only a running plan advances");
        run.tries = 0;
        if run.locked.len() < run.plan.locks.len() {
            return self.ask(cx, Want::Lock, out);
        }
        if run.rounds_done < run.plan.rounds.len() {
            return self.ask(cx, Want::Round, out);
        }
        let transaction = cx.history.get_mut(run.index);
        transaction.snapshot = run.snapshot;
        transaction.reads.clone_from(&run.seen);
        let writes = run
            .plan
            .decide
            .as_ref()
            .and_then(|decide| decide(&run.seen));
        match writes {
            Some(writes) if !writes.operations.is_empty() => self.commit(cx, writes, out),
            _ if run.locked.is_empty() => self.end(cx, Told::Read, out),
            _ => self.ask(cx, Want::Rollback, out),
        }
    }

    fn commit(&mut self, cx: &mut ClientContext, writes: Writes, out: &mut Vec<ClientEffect>) {
        let lives = self.timing.expires.max(self.patience());
        let expires = self.client_time(cx.now).plus(lives);
        let run = self.run.as_mut().expect("only a running plan commits");
        let commit = requests::commit_of(run, &writes, expires);
        let transaction = cx.history.get_mut(run.index);
        transaction.guards = writes.guards;
        transaction.operations = writes.operations;
        transaction.name = Some(commit.name.clone());
        run.commit = Some(commit);
        self.ask(cx, Want::Commit, out);
        if self.timing.asides_one_in > 0 && self.random.chance(1, self.timing.asides_one_in) {
            self.send_beside(out);
        }
    }

    /// The transaction is over, and something definite is known.
    fn end(&mut self, cx: &mut ClientContext, told: Told, out: &mut Vec<ClientEffect>) {
        let run = self.run.take().expect("only a running plan ends");
        let transaction = cx.history.get_mut(run.index);
        transaction.completed = Some(cx.now);
        let committed = matches!(told, Told::Committed { .. });
        let again = match &told {
            Told::Aborted { reason, .. } => answers::is_worth_another_run(reason),
            _ => false,
        };
        transaction.told = told;
        if run.commit.is_none() {
            transaction.snapshot = run.snapshot;
            transaction.reads = run.seen;
        }
        if let Some(commit) = run.commit {
            let asked_for = self.compare_one_in > 0 && self.random.chance(1, self.compare_one_in);
            if asked_for {
                let (index, name) = (run.index, commit.name);
                self.compare.push_back(OpenQuestion { index, name });
            }
        }
        let must = run.plan.until_committed && !committed;
        if must {
            // Perhaps nobody serves anything yet: not at once.
            self.again = Some((run.plan, run.age, run.reruns + 1));
            self.think(out);
        } else if again && run.reruns < self.timing.reruns_max {
            self.begin(cx, run.plan, run.age, run.reruns + 1, out);
        } else {
            self.think(out);
        }
    }

    /// The client stops waiting for a definite answer to its commit.
    fn leave_unknown(&mut self, cx: &mut ClientContext, out: &mut Vec<ClientEffect>) {
        let run = self.run.as_ref().expect("only a running plan is left");
        let commit = run.commit.as_ref().expect("only a commit can be unknown");
        let question = OpenQuestion {
            index: run.index,
            name: commit.name.clone(),
        };
        *cx.processes += 1;
        self.process = *cx.processes;
        if run.plan.until_committed || self.random.chance(1, 2) {
            self.asking = Some(question);
            self.ask(cx, Want::Outcome, out);
        } else {
            self.run = None;
            self.open.push_back(question);
            self.think(out);
        }
    }

    fn ask_next_outcome(&mut self, cx: &mut ClientContext, out: &mut Vec<ClientEffect>) {
        self.asking = self.open.pop_front().or_else(|| self.compare.pop_front());
        match self.asking {
            Some(_) => self.ask(cx, Want::Outcome, out),
            None => self.phase = Phase::Finished,
        }
    }

    fn ask(&mut self, cx: &mut ClientContext, want: Want, out: &mut Vec<ClientEffect>) {
        if !self.connected {
            self.connected = true;
            out.push(ClientEffect::Connect(self.gateway));
        }
        let request = self.request(want);
        if want == Want::Commit {
            cx.history
                .get_mut(self.run.as_ref().expect("a commit has a run").index)
                .completed = None;
        }
        self.requests += 1;
        self.wanted = self.requests;
        self.sign = None;
        out.push(ClientEffect::Send {
            number: self.requests,
            request,
        });
        self.phase = Phase::Waiting(want);
        self.set_timer(self.patience(), out);
    }
}
