//! A whole cluster in this process: nodes with threads of their own, talking over loopback sockets.
//!
//! ```text
//!   DIR/cluster.json   where the nodes listen
//!   DIR/node-1 …       what each node keeps
//! ```
//!
//! Started again on the same directory, the nodes listen where they did, if those ports are free.
//!
//! A cluster numbers its founders by their sorted addresses, so the listeners are sorted before the
//! first start: `node-1` is the node that `status` calls n1. Layouts written before that was so keep
//! their directories, and the ids are told beside them.

use crate::failure::Failure;
use clock::io::BoundSource;
use node::Timing;
use node::io::server::{Server, ServerHandle, ServerOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use wire::ids::NodeId;
use wire::io::ListenerLimits;
use wire::keys::Key;

/// What a local cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct LocalOptions {
    /// How many nodes; `None`: as many as the directory has, else 3.
    pub(crate) nodes: Option<u32>,
    /// The borders of the first partitions.
    pub(crate) splits: Vec<Key>,
    /// Where it keeps its data; `None`: a temporary directory that goes with it.
    pub(crate) data: Option<PathBuf>,
    /// The clock bound that is stated for all nodes: they share one clock.
    pub(crate) clock_bound: Duration,
}

/// How many nodes there are without asking.
pub(crate) const NODES_DEFAULT: u32 = 3;

/// Kept beside the nodes' data.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    addresses: Vec<SocketAddr>,
    /// The id of the node at each address; empty in layouts of old.
    #[serde(default)]
    ids: Vec<u32>,
}

/// The ids that the cluster gives to the founders at these addresses.
fn founders_ids(addresses: &[SocketAddr]) -> Vec<u32> {
    let sorted = cluster::sorted_founders(addresses.iter().map(ToString::to_string));
    let id = |address: &SocketAddr| {
        let address = address.to_string();
        let below = sorted.iter().filter(|other| **other < address).count();
        below as u32 + 1
    };
    addresses.iter().map(id).collect()
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    servers: Vec<ServerHandle>,
    directory: PathBuf,
    /// The id of each server's node.
    ids: Vec<u32>,
    /// Was there data already?
    resumed: bool,
    temporary: Option<TempDir>,
}

impl LocalCluster {
    /// Starts the nodes; returns once all of them listen. Not to be called inside a runtime.
    pub(crate) fn start(options: &LocalOptions) -> Result<LocalCluster, Failure> {
        let (directory, temporary) = match &options.data {
            Some(directory) => (directory.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("horolog-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&directory).map_err(|error| cannot(&directory, &error))?;
        let before = read_layout(&directory)?;
        let nodes = node_count(options.nodes, before.as_ref())?;
        let listeners = listen(nodes, before.as_ref())?;
        let addresses = addresses_of(&listeners)?;
        let join: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let ids = match &before {
            Some(layout) if layout.ids.len() == layout.addresses.len() => layout.ids.clone(),
            Some(layout) => founders_ids(&layout.addresses),
            None => founders_ids(&addresses),
        };
        let layout = Layout { addresses, ids };
        write_layout(&directory, &layout)?;
        let mut cluster = LocalCluster {
            servers: Vec::new(),
            ids: layout.ids,
            resumed: before.is_some(),
            temporary,
            directory,
        };
        for (number, listener) in (1..).zip(listeners) {
            let server = Server::start(ServerOptions {
                data: cluster.directory.join(format!("node-{number}")),
                listener,
                advertise: None,
                join: join.clone(),
                splits: options.splits.clone(),
                clock: BoundSource::Fixed(options.clock_bound),
                disk_reserve: None,
                small: true,
                held_back_bytes_max: node::HELD_BACK_BYTES_MAX,
                timing: Timing::default(),
                limits: ListenerLimits::default(),
                metrics: None,
            });
            match server {
                Ok(server) => cluster.servers.push(server),
                Err(error) => {
                    // The error of the start is the one to tell.
                    cluster.stop().ok();
                    return Err(Failure::error(format!("node {number}: {error}")));
                }
            }
        }
        Ok(cluster)
    }

    /// The nodes' ids and where they listen, ascending by id.
    pub(crate) fn nodes(&self) -> Vec<(NodeId, String)> {
        let ids = self.ids.iter().map(|id| NodeId(*id));
        let mut nodes: Vec<_> = ids.zip(self.addresses()).collect();
        nodes.sort();
        nodes
    }

    /// Where the nodes listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.servers.iter().map(|server| server.address());
        addresses.map(|address| address.to_string()).collect()
    }

    /// Where the data is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the data goes when the cluster ends.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Whether there was data already.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether a node has stopped by itself.
    pub(crate) fn has_failed(&self) -> bool {
        self.servers.iter().any(ServerHandle::is_finished)
    }

    /// Stops all nodes and waits for them; tells the first failure.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        for server in &self.servers {
            server.stop();
        }
        let mut first = Ok(());
        for (number, server) in (1..).zip(self.servers) {
            let ended = server.join();
            let ended = ended.map_err(|error| Failure::error(format!("node {number}: {error}")));
            first = first.and(ended);
        }
        first
    }
}

fn cannot(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::error(format!("cannot use {}: {error}", path.display()))
}

fn node_count(asked: Option<u32>, before: Option<&Layout>) -> Result<u32, Failure> {
    let held = before.map(|layout| layout.addresses.len() as u32);
    match (asked, held) {
        (Some(asked), Some(held)) if asked != held => Err(Failure::usage(format!(
            "this data belongs to a cluster of {held} nodes, not {asked}: leave out --nodes, or use another --data"
        ))),
        (asked, held) => Ok(held.or(asked).unwrap_or(NODES_DEFAULT)),
    }
}

/// Listens where the nodes did before, or where the system finds room.
fn listen(nodes: u32, before: Option<&Layout>) -> Result<Vec<TcpListener>, Failure> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listeners = Vec::new();
    for number in 0..nodes as usize {
        let wanted = before.map_or(anywhere, |layout| layout.addresses[number]);
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) => listener,
            Err(error) if wanted != anywhere => {
                eprintln!(
                    "node {} cannot listen at {wanted} as before ({error}): it takes another port",
                    number + 1
                );
                TcpListener::bind(anywhere)?
            }
            Err(error) => return Err(error.into()),
        };
        listeners.push(listener);
    }
    if before.is_some() {
        return Ok(listeners);
    }
    let ids = founders_ids(&addresses_of(&listeners)?);
    let by_id: BTreeMap<u32, TcpListener> = ids.into_iter().zip(listeners).collect();
    Ok(by_id.into_values().collect())
}

fn addresses_of(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

fn layout_file(directory: &Path) -> PathBuf {
    directory.join("cluster.json")
}

fn read_layout(directory: &Path) -> Result<Option<Layout>, Failure> {
    let file = layout_file(directory);
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&file, &error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| cannot(&file, &error))
}

/// Written beside the old one and renamed, so that there is always a whole one.
fn write_layout(directory: &Path, layout: &Layout) -> Result<(), Failure> {
    let file = layout_file(directory);
    let text = serde_json::to_vec_pretty(layout).map_err(|error| cannot(&file, &error))?;
    let new = directory.join("cluster.json.new");
    std::fs::write(&new, text).map_err(|error| cannot(&new, &error))?;
    std::fs::rename(&new, &file).map_err(|error| cannot(&file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn founded_at(addresses: Vec<SocketAddr>) -> Layout {
        let ids = founders_ids(&addresses);
        Layout { addresses, ids }
    }

    #[test]
    fn founders_are_numbered_by_their_addresses_as_texts() {
        assert_eq!(founders_ids(&[at(4001), at(40002), at(39999)]), [3, 2, 1]);
        let old: Layout = serde_json::from_str(r#"{"addresses":["127.0.0.1:2"]}"#).unwrap();
        assert!(old.ids.is_empty(), "{old:?}");
    }

    #[test]
    fn the_layout_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_layout(directory.path()).unwrap(), None);
        let layout = founded_at(vec![at(4001)]);
        write_layout(directory.path(), &layout).unwrap();
        assert_eq!(read_layout(directory.path()).unwrap(), Some(layout));
        std::fs::write(layout_file(directory.path()), "{").unwrap();
        let error = read_layout(directory.path()).unwrap_err();
        assert!(error.to_string().contains("cluster.json"), "{error}");
    }

    #[test]
    fn nodes_come_back_where_they_were_or_elsewhere_if_that_is_taken() {
        let first = listen(2, None).unwrap();
        let layout = founded_at(addresses_of(&first).unwrap());
        assert_eq!(layout.ids, [1, 2]);
        let elsewhere = listen(2, Some(&layout)).unwrap();
        assert_ne!(elsewhere[0].local_addr().unwrap(), layout.addresses[0]);
        drop(first);
        let again = listen(2, Some(&layout)).unwrap();
        assert_eq!(again[1].local_addr().unwrap(), layout.addresses[1]);
    }

    #[test]
    fn another_number_of_nodes_is_refused() {
        let layout = founded_at(vec![at(4001)]);
        assert_eq!(node_count(None, Some(&layout)).unwrap(), 1);
        assert_eq!(node_count(None, None).unwrap(), NODES_DEFAULT);
        assert!(node_count(Some(3), Some(&layout)).is_err());
    }
}
