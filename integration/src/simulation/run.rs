//! One seed from beginning to end.

use super::marks::Mark;
use super::nemesis::FaultKind;
use super::nemesis::Faults;
use super::options::SimulationOptions;
use super::scenario::Scenario;
use super::summary::Summary;
use super::trace::Line;
use super::world::World;
use crate::checker::{
    Expectation, Retention, StoredVersions, Violation, check_cluster, check_history,
};
use crate::history::{History, Observation, Told, Transaction};
use crate::workload::{ranges_of_everything, scan};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use wire::keys::DEFAULT_KEYSPACE;
use wire::message::{ClientAnswer, ClientRequest, Snapshot};

/// A run may last this many times its duration until enough was acknowledged.
const EXTENDED_TO: u32 = 4;
const SECOND: Duration = Duration::from_secs(1);
/// From the first power-on until the cluster is founded and what must be there is committed.
const SET_UP_WITHIN: Duration = Duration::from_secs(30);
/// From healing until every client has finished and every copy of a commit is answered: longer than a
/// commit lives, with room for elections.
const FINISHED_WITHIN: Duration = Duration::from_secs(30);
/// From the last client's end until nothing is left over. Markers and records of dead attempts go once
/// `closed` has passed `expires`, about 20 s later.
const QUIET_WITHIN: Duration = Duration::from_secs(40);

/// A seed that found something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("seed {seed}: {violation}")]
pub struct Failure {
    /// Which seed.
    pub seed: u64,
    /// What it found.
    pub violation: Violation,
    /// The transactions concerned, one a line, and the readable trace if one was kept.
    pub details: Vec<String>,
}

impl Failure {
    /// The command that shows it again, with its trace.
    pub fn repeat(&self, options: &SimulationOptions) -> String {
        let mut command = format!(
            "horolog verify simulate --seed {} --mixture {} --seconds {} --trace",
            self.seed,
            options.mixture.name(),
            options.duration.as_secs()
        );
        if let Some(nodes) = options.nodes {
            command.push_str(&format!(" --nodes {nodes}"));
        }
        if let Some(partitions) = options.partitions {
            command.push_str(&format!(" --partitions {partitions}"));
        }
        command
    }
}

/// All that came of one run.
pub struct Report {
    /// What it amounted to, or the property that does not hold.
    pub verdict: Result<Summary, Violation>,
    /// The run as it was: with the faults that struck, and with the time that it really took.
    pub scenario: Scenario,
    /// What clients did and were told.
    pub history: History,
    /// The readable trace, if one was wanted.
    pub trace: Vec<Line>,
}

impl Report {
    /// The transactions that break the property, one after another.
    pub fn transactions(&self) -> Vec<String> {
        let concerned = self.verdict.as_ref().err();
        let indexes = concerned.into_iter().flat_map(|v| &v.transactions);
        let told = indexes.map(|index| format!("{index:?}: {:#?}", self.history.get(*index)));
        told.collect()
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: &SimulationOptions) -> Result<Summary, Box<Failure>> {
    let report = perform(&Scenario::draw(seed, options), options.readable);
    let transactions = report.transactions();
    report.verdict.map_err(|violation| {
        let lines = report.trace.iter().map(Line::to_string);
        Box::new(Failure {
            seed,
            violation,
            details: lines.chain(transactions).collect(),
        })
    })
}

/// Runs what is written down, and tells everything that came of it.
pub fn perform(scenario: &Scenario, readable: bool) -> Report {
    let mut course = Course::default();
    let result = catch_unwind(AssertUnwindSafe(|| {
        run_world(scenario, readable, &mut course)
    }));
    let verdict = match result {
        Ok(verdict) => verdict,
        Err(panic) => {
            let why = panic_text(&*panic);
            Err(Violation::new("an assertion in the code", &[], why))
        }
    };
    let mut as_it_was = scenario.clone();
    let Course { world, worked_for } = course;
    let Some(mut world) = world else {
        return Report {
            verdict,
            scenario: as_it_was,
            history: History::new(),
            trace: Vec::new(),
        };
    };
    as_it_was.faults = Faults::Listed(world.struck().to_vec());
    if let Some(worked_for) = worked_for {
        as_it_was.duration = worked_for;
    }
    Report {
        verdict,
        scenario: as_it_was,
        trace: world.take_trace(),
        history: world.take_history(),
    }
}

/// What a run has come to, also if it ends early.
#[derive(Default)]
struct Course {
    world: Option<World>,
    /// How long clients began transactions.
    worked_for: Option<Duration>,
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn run_world(
    scenario: &Scenario,
    readable: bool,
    course: &mut Course,
) -> Result<Summary, Violation> {
    let seed = scenario.seed;
    let mut options = scenario.world.clone();
    options.readable = readable;
    let cast = scenario.cast();
    let world = course.world.insert(World::new(options));
    let broken = |why: String| Violation::new("the simulated machines", &[], why);

    world.set_up(cast);
    let limit = SET_UP_WITHIN;
    if !world.run_until(limit, World::is_set_up).map_err(broken)? {
        return Err(no_progress(world, "the cluster was not set up", limit));
    }
    world.begin_clients();
    world.begin_faults();
    let begun = world.now();
    world.run_to(begun + scenario.duration).map_err(broken)?;
    // Under the wildest faults little gets through: such a run goes on, faults and all, until it has
    // shown what it is meant to show, or is judged to have shown too little.
    let latest = begun + EXTENDED_TO * scenario.duration;
    while world.now() < latest && world.history().acknowledged() < scenario.acknowledged_min {
        let next = world.now() + SECOND;
        world.run_to(next).map_err(broken)?;
    }

    course.worked_for = Some(world.now() - begun);
    world.stop_and_heal();
    let limit = world.now() + FINISHED_WITHIN;
    if !world
        .run_until(limit, World::clients_finished)
        .map_err(broken)?
    {
        return Err(no_progress(
            world,
            "not every client finished after healing",
            FINISHED_WITHIN,
        ));
    }
    read_everything(world)?;
    let stored = wait_until_quiet(world)?;
    let expectation = match world.faults().contains_key(&FaultKind::BreakClock) {
        true => Expectation::Serializable,
        false => Expectation::StrictlySerializable,
    };
    let retention = Retention {
        kept_for: world.options().timing.retention,
        is_by_true_time: expectation == Expectation::StrictlySerializable,
    };
    check_history(world.history(), &stored, expectation, retention)?;
    let mut summary = Summary::of(seed, world.history());
    summary.virtual_time = world.now();
    summary.removed = world.removed();
    summary.faults.clone_from(world.faults());
    summary.marks.clone_from(world.marks());
    let past = |t: &Transaction| t.past && t.told == Told::Read;
    for _ in world.history().iter().filter(|(_, t)| past(t)) {
        summary.marks.hit(Mark::ReadInThePast);
    }
    summary.hash = world.trace().hash();
    summary.events = world.trace().events();
    check_worth(&summary, scenario)?;
    Ok(summary)
}

/// Who waits for what.
fn no_progress(world: &mut World, what: &str, within: Duration) -> Violation {
    let clients = world.describe_clients();
    let nodes = match world.state() {
        Ok(state) => state.describe(),
        Err(why) => why,
    };
    let why = format!("{what} within {within:?}; {clients}; {nodes}");
    Violation::new("progress", &[], why)
}

/// One last look at every key, through the front door.
fn read_everything(world: &mut World) -> Result<(), Violation> {
    let broken = |why: String| Violation::new("the simulated machines", &[], why);
    let scans: Vec<_> = ranges_of_everything()
        .into_iter()
        .map(|range| scan(range, false))
        .collect();
    let limit = world.now() + 10 * SECOND;
    while world.now() < limit {
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: scans.clone(),
        };
        let invoked = world.now();
        let answer = world.ask(0, request, 5 * SECOND).map_err(broken)?;
        let Some(Ok(ClientAnswer::Read { at, results })) = answer.map(|answer| answer.reply) else {
            let pause = world.now() + SECOND / 10;
            world.run_to(pause).map_err(broken)?;
            continue;
        };
        let reads = scans
            .iter()
            .zip(results)
            .filter_map(|(scan, result)| Observation::new(scan, result));
        let transaction = Transaction {
            process: u32::MAX,
            workload: "audit",
            invoked,
            completed: Some(world.now()),
            name: None,
            snapshot: Some(at),
            past: false,
            reads: reads.collect(),
            locking: false,
            guards: Vec::new(),
            operations: Vec::new(),
            told: Told::Read,
            settled: None,
            heard: Vec::new(),
        };
        world.record(transaction);
        return Ok(());
    }
    Err(no_progress(
        world,
        "the last read of everything was not answered",
        10 * SECOND,
    ))
}

/// Waits until nothing is left over, and gives what the store holds of the users' keys.
fn wait_until_quiet(world: &mut World) -> Result<StoredVersions, Violation> {
    let broken = |why: String| Violation::new("the simulated machines", &[], why);
    let limit = world.now() + QUIET_WITHIN;
    loop {
        let next = world.now() + SECOND;
        world.run_to(next).map_err(broken)?;
        if world.now() < limit && world.has_left_over().map_err(broken)? {
            continue;
        }
        let state = world.state().map_err(broken)?;
        let verdict = check_cluster(&state).and_then(|()| check_complete(&state, world));
        match verdict {
            Ok(()) => {
                let mut stored = state.versions();
                stored.retain(|key, _| key.keyspace() == Some(DEFAULT_KEYSPACE));
                return Ok(stored);
            }
            Err(mut violation) if world.now() >= limit => {
                violation.why = format!("{}; {}", violation.why, state.describe());
                return Err(violation);
            }
            Err(_) => {}
        }
    }
}

fn check_complete(state: &crate::checker::ClusterState, world: &World) -> Result<(), Violation> {
    if world.wanted_members() > 0 {
        let why = "a partition did not get the members that it was to have".to_owned();
        return Err(Violation::new("progress", &[], why));
    }
    let unwell = world.unwell();
    if !unwell.is_empty() {
        let why = format!("the nodes at {unwell:?} do not hold yet what others may count on");
        return Err(Violation::new("the cluster after healing", &[], why));
    }
    let nodes = world.nodes();
    let heard = (state.statuses.len(), state.maps.len());
    if heard == (nodes, nodes) {
        return Ok(());
    }
    let why = format!("of {nodes} nodes only {heard:?} told their status and map");
    Err(Violation::new("the cluster after healing", &[], why))
}

/// A run in which little happened has shown little.
fn check_worth(summary: &Summary, scenario: &Scenario) -> Result<(), Violation> {
    let faults: u64 = summary.faults.values().sum();
    let kinds: Vec<FaultKind> = summary.faults.keys().copied().collect();
    if summary.acknowledged < scenario.acknowledged_min {
        let why = format!(
            "only {} transactions were acknowledged, {} are wanted; faults {kinds:?}",
            summary.acknowledged, scenario.acknowledged_min
        );
        return Err(Violation::new("worth of the run", &[], why));
    }
    if faults < scenario.faults_min {
        let why = format!(
            "only {faults} faults struck, {} are wanted",
            scenario.faults_min
        );
        return Err(Violation::new("worth of the run", &[], why));
    }
    Ok(())
}
