//! How many snapshots this node sends at once (pattern Request Waiting List).
//!
//! Each partition sends one at a time and keeps a few chunks on the way. A node that lost touch for long
//! may need thousands of partitions anew: the rest waits its turn, so that neither the store nor the
//! connection is swamped.

use partition::versions::{SnapshotRead, StoreTask};
use std::collections::{BTreeSet, VecDeque};
use wire::ids::PartitionId;

/// Snapshots that leave at once.
pub(crate) const SNAPSHOTS_MAX: usize = 4;

/// Lets snapshots be begun one after another.
#[derive(Debug, Default)]
pub(crate) struct SnapshotGate {
    open: BTreeSet<(PartitionId, u64)>,
    waiting: VecDeque<SnapshotRead>,
}

impl SnapshotGate {
    /// What of a task the store is asked now.
    pub(crate) fn admit(&mut self, task: StoreTask) -> Vec<StoreTask> {
        match task {
            StoreTask::ReadSnapshot(read) if read.after.is_none() => {
                self.waiting.push_back(read);
                self.begin()
            }
            StoreTask::CloseSnapshot { partition, view } => {
                let is_it = |read: &SnapshotRead| (read.partition, read.view) == (partition, view);
                self.waiting.retain(|read| !is_it(read));
                if !self.open.remove(&(partition, view)) {
                    return Vec::new();
                }
                let mut tasks = vec![StoreTask::CloseSnapshot { partition, view }];
                tasks.extend(self.begin());
                tasks
            }
            other => vec![other],
        }
    }

    fn begin(&mut self) -> Vec<StoreTask> {
        let mut tasks = Vec::new();
        while self.open.len() < SNAPSHOTS_MAX
            && let Some(read) = self.waiting.pop_front()
        {
            self.open.insert((read.partition, read.view));
            tasks.push(StoreTask::ReadSnapshot(read));
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::keys::KeyRange;

    fn read(partition: u32) -> StoreTask {
        StoreTask::ReadSnapshot(SnapshotRead {
            partition: PartitionId(partition),
            incarnation: 1,
            range: KeyRange::all(),
            view: 7,
            after: None,
            bytes_max: 100,
        })
    }

    fn close(partition: u32) -> StoreTask {
        StoreTask::CloseSnapshot {
            partition: PartitionId(partition),
            view: 7,
        }
    }

    #[test]
    fn so_many_begin_at_once_and_the_rest_in_their_order() {
        let mut gate = SnapshotGate::default();
        let most = SNAPSHOTS_MAX as u32;
        for partition in 0..most {
            assert_eq!(gate.admit(read(partition)), [read(partition)]);
        }
        for partition in most..most + 3 {
            assert_eq!(gate.admit(read(partition)), []);
        }
        // One that waits is not wanted any more.
        assert_eq!(gate.admit(close(most)), []);
        assert_eq!(gate.admit(close(1)), [close(1), read(most + 1)]);
        assert_eq!(gate.admit(close(1)), []);
        assert_eq!(gate.admit(close(0)), [close(0), read(most + 2)]);
        assert_eq!(gate.admit(close(2)), [close(2)]);
    }
}
