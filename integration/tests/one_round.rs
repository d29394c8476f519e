//! The cost that the design promises, to the nanosecond: with 5 ms one way between nodes, nothing for
//! processors and disks, exact clocks, a client on its gateway and the leaders elsewhere, a commit over
//! two partitions is acknowledged 20 ms after it was sent: 5 to the leaders, 10 to a quorum and back, 5
//! to the gateway.

use bytes::Bytes;
use clock::Timestamp;
use integration::simulation::{World, WorldOptions};
use std::time::Duration;
use wire::ids::TransactionId;
use wire::keys::{DEFAULT_KEYSPACE, Key, KeyRange};
use wire::message::{
    ClientAnswer, ClientRequest, Commit, Committed, Operation, OperationKind, ReadRequest,
    ReplicaRole, Snapshot, TransactionName,
};

const ONE_WAY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(5);

/// A calm cluster, and a gateway with two letters whose partitions are led elsewhere.
struct Scene {
    world: World,
    gateway: usize,
    letters: [char; 2],
    transactions: u64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut world = World::new(WorldOptions::calm(seed, 3, 4, ONE_WAY));
        world.run_to(Duration::from_secs(8)).unwrap();
        let state = world.state().unwrap();
        let leads = |seat: usize, letter: char| {
            let key = Key::new(DEFAULT_KEYSPACE, letter.to_string().as_bytes());
            let replicas = &state.statuses[seat].replicas;
            let here = replicas.iter().find(|r| r.descriptor.range.contains(&key));
            here.is_some_and(|replica| replica.role == ReplicaRole::Leader)
        };
        let elsewhere = |seat: usize| -> Vec<char> {
            let led = |letter: &char| (0..3).any(|other| leads(other, *letter));
            let letters = ['a', 'b', 'c'].into_iter().filter(led);
            letters.filter(|letter| !leads(seat, *letter)).collect()
        };
        let gateway = (0..3).find(|seat| elsewhere(*seat).len() >= 2);
        let gateway = gateway.expect("of three partitions two are led elsewhere for some node");
        let letters = elsewhere(gateway);
        Scene {
            world,
            gateway,
            letters: [letters[0], letters[1]],
            transactions: 0,
        }
    }

    /// Until the transaction before is resolved: the next one is undisturbed.
    fn rest(&mut self) {
        let later = self.world.now() + Duration::from_millis(200);
        self.world.run_to(later).unwrap();
    }

    fn key(&self, place: usize, name: &str) -> Key {
        let text = format!("{}/{name}", self.letters[place]);
        Key::new(DEFAULT_KEYSPACE, text.as_bytes())
    }

    fn ask(&mut self, request: ClientRequest) -> (Duration, ClientAnswer) {
        let answer = self.world.ask(self.gateway, request, PATIENCE).unwrap();
        let answer = answer.expect("a calm cluster answers");
        (answer.took, answer.reply.expect("a calm cluster serves"))
    }

    fn commit(
        &mut self,
        snapshot: Snapshot,
        reads: &[Key],
        writes: &[Key],
    ) -> (Duration, Committed) {
        self.transactions += 1;
        let id = TransactionId {
            time: integration::simulation::clocks::true_timestamp(self.world.now()),
            random: self.transactions,
        };
        let put = |key: &Key| Operation {
            key: key.clone(),
            kind: OperationKind::Put(Bytes::from(format!("{}", self.transactions))),
        };
        let commit = Commit {
            name: TransactionName {
                id,
                expires: id.time.plus(Duration::from_secs(10)),
                anchor: writes[0].clone(),
            },
            age: id,
            snapshot,
            reads: reads.iter().cloned().map(KeyRange::point).collect(),
            guards: vec![],
            operations: writes.iter().map(put).collect(),
            locked: vec![],
            resent: false,
        };
        match self.ask(ClientRequest::Commit(commit)) {
            (took, ClientAnswer::Committed(committed)) => (took, committed),
            (_, other) => panic!("nothing disturbs the commit, yet: {other:?}"),
        }
    }

    fn read(&mut self, keys: &[Key]) -> (Duration, Timestamp) {
        let get = |key: &Key| ReadRequest::Get { key: key.clone() };
        self.transactions += 1;
        let id = TransactionId {
            time: integration::simulation::clocks::true_timestamp(self.world.now()),
            random: u64::MAX - self.transactions,
        };
        let request = ClientRequest::Read {
            reader: Some(id),
            snapshot: Snapshot::Fresh,
            requests: keys.iter().map(get).collect(),
        };
        match self.ask(request) {
            (took, ClientAnswer::Read { at, .. }) => (took, at),
            (_, other) => panic!("nothing disturbs the read, yet: {other:?}"),
        }
    }
}

#[test]
fn a_blind_commit_over_two_partitions_takes_one_round() {
    for seed in 0..5 {
        let mut scene = Scene::new(seed);
        for round in 0..10 {
            scene.rest();
            let writes = [scene.key(0, "x"), scene.key(1, "y")];
            let (took, committed) = scene.commit(Snapshot::Fresh, &[], &writes);
            assert_eq!(
                took,
                4 * ONE_WAY,
                "seed {seed}, round {round}: {committed:?}"
            );
            assert_eq!((committed.attempts, committed.partitions), (1, 2));
        }
    }
}

#[test]
fn read_two_write_two_takes_one_log_write_in_a_row() {
    for seed in 0..5 {
        let mut scene = Scene::new(seed);
        for round in 0..10 {
            scene.rest();
            let [a, b, c] = [scene.key(0, "a"), scene.key(1, "b"), scene.key(1, "c")];
            let (took, at) = scene.read(&[a.clone(), b.clone()]);
            assert_eq!(took, 2 * ONE_WAY, "seed {seed}, round {round}: the read");
            let (took, committed) = scene.commit(Snapshot::At(at), &[a.clone(), b], &[a, c]);
            assert_eq!(
                took,
                4 * ONE_WAY,
                "seed {seed}, round {round}: {committed:?}"
            );
            assert_eq!((committed.attempts, committed.partitions), (1, 2));
        }
    }
}
