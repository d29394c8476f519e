//! Histories of a small database that is known to be right, or wrong in a known way.
//!
//! Against them the checkers are checked: what [`Isolation`] promises must be found to hold, whatever the
//! seed, and what it allows must be found sometimes. A few clients run transactions of several
//! micro-operations step by step, interleaved by a seed; some fail, of some the outcome stays unknown,
//! and of these some take effect long after their client has gone on. At the end every key is read.

use crate::history::{Form, History, Kind};
use std::collections::BTreeMap;

/// How transactions see each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// All at once, at one moment between invocation and completion: strictly serializable.
    Strict,
    /// From a snapshot of its begin; of two that write the same key and overlap the second fails: strong
    /// snapshot isolation.
    Snapshot,
    /// Each read sees what is committed by then; writes appear at the commit, and not even their own
    /// transaction sees them before (they have no place in the order yet): read committed.
    ReadCommitted,
    /// Each micro-operation at once, and nothing is undone.
    None,
}

/// Lists or registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `:append` and `:r` of lists.
    Lists,
    /// `:w` and `:r` of values.
    Registers,
}

/// What is generated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How many transactions, the reads at the end not counted.
    pub transactions: usize,
    /// How many run together.
    pub clients: usize,
    /// How many keys are in use at a time.
    pub keys: usize,
    /// After so many writes a key is given up for a new one.
    pub writes_per_key_max: usize,
    /// Micro-operations of a transaction, one at least.
    pub micro_operations_max: usize,
    /// Of 100 transactions so many fail.
    pub failed_percent: u64,
    /// Of 100 transactions the outcome of so many stays unknown.
    pub unknown_percent: u64,
    /// How they see each other.
    pub isolation: Isolation,
    /// Lists or registers.
    pub shape: Shape,
}

impl Options {
    /// A small history of lists.
    pub fn small(seed: u64, isolation: Isolation) -> Options {
        Options {
            seed,
            transactions: 60,
            clients: 5,
            keys: 3,
            writes_per_key_max: 16,
            micro_operations_max: 4,
            failed_percent: 5,
            unknown_percent: 5,
            isolation,
            shape: Shape::Lists,
        }
    }
}

/// One micro-operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Micro {
    /// Reads a key; what was read, of a register at most one value.
    Read(i64, Option<Vec<i64>>),
    /// Appends or writes a value.
    Write(i64, i64),
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Who.
    pub process: i64,
    /// What.
    pub kind: Kind,
    /// The transaction.
    pub transaction: Vec<Micro>,
}

/// Lines as a history.
pub fn to_history(lines: &[Line], shape: Shape) -> History {
    let mut history = History::new();
    for line in lines {
        let value = Form::vector(
            line.transaction
                .iter()
                .map(|micro| micro_form(micro, shape)),
        );
        history.push(line.process, line.kind, "txn", &value);
    }
    history
}

fn micro_form(micro: &Micro, shape: Shape) -> Form {
    match (micro, shape) {
        (Micro::Write(key, value), Shape::Lists) => {
            Form::vector([Form::keyword("append"), (*key).into(), (*value).into()])
        }
        (Micro::Write(key, value), Shape::Registers) => {
            Form::vector([Form::keyword("w"), (*key).into(), (*value).into()])
        }
        (Micro::Read(key, seen), _) => {
            let seen = match (seen, shape) {
                (None, _) => Form::Nil,
                (Some(list), Shape::Lists) => {
                    Form::vector(list.iter().map(|value| (*value).into()))
                }
                (Some(list), Shape::Registers) => list.last().copied().into(),
            };
            Form::vector([Form::keyword("r"), (*key).into(), seen])
        }
    }
}

/// Runs the database.
pub fn generate(options: &Options) -> Vec<Line> {
    let mut world = World::new(options);
    while world.begun < options.transactions || !world.is_quiet() {
        let client = world.random.below(options.clients as u64) as usize;
        world.step(client);
        if !world.late.is_empty() && world.random.below(8) == 0 {
            let which = world.random.below(world.late.len() as u64) as usize;
            let late = world.late.swap_remove(which);
            world.run_to_end(late);
        }
    }
    world.read_everything();
    world.lines
}

/// The generator of Steele and others, *Fast Splittable Pseudorandom Number Generators*, 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// How a transaction will end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Commits,
    Fails,
    /// Nobody hears of it; it commits before or after that, or never.
    Unknown,
}

struct Running {
    process: i64,
    transaction: Vec<Micro>,
    next: usize,
    /// What it sees: elements that were committed up to here.
    snapshot: u64,
    fate: Fate,
    committed: Option<bool>,
}

struct World<'a> {
    options: &'a Options,
    random: Random,
    /// Of each key the values in order, with the number of their commits.
    keys: BTreeMap<i64, Vec<(i64, u64)>>,
    commits: u64,
    active: Vec<i64>,
    /// Of each key how many writes were asked for.
    asked: BTreeMap<i64, usize>,
    clients: Vec<(i64, Option<Running>)>,
    late: Vec<Running>,
    next_process: i64,
    begun: usize,
    lines: Vec<Line>,
}

impl<'a> World<'a> {
    fn new(options: &'a Options) -> World<'a> {
        let clients = options.clients.max(1) as i64;
        World {
            options,
            random: Random(options.seed),
            keys: BTreeMap::new(),
            commits: 0,
            active: (0..options.keys.max(1) as i64).collect(),
            asked: BTreeMap::new(),
            clients: (0..clients).map(|process| (process, None)).collect(),
            late: Vec::new(),
            next_process: clients,
            begun: 0,
            lines: Vec::new(),
        }
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(|(_, running)| running.is_none())
    }

    fn step(&mut self, client: usize) {
        let Some(mut running) = self.clients[client].1.take() else {
            if self.begun < self.options.transactions {
                self.begin(client);
            }
            return;
        };
        if running.committed.is_none() {
            self.advance(&mut running);
            let gives_up = running.fate == Fate::Unknown && self.random.below(6) == 0;
            if !gives_up {
                self.clients[client].1 = Some(running);
                return;
            }
        }
        self.complete(client, running);
    }

    fn begin(&mut self, client: usize) {
        self.begun += 1;
        let count = 1 + self.random.below(self.options.micro_operations_max as u64);
        let mut transaction = Vec::new();
        for _ in 0..count {
            let place = self.random.below(self.active.len() as u64) as usize;
            let key = self.active[place];
            if self.random.below(2) == 0 {
                transaction.push(Micro::Read(key, None));
                continue;
            }
            let asked = self.asked.entry(key).or_default();
            *asked += 1;
            transaction.push(Micro::Write(key, *asked as i64));
            if *asked >= self.options.writes_per_key_max {
                let fresh = self.active.iter().max().map_or(0, |key| key + 1);
                self.active[place] = fresh;
            }
        }
        let dice = self.random.below(100);
        let (failed, unknown) = (self.options.failed_percent, self.options.unknown_percent);
        let fate = match dice {
            dice if dice < failed => Fate::Fails,
            dice if dice < failed + unknown => Fate::Unknown,
            _ => Fate::Commits,
        };
        let process = self.clients[client].0;
        self.tell(process, Kind::Invoke, &transaction);
        self.clients[client].1 = Some(Running {
            process,
            transaction,
            next: 0,
            snapshot: self.commits,
            fate,
            committed: None,
        });
    }

    fn tell(&mut self, process: i64, kind: Kind, transaction: &[Micro]) {
        let transaction = transaction.to_vec();
        self.lines.push(Line {
            process,
            kind,
            transaction,
        });
    }

    /// One micro-operation, or the commit.
    fn advance(&mut self, running: &mut Running) {
        if self.options.isolation == Isolation::Strict {
            // All of it in one moment.
            if self.random.below(3) > 0 {
                return;
            }
            running.snapshot = self.commits;
            while running.next < running.transaction.len() {
                self.run_one(running);
            }
        }
        match running.next < running.transaction.len() {
            true => self.run_one(running),
            false => running.committed = Some(self.commit(running)),
        }
    }

    fn run_one(&mut self, running: &mut Running) {
        let place = running.next;
        running.next += 1;
        let direct = self.options.isolation == Isolation::None;
        let buffered = matches!(
            self.options.isolation,
            Isolation::Strict | Isolation::Snapshot
        );
        let visible = match self.options.isolation {
            Isolation::Strict | Isolation::Snapshot => running.snapshot,
            Isolation::ReadCommitted | Isolation::None => u64::MAX,
        };
        match &running.transaction[place] {
            Micro::Write(key, value) if direct => {
                self.commits += 1;
                self.keys
                    .entry(*key)
                    .or_default()
                    .push((*value, self.commits));
            }
            Micro::Write(..) => {}
            Micro::Read(key, _) => {
                let all = self.keys.get(key).map_or(&[][..], |all| all);
                let shared = all
                    .iter()
                    .take_while(|(_, commit)| *commit <= visible)
                    .map(|(value, _)| *value);
                let own = running.transaction[..place]
                    .iter()
                    .filter_map(|micro| match micro {
                        Micro::Write(other, value) if other == key && buffered => Some(*value),
                        _ => None,
                    });
                let mut seen: Vec<i64> = shared.chain(own).collect();
                if self.options.shape == Shape::Registers {
                    seen = seen.last().copied().into_iter().collect();
                }
                let key = *key;
                running.transaction[place] = Micro::Read(key, Some(seen));
            }
        }
    }

    /// Whether it is committed now.
    fn commit(&mut self, running: &Running) -> bool {
        if self.options.isolation == Isolation::None {
            return running.fate != Fate::Fails;
        }
        let writes = running.transaction.iter().filter_map(|micro| match micro {
            Micro::Write(key, value) => Some((*key, *value)),
            Micro::Read(..) => None,
        });
        let snapshot = running.snapshot;
        let overwritten = |key: &i64| {
            let newest = self.keys.get(key).and_then(|all| all.last());
            newest.is_some_and(|(_, commit)| *commit > snapshot)
        };
        let conflicts = self.options.isolation == Isolation::Snapshot
            && writes.clone().any(|(key, _)| overwritten(&key));
        if running.fate == Fate::Fails || conflicts {
            return false;
        }
        self.commits += 1;
        for (key, value) in writes {
            self.keys
                .entry(key)
                .or_default()
                .push((value, self.commits));
        }
        true
    }

    fn complete(&mut self, client: usize, running: Running) {
        let process = running.process;
        let kind = match (running.fate, running.committed) {
            (Fate::Unknown, _) => Kind::Info,
            (_, Some(true)) => Kind::Ok,
            _ => Kind::Fail,
        };
        let told: Vec<Micro> = match kind {
            Kind::Ok => running.transaction.clone(),
            _ => forgotten(&running.transaction),
        };
        self.tell(process, kind, &told);
        if kind == Kind::Info {
            self.clients[client].0 = self.next_process;
            self.next_process += 1;
            if running.committed.is_none() {
                self.late.push(running);
            }
        }
    }

    fn run_to_end(&mut self, mut running: Running) {
        while running.committed.is_none() {
            self.advance(&mut running);
        }
    }

    fn read_everything(&mut self) {
        let keys: Vec<i64> = self.asked.keys().copied().collect();
        for key in keys {
            let mut running = Running {
                process: self.next_process,
                transaction: vec![Micro::Read(key, None)],
                next: 0,
                snapshot: self.commits,
                fate: Fate::Commits,
                committed: None,
            };
            self.tell(running.process, Kind::Invoke, &running.transaction);
            self.run_one(&mut running);
            self.tell(running.process, Kind::Ok, &running.transaction);
        }
    }
}

/// What a client that was told nothing writes down: nothing is known of the reads.
fn forgotten(transaction: &[Micro]) -> Vec<Micro> {
    let forget = |micro: &Micro| match micro {
        Micro::Read(key, _) => Micro::Read(*key, None),
        write => write.clone(),
    };
    transaction.iter().map(forget).collect()
}
