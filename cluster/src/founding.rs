//! What a founder proposes: the cluster's name, its first nodes and its first key ranges.
//!
//! ```text
//!   keyspace 0 (system)      keyspace 1 (default)                        2, 3, ...
//!   |------- p1 -------|--- p2 ---|--- p3 ---|  ...  |------ the last ------------>
//!   least              1:""       split      split   split             no end
//! ```
//!
//! Invariants of a proposal:
//! - The ranges tile the key space (protocol, invariant 7); partition 1 is exactly keyspace 0.
//! - Node ids are 1, 2, … in the order of the sorted list, so equal lists give equal ids.
//! - Every partition has as many different members as asked for, or all nodes if there are fewer;
//!   each node is a member of as many of the partitions from 2 on as every other, give or take
//!   `replication`.
//!
//! Founders that were started with different splits are not refused: one proposal is chosen, and
//! its splits hold. Only the list of founders has to be the same, for it is what majorities are
//! counted in.

use std::collections::BTreeSet;
use wire::SplitMix64;
use wire::ids::{ClusterId, Generation, NodeId, PartitionId};
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, KEY_BYTES_MAX, Key, KeyRange};
use wire::message::{Founding, FoundingMember};

/// The most nodes that may found a cluster together. More can join later.
pub const FOUNDERS_MAX: usize = 64;
/// The most partitions of the default keyspace that a founding may make.
pub const PARTITIONS_MAX: usize = 4096;
/// How many founders hold the consistent core if there are at least [`WIDE_CORE_FROM`] of them.
pub const WIDE_CORE_MEMBERS: usize = 5;
/// From how many founders on the consistent core is held by [`WIDE_CORE_MEMBERS`].
pub const WIDE_CORE_FROM: usize = 5;
/// How many founders hold the consistent core if there are fewer than [`WIDE_CORE_FROM`].
pub const CORE_MEMBERS: usize = 3;

/// The letters of [`even_splits`], a to z, and how many of them a border may have.
const LETTERS: usize = 26;
const LETTERS_OF_BORDER_MAX: u32 = 3;
const _: () = assert!(
    PARTITIONS_MAX <= LETTERS.pow(LETTERS_OF_BORDER_MAX),
    "three letters cannot name that many borders"
);

/// What a node is told about the cluster that it shall found with others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundingPlan {
    /// This node's address, as the list names it.
    pub me: String,
    /// The addresses of all founders, ascending, each once: see [`sorted_founders`].
    pub list: Vec<String>,
    /// The borders between the partitions of the default keyspace, ascending, each once.
    pub splits: Vec<Key>,
    /// How many nodes hold each partition; all of them if there are fewer.
    pub replication: usize,
    /// Where randomness comes from: the cluster's name, and how long to stand back.
    pub seed: u64,
}

/// A plan, or what was recovered, does not allow this node to take part in a founding.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FoundingError {
    /// The list does not name this node.
    #[error(
        "this node's address {me} is not in the list of founders ({}): name it there exactly as it is advertised",
        list.join(", ")
    )]
    NotInList {
        /// This node's address.
        me: String,
        /// The list.
        list: Vec<String>,
    },
    /// The list is not ascending, or names a node twice.
    #[error("the list of founders is not sorted, or names a node twice: {} comes before {}", .0, .1)]
    ListNotSorted(
        /// The earlier address.
        String,
        /// The later one, which is not above it.
        String,
    ),
    /// The list is too long.
    #[error(
        "the list names {0} founders, the most is {FOUNDERS_MAX}: found with fewer, the others join later"
    )]
    TooManyFounders(
        /// How many it names.
        usize,
    ),
    /// A border lies where no border can be.
    #[error(
        "the split key {key} is not a key of the default keyspace: splits divide that one only, above its first key"
    )]
    SplitOutside {
        /// The border.
        key: Key,
    },
    /// A border is longer than a key may be.
    #[error("a split key has {bytes} bytes, the most is {KEY_BYTES_MAX}")]
    SplitTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The borders are not ascending, or one is there twice.
    #[error(
        "the split keys are not in ascending order, or one is there twice: {before} comes before {after}"
    )]
    SplitsNotSorted {
        /// The earlier border.
        before: Key,
        /// The later one, which is not above it.
        after: Key,
    },
    /// Too many borders.
    #[error("the splits make {0} partitions, the most is {PARTITIONS_MAX}")]
    TooManyPartitions(
        /// How many partitions they make.
        usize,
    ),
    /// No copies are wanted.
    #[error(
        "a replication of 0 keeps no copy of anything: at least 1 is needed, 3 to survive a failure"
    )]
    NoReplicas,
    /// This node has accepted a value among other founders before.
    #[error(
        "this node has already taken part in a founding with the founders {}, now it was started with {}: start it with the former, or, if that cluster was never founded, with an empty data directory",
        recorded.join(", "),
        given.join(", ")
    )]
    ListChanged {
        /// The list in the log.
        recorded: Vec<String>,
        /// The list that it was started with.
        given: Vec<String>,
    },
    /// This node's cluster does not know its address.
    #[error(
        "this node belongs to the cluster {cluster} of {}, none of which is its address {me}: start it with the address that it had",
        members.join(", ")
    )]
    AddressChanged {
        /// The cluster.
        cluster: ClusterId,
        /// The addresses of its first nodes.
        members: Vec<String>,
        /// The address that it was started with.
        me: String,
    },
    /// What was recovered cannot be read.
    #[error(
        "the record of this node's founding cannot be read ({0}): it was written by another version, or is damaged"
    )]
    Unreadable(
        /// What the decoder says.
        String,
    ),
}

/// The list of founders in the form that all founders compare: ascending, each once.
pub fn sorted_founders(addresses: impl IntoIterator<Item = String>) -> Vec<String> {
    addresses
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

impl FoundingPlan {
    /// Whether a cluster can be founded by this plan.
    pub fn check(&self) -> Result<(), FoundingError> {
        self.check_list()?;
        self.check_splits()?;
        if self.replication == 0 {
            return Err(FoundingError::NoReplicas);
        }
        Ok(())
    }

    fn check_list(&self) -> Result<(), FoundingError> {
        if self.list.len() > FOUNDERS_MAX {
            return Err(FoundingError::TooManyFounders(self.list.len()));
        }
        if let Some(pair) = self.list.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(FoundingError::ListNotSorted(
                pair[0].clone(),
                pair[1].clone(),
            ));
        }
        if !self.list.contains(&self.me) {
            return Err(FoundingError::NotInList {
                me: self.me.clone(),
                list: self.list.clone(),
            });
        }
        Ok(())
    }

    fn check_splits(&self) -> Result<(), FoundingError> {
        if self.splits.len() >= PARTITIONS_MAX {
            return Err(FoundingError::TooManyPartitions(self.splits.len() + 1));
        }
        for key in &self.splits {
            if key.keyspace() != Some(DEFAULT_KEYSPACE) || key.user().is_empty() {
                return Err(FoundingError::SplitOutside { key: key.clone() });
            }
            if key.user().len() > KEY_BYTES_MAX {
                return Err(FoundingError::SplitTooLong {
                    bytes: key.user().len(),
                });
            }
        }
        if let Some(pair) = self.splits.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(FoundingError::SplitsNotSorted {
                before: pair[0].clone(),
                after: pair[1].clone(),
            });
        }
        Ok(())
    }

    /// What this node proposes; the plan must have passed [`FoundingPlan::check`].
    pub(crate) fn proposal(&self, random: &mut SplitMix64) -> Founding {
        let name = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
        Founding {
            cluster: ClusterId(name),
            members: self.members(),
            descriptors: self.descriptors(),
        }
    }

    fn members(&self) -> Vec<FoundingMember> {
        (1u32..)
            .zip(&self.list)
            .map(|(id, address)| FoundingMember {
                node: NodeId(id),
                address: address.clone(),
            })
            .collect()
    }

    fn descriptors(&self) -> Vec<Descriptor> {
        let first = Key::new(DEFAULT_KEYSPACE, b"");
        let starts = std::iter::once(first.clone()).chain(self.splits.iter().cloned());
        let ends = self.splits.iter().cloned().map(Some).chain([None]);
        let core = KeyRange::new(Key::least(), Some(first));
        let mut descriptors = vec![descriptor(1, core, self.core_members())];
        for (turn, (start, end)) in starts.zip(ends).enumerate() {
            let range = KeyRange::new(start, end);
            descriptors.push(descriptor(turn as u32 + 2, range, self.members_from(turn)));
        }
        descriptors
    }

    fn core_members(&self) -> Vec<NodeId> {
        let wide = self.list.len() >= WIDE_CORE_FROM;
        let wanted = if wide {
            WIDE_CORE_MEMBERS
        } else {
            CORE_MEMBERS
        };
        consecutive(0, wanted, self.list.len())
    }

    fn members_from(&self, turn: usize) -> Vec<NodeId> {
        consecutive(turn, self.replication, self.list.len())
    }
}

fn descriptor(partition: u32, range: KeyRange, members: Vec<NodeId>) -> Descriptor {
    Descriptor {
        partition: PartitionId(partition),
        generation: Generation(1),
        range,
        members,
    }
}

/// `wanted` of `nodes` nodes from place `turn` on, around the list, ascending.
fn consecutive(turn: usize, wanted: usize, nodes: usize) -> Vec<NodeId> {
    let mut members: Vec<NodeId> = (0..wanted.min(nodes))
        .map(|step| NodeId(((turn + step) % nodes) as u32 + 1))
        .collect();
    members.sort_unstable();
    members
}

/// The borders that divide the default keyspace into so many partitions (`--partitions N`).
///
/// They lie evenly over the letters a to z, two of them, or three where two do not suffice: four
/// partitions meet at `gn`, `n` and `tn`. People's keys begin with letters. Keys that share their first
/// letters (`user/…`) all lie in one partition, and so do digits and binary keys: name the split keys
/// yourself for those.
///
/// # Panics
/// With more than [`PARTITIONS_MAX`] partitions.
pub fn even_splits(partitions: usize) -> Vec<Key> {
    assert!(
        partitions <= PARTITIONS_MAX,
        "a founding makes at most {PARTITIONS_MAX} partitions, asked for {partitions}"
    );
    let letters = (2..LETTERS_OF_BORDER_MAX)
        .find(|letters| LETTERS.pow(*letters) >= partitions)
        .unwrap_or(LETTERS_OF_BORDER_MAX);
    let places = LETTERS.pow(letters);
    (1..partitions)
        .map(|border| {
            Key::new(
                DEFAULT_KEYSPACE,
                &text_of(border * places / partitions, letters),
            )
        })
        .collect()
}

/// A place as letters; an `a` at the end says nothing, since `g` is the least text that begins with it.
fn text_of(place: usize, letters: u32) -> Vec<u8> {
    let letter = |digit| b'a' + (place / LETTERS.pow(digit) % LETTERS) as u8;
    let mut text: Vec<u8> = (0..letters).rev().map(letter).collect();
    while text.len() > 1 && text.ends_with(b"a") {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::KeyspaceId;
    use wire::keys::{RangeMap, SYSTEM_KEYSPACE};

    fn key(user: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, user.as_bytes())
    }

    fn plan(nodes: usize, splits: Vec<Key>) -> FoundingPlan {
        let list: Vec<String> = (0..nodes).map(|n| format!("host{n:02}:1")).collect();
        FoundingPlan {
            me: list[0].clone(),
            list,
            splits,
            replication: 3,
            seed: 7,
        }
    }

    fn proposal(plan: &FoundingPlan) -> Founding {
        plan.check().unwrap();
        plan.proposal(&mut SplitMix64::new(plan.seed))
    }

    fn ids(numbers: &[u32]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn five_founders_hold_the_core_together_and_the_rest_in_turns() {
        let founding = proposal(&plan(5, vec![key("g"), key("p")]));
        let core = KeyRange::new(Key::least(), Some(key("")));
        let expected = vec![
            descriptor(1, core, ids(&[1, 2, 3, 4, 5])),
            descriptor(2, KeyRange::new(key(""), Some(key("g"))), ids(&[1, 2, 3])),
            descriptor(3, KeyRange::new(key("g"), Some(key("p"))), ids(&[2, 3, 4])),
            descriptor(4, KeyRange::new(key("p"), None), ids(&[3, 4, 5])),
        ];
        assert_eq!(founding.descriptors, expected);
        assert_eq!(founding.members[4].node, NodeId(5));
        assert_eq!(founding.members[4].address, "host04:1");
    }

    #[test]
    fn fewer_nodes_than_copies_means_all_nodes() {
        for (nodes, core) in [
            (1, vec![1]),
            (2, vec![1, 2]),
            (3, vec![1, 2, 3]),
            (4, vec![1, 2, 3]),
        ] {
            let founding = proposal(&plan(nodes, vec![]));
            assert_eq!(founding.descriptors[0].members, ids(&core), "{nodes} nodes");
            assert_eq!(founding.descriptors[1].members.len(), nodes.min(3));
        }
    }

    #[test]
    fn every_founding_tiles_the_key_space() {
        for partitions in [1, 2, 3, 95, 1000, PARTITIONS_MAX] {
            let founding = proposal(&plan(7, even_splits(partitions)));
            let map = RangeMap::new(founding.descriptors).unwrap();
            assert_eq!(map.len(), partitions + 1);
            let system = map.locate(&Key::new(SYSTEM_KEYSPACE, b"\xff\xff"));
            assert_eq!(system.partition, PartitionId(1));
            let late = map.locate(&Key::new(KeyspaceId(9), b"x"));
            assert_eq!(late.partition, PartitionId(partitions as u32 + 1));
        }
    }

    #[test]
    fn every_node_holds_its_share() {
        let founding = proposal(&plan(5, even_splits(50)));
        for node in 1..=5 {
            let held = founding.descriptors[1..]
                .iter()
                .filter(|d| d.members.contains(&NodeId(node)))
                .count();
            assert_eq!(
                held, 30,
                "n{node} of 50 partitions with 3 copies on 5 nodes"
            );
        }
    }

    #[test]
    fn even_splits_spread_over_the_letters() {
        assert_eq!(even_splits(0), []);
        assert_eq!(even_splits(1), []);
        assert_eq!(even_splits(2), [key("n")]);
        assert_eq!(even_splits(4), [key("gn"), key("n"), key("tn")]);
        let pairs = even_splits(26 * 26);
        assert_eq!((&pairs[0], &pairs[674]), (&key("ab"), &key("zz")));
        let triples = even_splits(26 * 26 + 1);
        assert_eq!((&triples[0], &triples[675]), (&key("aaz"), &key("zz")));
    }

    #[test]
    fn even_splits_are_ascending_and_as_many_as_asked_for() {
        for partitions in [2, 3, 25, 26, 27, 676, 677, 1000, PARTITIONS_MAX] {
            let splits = even_splits(partitions);
            assert_eq!(splits.len(), partitions - 1);
            assert!(splits.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    #[should_panic(expected = "at most 4096 partitions, asked for 4097")]
    fn more_partitions_than_the_most_are_a_mistake_of_the_caller() {
        even_splits(PARTITIONS_MAX + 1);
    }

    #[test]
    fn plans_that_cannot_found_are_refused_in_words() {
        type Change = fn(&mut FoundingPlan);
        let cases: [(Change, &str); 10] = [
            (
                |p| p.me = "x:1".into(),
                "this node's address x:1 is not in the list",
            ),
            (|p| p.list.swap(0, 1), "host01:1 comes before host00:1"),
            (
                |p| p.list.insert(0, p.me.clone()),
                "host00:1 comes before host00:1",
            ),
            (
                |p| p.list = (0..65).map(|n| format!("{n:02}")).collect(),
                "the list names 65 founders, the most is 64",
            ),
            (|p| p.splits = vec![key("b"), key("a")], "b comes before a"),
            (|p| p.splits = vec![key("b"), key("b")], "b comes before b"),
            (
                |p| p.splits = vec![key("")],
                "is not a key of the default keyspace",
            ),
            (
                |p| p.splits = vec![Key::new(KeyspaceId(2), b"a")],
                "is not a key of the default keyspace",
            ),
            (
                |p| p.splits = vec![Key::new(DEFAULT_KEYSPACE, &[b'a'; KEY_BYTES_MAX + 1])],
                "a split key has 4097 bytes",
            ),
            (|p| p.replication = 0, "a replication of 0 keeps no copy"),
        ];
        for (change, words) in cases {
            let mut plan = plan(3, vec![]);
            change(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(words), "expected '{words}' in '{error}'");
        }
        let mut plan = plan(3, vec![]);
        plan.splits = (0..PARTITIONS_MAX)
            .map(|n| key(&format!("{n:05}")))
            .collect();
        assert_eq!(plan.check(), Err(FoundingError::TooManyPartitions(4097)));
    }

    #[test]
    fn lists_are_compared_sorted() {
        let given = ["b:1", "a:1", "b:1"].map(String::from);
        assert_eq!(sorted_founders(given), ["a:1", "b:1"]);
    }
}
