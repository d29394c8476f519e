//! The threads of the store (pattern Singular Update Queue): one applies, one answers.
//!
//! Applying may take tens of milliseconds when the store writes tables; nothing that a client waits for
//! waits for it. Questions have a thread of their own, so that an old read does not wait for it either.

#![allow(
    clippy::disallowed_methods,
    reason = "this is io/: how often the tables are looked at is a matter of real time"
)]

use super::fjall_reader::FjallReader;
use super::fjall_store::FjallStore;
use crate::versions::{Store, StoreBatch, StoreError, StoreQuery, StoreReport, StoreTask};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::ids::{LogIndex, PartitionId};
use wire::message::LogPosition;

/// So many tasks wait for each thread; a sender of more waits itself.
pub const STORE_QUEUE_MAX: usize = 4096;
/// So many batches are applied in one step at most.
const APPLY_BATCHES_MAX: usize = 256;
/// No further batch joins a step that has reached this size, bytes.
const APPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The tables are looked at this often.
const PERSISTED_EVERY: Duration = Duration::from_millis(250);

/// The running threads of a store.
pub struct StoreThread {
    batches: Sender<StoreBatch>,
    questions: Sender<Question>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

struct Question {
    partition: PartitionId,
    incarnation: u32,
    ticket: u64,
    queries: Vec<StoreQuery>,
}

impl StoreThread {
    /// Starts the threads. Both call `notify`.
    ///
    /// # Panics
    /// If the system refuses another thread.
    pub fn spawn(
        store: FjallStore,
        notify: impl Fn(StoreReport) + Send + Clone + 'static,
    ) -> StoreThread {
        let (batches, applying) = bounded(STORE_QUEUE_MAX);
        let (questions, answering) = bounded(STORE_QUEUE_MAX);
        let reader = store.reader();
        let tell = notify.clone();
        StoreThread {
            batches,
            questions,
            reader: spawn("store-read", notify, move |notify| {
                answer_all(&reader, &answering, notify)
            }),
            writer: spawn("store", tell, move |notify| {
                Writer::new(store, notify).run(&applying)
            }),
        }
    }

    /// Hands a task to its thread; waits if too many wait already.
    pub fn send(&self, task: StoreTask) {
        let is_taken = match task {
            StoreTask::Apply(batch) => self.batches.send(batch).is_ok(),
            StoreTask::Query {
                partition,
                incarnation,
                ticket,
                queries,
            } => {
                let question = Question {
                    partition,
                    incarnation,
                    ticket,
                    queries,
                };
                self.questions.send(question).is_ok()
            }
        };
        if !is_taken {
            tracing::debug!("a task came after the store had failed, which was reported");
        }
    }

    /// Finishes everything that was sent, and makes what was applied into tables.
    ///
    /// # Panics
    /// If a thread panicked.
    pub fn join(self) {
        drop(self.batches);
        drop(self.questions);
        for thread in [self.reader, self.writer] {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn spawn<N: Fn(StoreReport) + Send + 'static>(
    name: &str,
    notify: N,
    work: impl FnOnce(&N) -> Result<(), StoreError> + Send + 'static,
) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Err(error) = work(&notify) {
                let why = error.to_string();
                tracing::error!(why, "the store failed");
                notify(StoreReport::Failed { why });
            }
        })
        .expect("the system gives a thread to a node that starts")
}

fn answer_all(
    reader: &FjallReader,
    questions: &Receiver<Question>,
    notify: &impl Fn(StoreReport),
) -> Result<(), StoreError> {
    for question in questions {
        let Question {
            partition,
            incarnation,
            ticket,
            queries,
        } = question;
        let answer = reader.query(partition, incarnation, &queries)?;
        notify(StoreReport::Answer {
            partition,
            ticket,
            answer,
        });
    }
    Ok(())
}

/// The batches of one step.
fn gather(first: StoreBatch, batches: &Receiver<StoreBatch>) -> Vec<StoreBatch> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while bytes < APPLY_BYTES_MAX && group.len() < APPLY_BATCHES_MAX {
        let Ok(batch) = batches.try_recv() else { break };
        bytes += batch.bytes();
        group.push(batch);
    }
    group
}

struct Writer<'a, N> {
    store: FjallStore,
    notify: &'a N,
    told: BTreeMap<PartitionId, LogPosition>,
    looked: Instant,
}

impl<'a, N: Fn(StoreReport)> Writer<'a, N> {
    fn new(store: FjallStore, notify: &'a N) -> Writer<'a, N> {
        Writer {
            store,
            notify,
            told: BTreeMap::new(),
            looked: Instant::now(),
        }
    }

    fn run(mut self, batches: &Receiver<StoreBatch>) -> Result<(), StoreError> {
        self.tell_persisted()?;
        while let Some(first) = self.wait(batches)? {
            let group = gather(first, batches);
            self.store.apply(&group)?;
            self.tell_applied(&group);
            if self.looked.elapsed() >= PERSISTED_EVERY {
                self.tell_persisted()?;
            }
        }
        self.store.close()?;
        self.tell_persisted()
    }

    /// The next batch; looks at the tables while there is none. `None` when no sender is left.
    fn wait(&mut self, batches: &Receiver<StoreBatch>) -> Result<Option<StoreBatch>, StoreError> {
        while self.store.holds_back() {
            match batches.recv_timeout(PERSISTED_EVERY) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.tell_persisted()?,
            }
        }
        Ok(batches.recv().ok())
    }

    fn tell_applied(&self, group: &[StoreBatch]) {
        let mut latest: BTreeMap<PartitionId, LogIndex> = BTreeMap::new();
        for batch in group {
            latest.insert(batch.partition, batch.applied.index);
        }
        for (partition, index) in latest {
            (self.notify)(StoreReport::Applied { partition, index });
        }
    }

    fn tell_persisted(&mut self) -> Result<(), StoreError> {
        self.looked = Instant::now();
        for (partition, position) in self.store.persisted()? {
            if self.told.insert(partition, position) != Some(position) {
                (self.notify)(StoreReport::Persisted {
                    partition,
                    position,
                });
            }
        }
        Ok(())
    }
}
