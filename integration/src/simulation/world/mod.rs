//! A whole cluster and its clients in virtual time: the loop over all that happens.
//!
//! ```text
//!   event heap ──► node's inbox ──► turn (the real Node) ──► effects ──► network, disk, store, clients
//!        ▲                                                                        │
//!        └────────────────────────── what they make happen later ◄────────────────┘
//! ```
//!
//! Invariants:
//! - One seed is the whole world: every draw comes from generators seeded by it, every event from the
//!   heap; nothing here reads a clock, a file or an address of memory.
//! - A node hears of nothing that was meant for an earlier life of it.
//! - Frames between nodes are bytes, so what is simulated also crosses the wire's encoding.

mod asides;
mod clients;
mod control;
mod damage;
mod faults;
mod links;
mod members;
mod nodes;

pub use control::ControlReply;

use super::client::ClientEvent;
use super::heap::EventHeap;
use super::machine::{Machine, address};
use super::marks::Marks;
use super::nemesis::{Fault, FaultKind, Nemesis, Struck};
use super::network::{Network, Seat};
use super::options::{Cast, WorldOptions};
use super::telling;
use super::trace::{self, About, Line, Trace};
use crate::history::{History, Transaction, TransactionIndex, Verdict};
use crate::workload::{Plan, Workload};
use asides::Aside;
use clients::Session;
use node::{Effect, Event};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{NodeId, PartitionId, Term};
use wire::message::{ClientReply, ClientRequest, FoundingMessage};

/// Something that will happen.
enum Happening {
    /// A node takes a turn.
    Turn { seat: Seat, boot: u32 },
    /// A node's turn is over: what it wants done.
    TurnOver {
        seat: Seat,
        boot: u32,
        effects: Vec<Effect>,
    },
    /// A node wanted to be woken.
    Wake { seat: Seat, boot: u32 },
    /// A frame arrives.
    Frame {
        from: Seat,
        to: Seat,
        connection: u64,
        bytes: Vec<u8>,
    },
    /// A founder's message arrives.
    Founding {
        from: Seat,
        to: Seat,
        message: FoundingMessage,
    },
    /// One side of a connection notices that it is gone.
    LinkDown {
        at: Seat,
        peer: Seat,
        connection: u64,
    },
    /// A pair tries to connect.
    Connect { a: Seat, b: Seat },
    /// A flush of a log ends.
    Flushed { seat: Seat, boot: u32 },
    /// A store reports.
    StoreReport {
        seat: Seat,
        boot: u32,
        report: partition::versions::StoreReport,
    },
    /// A store comes to what is damaged.
    StoreFailed { seat: Seat, boot: u32 },
    /// Somebody sees to a damaged node.
    Rebuild { seat: Seat },
    /// A store persists what it holds.
    Persist { seat: Seat, boot: u32 },
    /// A client's request arrives at its gateway.
    Request {
        session: usize,
        connection: u64,
        seat: Seat,
        boot: u32,
        number: u64,
        request: ClientRequest,
    },
    /// A gateway hears that a client is gone.
    ClientGone {
        connection: u64,
        seat: Seat,
        boot: u32,
    },
    /// A copy of a commit, or a question for its outcome, arrives at another gateway.
    Aside {
        connection: u64,
        seat: Seat,
        index: TransactionIndex,
        request: ClientRequest,
    },
    /// What was answered to it is heard.
    Heard {
        index: TransactionIndex,
        verdict: Verdict,
    },
    /// Something reaches a client.
    Client {
        session: usize,
        /// On which connection; `None`: whatever connection it has.
        connection: Option<u64>,
        event: ClientEvent,
    },
    /// A node gets power.
    Start { seat: Seat },
    /// A partition whose members are to change is looked after.
    GoOnChanging { partition: PartitionId },
    /// The nemesis strikes.
    Strike,
    /// A part of a fault begins.
    FaultBegins(Fault),
    /// A fault ends.
    FaultEnds(Fault),
}

/// Where plans come from now.
enum Phase {
    /// Only the first client works, on what must be there first.
    Setup(VecDeque<Plan>),
    /// All clients work.
    Run,
    /// Nothing more is begun.
    Stopped,
}

/// A whole cluster and its clients.
pub struct World {
    options: WorldOptions,
    heap: EventHeap<Happening>,
    trace: Trace,
    network: Network,
    machines: Vec<Machine>,
    sessions: Vec<Session>,
    /// Copies and questions that are at gateways, by connection.
    asides: BTreeMap<u64, Aside>,
    /// Sessions by connection.
    connections: BTreeMap<u64, usize>,
    next_connection: u64,
    history: History,
    workloads: Vec<Box<dyn Workload>>,
    phase: Phase,
    /// Since when what must be there first is there.
    begun: Duration,
    processes: u32,
    nemesis: Option<Nemesis>,
    faults: BTreeMap<FaultKind, u64>,
    /// The faults that struck, in order.
    struck: Vec<Struck>,
    /// What each node leads and serves, and in which term; kept for a readable trace only.
    led: Vec<BTreeMap<PartitionId, Term>>,
    /// So many transactions may be begun yet, `None`: any number.
    plans_left: Option<u64>,
    marks: Marks,
    wild_bursts: u32,
    /// The voters that partitions are to have and do not have yet.
    wanted_members: BTreeMap<PartitionId, BTreeSet<NodeId>>,
    control_replies: BTreeMap<u64, (Duration, ClientReply)>,
    control_requests: u64,
    random: SplitMix64,
    failure: Option<String>,
    at_this_instant: u64,
}

/// So many events at one instant: time stands still, and will for ever.
const EVENTS_PER_INSTANT_MAX: u64 = 200_000;

impl World {
    /// A world whose nodes are about to start.
    pub fn new(options: WorldOptions) -> World {
        let mut random = SplitMix64::new(options.seed);
        let machines = (0..options.nodes)
            .map(|seat| Machine::new(seat, &options, &mut random))
            .collect();
        let network = Network::new(
            options.nodes,
            options.network,
            options.node_delay,
            random.next_u64(),
        );
        let mut world = World {
            trace: Trace::new(options.readable),
            heap: EventHeap::new(),
            network,
            machines,
            sessions: Vec::new(),
            asides: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: control::CONTROL_CONNECTION + 1,
            history: History::new(),
            workloads: Vec::new(),
            phase: Phase::Stopped,
            begun: Duration::ZERO,
            processes: 0,
            nemesis: None,
            faults: BTreeMap::new(),
            struck: Vec::new(),
            led: vec![BTreeMap::new(); options.nodes],
            plans_left: None,
            marks: Marks::default(),
            wild_bursts: 0,
            wanted_members: BTreeMap::new(),
            control_replies: BTreeMap::new(),
            control_requests: 0,
            random,
            failure: None,
            at_this_instant: 0,
            options,
        };
        for seat in 0..world.options.nodes {
            let stagger = Duration::from_millis(world.random.below(20));
            world.heap.at(stagger, Happening::Start { seat });
            for other in seat + 1..world.options.nodes {
                world.connect_soon(seat, other);
            }
        }
        world
    }

    /// Virtual time.
    pub fn now(&self) -> Duration {
        self.heap.now()
    }

    /// What the clients did.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Adds a transaction that was run from outside.
    pub fn record(&mut self, transaction: Transaction) {
        self.history.push(transaction);
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.options.nodes
    }

    /// What the world is like.
    pub fn options(&self) -> &WorldOptions {
        &self.options
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// How often each kind of fault struck.
    pub fn faults(&self) -> &BTreeMap<FaultKind, u64> {
        &self.faults
    }

    /// The faults that struck, in order, with their times.
    pub fn struck(&self) -> &[Struck] {
        &self.struck
    }

    /// Since when what must be there first is there.
    pub fn begun(&self) -> Duration {
        self.begun
    }

    /// The history, taken away.
    pub(super) fn take_history(&mut self) -> History {
        std::mem::take(&mut self.history)
    }

    /// The lines of the readable trace, taken away.
    pub(super) fn take_trace(&mut self) -> Vec<Line> {
        self.trace.take_lines()
    }

    /// The rare branches that were seen.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What must be there before the clients begin: the first client commits it.
    pub fn set_up(&mut self, cast: Cast) {
        let letters = self.options.letters();
        self.plans_left = cast.transactions_max;
        let plans = cast.workloads.into_iter().map(|choice| {
            let mut workload = choice.build(letters);
            let plans = workload.setup();
            (workload, plans)
        });
        let mut all = VecDeque::new();
        for (workload, plans) in plans {
            self.workloads.push(workload);
            all.extend(plans);
        }
        self.phase = Phase::Setup(all);
        for number in 0..cast.clients {
            self.add_session(number, cast.client_timing);
        }
        let seed = self.random.next_u64();
        let nodes = self.options.nodes;
        self.nemesis = Some(Nemesis::new(cast.faults, nodes, seed));
        self.start_session(0);
    }

    /// All clients begin.
    pub fn begin_clients(&mut self) {
        self.phase = Phase::Run;
        self.begun = self.now();
        for session in 0..self.sessions.len() {
            self.start_session(session);
        }
    }

    /// The nemesis begins.
    pub fn begin_faults(&mut self) {
        self.next_strike();
    }

    /// Nothing more is begun, by clients or by the nemesis, and everything that was done is undone.
    pub fn stop_and_heal(&mut self) {
        self.phase = Phase::Stopped;
        self.nemesis = None;
        self.heal();
    }

    /// Whether every client has finished what it had begun, and every copy of a commit is answered.
    pub fn clients_finished(&self) -> bool {
        self.asides.is_empty()
            && self
                .sessions
                .iter()
                .all(|session| session.client.is_finished())
    }

    /// Whether the first client has committed what must be there first.
    pub fn is_set_up(&self) -> bool {
        matches!(&self.phase, Phase::Setup(plans) if plans.is_empty())
            && self.sessions.first().is_none_or(|s| s.client.is_finished())
    }

    /// What the clients that have not finished are doing.
    pub fn describe_clients(&self) -> String {
        let unfinished = self.sessions.iter().filter(|s| !s.client.is_finished());
        let lines: Vec<String> = unfinished
            .map(|session| format!("client {}: {}", session.number, session.client.describe()))
            .chain([self.describe_asides()])
            .collect();
        lines.join("; ")
    }

    /// Lets things happen until `done` says so, at most until `limit`. Whether it said so.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&World) -> bool,
    ) -> Result<bool, String> {
        loop {
            if done(self) {
                return Ok(true);
            }
            match self.heap.next_time() {
                Some(time) if time <= limit => self.step()?,
                _ => {
                    self.heap.advance_to(limit.max(self.heap.now()));
                    return Ok(done(self));
                }
            }
        }
    }

    /// Lets everything happen up to a time.
    pub fn run_to(&mut self, time: Duration) -> Result<(), String> {
        self.run_until(time, |_| false).map(|_| ())
    }

    fn step(&mut self) -> Result<(), String> {
        let before = self.heap.now();
        let Some(happening) = self.heap.pop() else {
            return Ok(());
        };
        let now = self.heap.now();
        self.at_this_instant = if now == before {
            self.at_this_instant + 1
        } else {
            0
        };
        if self.at_this_instant > EVENTS_PER_INSTANT_MAX {
            return Err(format!(
                "time stands still at {now:?}: more and more happens in one instant"
            ));
        }
        match happening {
            Happening::Turn { seat, boot } => self.turn(seat, boot),
            Happening::TurnOver {
                seat,
                boot,
                effects,
            } => self.turn_over(seat, boot, effects),
            Happening::Wake { seat, boot } => self.wake(seat, boot),
            Happening::Frame {
                from,
                to,
                connection,
                bytes,
            } => {
                self.frame_arrives(from, to, connection, &bytes);
            }
            Happening::Founding { from, to, message } => {
                let from = address(from);
                self.give(to, Event::Founding { from, message });
            }
            Happening::LinkDown {
                at,
                peer,
                connection,
            } => self.link_down(at, peer, connection),
            Happening::Connect { a, b } => self.try_connect(a, b),
            Happening::Flushed { seat, boot } => self.flushed(seat, boot),
            Happening::StoreReport { seat, boot, report } => {
                if self.lives(seat, boot) {
                    let now = self.now();
                    self.trace.line_about(now, About::node(seat), || {
                        let says = telling::clipped(&report);
                        format!("{}'s store says {says}", trace::node(seat))
                    });
                    self.give(seat, Event::Store(report));
                }
            }
            Happening::Persist { seat, boot } => self.persist(seat, boot),
            Happening::Request {
                session,
                connection,
                seat,
                boot,
                number,
                request,
            } => {
                self.request_arrives(session, connection, seat, boot, number, request);
            }
            Happening::ClientGone {
                connection,
                seat,
                boot,
            } => {
                if self.lives(seat, boot) {
                    self.give(seat, Event::ClientGone { connection });
                }
            }
            Happening::Client {
                session,
                connection,
                event,
            } => {
                self.client_event(session, connection, event);
            }
            Happening::Aside {
                connection,
                seat,
                index,
                request,
            } => self.aside_arrives(connection, seat, index, request),
            Happening::Heard { index, verdict } => self.aside_heard(index, verdict),
            Happening::StoreFailed { seat, boot } => self.store_failed(seat, boot),
            Happening::Rebuild { seat } => self.rebuild(seat),
            Happening::Start { seat } => self.start(seat),
            Happening::GoOnChanging { partition } => self.go_on_changing(partition),
            Happening::Strike => self.strike(),
            Happening::FaultBegins(fault) => self.part_begins(fault),
            Happening::FaultEnds(fault) => self.end_fault(&fault),
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn lives(&self, seat: Seat, boot: u32) -> bool {
        self.machines[seat].is_up() && self.machines[seat].boot == boot
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }
}
