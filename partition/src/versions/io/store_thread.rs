//! The threads of the store (pattern Singular Update Queue): one applies, one answers, one looks after them.
//!
//! Applying may take tens of milliseconds when the store writes tables; nothing that a client waits for
//! waits for it. Questions have a thread of their own, so that an old read does not wait for it either.
//!
//! Invariant: a store that cannot write its tables is reported as failed, and nobody waits for it then. The
//! tree itself halts the thread that applies, for ever, once four full memory tables wait to be written, also
//! if they never will be (fjall 3.1.13, `local_backpressure`); so a thread looks after the tree until the one
//! that applies has ended. It answers nothing: looking takes the lock of the tree's journal, which the tree
//! may hold while it syncs a file.

#![allow(
    clippy::disallowed_methods,
    reason = "this is io/: how often the tables are looked at is a matter of real time"
)]

use super::fjall_reader::FjallReader;
use super::fjall_store::FjallStore;
use super::snapshots::Snapshots;
use crate::log::io::byte_budget::{ByteBudget, ClosesOnDrop};
use crate::versions::{
    Live, SnapshotRead, Store, StoreBatch, StoreError, StoreQuery, StoreReport, StoreTask,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::ids::PartitionId;
use wire::message::LogPosition;

/// So many tasks wait for each thread; a sender of more waits itself.
pub const STORE_QUEUE_MAX: usize = 4096;
/// So many bytes wait to be applied; a sender of more waits itself.
pub const STORE_QUEUE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// So many batches are applied in one step at most.
const APPLY_BATCHES_MAX: usize = 256;
/// No further batch joins a step that has reached this size, bytes.
const APPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The tables are looked at this often.
const PERSISTED_EVERY: Duration = Duration::from_millis(250);

/// It is looked this often whether tables can be written.
const LOOK_AFTER_TREE_EVERY: Duration = Duration::from_millis(500);
/// Whoever waits for a thread looks this often whether the store has failed.
const LOOK_FOR_FAILURE_EVERY: Duration = Duration::from_millis(20);
/// So long a thread may take to end once the store has failed.
const END_AFTER_FAILURE_MAX: Duration = Duration::from_secs(2);

/// The running threads of a store.
pub struct StoreThread {
    writes: Sender<Write>,
    budget: ByteBudget,
    questions: Sender<Question>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    watcher: JoinHandle<()>,
    failed: Failed,
}

/// Whether one of the threads has failed.
#[derive(Clone, Default)]
struct Failed(Arc<AtomicBool>);

impl Failed {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

enum Write {
    Apply(StoreBatch),
    Persist,
    Live(Live),
}

enum Question {
    Query {
        partition: PartitionId,
        incarnation: u32,
        ticket: u64,
        queries: Vec<StoreQuery>,
    },
    ReadSnapshot(SnapshotRead),
    CloseSnapshot(PartitionId, u64),
}

impl StoreThread {
    /// Starts the threads. All call `notify`.
    ///
    /// # Panics
    /// If the system refuses another thread.
    pub fn spawn(
        store: FjallStore,
        notify: impl Fn(StoreReport) + Send + Clone + 'static,
    ) -> StoreThread {
        let (writes, applying) = bounded(STORE_QUEUE_MAX);
        let (questions, answering) = bounded(STORE_QUEUE_MAX);
        let (reader, watched) = (store.reader(), store.reader());
        let (tell, warn) = (notify.clone(), notify.clone());
        let (writer_runs, writer_ended) = bounded(0);
        let budget = ByteBudget::new(STORE_QUEUE_BYTES_MAX);
        let closing = ClosesOnDrop(budget.clone());
        let (halted, failed) = (budget.clone(), Failed::default());
        StoreThread {
            writes,
            budget,
            questions,
            reader: spawn("store-read", &failed, notify, move |notify| {
                answer_all(&reader, &answering, notify)
            }),
            writer: spawn("store", &failed, tell, move |notify| {
                // Dropped when this ends, however it does: that tells the watcher.
                let _runs: Sender<Infallible> = writer_runs;
                Writer::new(store, notify, &closing.0).run(&applying)
            }),
            watcher: spawn("store-watch", &failed, warn, move |_| {
                let looked = look_after_tree(&watched, &writer_ended);
                if looked.is_err() {
                    // Perhaps nobody gives room back any more.
                    halted.close();
                }
                looked
            }),
            failed,
        }
    }

    /// What waits to be applied, bytes.
    pub fn waiting_bytes(&self) -> u64 {
        self.budget.bytes()
    }

    /// Hands a task to its thread; waits if too many, or too much, wait already.
    pub fn send(&self, task: StoreTask) {
        let question = match task {
            StoreTask::Apply(batch) => {
                self.budget.take(batch.bytes());
                return self.write(Write::Apply(batch));
            }
            StoreTask::Persist => return self.write(Write::Persist),
            StoreTask::Live(live) => return self.write(Write::Live(live)),
            StoreTask::Query {
                partition,
                incarnation,
                ticket,
                queries,
            } => Question::Query {
                partition,
                incarnation,
                ticket,
                queries,
            },
            StoreTask::ReadSnapshot(read) => Question::ReadSnapshot(read),
            StoreTask::CloseSnapshot { partition, view } => {
                Question::CloseSnapshot(partition, view)
            }
        };
        note_taken(self.questions.send(question).is_ok());
    }

    fn write(&self, write: Write) {
        let mut write = write;
        loop {
            match self.writes.send_timeout(write, LOOK_FOR_FAILURE_EVERY) {
                Ok(()) => return,
                Err(SendTimeoutError::Timeout(back)) if !self.failed.is_set() => write = back,
                Err(_) => return note_taken(false),
            }
        }
    }

    /// Finishes everything that was sent, and makes what was applied into tables. A store that has failed
    /// is not waited for: what is not in its tables lies in the log.
    ///
    /// # Panics
    /// If a thread panicked.
    pub fn join(self) {
        drop(self.writes);
        drop(self.questions);
        // The watcher looks until the writer has ended.
        for thread in [self.reader, self.writer, self.watcher] {
            if !ends(&thread, &self.failed) {
                tracing::warn!(
                    "the store has failed and holds its thread: it ends with the process"
                );
            } else if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Waits until a thread has ended; says whether it has, once the store has failed.
fn ends(thread: &JoinHandle<()>, failed: &Failed) -> bool {
    let mut waited_since = None;
    while !thread.is_finished() {
        let waited_since = *waited_since.get_or_insert_with(Instant::now);
        if failed.is_set() && waited_since.elapsed() >= END_AFTER_FAILURE_MAX {
            return false;
        }
        std::thread::sleep(LOOK_FOR_FAILURE_EVERY);
    }
    true
}

fn note_taken(is_taken: bool) {
    if !is_taken {
        tracing::debug!("a task came after the store had failed, which was reported");
    }
}

fn spawn<N: Fn(StoreReport) + Send + 'static>(
    name: &str,
    failed: &Failed,
    notify: N,
    work: impl FnOnce(&N) -> Result<(), StoreError> + Send + 'static,
) -> JoinHandle<()> {
    let failed = failed.clone();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // What a damaged file makes the tree do is not known: a panic there is a failure too.
            let ended = catch_unwind(AssertUnwindSafe(|| work(&notify)));
            let why = match ended {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked; the message is on standard error".to_owned(),
            };
            failed.set();
            tracing::error!(why, "the store failed");
            notify(StoreReport::Failed { why });
        })
        .expect("the system gives a thread to a node that starts")
}

/// Looks whether the tree writes its tables, until the thread that applies has ended.
fn look_after_tree(
    tree: &FjallReader,
    writer_ended: &Receiver<Infallible>,
) -> Result<(), StoreError> {
    while let Err(RecvTimeoutError::Timeout) = writer_ended.recv_timeout(LOOK_AFTER_TREE_EVERY) {
        tree.check_tables_are_written()?;
    }
    Ok(())
}

fn answer_all(
    reader: &FjallReader,
    questions: &Receiver<Question>,
    notify: &impl Fn(StoreReport),
) -> Result<(), StoreError> {
    let mut snapshots = Snapshots::of(reader.clone());
    for question in questions {
        answer(reader, &mut snapshots, question, notify)?;
    }
    Ok(())
}

fn answer(
    reader: &FjallReader,
    snapshots: &mut Snapshots,
    question: Question,
    notify: &impl Fn(StoreReport),
) -> Result<(), StoreError> {
    match question {
        Question::Query {
            partition,
            incarnation,
            ticket,
            queries,
        } => {
            let answer = reader.query(partition, incarnation, &queries);
            let answer = answer.map_err(|error| reader.locate(partition, error))?;
            notify(StoreReport::Answer {
                partition,
                ticket,
                answer,
            });
        }
        Question::ReadSnapshot(read) => {
            let page = snapshots.read(&read);
            let page = page.map_err(|error| reader.locate(read.partition, error))?;
            notify(StoreReport::Snapshot {
                partition: read.partition,
                view: read.view,
                page,
            });
        }
        Question::CloseSnapshot(partition, view) => snapshots.close(partition, view),
    }
    Ok(())
}

/// The batches of one step, and what came after them that is not a batch.
fn gather(first: StoreBatch, writes: &Receiver<Write>) -> (Vec<StoreBatch>, Option<Write>) {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while bytes < APPLY_BYTES_MAX && group.len() < APPLY_BATCHES_MAX {
        match writes.try_recv() {
            Ok(Write::Apply(batch)) => {
                bytes += batch.bytes();
                group.push(batch);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

struct Writer<'a, N> {
    store: FjallStore,
    notify: &'a N,
    budget: &'a ByteBudget,
    told: BTreeMap<(PartitionId, u32), LogPosition>,
    looked: Instant,
}

impl<'a, N: Fn(StoreReport)> Writer<'a, N> {
    fn new(store: FjallStore, notify: &'a N, budget: &'a ByteBudget) -> Writer<'a, N> {
        Writer {
            store,
            notify,
            budget,
            told: BTreeMap::new(),
            looked: Instant::now(),
        }
    }

    fn run(mut self, writes: &Receiver<Write>) -> Result<(), StoreError> {
        self.tell_persisted()?;
        while let Some(first) = self.wait(writes)? {
            let mut next = Some(first);
            while let Some(write) = next.take() {
                next = self.write(write, writes)?;
            }
            if self.looked.elapsed() >= PERSISTED_EVERY {
                self.tell_persisted()?;
            }
        }
        self.store.close()?;
        self.tell_persisted()
    }

    /// Does one thing, with the batches that wait behind it; what came after those.
    fn write(
        &mut self,
        write: Write,
        writes: &Receiver<Write>,
    ) -> Result<Option<Write>, StoreError> {
        match write {
            Write::Apply(first) => {
                let (group, next) = gather(first, writes);
                self.store.apply(&group)?;
                self.budget.give(group.iter().map(StoreBatch::bytes).sum());
                self.tell_applied(&group);
                return Ok(next);
            }
            Write::Persist => self.store.persist()?,
            Write::Live(live) => self.store.set_live(live)?,
        }
        Ok(None)
    }

    /// The next thing to do; looks at the tables while there is none. `None` when no sender is left.
    fn wait(&mut self, writes: &Receiver<Write>) -> Result<Option<Write>, StoreError> {
        while self.store.holds_back() {
            match writes.recv_timeout(PERSISTED_EVERY) {
                Ok(write) => return Ok(Some(write)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.tell_persisted()?,
            }
        }
        Ok(writes.recv().ok())
    }

    fn tell_applied(&self, group: &[StoreBatch]) {
        let mut latest: BTreeMap<(PartitionId, u32), LogPosition> = BTreeMap::new();
        for batch in group {
            latest.insert((batch.partition, batch.incarnation), batch.applied);
        }
        for ((partition, incarnation), position) in latest {
            (self.notify)(StoreReport::Applied {
                partition,
                incarnation,
                position,
            });
        }
    }

    fn tell_persisted(&mut self) -> Result<(), StoreError> {
        self.looked = Instant::now();
        for (replica, position) in self.store.persisted()? {
            if self.told.insert(replica, position) != Some(position) {
                (self.notify)(StoreReport::Persisted {
                    partition: replica.0,
                    incarnation: replica.1,
                    position,
                });
            }
        }
        Ok(())
    }
}
