//! Reading at a snapshot (R2).
//!
//! The timestamp cache is raised before anything else, so that no later write of another transaction is
//! placed at or below `r`; locks and entries under way at or below `r` are waited for, those above are
//! not seen. Then what memory does not hold is asked of the store.

use super::{Evaluated, Evaluator, Verdict, live, lock_wait};
use crate::recent_writes::Version;
use crate::request_waiting_list::WaitFor;
use crate::versions::{StoreQuery, StoreResult};
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::TransactionId;
use wire::keys::{Key, KeyRange, READ_BYTES_MAX};
use wire::message::{PartitionReply, Read, ReadAnswer, ReadRequest, ReadResult, Row};

/// How often the store is asked for more of one scan, because what it gave was deleted, before a part
/// of the range is left to the asker.
const SCAN_PIECES_MAX: usize = 8;
/// The most rows that one answer to a scan has, whatever its limit.
const SCAN_ROWS_MAX: u32 = 16 * 1024;
/// The most bytes of keys and values in one answer to a scan, but for the row that crosses it.
const SCAN_BYTES_MAX: u32 = 4 << 20;

impl Evaluator<'_> {
    pub(super) fn read(&mut self, read: &Read) -> Evaluated<Verdict> {
        let at = read.timestamp;
        self.check_retained(at)?;
        self.check_not_ahead(at)?;
        self.check_promised(at)?;
        for request in &read.requests {
            self.cache.raise(&range_of(request), at, read.reader);
        }
        let mut results = Vec::with_capacity(read.requests.len());
        let mut depends_on = Timestamp::ZERO;
        let mut room = READ_BYTES_MAX;
        for request in &read.requests {
            let (result, newest) = match request {
                ReadRequest::Get { key } => self.get(key, at, read.reader)?,
                ReadRequest::Scan {
                    range,
                    reverse,
                    limit,
                    bytes_max,
                } => self.scan(range, *reverse, *limit, *bytes_max, at, read.reader)?,
            };
            // Memory may hold more than a request may ask for, and the same key may be asked for again and again.
            match room.checked_sub(result.bytes()) {
                Some(left) => room = left,
                None => self.note_too_much(&range_of(request).start),
            }
            results.push(result);
            depends_on = depends_on.max(newest);
            if self.too_much.is_some() {
                break;
            }
        }
        self.check_answered()?;
        let answer = ReadAnswer {
            results,
            depends_on,
        };
        Ok(Verdict::Reply(PartitionReply::Read(answer)))
    }

    fn get(
        &mut self,
        key: &Key,
        at: Timestamp,
        reader: Option<TransactionId>,
    ) -> Evaluated<(ReadResult, Timestamp)> {
        self.check_readable(&KeyRange::point(key.clone()), at, reader)?;
        // What is not known yet ends the evaluation when every request has said what it needs.
        let version = self.version_at(key, at).flatten();
        let newest = version.as_ref().map(|version| version.timestamp);
        let value = version.and_then(live);
        Ok((ReadResult::Value(value), newest.unwrap_or_default()))
    }

    /// Waits for another's lock and for any entry under way in a range at or below a timestamp.
    fn check_readable(
        &self,
        range: &KeyRange,
        at: Timestamp,
        reader: Option<TransactionId>,
    ) -> Evaluated<()> {
        if let Some((key, rival)) = self.lock_at_or_below(range, at, reader) {
            return Err(lock_wait(key, rival.name.id));
        }
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::ReadSkipsLock) {
            return Ok(());
        }
        match self.overlay.last_write_in(range, Timestamp::ZERO, at) {
            Some((index, _)) => Err(WaitFor::Entry(index).into()),
            None => Ok(()),
        }
    }

    fn scan(
        &mut self,
        range: &KeyRange,
        reverse: bool,
        limit: u32,
        bytes_max: u32,
        at: Timestamp,
        reader: Option<TransactionId>,
    ) -> Evaluated<(ReadResult, Timestamp)> {
        let mut page = Page::new(
            reverse,
            limit.min(SCAN_ROWS_MAX),
            bytes_max.min(SCAN_BYTES_MAX),
        );
        let mut rest = (!range.is_empty()).then(|| range.clone());
        for _ in 0..SCAN_PIECES_MAX {
            let Some(piece) = rest.clone().filter(|_| !page.is_full()) else {
                break;
            };
            let Some((stored, left)) = self.scan_store(&piece, &page, at) else {
                return Ok((ReadResult::Rows { rows: vec![], rest }, Timestamp::ZERO));
            };
            let looked_at = without(&piece, left.as_ref(), reverse);
            let mut versions = stored;
            for (key, version) in self.state.recent().scan(&looked_at, at) {
                let newer = versions
                    .get(key)
                    .is_none_or(|known| known.timestamp < version.timestamp);
                if newer {
                    versions.insert(key.clone(), version);
                }
            }
            rest = page.take(&piece, versions, left);
        }
        let looked_at = without(range, rest.as_ref(), reverse);
        self.check_readable(&looked_at, at, reader)?;
        let Page { rows, newest, .. } = page;
        Ok((ReadResult::Rows { rows, rest }, newest))
    }

    /// What the store holds of a piece, and what of it was not looked at. `None`: it must be asked.
    fn scan_store(
        &mut self,
        piece: &KeyRange,
        page: &Page,
        at: Timestamp,
    ) -> Option<(BTreeMap<Key, Version>, Option<KeyRange>)> {
        let query = StoreQuery::Scan {
            range: piece.clone(),
            reverse: page.reverse,
            at,
            rows_max: page.limit.max(1),
            bytes_max: page.bytes_max,
        };
        let answer = self.store(query);
        if answer.is_none() && self.answers.is_full() {
            self.note_too_much(&piece.start);
        }
        match answer? {
            StoreResult::Rows { rows, rest } => {
                let rows = rows.into_iter();
                let versions = rows.map(|row| (row.key.clone(), Version::from(row)));
                Some((versions.collect(), rest))
            }
            StoreResult::TooMuch => {
                self.note_too_much(&piece.start);
                None
            }
            other => panic!("the store answers a scan with rows, not with {other:?}"),
        }
    }
}

/// The rows of one scan, as far as its limits go.
struct Page {
    reverse: bool,
    limit: u32,
    bytes_max: u32,
    bytes: usize,
    rows: Vec<Row>,
    newest: Timestamp,
}

impl Page {
    fn new(reverse: bool, limit: u32, bytes_max: u32) -> Page {
        Page {
            reverse,
            limit,
            bytes_max,
            bytes: 0,
            rows: Vec::new(),
            newest: Timestamp::ZERO,
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit as usize
            || (!self.rows.is_empty() && self.bytes >= self.bytes_max as usize)
    }

    /// Takes the versions found in a piece, of which `left` was not looked at; gives what is left over.
    fn take(
        &mut self,
        piece: &KeyRange,
        versions: BTreeMap<Key, Version>,
        left: Option<KeyRange>,
    ) -> Option<KeyRange> {
        let ordered: Box<dyn Iterator<Item = (Key, Version)>> = if self.reverse {
            Box::new(versions.into_iter().rev())
        } else {
            Box::new(versions.into_iter())
        };
        for (key, version) in ordered {
            self.newest = self.newest.max(version.timestamp);
            let border = key.clone();
            if let Some(version) = live(version) {
                let row = Row { key, version };
                self.bytes += row.bytes();
                self.rows.push(row);
            }
            if self.is_full() {
                let rest = if self.reverse {
                    KeyRange::new(piece.start.clone(), Some(border))
                } else {
                    KeyRange::new(border.successor(), piece.end.clone())
                };
                return (!rest.is_empty()).then_some(rest);
            }
        }
        left
    }
}

/// What of a range was looked at, if `rest` was not.
fn without(range: &KeyRange, rest: Option<&KeyRange>, reverse: bool) -> KeyRange {
    match rest {
        None => range.clone(),
        Some(rest) if reverse => match &rest.end {
            Some(end) => KeyRange::new(end.clone(), range.end.clone()),
            None => KeyRange::new(range.start.clone(), Some(range.start.clone())),
        },
        Some(rest) => KeyRange::new(range.start.clone(), Some(rest.start.clone())),
    }
}

fn range_of(request: &ReadRequest) -> KeyRange {
    match request {
        ReadRequest::Get { key } => KeyRange::point(key.clone()),
        ReadRequest::Scan { range, .. } => range.clone(),
    }
}
