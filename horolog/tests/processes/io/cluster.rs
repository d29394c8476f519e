//! Three nodes, each a process of its own.

use super::deadline::until;
use super::process::Process;
use super::program::Program;
use super::reserved_port::ReservedPort;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Until every partition has a leader, after a founding or after a kill: a few elections, on a machine
/// that may be busy.
const LED_WITHIN: Duration = Duration::from_secs(20);

/// Three `horolog start`, their ports and their data. Nodes are numbered from 0.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Dropped first, before the files and the ports go.
    nodes: Vec<Option<Process>>,
    program: Program,
    ports: Vec<ReservedPort>,
    founding: Vec<String>,
    directory: Option<TempDir>,
}

impl Cluster {
    /// Founds it with these further options of `start`, and waits until every partition is led.
    pub(crate) async fn found(founding: &[&str]) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Cluster {
            nodes: vec![None, None, None],
            program: Program::find(),
            ports: (0..3).map(|_| ReservedPort::any()).collect(),
            founding: founding.iter().map(ToString::to_string).collect(),
            directory: Some(directory),
        };
        cluster.start_all();
        cluster.led().await;
        cluster
    }

    /// The program.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// How many nodes it has.
    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A directory for the files of a story.
    pub(crate) fn directory(&self) -> &Path {
        let directory = self.directory.as_ref();
        directory.expect("it is there until the drop").path()
    }

    /// Where each node listens.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(ReservedPort::address).collect()
    }

    /// All addresses, as the program takes them.
    pub(crate) fn list(&self) -> String {
        self.addresses().join(",")
    }

    /// Where a node keeps its data.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.directory().join(format!("node-{}", node + 1))
    }

    /// Starts a node that does not run.
    pub(crate) fn start(&mut self, node: usize) {
        assert!(self.nodes[node].is_none(), "node {node} runs already");
        let data = self.data(node);
        let (listen, list) = (self.ports[node].address(), self.list());
        let mut arguments: Vec<&str> = ["start", "--listen", &listen, "--join", &list].into();
        arguments.extend(["--clock-bound", "500us"]);
        arguments.extend(self.founding.iter().map(String::as_str));
        let mut command = self.program.command(&arguments);
        command.arg("--data").arg(data);
        if std::env::var_os("HOROLOG_LOG").is_none() {
            // Who failed and why is seen in what the nodes did before.
            command.env("HOROLOG_LOG", "info");
        }
        let name = format!("node-{}", node + 1);
        self.nodes[node] = Some(Process::start(command, &name, self.directory()));
    }

    /// Starts all of them.
    pub(crate) fn start_all(&mut self) {
        for node in 0..self.size() {
            self.start(node);
        }
    }

    /// A node that runs.
    pub(crate) fn node(&mut self, node: usize) -> &mut Process {
        let process = self.nodes[node].as_mut();
        process.unwrap_or_else(|| panic!("node {node} does not run"))
    }

    /// What each node that runs wrote to standard error, with its name.
    pub(crate) fn said(&self) -> Vec<(String, String)> {
        let nodes = self.nodes.iter().enumerate();
        let running = nodes.filter_map(|(node, process)| Some((node, process.as_ref()?)));
        running
            .map(|(node, process)| (format!("node-{}", node + 1), process.err()))
            .collect()
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        self.node(node).kill();
        self.nodes[node] = None;
    }

    /// Removes the data of a node that does not run.
    pub(crate) fn wipe(&mut self, node: usize) {
        assert!(self.nodes[node].is_none(), "node {node} runs");
        std::fs::remove_dir_all(self.data(node)).expect("its data is there");
    }

    /// Forgets a node that has ended by itself, so that it can be started again.
    pub(crate) fn forget_ended(&mut self, node: usize) {
        let ended = self.node(node).ended();
        assert!(ended.is_some(), "node {node} still runs");
        self.nodes[node] = None;
    }

    /// Kills all nodes at once with SIGKILL.
    pub(crate) fn kill_all(&mut self) {
        for node in 0..self.size() {
            self.node(node).strike();
        }
        // Dropping waits for the end.
        self.nodes.fill_with(|| None);
    }

    /// No node may have ended by itself, and none may have panicked.
    pub(crate) fn check_alive(&mut self) {
        for node in 0..self.size() {
            let Some(process) = self.nodes[node].as_mut() else {
                continue;
            };
            let ended = process.ended();
            let said = process.err();
            assert!(ended.is_none(), "node {node} ended ({ended:?}): {said}");
            assert!(!said.contains("panicked"), "node {node}: {said}");
        }
    }

    /// Waits until all nodes answer and every partition has a leader that serves; its status then.
    pub(crate) async fn led(&mut self) -> Value {
        let list = self.list();
        until("every partition is led", LED_WITHIN, async || {
            self.check_alive();
            let status = ["status", "--connect", &list, "--json"];
            let ended = self.program.run(&status).await;
            if ended.code != Some(0) {
                return Err(ended.err);
            }
            let status = ended.json_lines().remove(0);
            is_led(&status).map(|()| status)
        })
        .await
    }
}

fn is_led(status: &Value) -> Result<(), String> {
    let each = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    if let Some(silent) = each("nodes").iter().find(|node| node["up"] != true) {
        return Err(format!("no answer: {silent}"));
    }
    let partitions = each("partitions");
    let led = |partition: &&Value| partition["replica"]["role"] == "leader";
    if let Some(headless) = partitions.iter().find(|partition| !led(partition)) {
        return Err(format!("not led: {headless}"));
    }
    match partitions.is_empty() {
        true => Err("it is not founded".to_owned()),
        false => Ok(()),
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // The nodes still run: locks and waiting requests tell what a story was stuck in.
        let status = ["status", "--connect", &self.list()];
        if let Ok(status) = self.program.command(&status).output() {
            let (out, err) = (&status.stdout, &status.stderr);
            println!("---- status\n{}", String::from_utf8_lossy(out));
            println!("{}", String::from_utf8_lossy(err));
        }
        if let Some(directory) = self.directory.take() {
            println!("logs and data are kept in {}", directory.keep().display());
        }
    }
}
