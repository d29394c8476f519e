//! How far the tables of the store on disk go (pattern Low-Water Mark).
//!
//! The store numbers its batches (`seqno`) and can tell the highest number in its tables. Its rows pass
//! through one memory table after another in the order of their numbers, so everything up to that number
//! is in the tables. Remembered here: by which number each partition had come how far. Several batches
//! share one mark, which is reached when the last of them is.

use super::store::StoreBatch;
use clock::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use wire::ids::PartitionId;
use wire::message::LogPosition;

/// Batches share a mark up to this size, bytes.
const MARK_BYTES: u64 = 1024 * 1024;

/// What was applied, by number, and what of it is in the tables.
#[derive(Debug, Default)]
pub(super) struct Persisted {
    /// Ascending by number.
    marks: VecDeque<Mark>,
    persisted: BTreeMap<Replica, Reached>,
}

/// How far a replica had come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Reached {
    pub(super) position: LogPosition,
    pub(super) horizon: Timestamp,
}

/// Partition and incarnation.
type Replica = (PartitionId, u32);

#[derive(Debug)]
struct Mark {
    seqno: u64,
    bytes: u64,
    positions: BTreeMap<Replica, Reached>,
}

impl Persisted {
    /// A batch was applied under a number that is at least `seqno` and below that of the next batch.
    pub(super) fn applied(&mut self, seqno: u64, batches: &[StoreBatch]) {
        for batch in batches {
            let replica = (batch.partition, batch.incarnation);
            let reached = Reached {
                position: batch.applied,
                horizon: batch.horizon,
            };
            self.note(seqno, replica, reached, batch.bytes());
        }
    }

    /// Like [`Persisted::applied`], of one replica.
    pub(super) fn note(&mut self, seqno: u64, replica: Replica, reached: Reached, bytes: u64) {
        let is_full = |mark: &Mark| mark.bytes >= MARK_BYTES && mark.seqno != seqno;
        if self.marks.back().is_none_or(is_full) {
            self.marks.push_back(Mark {
                seqno,
                bytes: 0,
                positions: BTreeMap::new(),
            });
        }
        let mark = self.marks.back_mut().expect("a mark was just pushed");
        assert!(
            seqno >= mark.seqno,
            "batches are numbered upwards: {seqno} after {}",
            mark.seqno
        );
        mark.seqno = seqno;
        mark.bytes += bytes;
        let latest = mark.positions.entry(replica).or_insert(reached);
        *latest = reached.max(*latest);
    }

    /// The tables hold everything up to `seqno`.
    pub(super) fn reached(&mut self, seqno: u64) {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.seqno <= seqno) {
            for (replica, reached) in mark.positions {
                let latest = self.persisted.entry(replica).or_insert(reached);
                *latest = reached.max(*latest);
            }
        }
    }

    /// What is not in the tables, bytes of keys and values.
    pub(super) fn held_back_bytes(&self) -> u64 {
        self.marks.iter().map(|mark| mark.bytes).sum()
    }

    /// Whether everything is in the tables.
    pub(super) fn is_complete(&self) -> bool {
        self.marks.is_empty()
    }

    /// Up to where each replica is in the tables.
    pub(super) fn positions(&self) -> BTreeMap<Replica, LogPosition> {
        let replicas = self.persisted.iter();
        replicas
            .map(|(r, reached)| (*r, reached.position))
            .collect()
    }

    /// The retention horizon of each replica in the tables.
    pub(super) fn horizons(&self) -> BTreeMap<Replica, Timestamp> {
        let replicas = self.persisted.iter();
        replicas.map(|(r, reached)| (*r, reached.horizon)).collect()
    }

    /// Forgets replicas.
    pub(super) fn retain(&mut self, lives: impl Fn(&Replica) -> bool) {
        self.persisted.retain(|replica, _| lives(replica));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::{LogIndex, Term};

    const P1: Replica = (PartitionId(1), 1);
    const P2: Replica = (PartitionId(2), 1);

    fn at(index: u64) -> LogPosition {
        LogPosition {
            term: Term(1),
            index: LogIndex(index),
        }
    }

    fn reached(index: u64) -> Reached {
        Reached {
            position: at(index),
            horizon: Timestamp::from_bits(index),
        }
    }

    #[test]
    fn a_mark_is_reached_when_its_last_batch_is() {
        let mut persisted = Persisted::default();
        persisted.note(10, P1, reached(1), 1);
        persisted.note(11, P2, reached(7), 1);
        persisted.note(12, P1, reached(2), MARK_BYTES);
        persisted.note(13, P1, reached(3), 1);
        persisted.reached(11);
        assert!(persisted.positions().is_empty());
        persisted.reached(12);
        assert_eq!(persisted.positions(), [(P1, at(2)), (P2, at(7))].into());
        assert_eq!(persisted.held_back_bytes(), 1);
        persisted.reached(13);
        assert!(persisted.is_complete());
        assert_eq!(persisted.positions()[&P1], at(3));
    }

    #[test]
    fn batches_of_one_number_are_never_divided() {
        let mut persisted = Persisted::default();
        persisted.note(10, P1, reached(1), MARK_BYTES);
        persisted.note(10, P2, reached(2), 1);
        assert_eq!(persisted.marks.len(), 1);
    }

    #[test]
    fn incarnations_are_counted_apart() {
        let mut persisted = Persisted::default();
        let next = (P1.0, 2);
        persisted.note(10, P1, reached(90), 1);
        persisted.note(11, next, reached(50), 1);
        persisted.reached(11);
        assert_eq!(persisted.positions(), [(P1, at(90)), (next, at(50))].into());
        let horizon = Timestamp::from_bits;
        assert_eq!(
            persisted.horizons(),
            [(P1, horizon(90)), (next, horizon(50))].into()
        );
        persisted.retain(|replica| *replica == next);
        assert_eq!(persisted.positions(), [(next, at(50))].into());
    }
}
