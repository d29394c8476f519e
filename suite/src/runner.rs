//! One run: start, load, faults on and off, heal, wait until quiet, read, judge.
//!
//! ```text
//!             ├ quiet ┤────────────── faulted ─────────────┤ healed ┤
//!   load      ════════════════════════════════════════════════════════╡ final reads ╞
//!   probe     ═════════════════════════════════════════════════════════
//!   nemesis           ─▓▓▓──▓▓▓▓▓───▓▓──▓▓▓▓──────▓▓▓▓▓─
//!                                                                      quiet? ► judge
//! ```
//!
//! Invariants:
//! - What a nemesis began is ended before anything is judged, also if another part of the run fails.
//! - A run in which a nemesis did nothing, or no operation succeeded, proves nothing and is no success.

use crate::error::SuiteError;
use crate::io::proxy::{Proxy, ProxyCounts};
use crate::io::{
    ClockHook, Cluster, ClusterOptions, Machine, RunClock, Stall, Watcher, is_quiet, is_whole,
    time_of_day,
};
use crate::judge;
use crate::load;
use crate::nemesis::{self, Arena, Built, Harm, Kind};
use crate::plan::{self, Pair};
use crate::probe::{self, Expected, Probe};
use crate::report;
use crate::run::{Counts, Fault, Load, Phase, Run, SharedRecorder};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use verify::history::{History, Recorder};
use wire::SplitMix64;
use wire::ids::PartitionId;

/// A founding, with processes that are started by a machine that may be busy.
const FOUNDED_WITHIN: Duration = Duration::from_secs(30);
/// After healing, everything that was under way is gone within this. A node whose clock was wrong several
/// times is not relied on for up to a minute.
const QUIET_WITHIN: Duration = Duration::from_secs(100);
/// Operations under way and final reads end within this after healing.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// Of a run's time, these parts of ten are spent quiet and healed.
const CALM_PARTS: u32 = 1;
/// After a fault whose gaps are judged, every node answers and leads or follows within this.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The shortest and the longest pace: about half of what lies between two faults.
const PACES: (Duration, Duration) = (Duration::from_millis(700), Duration::from_secs(4));

/// What all runs have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program whose `start` is a node.
    pub program: PathBuf,
    /// Where a folder of each run goes.
    pub out: PathBuf,
    /// How long a load lasts.
    pub time: Duration,
    /// Of everything that is random.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Partitions at founding.
    pub partitions: u32,
    /// The bound that is stated for all clocks.
    pub clock_bound: Duration,
    /// Processes of a load.
    pub clients: usize,
    /// The nodes of a cluster that runs already; empty: one is started.
    pub connect: Vec<String>,
    /// The program's version.
    pub version: String,
    /// What nodes log.
    pub log: String,
}

impl Options {
    /// The command that repeats one run.
    pub fn command(&self, pair: &Pair) -> String {
        let nemeses: Vec<&str> = pair.nemeses.iter().map(|kind| kind.name).collect();
        let place = match self.connect.is_empty() {
            true => format!("--nodes {} --partitions {}", self.nodes, self.partitions),
            false => format!("--connect {}", self.connect.join(",")),
        };
        format!(
            "horolog verify jepsen --workload {} --nemesis {} --time {} --seed {} --clients {} {place}",
            pair.driver.name,
            nemeses.join("+"),
            self.time.as_secs(),
            self.seed,
            self.clients,
        )
    }
}

/// What became of a pair.
#[derive(Debug)]
pub enum Outcome {
    /// It was run.
    Ran(Box<Run>),
    /// It could not be, here: why.
    LeftOut(String),
}

/// Runs a pair; `tell` hears of progress.
pub async fn run(
    pair: &Pair,
    options: &Options,
    tell: &dyn Fn(&str),
) -> Result<Outcome, SuiteError> {
    let folder = options.out.join(pair.name());
    std::fs::create_dir_all(&options.out).map_err(SuiteError::file("make", &options.out))?;
    std::fs::create_dir(&folder).map_err(SuiteError::file("make", &folder))?;
    let clock_hook = match pair.clocks().next() {
        None => None,
        Some(change) => {
            let source = nemesis::truth(change.asks_kernel(), options.clock_bound).source;
            match ClockHook::build(&folder, options.nodes, source) {
                Ok(hook) => Some(hook),
                Err(why) => return Ok(Outcome::LeftOut(why.to_string())),
            }
        }
    };
    let stage = Stage::set(pair, options, &folder, clock_hook).await?;
    let ran = stage.play(pair, options, folder, tell).await?;
    Ok(Outcome::Ran(Box::new(ran)))
}

/// Where a run takes place.
struct Stage {
    /// `None`: the cluster is the user's.
    arena: Option<Arc<Arena>>,
    /// What clients connect to.
    addresses: Vec<String>,
}

/// What was done, with what is expected of the store meanwhile.
type Done = Arc<Mutex<Vec<(Fault, Expected, Vec<PartitionId>)>>>;

impl Stage {
    async fn set(
        pair: &Pair,
        options: &Options,
        folder: &Path,
        clock_hook: Option<ClockHook>,
    ) -> Result<Stage, SuiteError> {
        if !options.connect.is_empty() {
            return Ok(Stage {
                arena: None,
                addresses: options.connect.clone(),
            });
        }
        let asks_kernel = pair.clocks().any(nemesis::ClockChange::asks_kernel);
        let mut cluster = Cluster::new(ClusterOptions {
            program: options.program.clone(),
            folder: folder.to_owned(),
            nodes: options.nodes,
            partitions: options.partitions,
            clock_bound: (!asks_kernel).then_some(options.clock_bound),
            clock_hook,
            log: options.log.clone(),
        })?;
        let listening = cluster.listening();
        let proxy = Proxy::start(listening.clone(), options.seed)?;
        let addresses = proxy.addresses();
        cluster.start_all(addresses.clone())?;
        let watcher = Watcher::new(&listening);
        watcher.led(FOUNDED_WITHIN).await?;
        Ok(Stage {
            arena: Some(Arc::new(Arena {
                cluster: tokio::sync::Mutex::new(cluster),
                proxy,
                watcher,
            })),
            addresses,
        })
    }

    async fn play(
        &self,
        pair: &Pair,
        options: &Options,
        folder: PathBuf,
        tell: &dyn Fn(&str),
    ) -> Result<Run, SuiteError> {
        let started = time_of_day();
        let clock = RunClock::start();
        let mut random = SplitMix64::new(options.seed);
        let history = folder.join("history.edn");
        let recorder = recorder(&history)?;
        let load = Load {
            processes: options.clients,
            seed: random.next_u64(),
            clock,
            recorder: recorder.clone(),
            stop: CancellationToken::new(),
            quiet: CancellationToken::new(),
        };
        // Whatever fails on the way, the load ends.
        let _stops = (
            load.stop.clone().drop_guard(),
            load.quiet.clone().drop_guard(),
        );
        let machine = Machine::watch(&folder, clock)?;
        let probe = Probe::start(&self.addresses, clock).await?;
        let driven = self.drive(pair, load.clone());
        let done = Done::default();
        let mut broken = Vec::new();
        let calm = options.time * CALM_PARTS / 10;

        let mut phases = vec![(Phase::Quiet, clock.nanoseconds())];
        self.wait(calm, "quiet", &driven, tell).await;
        phases.push((Phase::Faulted, clock.nanoseconds()));
        let (stop, actors) = self.release(pair, options, clock, &mut random, &done);
        self.wait(options.time - 2 * calm, "faulted", &driven, tell)
            .await;
        stop.cancel();
        for (kind, actor) in pair.nemeses.iter().zip(actors) {
            match actor.await {
                Ok(Ok(acted)) if acted || kind.built == Ok(Built::Nothing) => {}
                Ok(Ok(_)) => broken.push(format!(
                    "{} did nothing, so this run proves nothing about it",
                    kind.name
                )),
                Ok(Err(SuiteError::Broken(why))) => broken.push(why),
                Ok(Err(error)) => return Err(error),
                Err(panicked) => return Err(SuiteError::Cluster(panicked.to_string())),
            }
        }
        phases.push((Phase::Healed, clock.nanoseconds()));
        self.wait(calm, "healed", &driven, tell).await;
        let until_ns = clock.nanoseconds();
        let acknowledged = probe.stop().await;
        let stalls = machine.stop()?;
        load.stop.cancel();
        broken.extend(self.become_quiet(tell).await);
        load.quiet.cancel();
        let counts = ended(driven).await?;
        if counts.ok == 0 {
            broken.push("no operation succeeded".to_owned());
        }
        let node_logs = match &self.arena {
            Some(arena) => {
                let mut cluster = arena.cluster.lock().await;
                broken.extend(cluster.complaints()?);
                cluster.kill_all()?;
                cluster.logs()
            }
            None => Vec::new(),
        };
        let done = std::mem::take(&mut *done.lock().expect("no actor panicked while it held this"));
        let (mut faults, mut hit) = (Vec::new(), Vec::new());
        for (fault, expected, led) in done {
            faults.push(fault);
            hit.push((expected, led));
        }
        let recorded = finish(&history, &recorder)?;
        tell(&format!(
            "{}: judging {} operations",
            pair.name(),
            counts.all()
        ));
        let verdict = judge::judge(pair.driver.name, &recorded, pair.promise())?;
        let run = Run {
            name: pair.name(),
            workload: pair.driver.name.to_owned(),
            nemeses: pair
                .nemeses
                .iter()
                .map(|kind| kind.name.to_owned())
                .collect(),
            seed: options.seed,
            version: options.version.clone(),
            started,
            took: clock.elapsed(),
            command: options.command(pair),
            history,
            node_logs,
            phases,
            availability: probe::judge(&acknowledged, &faults, &hit, &stalls, until_ns),
            faults,
            counts,
            expected: judge::expected(pair.promise()).to_owned(),
            verdict,
            broken,
            left_out: self.left_out(&stalls),
            folder,
        };
        report::write(&run, &recorded)?;
        Ok(run)
    }

    fn drive(&self, pair: &Pair, load: Load) -> JoinHandle<Result<Counts, SuiteError>> {
        let (driver, addresses) = (pair.driver, self.addresses.clone());
        tokio::spawn(async move { load::drive(driver, &addresses, load).await })
    }

    /// Lets the nemeses act until the token is cancelled.
    fn release(
        &self,
        pair: &Pair,
        options: &Options,
        clock: RunClock,
        random: &mut SplitMix64,
        done: &Done,
    ) -> (CancellationToken, Vec<JoinHandle<Result<bool, SuiteError>>>) {
        let stop = CancellationToken::new();
        let actors = pair.nemeses.iter().map(|kind| {
            let built = kind.built.clone();
            let expected = built.as_ref().map_or(Expected::Nothing, |built| {
                plan::expected(pair, built, options.nodes)
            });
            let actor = Actor {
                kind: kind.clone(),
                expected,
                arena: self.arena.clone(),
                random: random.fork(),
                pace: (options.time / 12).clamp(PACES.0, PACES.1),
                clock,
                stop: stop.clone(),
                done: done.clone(),
            };
            tokio::spawn(actor.act())
        });
        let actors = actors.collect();
        (stop, actors)
    }

    /// Waits, and tells every few seconds how far it is; a load that has ended is not waited for.
    async fn wait(
        &self,
        time: Duration,
        phase: &str,
        driven: &JoinHandle<Result<Counts, SuiteError>>,
        tell: &dyn Fn(&str),
    ) {
        let clock = RunClock::start();
        while let Some(left) = time.checked_sub(clock.elapsed()) {
            if driven.is_finished() {
                return;
            }
            tokio::time::sleep(left.min(TELL_EVERY)).await;
            let seconds = clock.elapsed().as_secs();
            if left > TELL_EVERY {
                tell(&format!("{phase}, {seconds} of {} s", time.as_secs()));
            }
        }
    }

    /// Waits until nothing is left of what was under way; what is left, if something stays.
    async fn become_quiet(&self, tell: &dyn Fn(&str)) -> Option<String> {
        let arena = self.arena.as_ref()?;
        tell("healed: waiting until nothing is under way");
        let quiet = arena.watcher.until(QUIET_WITHIN, is_quiet).await;
        let left = quiet.err()?;
        Some(format!(
            "the cluster was healed and has not come to rest within {QUIET_WITHIN:?}: {left}"
        ))
    }

    fn left_out(&self, stalls: &[Stall]) -> Vec<String> {
        let mut all = vec![
            "that all replicas of a partition hold the same: only their positions in the log are compared, since nodes answer reads through leaders alone".to_owned(),
        ];
        let lengths = stalls.iter().map(|stall| stall.end_ns - stall.begin_ns);
        if let Some(longest) = lengths.clone().max() {
            all.push(format!(
                "{:.1} s in which this machine itself finished no write or did not get to run ({} times, {:.1} s at most): they count for no gap",
                lengths.sum::<u64>() as f64 / 1e9,
                stalls.len(),
                longest as f64 / 1e9
            ));
        }
        if self.arena.is_none() {
            all.push("locks that stay, and nodes that end: the cluster is the user's".to_owned());
        }
        all
    }
}

fn recorder(history: &Path) -> Result<SharedRecorder, SuiteError> {
    let file = File::create(history).map_err(SuiteError::file("write", history))?;
    Ok(Arc::new(Mutex::new(Recorder::new(BufWriter::new(file)))))
}

/// Closes the history and reads it, as anybody else would.
fn finish(history: &Path, recorder: &SharedRecorder) -> Result<History, SuiteError> {
    let failed = |error: String| SuiteError::Load(format!("{}: {error}", history.display()));
    let poisoned = |_| failed("a process panicked while it recorded".to_owned());
    let mut open = recorder.lock().map_err(poisoned)?;
    let nothing = Recorder::new(BufWriter::new(
        File::open("/dev/null").map_err(SuiteError::io("cannot open /dev/null"))?,
    ));
    let closed = std::mem::replace(&mut *open, nothing).finish();
    closed.map_err(|error| failed(error.to_string()))?;
    let file = File::open(history).map_err(SuiteError::file("read", history))?;
    History::read_edn(file).map_err(|error| failed(error.to_string()))
}

async fn ended(driven: JoinHandle<Result<Counts, SuiteError>>) -> Result<Counts, SuiteError> {
    match tokio::time::timeout(ENDS_WITHIN, driven).await {
        Ok(Ok(counts)) => counts,
        Ok(Err(panicked)) => Err(SuiteError::Load(panicked.to_string())),
        Err(_) => Err(SuiteError::Broken(format!(
            "operations or final reads have not ended {ENDS_WITHIN:?} after everything was healed"
        ))),
    }
}

/// A nemesis at work.
struct Actor {
    kind: Kind,
    expected: Expected,
    arena: Option<Arc<Arena>>,
    random: SplitMix64,
    pace: Duration,
    clock: RunClock,
    stop: CancellationToken,
    done: Done,
}

impl Actor {
    /// Acts until it is told to stop, and heals; whether it did anything.
    async fn act(mut self) -> Result<bool, SuiteError> {
        let mut acted = false;
        loop {
            let calm = self.draw(50, 100);
            if self.recovered().await || self.pause(calm).await {
                return Ok(acted);
            }
            let (begin_ns, before) = (self.clock.nanoseconds(), self.counts());
            let Some(harm) = self.begin().await? else {
                continue;
            };
            acted = true;
            let lasts = self.draw(50, 150);
            self.pause(lasts).await;
            let ended = self.end(&harm).await;
            let suffered = match self.counts().since(&before) {
                nothing if nothing.is_empty() => String::new(),
                something => format!(": {something}"),
            };
            let fault = Fault {
                name: self.kind.name.to_owned(),
                detail: format!("{}{suffered}", harm.detail),
                begin_ns,
                end_ns: self.clock.nanoseconds(),
            };
            tracing::info!(nemesis = fault.name, "{}", fault.detail);
            let done = self.done.lock();
            done.expect("no actor panicked while it held this").push((
                fault,
                self.expected,
                harm.led,
            ));
            ended?;
        }
    }

    /// Where the store's going on is judged, each fault meets a cluster that is whole: else a gap would be
    /// that of two faults. Returns whether the actor was told to stop meanwhile.
    async fn recovered(&self) -> bool {
        let Some(arena) = self
            .arena
            .as_ref()
            .filter(|_| self.expected != Expected::Nothing)
        else {
            return false;
        };
        tokio::select! {
            () = self.stop.cancelled() => true,
            whole = arena.watcher.until(WHOLE_WITHIN, is_whole) => {
                if let Err(why) = whole {
                    tracing::warn!("the next fault meets a cluster that is not whole: {why}");
                }
                false
            }
        }
    }

    fn counts(&self) -> ProxyCounts {
        let arena = self.arena.as_ref();
        arena.map_or_else(ProxyCounts::default, |arena| arena.proxy.counts())
    }

    /// A part of the pace, in percent.
    fn draw(&mut self, least: u64, most: u64) -> Duration {
        let percent = least + self.random.below(most - least + 1);
        self.pace * percent as u32 / 100
    }

    /// Whether it was told to stop meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        let stopped = self.stop.cancelled();
        tokio::time::timeout(time, stopped).await.is_ok()
    }

    async fn begin(&mut self) -> Result<Option<Harm>, SuiteError> {
        match (&self.kind.built, &self.arena) {
            (Ok(Built::Hook(hook)), _) => hook.begin().await.map(Some),
            (Ok(Built::Nothing), _) => Ok(None),
            (Ok(built), Some(arena)) => nemesis::begin(built, arena, &mut self.random).await,
            (Ok(_), None) => Err(SuiteError::Cluster(format!(
                "{} cannot act on a cluster that the suite did not start",
                self.kind.name
            ))),
            (Err(waits_for), _) => Err(SuiteError::Cluster(format!(
                "{} waits for {waits_for}",
                self.kind.name
            ))),
        }
    }

    async fn end(&self, harm: &Harm) -> Result<(), SuiteError> {
        match (&self.kind.built, &self.arena) {
            (Ok(Built::Hook(hook)), _) => hook.end().await,
            (_, Some(arena)) => nemesis::end(harm, arena).await,
            (_, None) => Ok(()),
        }
    }
}
