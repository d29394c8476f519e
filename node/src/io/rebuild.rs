//! Dropping what a stopped node holds, so that its next start has the other nodes give it again.
//!
//! What it is stays, if its log can be read: its identity, the founding, its ceiling. Its replicas are
//! logged as empty and as having lost their memory, so they take part in nothing before the others have
//! told what they may count on (`partition::replication`). If the log cannot be read, it cannot be
//! known either whether the others hold what it held: all of it is moved aside, into a directory
//! `unreadable.dropped`, and the next start learns from the others who it is.
//!
//! A crash in between leaves the node as it was, or a directory on which the command is run again: the new
//! log takes the old one's name before the store goes, and names incarnations that the old store has
//! nothing of.

use crate::node::NodeError;
use crate::rebuild::{NotRebuilt, rebuilt_log};
use partition::log::io::{LogOptions, WriteAheadLog};
use partition::log::{LogError, LogRecord, RecoveredLog};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What became of a node's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// How many replicas were dropped; `None`: the log could not be read, so all of it was moved aside.
    pub replicas: Option<usize>,
    /// Why the log could not be read, if so, and where all of it is kept.
    pub damage: Option<Kept>,
}

/// Data that could not be read, and is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Why the log could not be read.
    pub why: String,
    /// The directory with all that was there.
    pub place: PathBuf,
}

/// Why nothing was dropped.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log cannot be used for a reason other than damage.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log's content does not fit.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no data of a node.
    #[error("{0} holds no data of a node that belongs to a cluster: there is nothing to rebuild")]
    Nothing(
        /// The directory.
        PathBuf,
    ),
    /// Nobody else has what this node has.
    #[error(
        "the node in {0} holds the only copy of its data: no other node could give it again. Restore it from a backup, or keep what is there"
    )]
    OnlyCopy(
        /// The directory.
        PathBuf,
    ),
    /// A file or directory.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Drops the replicas of the node whose data is in a directory, and which does not run.
pub fn drop_replicas(data: &Path) -> Result<Dropped, RebuildError> {
    let places = Places::of(data);
    places.finish_interrupted()?;
    if !places.log.exists() {
        return Err(RebuildError::Nothing(data.to_owned()));
    }
    match WriteAheadLog::open(&places.log, LogOptions::default()) {
        Ok((old, recovered)) => {
            let records = records_after(data, &recovered)?;
            places.write_new(&records)?;
            drop(old);
            places.switch()?;
            Ok(Dropped {
                replicas: Some(recovered.replicas.len()),
                damage: None,
            })
        }
        Err(error) if is_damage(&error) => {
            let why = error.to_string();
            let place = places.move_all_aside()?;
            Ok(Dropped {
                replicas: None,
                damage: Some(Kept { why, place }),
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn is_damage(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Damaged { .. } | LogError::Contradiction(_) | LogError::UnknownFormat(_)
    )
}

/// What the new log says.
fn records_after(data: &Path, recovered: &RecoveredLog) -> Result<Vec<LogRecord>, RebuildError> {
    rebuilt_log(recovered).map_err(|why| match why {
        NotRebuilt::Nothing => RebuildError::Nothing(data.to_owned()),
        NotRebuilt::OnlyCopy => RebuildError::OnlyCopy(data.to_owned()),
        NotRebuilt::Node(error) => error.into(),
    })
}

/// Where what lies.
struct Places {
    data: PathBuf,
    log: PathBuf,
    new_log: PathBuf,
    dropped_log: PathBuf,
    store: PathBuf,
}

impl Places {
    fn of(data: &Path) -> Places {
        Places {
            data: data.to_owned(),
            log: data.join("log"),
            new_log: data.join("log.rebuilt"),
            dropped_log: data.join("log.dropped"),
            store: data.join("store"),
        }
    }

    /// A run before this one may have been stopped between its two renames.
    fn finish_interrupted(&self) -> Result<(), RebuildError> {
        if !self.log.exists() && self.new_log.exists() {
            self.rename(&self.new_log, &self.log)?;
        }
        self.remove(&self.new_log)?;
        self.remove(&self.dropped_log)
    }

    fn write_new(&self, records: &[LogRecord]) -> Result<(), RebuildError> {
        let (mut log, _) = WriteAheadLog::open(&self.new_log, LogOptions::default())?;
        log.append(records);
        log.flush()?;
        Ok(())
    }

    fn switch(&self) -> Result<(), RebuildError> {
        self.rename(&self.log, &self.dropped_log)?;
        self.rename(&self.new_log, &self.log)?;
        self.remove(&self.store)?;
        self.remove(&self.dropped_log)
    }

    /// The store goes first: a log without its store is refused, a store without its log would not be.
    fn move_all_aside(&self) -> Result<PathBuf, RebuildError> {
        let place = self.free_place();
        fs::create_dir_all(&place).map_err(failed("make", &place))?;
        if self.store.exists() {
            self.rename(&self.store, &place.join("store"))?;
        }
        self.rename(&self.log, &place.join("log"))?;
        sync(&place)?;
        Ok(place)
    }

    /// A directory to keep things in: a new one, or that of a run that was stopped before the log went.
    fn free_place(&self) -> PathBuf {
        let named = |number: u32| match number {
            1 => self.data.join("unreadable.dropped"),
            _ => self.data.join(format!("unreadable-{number}.dropped")),
        };
        let is_free = |place: &PathBuf| {
            let has_store = place.join("store").exists() && self.store.exists();
            !has_store && !place.join("log").exists()
        };
        let mut places = (1..).map(named);
        places.find(is_free).expect("some number is free")
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), RebuildError> {
        fs::rename(from, to).map_err(failed("rename", from))?;
        self.sync()
    }

    fn remove(&self, path: &Path) -> Result<(), RebuildError> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", path)(error))
            }
            _ => self.sync(),
        }
    }

    fn sync(&self) -> Result<(), RebuildError> {
        sync(&self.data)
    }
}

fn sync(directory: &Path) -> Result<(), RebuildError> {
    let file = fs::File::open(directory).map_err(failed("open", directory))?;
    file.sync_all().map_err(failed("sync", directory))
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RebuildError + 'a {
    move |error| RebuildError::Io {
        what,
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{META_FOUNDER, META_IDENTITY, META_MEMBERS};
    use crate::node::replicas::{meta_record, next_incarnation};
    use bytes::Bytes;
    use clock::Timestamp;
    use partition::replication::{ConfigurationEntry, Recollection};
    use std::collections::{BTreeMap, BTreeSet};
    use wire::ids::{Generation, LogIndex, NodeId, PartitionId, Term};
    use wire::keys::{Descriptor, KeyRange};
    use wire::message::{Configuration, Configured, Entry, LogPosition};

    fn data(members: u32) -> tempfile::TempDir {
        let data = tempfile::tempdir().expect("makes a directory");
        let (mut log, _) = WriteAheadLog::open(&data.path().join("log"), SMALL).expect("opens");
        let meta = |kind| LogRecord::Meta {
            kind,
            body: Bytes::from_static(b"fact"),
        };
        let partition = PartitionId(2);
        log.append(&[
            meta(META_FOUNDER),
            meta(META_IDENTITY),
            LogRecord::Ceiling {
                timestamp: Timestamp::from_micros(77),
            },
            LogRecord::ReplicaInstalled {
                partition,
                incarnation: 1,
                descriptor: Descriptor {
                    partition,
                    generation: Generation(1),
                    range: KeyRange::all(),
                    members: (1..=members).map(NodeId).collect(),
                },
                base: LogPosition::default(),
            },
            LogRecord::HardState {
                partition,
                term: Term(4),
                voted_for: None,
            },
        ]);
        log.flush().expect("writes");
        fs::create_dir(data.path().join("store")).expect("makes a directory");
        data
    }

    const SMALL: LogOptions = LogOptions {
        segment_bytes: 1 << 20,
    };

    #[test]
    fn a_member_without_replicas_has_a_store_to_drop() {
        let data = data(3);
        let (mut log, _) = WriteAheadLog::open(&data.path().join("log"), SMALL).expect("opens");
        let partition = PartitionId(2);
        log.append(&[LogRecord::ReplicaDropped { partition }]);
        log.flush().expect("writes");
        drop(log);
        let dropped = drop_replicas(data.path()).expect("drops");
        assert_eq!(dropped.replicas, Some(0));
        assert!(!data.path().join("store").exists());
    }

    #[test]
    fn identity_and_ceiling_stay_and_the_replicas_forget() {
        let data = data(3);
        let dropped = drop_replicas(data.path()).expect("drops");
        assert_eq!(dropped.replicas, Some(1));
        let names = fs::read_dir(data.path()).expect("lists");
        let names: Vec<_> = names.map(|file| file.expect("lists").file_name()).collect();
        assert_eq!(names, ["log"]);
        let (_, log) = WriteAheadLog::open(&data.path().join("log"), SMALL).expect("opens");
        assert_eq!(log.ceiling, Timestamp::from_micros(77));
        assert!(log.metas.contains_key(&META_IDENTITY) && log.metas.contains_key(&META_FOUNDER));
        let replica = &log.replicas[&PartitionId(2)];
        assert_eq!((replica.incarnation, replica.term), (2, Term(0)));
        let forgotten = crate::node::replicas::forgotten(&log).expect("reads");
        assert_eq!(
            forgotten,
            BTreeMap::from([(PartitionId(2), Recollection::Lost)])
        );
        assert_eq!(next_incarnation(&log).expect("reads"), 3);
    }

    #[test]
    fn what_cannot_be_read_is_moved_aside_and_kept() {
        // It may be the only copy; the log cannot tell.
        let data = data(1);
        let (log, store) = (data.path().join("log"), data.path().join("store"));
        fs::write(store.join("rows"), "all there is").expect("writes");
        for name in ["unreadable.dropped", "unreadable-2.dropped"] {
            fs::create_dir_all(&log).expect("makes a directory");
            fs::write(log.join("format"), "nonsense").expect("writes");
            let dropped = drop_replicas(data.path()).expect("drops");
            assert_eq!(dropped.replicas, None);
            let kept = dropped.damage.expect("it says what was wrong");
            assert!(kept.why.contains("does not name a log format"), "{kept:?}");
            assert_eq!(kept.place, data.path().join(name));
            let format = fs::read_to_string(kept.place.join("log/format")).expect("is kept");
            assert_eq!(format, "nonsense");
            assert!(!log.exists() && !store.exists());
        }
        let rows = data.path().join("unreadable.dropped/store/rows");
        let rows = fs::read_to_string(rows).expect("is kept");
        assert_eq!(rows, "all there is");
    }

    #[test]
    fn moving_aside_goes_on_where_it_was_interrupted() {
        let data = data(3);
        let place = data.path().join("unreadable.dropped");
        fs::create_dir(&place).expect("makes a directory");
        fs::rename(data.path().join("store"), place.join("store")).expect("renames");
        fs::write(data.path().join("log/format"), "nonsense").expect("writes");
        let dropped = drop_replicas(data.path()).expect("drops");
        assert_eq!(dropped.damage.expect("it says where it is").place, place);
        assert!(place.join("store").exists() && place.join("log").exists());
    }

    #[test]
    fn what_nobody_else_has_is_kept() {
        let only = data(1);
        let refused = drop_replicas(only.path()).expect_err("it is the only copy");
        assert!(refused.to_string().contains("only copy"), "{refused}");
        assert!(only.path().join("store").exists());
        let empty = tempfile::tempdir().expect("makes a directory");
        let refused = drop_replicas(empty.path()).expect_err("nothing there");
        assert!(
            refused.to_string().contains("nothing to rebuild"),
            "{refused}"
        );
    }

    /// A change of members, logged after what the log says already.
    fn log_change(data: &Path, index: u64, configuration: Configuration) {
        let (mut log, _) = WriteAheadLog::open(&data.join("log"), SMALL).expect("opens");
        let change = ConfigurationEntry {
            configuration,
            promised: Timestamp::ZERO,
        };
        log.append(&[LogRecord::Entry {
            partition: PartitionId(2),
            entry: Entry {
                term: Term(4),
                index: LogIndex(index),
                body: change.encode(),
            },
        }]);
        log.flush().expect("writes");
    }

    #[test]
    fn the_only_copy_is_judged_by_the_latest_members_and_not_by_the_founding() {
        let of = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let is_kept = |data: &tempfile::TempDir| match drop_replicas(data.path()) {
            Ok(_) => false,
            Err(RebuildError::OnlyCopy(_)) => true,
            Err(other) => panic!("{other}"),
        };
        let noted = data(3);
        let (mut log, _) = WriteAheadLog::open(&noted.path().join("log"), SMALL).expect("opens");
        let configured = Configured {
            configuration: Configuration::of(of(&[1])),
            at: LogPosition::default(),
        };
        let members = BTreeMap::from([(PartitionId(2), configured)]);
        log.append(&[meta_record(META_MEMBERS, &members)]);
        log.flush().expect("writes");
        drop(log);
        assert!(
            is_kept(&noted),
            "the others left, before what the log still has"
        );
        log_change(noted.path(), 1, Configuration::of(of(&[1, 2])));
        assert!(!is_kept(&noted), "and came back");
        let shrunk = data(3);
        log_change(shrunk.path(), 1, Configuration::of(of(&[1])));
        assert!(is_kept(&shrunk), "the others left");

        let grown = data(1);
        let joint = Configuration {
            voters: of(&[1, 2, 3]),
            outgoing: of(&[1]),
            learners: BTreeSet::new(),
        };
        log_change(grown.path(), 1, joint);
        assert!(
            is_kept(&grown),
            "the others may lack what one node committed"
        );
        log_change(grown.path(), 2, Configuration::of(of(&[1, 2, 3])));
        assert!(!is_kept(&grown), "two others have it");
    }

    #[test]
    fn a_node_that_runs_is_refused() {
        let data = data(3);
        let running = WriteAheadLog::open(&data.path().join("log"), SMALL).expect("opens");
        let refused = drop_replicas(data.path()).expect_err("it runs");
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(running);
        drop_replicas(data.path()).expect("drops");
    }

    #[test]
    fn a_run_that_was_interrupted_is_finished() {
        let data = data(3);
        let places = Places::of(data.path());
        fs::rename(&places.log, &places.dropped_log).expect("renames");
        fs::create_dir(&places.new_log).expect("makes a directory");
        places.finish_interrupted().expect("finishes");
        assert!(places.log.exists() && !places.new_log.exists());
        assert!(!places.dropped_log.exists());
    }
}
