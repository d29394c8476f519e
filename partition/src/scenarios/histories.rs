//! Random histories of one replica: disk and store work at random times, requests overlap, the process
//! dies now and then. Afterwards the versions in the store are the judge of everything that was
//! answered.

use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::{attempt, id, key};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::SplitMix64;
use wire::message::{
    CommitOne, Decision, PartitionReply, PartitionRequest, Prepare, Read, ReadRequest, ReadResult,
};

const KEYS: [&str; 3] = ["b", "c", "d"];
const STEPS: u64 = 120;

/// What was asked, until it is answered.
enum Asked {
    Read {
        at: Timestamp,
        user: &'static str,
        /// It will write, perhaps at `at`, which its own read does not see.
        writes: bool,
    },
    Commit(CommitOne),
    Prepare(Prepare),
    Else,
}

struct History {
    world: World,
    random: SplitMix64,
    asked: BTreeMap<u64, Asked>,
    next_id: u64,
    prepared: Vec<(Prepare, Timestamp)>,
    /// Reads that were answered: when, what, whether by a writer, and the timestamp of the version.
    reads: Vec<(Timestamp, &'static str, bool, Option<Timestamp>)>,
    /// Commits that were answered.
    commits: Vec<(CommitOne, Timestamp, Vec<Option<Bytes>>)>,
}

impl History {
    fn run(mut world: World, seed: u64) -> History {
        world.settle();
        let mut history = History {
            world,
            random: SplitMix64::new(seed),
            asked: BTreeMap::new(),
            next_id: 0,
            prepared: vec![],
            reads: vec![],
            commits: vec![],
        };
        for _ in 0..STEPS {
            history.act();
            history.listen();
        }
        history.finish();
        history
    }

    fn user(&mut self) -> &'static str {
        KEYS[self.random.below(KEYS.len() as u64) as usize]
    }

    /// A timestamp about now.
    fn timestamp(&mut self) -> Timestamp {
        let back = Duration::from_millis(self.random.below(8));
        self.world.now.latest().minus(back)
    }

    fn act(&mut self) {
        match self.random.below(12) {
            0..=2 => self.read(),
            3..=5 => self.commit(),
            6 => self.prepare(),
            7 => self.resolve(),
            8 => self.world.sync(),
            9 => self.world.work(),
            10 => self.pass(),
            _ if self.random.below(10) == 0 => self.restart(),
            _ => self.pass(),
        }
    }

    fn pass(&mut self) {
        let ms = 1 + self.random.below(5);
        let now = self.world.now.physical.as_millis() as u64;
        self.world.promise_by(ME, now + 400);
        self.world.pass(ms);
    }

    fn ask(&mut self, request: PartitionRequest, asked: Asked) {
        let number = self.world.ask(request);
        self.asked.insert(number, asked);
    }

    fn read(&mut self) {
        let (at, user) = (self.timestamp(), self.user());
        let writes = false;
        self.ask(get(at, user), Asked::Read { at, user, writes });
    }

    /// Adds to one key, having read another (or the same).
    fn commit(&mut self) {
        self.next_id += 1;
        let (at, read, written) = (self.timestamp(), self.user(), self.user());
        let reader = Some(id(self.next_id));
        let mut request = commit(self.next_id, at, vec![add(written, 1)]);
        request.name.expires = Timestamp::MAX;
        request.reads = vec![point(read)];
        let first = Read {
            reader,
            timestamp: at,
            requests: vec![ReadRequest::Get { key: key(read) }],
        };
        let asked = Asked::Read {
            at,
            user: read,
            writes: true,
        };
        self.ask(PartitionRequest::Read(first), asked);
        let asked = Asked::Commit(request.clone());
        self.ask(PartitionRequest::Commit(request), asked);
    }

    fn prepare(&mut self) {
        self.next_id += 1;
        let (at, user) = (self.timestamp(), self.user());
        let mut request = prepare(self.next_id, at, vec![add(user, 100)]);
        request.name.expires = Timestamp::MAX;
        let asked = Asked::Prepare(request.clone());
        self.ask(PartitionRequest::Prepare(request), asked);
    }

    fn resolve(&mut self) {
        let Some((share, at)) = self.prepared.pop() else {
            return;
        };
        let decision = if self.random.below(3) == 0 {
            Decision::Aborted
        } else {
            Decision::Committed(at.plus(Duration::from_millis(self.random.below(4))))
        };
        let request = PartitionRequest::Resolve(wire::message::Resolve {
            name: share.name,
            attempt: attempt(1),
            decision,
        });
        self.ask(request, Asked::Else);
    }

    fn restart(&mut self) {
        // A decision that was told is told again until it is done; here all are done before.
        self.world.settle();
        self.listen();
        if self.random.below(2) == 0 {
            self.world.persist();
        }
        let shares: Vec<Prepare> = self.asked.values().filter_map(share_of).collect();
        self.world.restart();
        self.asked.clear();
        let highest = self.world.now.latest().plus(Duration::from_millis(400));
        self.world.elect(highest);
        self.pass();
        self.world.settle();
        // What became of shares whose answer was lost: the same attempt is sent again.
        for share in shares {
            let asked = Asked::Prepare(share.clone());
            self.ask(PartitionRequest::Prepare(share), asked);
        }
    }

    fn listen(&mut self) {
        for effect in self.world.take_said() {
            let ReplicaEffect::Reply { to, reply } = effect else {
                continue;
            };
            let asked = self.asked.remove(&to.number.0).expect("asked once");
            self.hear(asked, reply);
        }
    }

    fn hear(&mut self, asked: Asked, reply: PartitionReply) {
        match (asked, reply) {
            (Asked::Read { at, user, writes }, PartitionReply::Read(answer)) => {
                let [ReadResult::Value(found)] = &answer.results[..] else {
                    panic!("one value: {answer:?}");
                };
                let seen = found.as_ref().map(|found| found.timestamp);
                assert_eq!(seen.unwrap_or_default(), answer.depends_on);
                self.reads.push((at, user, writes, seen));
            }
            (Asked::Commit(commit), PartitionReply::Committed { at, results }) => {
                self.commits.push((commit, at, results));
            }
            (Asked::Prepare(share), PartitionReply::Prepared(prepared)) => {
                self.prepared.push((share, prepared.timestamp));
            }
            _ => {}
        }
    }

    /// Everything is resolved and applied.
    fn finish(&mut self) {
        for _ in 0..40 {
            self.pass();
            self.world.settle();
            self.listen();
            while !self.prepared.is_empty() {
                self.resolve();
            }
        }
        self.world.settle();
        self.listen();
        assert_eq!(self.asked.len(), 0, "everybody was answered");
        assert_eq!(self.world.replica.status().locks, 0);
    }

    /// What is wrong with the answers, seen from the versions that there are in the end.
    fn faults(&self) -> Vec<String> {
        let mut versions: BTreeMap<_, BTreeMap<Timestamp, i64>> = BTreeMap::new();
        for row in self.world.store.versions(1) {
            let value = row.value.expect("nothing was deleted");
            let number = std::str::from_utf8(&value).unwrap().parse().unwrap();
            let of_key = versions.entry(row.key).or_default();
            of_key.insert(row.timestamp, number);
        }
        let newest = |user: &str, at: Timestamp| {
            let of_key = versions.get(&key(user))?;
            of_key.range(..=at).next_back().map(|(at, _)| *at)
        };
        let mut faults = vec![];
        for (at, user, writes, seen) in &self.reads {
            let before = *writes && newest(user, at.previous()) == *seen;
            if newest(user, *at) != *seen && !before {
                let is = newest(user, *at);
                faults.push(format!(
                    "read of {user} at {at} saw {seen:?}, but there is {is:?}"
                ));
            }
        }
        for (commit, at, results) in &self.commits {
            let read = commit.reads[0].as_point().unwrap();
            let written = &commit.operations[0].key;
            let of_key = versions.get(read).cloned().unwrap_or_default();
            let mut between = of_key.keys().filter(|when| commit.timestamp < **when);
            if let Some(when) = between.find(|when| *when < at) {
                faults.push(format!(
                    "{read}, read by {} at {at}, changed at {when}",
                    commit.name.id
                ));
            }
            let number = versions.get(written).and_then(|of_key| of_key.get(at));
            let told = results.first().cloned().flatten();
            let told = told.map(|told| String::from_utf8(told.to_vec()).unwrap());
            if told.is_some() && told != number.map(i64::to_string) {
                faults.push(format!("{written} at {at} is {number:?}, told {told:?}"));
            }
        }
        for (key, of_key) in &versions {
            let mut before = 0;
            for (at, number) in of_key {
                if ![before + 1, before + 100].contains(number) {
                    faults.push(format!("{key} went from {before} to {number} at {at}"));
                }
                before = *number;
            }
        }
        faults
    }
}

fn share_of(asked: &Asked) -> Option<Prepare> {
    match asked {
        Asked::Prepare(share) => Some(share.clone()),
        _ => None,
    }
}

#[test]
fn random_histories_are_serializable_and_repeatable() {
    let mut answered = (0, 0);
    for seed in 0..300 {
        let history = History::run(World::serving(), seed);
        assert_eq!(history.faults(), Vec::<String>::new(), "seed {seed}");
        answered.0 += history.reads.len();
        answered.1 += history.commits.len();
    }
    assert!(
        answered.0 > 10_000 && answered.1 > 2_000,
        "too little was answered to say anything: {answered:?}"
    );
}

/// The first seed in which a mutant is noticed.
#[cfg(feature = "mutants")]
pub(super) fn caught(mutant: crate::Mutant, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| {
        let run = || History::run(World::without(mutant), *seed).faults();
        let faults = std::panic::catch_unwind(run);
        faults.map_or(true, |faults| !faults.is_empty())
    })
}
