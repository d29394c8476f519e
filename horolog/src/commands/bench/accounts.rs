//! Where the keys of a bench lie: dealt in turn over all partitions of the default keyspace.

use bytes::Bytes;
use wire::SplitMix64;
use wire::ids::PartitionId;
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, Key, KeyRange};

/// Written behind the start of a partition's range: the first that still lies in the range.
const FOLDERS: [&[u8]; 2] = [b"bench/", b"\0bench/"];

/// The keys of one partition that the bench uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Which partition.
    pub(super) partition: PartitionId,
    /// What its keys begin with, without the keyspace.
    pub(super) prefix: Bytes,
}

/// All keys of a bench: number `n` lives in home `n % homes`.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    homes: Vec<Home>,
    count: u64,
}

impl Accounts {
    /// `count` keys of a kind over these partitions; those without room for them are left out.
    pub(super) fn new<'a>(
        partitions: impl Iterator<Item = &'a Descriptor>,
        kind: &str,
        count: u64,
    ) -> Accounts {
        let homes = partitions.filter_map(|one| home(one, kind)).collect();
        Accounts { homes, count }
    }

    /// The partitions in use.
    pub(super) fn homes(&self) -> &[Home] {
        &self.homes
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The key of a number, without the keyspace.
    pub(super) fn key(&self, number: u64) -> Bytes {
        assert!(
            number < self.count,
            "account {number} of {} accounts does not exist",
            self.count
        );
        let homes = self.homes.len() as u64;
        let home = &self.homes[(number % homes) as usize];
        let mut key = home.prefix.to_vec();
        key.extend_from_slice(format!("{:08}", number / homes).as_bytes());
        key.into()
    }

    /// Any account.
    pub(super) fn pick(&self, random: &mut SplitMix64) -> u64 {
        random.below(self.count)
    }

    /// Two different accounts, in two partitions or in one.
    pub(super) fn pick_pair(&self, random: &mut SplitMix64, cross: bool) -> (u64, u64) {
        let from = self.pick(random);
        loop {
            let to = self.pick(random);
            if from != to && self.crosses(from, to) == cross {
                return (from, to);
            }
        }
    }

    /// How many partitions are in use.
    pub(super) fn partitions(&self) -> u64 {
        self.homes.len() as u64
    }

    /// Whether two accounts live in two partitions.
    pub(super) fn crosses(&self, one: u64, other: u64) -> bool {
        one % self.partitions() != other % self.partitions()
    }

    /// Whether pairs of both kinds can be picked; an error says what is missing.
    pub(super) fn check_pairs(&self, cross: f64) -> Result<(), String> {
        let homes = self.partitions();
        if cross > 0.0 && homes < 2 {
            return Err(format!(
                "transfers over two partitions need two partitions in the default keyspace, there is {homes}: use --cross 0, or a cluster with more"
            ));
        }
        if self.count < 2 * homes {
            return Err(format!(
                "{} accounts over {homes} partitions are too few: use --accounts {} or more",
                self.count,
                2 * homes
            ));
        }
        Ok(())
    }
}

fn home(descriptor: &Descriptor, kind: &str) -> Option<Home> {
    let range = descriptor
        .range
        .intersection(&KeyRange::keyspace(DEFAULT_KEYSPACE))?;
    FOLDERS.iter().find_map(|folder| {
        let prefix = [range.start.user(), folder, kind.as_bytes(), b"/"].concat();
        let last = Key::new(DEFAULT_KEYSPACE, &[&prefix[..], b"\xff"].concat());
        range.contains(&last).then(|| Home {
            partition: descriptor.partition,
            prefix: prefix.into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::{Generation, NodeId};
    use wire::keys::SYSTEM_KEYSPACE;

    fn user(key: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, key.as_bytes())
    }

    fn partitions(borders: &[&str]) -> Vec<Descriptor> {
        let mut starts = vec![Key::least(), Key::new(DEFAULT_KEYSPACE, b"")];
        starts.extend(borders.iter().map(|border| user(border)));
        let ends = starts.iter().skip(1).cloned().map(Some).chain([None]);
        let ranges = starts.iter().cloned().zip(ends);
        (1..)
            .zip(ranges)
            .map(|(number, (start, end))| Descriptor {
                partition: PartitionId(number),
                generation: Generation(1),
                range: KeyRange::new(start, end),
                members: vec![NodeId(1)],
            })
            .collect()
    }

    #[test]
    fn keys_are_dealt_over_the_partitions_that_hold_them() {
        let partitions = partitions(&["g", "n"]);
        let accounts = Accounts::new(partitions.iter(), "a", 7);
        assert_eq!(partitions[0].range.start.keyspace(), None);
        assert!(
            partitions[0]
                .range
                .contains(&Key::new(SYSTEM_KEYSPACE, b""))
        );
        assert_eq!(accounts.homes().len(), 3);
        assert_eq!(accounts.key(0), "bench/a/00000000");
        assert_eq!(accounts.key(4), "gbench/a/00000001");
        for number in 0..7 {
            let key = Key::new(DEFAULT_KEYSPACE, &accounts.key(number));
            let home = &accounts.homes()[(number % 3) as usize];
            let holds = |d: &&Descriptor| d.range.contains(&key);
            let holder = partitions.iter().find(holds).unwrap();
            assert_eq!(holder.partition, home.partition, "{key}");
        }
    }

    #[test]
    fn a_narrow_partition_takes_the_keys_beside_its_start() {
        let narrow = partitions(&["g", "ga"]);
        let accounts = Accounts::new(narrow.iter(), "a", 9);
        assert_eq!(accounts.key(1), "g\0bench/a/00000000");
        let none = partitions(&["g", "g\0"]);
        assert_eq!(Accounts::new(none.iter(), "a", 9).homes().len(), 2);
    }

    #[test]
    fn pairs_cross_or_do_not_as_asked() {
        let partitions = partitions(&["n"]);
        let accounts = Accounts::new(partitions.iter(), "a", 10);
        let mut random = SplitMix64::new(7);
        for round in 0..100 {
            let cross = round % 2 == 0;
            let (from, to) = accounts.pick_pair(&mut random, cross);
            assert_ne!(from, to);
            assert_eq!(from % 2 != to % 2, cross);
        }
        assert_eq!(accounts.check_pairs(1.0), Ok(()));
        assert!(
            Accounts::new(partitions.iter(), "a", 3)
                .check_pairs(0.5)
                .is_err()
        );
        assert!(
            Accounts::new(partitions[..2].iter(), "a", 9)
                .check_pairs(0.5)
                .is_err()
        );
    }
}
