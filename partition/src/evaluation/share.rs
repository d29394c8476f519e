//! Placing a transaction's writes: the path that R4 and R5 share.
//!
//! ```text
//!   another's lock on a key to be written or guarded?   wait
//!   c = max(r, newest version + 1, cache of others + 1, closed + 1)
//!   another's lock at or below c where it read?         wait, then choose c anew
//!   raise the cache of what it read to c
//!   a change there in (r, c]?                           refuse
//!   guards, then operations, on the newest values       refuse, or
//!                                                       place the writes at c
//! ```
//!
//! Without raising and waiting, two transactions that each read what the other writes both commit.

use super::{Evaluated, Evaluator, Newest, lock_wait};
use crate::request_waiting_list::WaitFor;
use bytes::Bytes;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use wire::keys::{Key, KeyRange, TRANSACTION_BYTES_MAX};
use wire::message::{Guard, Operation, Refusal, Rival, TransactionName};

/// What is to be placed.
pub(super) struct ToPlace<'a> {
    pub(super) name: &'a TransactionName,
    /// Its snapshot `r`.
    pub(super) timestamp: Timestamp,
    pub(super) reads: &'a [KeyRange],
    pub(super) guards: &'a [Guard],
    pub(super) operations: &'a [Operation],
    /// Points that it read and locks.
    pub(super) locked_reads: &'a [Key],
    /// Guarded keys are locked as if they were written.
    pub(super) locks_guards: bool,
}

/// Where it goes.
pub(super) struct Placed {
    /// The commit timestamp, or the prepared one.
    pub(super) at: Timestamp,
    /// The new values.
    pub(super) writes: BTreeMap<Key, Option<Bytes>>,
    /// For each operation the new value if the server computed it.
    pub(super) results: Vec<Option<Bytes>>,
}

/// Why it does not fit, and the newest version on which that rests.
pub(super) type Unfit = (Refusal, Timestamp);

impl Evaluator<'_> {
    /// Places a transaction's writes, or says why they do not fit.
    pub(super) fn place(&mut self, share: &ToPlace) -> Evaluated<Result<Placed, Unfit>> {
        let id = share.name.id;
        if let Some(no_room) = self.no_room.filter(|_| !share.operations.is_empty()) {
            return Ok(Err((no_room.refusal(), Timestamp::ZERO)));
        }
        if !share.reads.is_empty() || !share.locked_reads.is_empty() {
            // What changed above it may have been removed with the tombstone that changed it.
            self.check_retained(share.timestamp)?;
        }
        let locked = share.locked_keys();
        for key in &locked {
            self.check_unlocked(key, id)?;
        }
        for guard in share.guards {
            if let Some(rival) = self.holder(&guard.key).filter(|lock| lock.name.id != id) {
                return Err(lock_wait(&guard.key, rival.name.id));
            }
        }
        let newest = self.newest_of(share)?;
        let at = self.choose_timestamp(share, &locked, &newest);
        if at >= share.name.expires {
            return Ok(Err((Refusal::Expired, Timestamp::ZERO)));
        }
        self.check_promised(at)?;
        if let Err(unfit) = self.check_reads(share, at)? {
            return Ok(Err(unfit));
        }
        if let Err(unfit) = check_guards(share, &newest)? {
            return Ok(Err(unfit));
        }
        if share.operations.is_empty() && share.locked_reads.is_empty() && !share.locks_guards {
            // Nothing will be in the log after what this answer rests on.
            check_committed(newest.values())?;
        }
        let performed = perform_all(share, &newest)?;
        Ok(performed.map(|(writes, results)| Placed {
            at,
            writes,
            results,
        }))
    }

    /// The newest versions of the keys whose values matter.
    fn newest_of<'a>(&mut self, share: &ToPlace<'a>) -> Evaluated<BTreeMap<&'a Key, Newest>> {
        let guarded = share.guards.iter().map(|guard| &guard.key);
        let computed = share.operations.iter();
        let computed = computed.filter(|operation| operation.kind.reads_old_value());
        let keys: BTreeSet<&Key> = guarded.chain(computed.map(|o| &o.key)).collect();
        let mut newest = BTreeMap::new();
        for key in keys {
            if let Some(version) = self.newest(key) {
                newest.insert(key, version);
            }
        }
        self.check_answered()?;
        Ok(newest)
    }

    fn choose_timestamp(
        &self,
        share: &ToPlace,
        locked: &BTreeSet<&Key>,
        newest: &BTreeMap<&Key, Newest>,
    ) -> Timestamp {
        let id = share.name.id;
        let mut at = share.timestamp;
        if !locked.is_empty() {
            at = at.max(self.closed.next());
        }
        for key in locked {
            at = at.max(self.newest_bound(key).next());
            at = at.max(self.read_by_others(key, id).next());
        }
        for version in newest.values() {
            at = at.max(version.timestamp());
        }
        at
    }

    /// Makes sure that what was read at `r` still holds at `at`, and will.
    fn check_reads(&mut self, share: &ToPlace, at: Timestamp) -> Evaluated<Result<(), Unfit>> {
        let reader = Some(share.name.id);
        let read = share.timestamp;
        for range in share.reads {
            if let Some((key, rival)) = self.lock_at_or_below(range, at, reader) {
                return Err(lock_wait(key, rival.name.id));
            }
            if let Some((index, _)) = self.overlay.last_write_in(range, read, at) {
                return Err(WaitFor::Entry(index).into());
            }
        }
        for range in share.reads {
            #[cfg(feature = "mutants")]
            if self.is(crate::Mutant::ReadsNotRaised) {
                continue;
            }
            self.cache.raise(range, at, reader);
        }
        for guard in share.guards {
            let point = KeyRange::point(guard.key.clone());
            self.cache.raise(&point, at, reader);
        }
        let mut first = None;
        for range in share.reads {
            let changed = self.changed(range, read, at).flatten();
            first = first.or(changed);
        }
        for key in share.locked_reads {
            let point = KeyRange::point(key.clone());
            if let Some((index, _)) = self.overlay.last_write_in(&point, read, Timestamp::MAX) {
                return Err(WaitFor::Entry(index).into());
            }
            let changed = self.changed(&point, read, Timestamp::MAX).flatten();
            first = first.or(changed);
        }
        if let Some((key, changed_at)) = first {
            let rival = Rival::Version { at: changed_at };
            return Ok(Err((Refusal::Changed { key, rival }, changed_at)));
        }
        self.check_answered()?;
        Ok(Ok(()))
    }
}

impl ToPlace<'_> {
    fn locked_keys(&self) -> BTreeSet<&Key> {
        let written = self.operations.iter().map(|operation| &operation.key);
        let guarded = self.guards.iter().map(|guard| &guard.key);
        let guarded = guarded.filter(|_| self.locks_guards);
        written.chain(guarded).chain(self.locked_reads).collect()
    }
}

/// Waits until everything that was seen is committed.
fn check_committed<'a>(seen: impl Iterator<Item = &'a Newest>) -> Evaluated<()> {
    match seen.filter_map(|newest| newest.under_way).max() {
        Some(index) => Err(WaitFor::Entry(index).into()),
        None => Ok(()),
    }
}

fn check_guards(share: &ToPlace, newest: &BTreeMap<&Key, Newest>) -> Evaluated<Result<(), Unfit>> {
    for guard in share.guards {
        let seen = &newest[&guard.key];
        let found = seen.value();
        let unfit = match guard.condition.holds(found.as_ref()) {
            Ok(true) => continue,
            Ok(false) => Refusal::Guard {
                key: guard.key.clone(),
                found,
            },
            Err(why) => Refusal::Operation {
                key: guard.key.clone(),
                why,
            },
        };
        check_committed([seen].into_iter())?;
        return Ok(Err((unfit, seen.timestamp())));
    }
    Ok(Ok(()))
}

type Performed = (BTreeMap<Key, Option<Bytes>>, Vec<Option<Bytes>>);

/// Performs the operations in their order; several on one key build on each other.
///
/// What they make is bounded as what a client may send is: a few bytes that are appended to large values
/// again and again would else fill the memory, and the entry would fit into no frame.
fn perform_all(
    share: &ToPlace,
    newest: &BTreeMap<&Key, Newest>,
) -> Evaluated<Result<Performed, Unfit>> {
    let mut writes: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
    let mut results = Vec::with_capacity(share.operations.len());
    let mut bytes = 0;
    for Operation { key, kind } in share.operations {
        let before = newest.get(key);
        let old = match writes.get(key) {
            Some(written) => written.clone(),
            None => before.and_then(|seen| seen.value().map(|found| found.value)),
        };
        match kind.apply(old.as_ref()) {
            Ok(new) => {
                let length = new.as_ref().map_or(0, Bytes::len);
                // A computed value stands in the entry, and once more among the results.
                let times = if kind.reads_old_value() { 2 } else { 1 };
                bytes += key.bytes().len() + times * length;
                if bytes > TRANSACTION_BYTES_MAX {
                    return too_much(key, bytes, newest);
                }
                results.push(new.clone().filter(|_| kind.reads_old_value()));
                writes.insert(key.clone(), new);
            }
            Err(why) => {
                check_committed(before.into_iter())?;
                let key = key.clone();
                let seen = before.map(Newest::timestamp).unwrap_or_default();
                return Ok(Err((Refusal::Operation { key, why }, seen)));
            }
        }
    }
    Ok(Ok((writes, results)))
}

fn too_much(
    key: &Key,
    bytes: usize,
    newest: &BTreeMap<&Key, Newest>,
) -> Evaluated<Result<Performed, Unfit>> {
    check_committed(newest.values())?;
    let seen = newest.values().map(Newest::timestamp).max();
    let why = format!(
        "up to here the operations make {bytes} bytes of new values and results, the most is \
         {TRANSACTION_BYTES_MAX} (64 MiB): divide the transaction"
    );
    let key = key.clone();
    Ok(Err((
        Refusal::Operation { key, why },
        seen.unwrap_or_default(),
    )))
}
