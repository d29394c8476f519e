//! The thread that writes the log (patterns Singular Update Queue, Request Batch).
//!
//! It takes everything that waits in its queue, writes and syncs it as one, and says once how far the log
//! is durable. While it syncs, the next batches gather: the slower the disk, the larger the batches.

use super::byte_budget::{ByteBudget, ClosesOnDrop};
use super::write_ahead_log::WriteAheadLog;
use crate::log::{LogBatch, LogError};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use wire::ids::PartitionId;
use wire::message::LogPosition;

/// So many tasks wait for the log thread; a sender of more waits itself.
pub const LOG_QUEUE_MAX: usize = 4096;
/// So many bytes wait for the log thread; a sender of more waits itself.
pub const LOG_QUEUE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// No further batch joins a flush that has reached this size, bytes.
const FLUSH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the log thread is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTask {
    /// Make these records durable.
    Write(LogBatch),
    /// The entries of a partition up to here are no longer needed.
    Discard {
        /// The partition.
        partition: PartitionId,
        /// The last entry that is not needed.
        up_to: LogPosition,
    },
}

/// What the log thread says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogReport {
    /// All batches up to this sequence are durable.
    Durable {
        /// Of the last batch.
        sequence: u64,
    },
    /// Final: the node stops. Nothing after the last `Durable` may be relied upon.
    Failed {
        /// Why.
        why: String,
    },
}

/// The log thread has ended, after it said why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log's thread has ended")]
pub struct ThreadEnded;

/// Hands tasks to the log thread.
#[derive(Clone, Debug)]
pub struct LogSender {
    tasks: Sender<LogTask>,
    budget: ByteBudget,
}

impl LogSender {
    /// Hands over a task; waits if too much waits already.
    pub fn send(&self, task: LogTask) -> Result<(), ThreadEnded> {
        self.budget.take(task.bytes());
        self.tasks.send(task).map_err(|_| ThreadEnded)
    }

    /// What waits for the log thread, bytes.
    pub fn waiting_bytes(&self) -> u64 {
        self.budget.bytes()
    }
}

impl LogTask {
    fn bytes(&self) -> u64 {
        match self {
            LogTask::Write(batch) => batch.bytes(),
            LogTask::Discard { .. } => 0,
        }
    }
}

/// The running log thread.
#[derive(Debug)]
pub struct LogThread {
    sender: LogSender,
    thread: JoinHandle<WriteAheadLog>,
    bytes_on_disk: Arc<AtomicU64>,
}

impl LogThread {
    /// Starts the thread. It calls `notify` once a flush.
    ///
    /// # Panics
    /// If the system refuses another thread.
    pub fn spawn(wal: WriteAheadLog, notify: impl Fn(LogReport) + Send + 'static) -> LogThread {
        let (tasks, receiver) = bounded(LOG_QUEUE_MAX);
        let budget = ByteBudget::new(LOG_QUEUE_BYTES_MAX);
        let sender = LogSender {
            tasks,
            budget: budget.clone(),
        };
        let bytes_on_disk = Arc::new(AtomicU64::new(wal.bytes_on_disk()));
        let published = Arc::clone(&bytes_on_disk);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let mut wal = wal;
                let budget = ClosesOnDrop(budget);
                if let Err(error) = run(&mut wal, &receiver, &budget.0, &published, &notify) {
                    let why = error.to_string();
                    tracing::error!(why, "the log failed");
                    notify(LogReport::Failed { why });
                }
                wal
            })
            .expect("the system gives a thread to a node that starts");
        LogThread {
            sender,
            thread,
            bytes_on_disk,
        }
    }

    /// The size of all files of the log after the last flush, bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        self.bytes_on_disk.load(Ordering::Relaxed)
    }

    /// Where to send tasks.
    pub fn sender(&self) -> LogSender {
        self.sender.clone()
    }

    /// Waits until everything sent is durable and every other sender is gone.
    ///
    /// # Panics
    /// If the thread panicked.
    pub fn join(self) -> WriteAheadLog {
        drop(self.sender);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn run(
    wal: &mut WriteAheadLog,
    receiver: &Receiver<LogTask>,
    budget: &ByteBudget,
    bytes_on_disk: &AtomicU64,
    notify: &impl Fn(LogReport),
) -> Result<(), LogError> {
    while let Some(first) = wait(wal, receiver)? {
        let mut bytes = first.bytes();
        let mut written = take(wal, first);
        while wal.pending_bytes() < FLUSH_BYTES_MAX {
            let Ok(task) = receiver.try_recv() else { break };
            bytes += task.bytes();
            written = take(wal, task).or(written);
        }
        budget.give(bytes);
        if let Some(sequence) = written {
            wal.flush()?;
            bytes_on_disk.store(wal.bytes_on_disk(), Ordering::Relaxed);
            notify(LogReport::Durable { sequence });
        }
        if wal.must_prepare() {
            wal.prepare()?;
        }
    }
    wal.flush()
}

/// The next task; prepares space while there is none. `None` when no sender is left.
fn wait(
    wal: &mut WriteAheadLog,
    receiver: &Receiver<LogTask>,
) -> Result<Option<LogTask>, LogError> {
    while wal.can_prepare() {
        match receiver.try_recv() {
            Ok(task) => return Ok(Some(task)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => wal.prepare()?,
        }
    }
    Ok(receiver.recv().ok())
}

/// Adds a task to the flush; a batch's sequence.
fn take(wal: &mut WriteAheadLog, task: LogTask) -> Option<u64> {
    match task {
        LogTask::Write(batch) => {
            wal.append(&batch.records);
            Some(batch.sequence)
        }
        LogTask::Discard { partition, up_to } => {
            wal.discard(partition, up_to);
            None
        }
    }
}
