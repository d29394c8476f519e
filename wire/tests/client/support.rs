//! A small cluster of gateways that answer from one map in memory and can be told to misbehave.

use bytes::{Bytes, BytesMut};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Decoder;
use wire::client::{Client, ClientOptions};
use wire::frame::{FRAME_BYTES_MAX, FrameCodec, FrameKind, encode_frame};
use wire::handshake::{HelloReply, Welcome};
use wire::ids::{ClusterId, Generation, NodeId, PartitionId, TransactionId};
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, Key, KeyRange};
use wire::message::{
    AbortReason, Change, ClientAnswer, ClientReply, ClientRequest, Commit, Committed, Condition,
    LockWait, Locked, MapAnswer, MemberAddress, OperationKind, OutcomeAnswer, ReadRequest,
    ReadResult, Rival, Row, Snapshot, VersionedValue,
};

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

/// What a gateway does with the next request of a kind.
#[derive(Debug)]
pub(crate) enum Script {
    /// Closes the connection without looking at it.
    Cut,
    /// Serves it and closes the connection instead of answering.
    ServeThenCut,
    /// Answers this.
    Answer(ClientReply),
    /// Never answers.
    Silence,
    /// Serves it, and from then on reads and answers nothing, as a process that is stopped.
    ServeThenStop,
    /// From now on the whole gateway stands still: its connections stay, and nothing comes over them.
    StandStill,
}

/// Which requests a script is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Read,
    Lock,
    Commit,
    Other,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) versions: BTreeMap<Key, BTreeMap<Timestamp, Option<Bytes>>>,
    pub(crate) clock: u64,
    pub(crate) committed: BTreeMap<TransactionId, Timestamp>,
    /// Keys that others hold.
    pub(crate) held: BTreeMap<Key, TransactionId>,
    pub(crate) requests: Vec<(usize, ClientRequest)>,
    pub(crate) scripts: BTreeMap<(usize, Kind), VecDeque<Script>>,
    pub(crate) addresses: Vec<String>,
    pub(crate) leader: usize,
    pub(crate) connections: usize,
    pub(crate) standing_still: BTreeSet<usize>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn key(user: &str) -> Key {
    Key::new(DEFAULT_KEYSPACE, user.as_bytes())
}

pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

impl World {
    fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        at(self.clock)
    }

    pub(crate) fn set(&mut self, user: &str, value: &str) -> Timestamp {
        let at = self.tick();
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        self.versions
            .entry(key(user))
            .or_default()
            .insert(at, value);
        at
    }

    pub(crate) fn value(&self, user: &str) -> Option<String> {
        let version = self.read(&key(user), Timestamp::MAX)?;
        Some(String::from_utf8(version.value.to_vec()).unwrap())
    }

    /// The commits that came, in order.
    pub(crate) fn commits(&self) -> Vec<(usize, Commit)> {
        let commit = |(gateway, request): &(usize, ClientRequest)| match request {
            ClientRequest::Commit(commit) => Some((*gateway, commit.clone())),
            _ => None,
        };
        self.requests.iter().filter_map(commit).collect()
    }

    /// The snapshots of the reads that came, in order.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let snapshot = |(_, request): &(usize, ClientRequest)| match request {
            ClientRequest::Read { snapshot, .. } => Some(*snapshot),
            _ => None,
        };
        self.requests.iter().filter_map(snapshot).collect()
    }

    pub(crate) fn script(
        &mut self,
        gateway: usize,
        kind: Kind,
        scripts: impl IntoIterator<Item = Script>,
    ) {
        self.scripts
            .entry((gateway, kind))
            .or_default()
            .extend(scripts);
    }

    fn read(&self, key: &Key, at: Timestamp) -> Option<VersionedValue> {
        let (timestamp, value) = self.versions.get(key)?.range(..=at).next_back()?;
        let (timestamp, value) = (*timestamp, value.clone()?);
        Some(VersionedValue { timestamp, value })
    }

    fn newest(&self, key: &Key) -> Timestamp {
        let versions = self.versions.get(key);
        versions
            .and_then(|v| Some(*v.last_key_value()?.0))
            .unwrap_or(Timestamp::ZERO)
    }

    fn scan(&self, range: &KeyRange, reverse: bool, limit: u32, at: Timestamp) -> ReadResult {
        let mut keys: Vec<&Key> = self
            .versions
            .keys()
            .filter(|key| range.contains(key))
            .collect();
        if reverse {
            keys.reverse();
        }
        let (mut rows, mut rest) = (vec![], None);
        for key in keys {
            let Some(version) = self.read(key, at) else {
                continue;
            };
            if rows.len() == limit as usize {
                rest = Some(match reverse {
                    false => KeyRange::new(key.clone(), range.end.clone()),
                    true => KeyRange::new(range.start.clone(), Some(key.successor())),
                });
                break;
            }
            let key = key.clone();
            rows.push(Row { key, version });
        }
        ReadResult::Rows { rows, rest }
    }

    fn draw(&mut self, snapshot: Snapshot) -> Timestamp {
        match snapshot {
            Snapshot::Fresh => self.tick(),
            Snapshot::At(at) => at,
        }
    }

    fn serve(&mut self, gateway: usize, request: ClientRequest) -> ClientReply {
        Ok(match request {
            ClientRequest::Map => ClientAnswer::Map(self.map(gateway)),
            ClientRequest::Timestamp => ClientAnswer::Timestamp(self.tick()),
            ClientRequest::Read {
                snapshot, requests, ..
            } => {
                let at = self.draw(snapshot);
                let result = |request: ReadRequest| match request {
                    ReadRequest::Get { key } => ReadResult::Value(self.read(&key, at)),
                    ReadRequest::Scan {
                        range,
                        reverse,
                        limit,
                        ..
                    } => self.scan(&range, reverse, limit, at),
                };
                let results = requests.into_iter().map(result).collect();
                ClientAnswer::Read { at, results }
            }
            ClientRequest::Lock { key, wait, .. }
                if wait == LockWait::Refuse && self.held.contains_key(&key) =>
            {
                let rival = self.held[&key];
                ClientAnswer::Taken { key, rival }
            }
            ClientRequest::Lock { snapshot, key, .. } => {
                let at = self.draw(snapshot);
                let value = self.read(&key, Timestamp::MAX);
                let newest = self.newest(&key);
                let locked = Locked { value, newest };
                ClientAnswer::Locked { at, locked }
            }
            ClientRequest::Refresh {
                from, to, reads, ..
            } => {
                let changed = |key: &&Key| {
                    let newest = self.newest(key);
                    newest > from && newest <= to && reads.iter().any(|range| range.contains(key))
                };
                let changed = self.versions.keys().find(changed).map(|key| Change {
                    key: key.clone(),
                    rival: Rival::Version {
                        at: self.newest(key),
                    },
                });
                ClientAnswer::Refreshed { changed }
            }
            ClientRequest::Rollback { .. } => ClientAnswer::RolledBack,
            ClientRequest::Commit(commit) => self.commit(&commit),
            ClientRequest::Outcome { name } => {
                ClientAnswer::Outcome(match self.committed.get(&name.id) {
                    Some(at) => OutcomeAnswer::Committed { at: *at },
                    None => OutcomeAnswer::Aborted,
                })
            }
            ClientRequest::Status | ClientRequest::Transfer { .. } => {
                panic!("no test asks a script for a status or a transfer")
            }
        })
    }

    /// Commits, checking what was read; an id that is known gets its old answer.
    fn commit(&mut self, commit: &Commit) -> ClientAnswer {
        let committed = |at, results| {
            ClientAnswer::Committed(Committed {
                at,
                results,
                attempts: 1,
                partitions: 1,
            })
        };
        if let Some(at) = self.committed.get(&commit.name.id) {
            return committed(*at, vec![]);
        }
        let durable = commit.resent;
        let aborted = |reason| ClientAnswer::Aborted(wire::message::Aborted { reason, durable });
        for guard in &commit.guards {
            let found = self.read(&guard.key, Timestamp::MAX);
            assert_eq!(
                guard.condition,
                Condition::Absent,
                "the tests use no other guard"
            );
            if found.is_some() {
                let key = guard.key.clone();
                return aborted(wire::message::AbortReason::Guard { key, found });
            }
        }
        if let Snapshot::At(read_at) = commit.snapshot {
            let is_read = |key: &Key| commit.reads.iter().any(|range| range.contains(key));
            let changed = |key: &&Key| is_read(key) && self.newest(key) > read_at;
            if let Some(key) = self.versions.keys().find(changed) {
                return aborted(AbortReason::Changed {
                    key: key.clone(),
                    rival: Rival::Version {
                        at: self.newest(key),
                    },
                });
            }
        }
        let (at, mut results) = (self.tick(), vec![]);
        for operation in &commit.operations {
            let old = self
                .read(&operation.key, Timestamp::MAX)
                .map(|version| version.value);
            let new = match &operation.kind {
                OperationKind::Put(value) => Some(value.clone()),
                OperationKind::Delete => None,
                OperationKind::Add(delta) => {
                    let old = old.map_or(0, |v| std::str::from_utf8(&v).unwrap().parse().unwrap());
                    Some(Bytes::from((old + delta).to_string()))
                }
                other => panic!("no test commits {other:?}"),
            };
            results.push(new.clone().filter(|_| operation.kind.reads_old_value()));
            self.versions
                .entry(operation.key.clone())
                .or_default()
                .insert(at, new);
        }
        self.committed.insert(commit.name.id, at);
        committed(at, results)
    }

    fn map(&self, gateway: usize) -> MapAnswer {
        let node = |index: usize| NodeId(index as u32 + 1);
        let members: Vec<NodeId> = (0..self.addresses.len()).map(node).collect();
        let descriptor = Descriptor {
            partition: PartitionId(1),
            generation: Generation(1),
            range: KeyRange::all(),
            members,
        };
        let addresses = self.addresses.iter().enumerate();
        MapAnswer {
            cluster: CLUSTER,
            node: node(gateway),
            partitions: vec![(descriptor, Some(node(self.leader)))],
            nodes: addresses
                .map(|(index, address)| MemberAddress {
                    node: node(index),
                    address: address.clone(),
                })
                .collect(),
        }
    }
}

fn kind_of(request: &ClientRequest) -> Kind {
    match request {
        ClientRequest::Read { .. } => Kind::Read,
        ClientRequest::Lock { .. } => Kind::Lock,
        ClientRequest::Commit(_) => Kind::Commit,
        _ => Kind::Other,
    }
}

/// Gateways over one world. Gateway 0 is the leader's node.
pub(crate) struct Gateways {
    pub(crate) world: Shared,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Drop for Gateways {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Gateways {
    pub(crate) async fn start(count: usize) -> Gateways {
        let world: Shared = Arc::default();
        // Time runs close to the machine's, as it would at real nodes.
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        world.lock().unwrap().clock = since.as_micros() as u64;
        let mut listeners = vec![];
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            world.lock().unwrap().addresses.push(address);
            listeners.push(listener);
        }
        let start =
            |(index, listener)| tokio::spawn(accept(index, listener, world.clone())).abort_handle();
        let tasks = listeners.into_iter().enumerate().map(start).collect();
        Gateways { world, tasks }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A gateway stops listening; connections that stand are cut by scripts.
    pub(crate) fn stop_listening(&self, gateway: usize) {
        self.tasks[gateway].abort();
    }

    pub(crate) async fn client(&self) -> Client {
        let addresses = self.world().addresses.clone();
        let options = ClientOptions {
            timeout: Duration::from_secs(5),
            ..ClientOptions::default()
        };
        Client::connect_with(&addresses, options).await.unwrap()
    }
}

async fn accept(index: usize, listener: TcpListener, world: Shared) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        world.lock().unwrap().connections += 1;
        tokio::spawn(connection(index, stream, world.clone()));
    }
}

async fn connection(index: usize, mut stream: TcpStream, world: Shared) {
    let mut codec = FrameCodec::before_handshake();
    codec.handshake_done();
    let mut buffer = BytesMut::new();
    let mut out = BytesMut::new();
    let stands_still = || world.lock().unwrap().standing_still.contains(&index);
    loop {
        while let Some(frame) = codec.decode(&mut buffer).unwrap() {
            let then = match frame.kind {
                _ if stands_still() => continue,
                FrameKind::Ping => {
                    let number = frame.number;
                    encode_frame(FrameKind::Pong, number, &(), FRAME_BYTES_MAX, &mut out).unwrap();
                    Then::GoOn
                }
                FrameKind::Hello => {
                    let welcome = HelloReply::Welcome(Welcome {
                        version: 1,
                        cluster: Some(CLUSTER),
                        node: Some(NodeId(index as u32 + 1)),
                        address: String::new(),
                        start: 1,
                    });
                    encode_frame(
                        FrameKind::HelloReply,
                        0,
                        &welcome,
                        FRAME_BYTES_MAX,
                        &mut out,
                    )
                    .unwrap();
                    Then::GoOn
                }
                _ => {
                    let request = frame.decode().unwrap();
                    answer(index, frame.number, request, &world, &mut out)
                }
            };
            match then {
                Then::GoOn => {}
                Then::Close => return,
                Then::Stop => std::future::pending().await,
            }
        }
        stream.write_all(&out).await.unwrap_or_default();
        out.clear();
        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// What becomes of a connection after a request.
enum Then {
    GoOn,
    Close,
    Stop,
}

fn answer(
    index: usize,
    number: u64,
    request: ClientRequest,
    world: &Shared,
    out: &mut BytesMut,
) -> Then {
    let mut world = world.lock().unwrap();
    world.requests.push((index, request.clone()));
    let scripts = world.scripts.get_mut(&(index, kind_of(&request)));
    let reply = match scripts.and_then(VecDeque::pop_front) {
        None => world.serve(index, request),
        Some(Script::Answer(reply)) => reply,
        Some(Script::Silence) => return Then::GoOn,
        Some(Script::StandStill) => {
            world.standing_still.insert(index);
            return Then::GoOn;
        }
        Some(Script::Cut) => return Then::Close,
        Some(Script::ServeThenCut) => {
            world.serve(index, request).unwrap();
            return Then::Close;
        }
        Some(Script::ServeThenStop) => {
            world.serve(index, request).unwrap();
            return Then::Stop;
        }
    };
    encode_frame(FrameKind::ClientReply, number, &reply, FRAME_BYTES_MAX, out).unwrap();
    Then::GoOn
}
