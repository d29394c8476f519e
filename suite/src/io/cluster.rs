//! A cluster of real processes, behind a proxy.
//!
//! ```text
//!   FOLDER/n1/      what the node of seat 0 keeps
//!   FOLDER/n1.log   what it said, all its starts one after another
//! ```
//!
//! Invariant: a node that ends although nobody made it is noticed ([`Cluster::complaints`]).

use super::clock_hook::{ClockHook, ClockSetting};
use super::process::Process;
use super::proxy::Seat;
use super::reserved_port::ReservedPort;
use crate::error::SuiteError;
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The program whose `start` is a node.
    pub program: PathBuf,
    /// Where data and logs go; it is there.
    pub folder: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Partitions at founding.
    pub partitions: u32,
    /// The bound that is stated for all clocks; `None`: the kernel is asked, which a hook must answer.
    pub clock_bound: Option<Duration>,
    /// Lets a nemesis set the nodes' clocks.
    pub clock_hook: Option<ClockHook>,
    /// What nodes log, as `HOROLOG_LOG` takes it.
    pub log: String,
}

/// What a node's process is at.
#[derive(Debug)]
enum State {
    Running(Process),
    /// A nemesis took it down.
    Down,
}

#[derive(Debug)]
struct Node {
    name: String,
    port: ReservedPort,
    data: PathBuf,
    log: PathBuf,
    state: State,
    /// A nemesis gave it a reason to end by itself.
    may_end: bool,
    starts: u32,
}

/// `horolog start`, several times.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    /// What each node advertises, by seat.
    advertised: Vec<String>,
    nodes: Vec<Node>,
    complaints: Vec<String>,
}

impl Cluster {
    /// Takes ports for the nodes. None is started yet: the proxy must know where they will listen.
    pub fn new(options: ClusterOptions) -> Result<Cluster, SuiteError> {
        let ports = (0..options.nodes).map(|_| ReservedPort::any());
        let ports: Result<Vec<_>, _> = ports.collect();
        let ports = ports.map_err(SuiteError::io("no port is free"))?;
        let node = |(seat, port): (Seat, ReservedPort)| {
            let name = format!("n{}", seat + 1);
            Node {
                port,
                data: options.folder.join(&name),
                log: options.folder.join(format!("{name}.log")),
                name,
                state: State::Down,
                may_end: false,
                starts: 0,
            }
        };
        let nodes = ports.into_iter().enumerate().map(node).collect();
        Ok(Cluster {
            options,
            advertised: Vec::new(),
            nodes,
            complaints: Vec::new(),
        })
    }

    /// How many nodes it has.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Where each node listens, by seat: around the proxy.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.port.address()).collect()
    }

    /// A node's name.
    pub fn name(&self, seat: Seat) -> &str {
        &self.nodes[seat].name
    }

    /// Where a node keeps its data.
    pub fn data(&self, seat: Seat) -> &Path {
        &self.nodes[seat].data
    }

    /// What each node said.
    pub fn logs(&self) -> Vec<(String, PathBuf)> {
        let all = self.nodes.iter();
        all.map(|node| (node.name.clone(), node.log.clone()))
            .collect()
    }

    /// Starts all nodes, which advertise these addresses, by seat.
    pub fn start_all(&mut self, advertised: Vec<String>) -> Result<(), SuiteError> {
        assert_eq!(advertised.len(), self.size(), "one address for each node");
        self.advertised = advertised;
        (0..self.size()).try_for_each(|seat| self.start(seat))
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, seat: Seat) -> Result<(), SuiteError> {
        if self.is_up(seat) {
            return Ok(());
        }
        let node = &self.nodes[seat];
        let mut command = Command::new(&self.options.program);
        command.args(["start", "--small", "--data"]).arg(&node.data);
        command.args(["--listen", &node.port.address().to_string()]);
        command.args(["--advertise", &self.advertised[seat]]);
        command.args(["--join", &self.advertised.join(",")]);
        if self.size() == 1 {
            command.arg("--single");
        }
        command.args(["--partitions", &self.options.partitions.to_string()]);
        if let Some(bound) = self.options.clock_bound {
            command.args(["--clock-bound", &format!("{}us", bound.as_micros())]);
        }
        command.env("HOROLOG_LOG", &self.options.log);
        if let Some(hook) = &self.options.clock_hook {
            hook.put_into(&mut command, seat);
        }
        let process = Process::start(command, &node.name, &node.log)?;
        let node = &mut self.nodes[seat];
        node.state = State::Running(process);
        node.may_end = false;
        node.starts += 1;
        Ok(())
    }

    /// Whether a node runs, as far as is known.
    pub fn is_up(&self, seat: Seat) -> bool {
        matches!(self.nodes[seat].state, State::Running(_))
    }

    /// The nodes that run.
    pub fn up(&self) -> Vec<Seat> {
        (0..self.size()).filter(|seat| self.is_up(*seat)).collect()
    }

    /// Kills a node with SIGKILL; whether it ran.
    pub fn kill(&mut self, seat: Seat) -> Result<bool, SuiteError> {
        self.look()?;
        let State::Running(process) = &mut self.nodes[seat].state else {
            return Ok(false);
        };
        process.kill()?;
        self.nodes[seat].state = State::Down;
        Ok(true)
    }

    /// Sends a signal to a node; whether it runs.
    pub fn signal(&mut self, seat: Seat, signal: Signal) -> Result<bool, SuiteError> {
        match &mut self.nodes[seat].state {
            State::Running(process) => process.signal(signal).map(|()| true),
            State::Down => Ok(false),
        }
    }

    /// From now on a running node can write no file beyond this size, bytes. It may end by that.
    pub fn limit_files(&mut self, seat: Seat, bytes: u64) -> Result<bool, SuiteError> {
        let State::Running(process) = &self.nodes[seat].state else {
            return Ok(false);
        };
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        let set = prlimit(Some(process.id()), Resource::Fsize, limit);
        set.map_err(SuiteError::io("a node's files cannot be limited"))?;
        self.nodes[seat].may_end = true;
        Ok(true)
    }

    /// A running node may end by itself from now on, until it is started again.
    pub fn let_end(&mut self, seat: Seat) {
        self.nodes[seat].may_end = true;
    }

    /// Sets what the hook tells a node of time; does nothing without a hook.
    pub fn set_clock(&self, seat: Seat, setting: ClockSetting) -> Result<(), SuiteError> {
        match &self.options.clock_hook {
            Some(hook) => hook.set(seat, setting),
            None => Err(SuiteError::Cluster(
                "the nodes' clocks have no hook".to_owned(),
            )),
        }
    }

    /// The bound that is stated for the nodes' clocks.
    pub fn clock_bound(&self) -> Option<Duration> {
        self.options.clock_bound
    }

    /// Drops what a node that does not run holds, with the program's own command.
    pub async fn rebuild(&self, seat: Seat) -> Result<(), SuiteError> {
        assert!(!self.is_up(seat), "{} runs", self.name(seat));
        let mut command = tokio::process::Command::new(&self.options.program);
        command
            .args(["rebuild", "--yes", "--data"])
            .arg(&self.nodes[seat].data);
        let ended = command.output().await;
        let ended = ended.map_err(SuiteError::io("cannot run rebuild"))?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(SuiteError::Cluster(format!(
                "{} could not be rebuilt: {}{}",
                self.name(seat),
                String::from_utf8_lossy(&ended.stdout),
                String::from_utf8_lossy(&ended.stderr)
            ))),
        }
    }

    /// Notices nodes that have ended. One that had no reason to is a complaint.
    pub fn look(&mut self) -> Result<(), SuiteError> {
        for node in &mut self.nodes {
            let State::Running(process) = &mut node.state else {
                continue;
            };
            let Some(ended) = process.ended()? else {
                continue;
            };
            node.state = State::Down;
            if !node.may_end {
                self.complaints.push(format!(
                    "{} ended by itself ({ended}) in its start {}: see {}",
                    node.name,
                    node.starts,
                    node.log.display()
                ));
            }
        }
        Ok(())
    }

    /// Nodes that ended although nobody made them, and nodes that panicked.
    pub fn complaints(&mut self) -> Result<Vec<String>, SuiteError> {
        self.look()?;
        let mut all = self.complaints.clone();
        for node in &self.nodes {
            let said = std::fs::read(&node.log).map_err(SuiteError::file("read", &node.log))?;
            let said = String::from_utf8_lossy(&said);
            if let Some(line) = said.lines().find(|line| line.contains("panicked at")) {
                all.push(format!("{} panicked: {line}", node.name));
            }
        }
        Ok(all)
    }

    /// Kills all nodes.
    pub fn kill_all(&mut self) -> Result<(), SuiteError> {
        (0..self.size()).try_for_each(|seat| self.kill(seat).map(|_| ()))
    }
}
