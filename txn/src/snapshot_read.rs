//! Reads at one snapshot, over any partitions (R1, R2; pattern Versioned Value).
//!
//! Points and the first piece of every scan go out at once, one request a partition. A scan goes on
//! in the partition that follows (or, in reverse, precedes) until its limit or bytes are reached, so
//! it reads nothing that its limit would throw away.
//!
//! Invariants:
//! - results come in the order of the requests, rows in the order of the scan;
//! - all of it is read at one timestamp;
//! - what a scan did not look at is told, exactly, as its rest.

use crate::ClientTag;
use crate::limits::SCAN_BYTES_MAX;
use crate::patient_asks::PatientAsks;
use crate::request_waiting_list::{Flow, Turn};
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{PartitionId, TransactionId};
use wire::keys::{Key, KeyRange, READ_BYTES_MAX, RangeMap};
use wire::message::{
    ClientAnswer, PartitionReply, PartitionRequest, Read, ReadRequest, ReadResult, RequestError,
    RequestNumber, Row, VersionedValue,
};

/// One request and what of it is known.
#[derive(Debug)]
enum Progress {
    Get {
        key: Key,
        found: Option<Option<VersionedValue>>,
    },
    Scan(Scan),
}

impl Progress {
    /// The key, or the first one of what is looked at now.
    fn key(&self) -> Key {
        match self {
            Progress::Get { key, .. } => key.clone(),
            Progress::Scan(scan) => {
                let piece = scan.piece.as_ref().or(scan.left.as_ref());
                piece.map_or_else(Key::least, |piece| piece.start.clone())
            }
        }
    }
}

/// A scan and how far it has come.
#[derive(Debug)]
struct Scan {
    /// What was not looked at yet.
    left: Option<KeyRange>,
    /// The piece that is asked for now.
    piece: Option<KeyRange>,
    reverse: bool,
    limit: u32,
    bytes_max: u32,
    rows: Vec<Row>,
    bytes: u64,
    is_stopped: bool,
}

impl Scan {
    fn new(range: KeyRange, reverse: bool, limit: u32, bytes_max: u32) -> Scan {
        Scan {
            left: (!range.is_empty()).then_some(range),
            piece: None,
            reverse,
            limit,
            bytes_max: bytes_max.min(SCAN_BYTES_MAX),
            rows: Vec::new(),
            bytes: 0,
            is_stopped: limit == 0,
        }
    }

    /// The next piece: where it lies and what to ask there. `None` if the scan is done.
    fn next(&mut self, map: &RangeMap) -> Option<(PartitionId, ReadRequest)> {
        if self.is_stopped {
            return None;
        }
        let left = self.left.as_ref()?;
        let mut holders = map.overlapping(left);
        let holder = match self.reverse {
            true => holders.next_back(),
            false => holders.next(),
        }?;
        let piece = holder.range.intersection(left)?;
        self.piece = Some(piece.clone());
        let request = ReadRequest::Scan {
            range: piece,
            reverse: self.reverse,
            limit: self.limit - self.rows.len() as u32,
            bytes_max: (u64::from(self.bytes_max) - self.bytes) as u32,
        };
        Some((holder.partition, request))
    }

    /// Takes the rows of the piece that was asked for.
    fn take(&mut self, rows: Vec<Row>, rest: Option<KeyRange>) {
        let (Some(piece), Some(left)) = (self.piece.take(), self.left.take()) else {
            unreachable!("rows came for a scan that asked for none");
        };
        let is_stuck = rows.is_empty() && rest.as_ref() == Some(&piece);
        self.bytes += rows.iter().map(|row| row.bytes() as u64).sum::<u64>();
        self.rows.extend(rows);
        let not_seen = match (self.reverse, rest) {
            (false, Some(rest)) => KeyRange::new(rest.start, left.end),
            (false, None) => match piece.end {
                Some(end) => KeyRange::new(end, left.end),
                None => KeyRange::new(Key::least(), Some(Key::least())),
            },
            (true, Some(rest)) => KeyRange::new(left.start, rest.end),
            (true, None) => KeyRange::new(left.start, Some(piece.start)),
        };
        self.left = (!not_seen.is_empty()).then_some(not_seen);
        let is_full =
            self.rows.len() as u32 >= self.limit || self.bytes >= u64::from(self.bytes_max);
        self.is_stopped = is_stuck || (is_full && !self.rows.is_empty());
    }
}

/// A read that is under way.
#[derive(Debug)]
pub(crate) struct SnapshotRead {
    pub(crate) client: ClientTag,
    reader: Option<TransactionId>,
    at: Timestamp,
    progress: Vec<Progress>,
    asks: PatientAsks<Vec<usize>>,
    depends_on: Timestamp,
    /// How many more bytes of keys and values it may gather.
    room: usize,
}

impl SnapshotRead {
    pub(crate) fn begin(
        turn: &mut Turn,
        client: ClientTag,
        reader: Option<TransactionId>,
        at: Timestamp,
        requests: Vec<ReadRequest>,
    ) -> (SnapshotRead, Flow) {
        let all: Vec<usize> = (0..requests.len()).collect();
        let progress = requests.into_iter().map(|request| match request {
            ReadRequest::Get { key } => Progress::Get { key, found: None },
            ReadRequest::Scan {
                range,
                reverse,
                limit,
                bytes_max,
            } => Progress::Scan(Scan::new(range, reverse, limit, bytes_max)),
        });
        let mut job = SnapshotRead {
            client,
            reader,
            at,
            progress: progress.collect(),
            asks: PatientAsks::new(turn.request_deadline()),
            depends_on: Timestamp::ZERO,
            room: READ_BYTES_MAX,
        };
        job.send(turn, all);
        let flow = job.maybe_finish(turn);
        (job, flow)
    }

    /// Asks for what is still missing of these requests, one request a partition.
    fn send(&mut self, turn: &mut Turn, places: Vec<usize>) {
        let mut asks: BTreeMap<PartitionId, (Vec<usize>, Vec<ReadRequest>)> = BTreeMap::new();
        for place in places {
            let next = match &mut self.progress[place] {
                Progress::Get { found: Some(_), .. } => None,
                Progress::Get { key, .. } => {
                    let partition = turn.map().locate(key).partition;
                    Some((partition, ReadRequest::Get { key: key.clone() }))
                }
                Progress::Scan(scan) => scan.next(turn.map()),
            };
            if let Some((partition, request)) = next {
                let (places, requests) = asks.entry(partition).or_default();
                places.push(place);
                requests.push(request);
            }
        }
        for (partition, (places, requests)) in asks {
            let body = PartitionRequest::Read(Read {
                reader: self.reader,
                timestamp: self.at,
                requests,
            });
            self.asks.ask(turn, partition, body, places);
        }
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        let places = self.asks.take(number);
        match reply {
            PartitionReply::Read(answer) => {
                self.depends_on = self.depends_on.max(answer.depends_on);
                if let Err(why) = self.take(&places, answer.results) {
                    // That it is too much tells of the versions that were found.
                    self.abandon(turn);
                    turn.answer(self.client, Err(why), self.depends_on);
                    return Flow::Over;
                }
                self.send(turn, places);
                self.maybe_finish(turn)
            }
            PartitionReply::Error(error) => {
                let refused = self.asks.refused(turn, partition, error, places);
                refused.unwrap_or_else(|why| self.fail(turn, why))
            }
            other => unreachable!("a leader answered a read with {other:?}"),
        }
    }

    fn take(&mut self, places: &[usize], results: Vec<ReadResult>) -> Result<(), RequestError> {
        assert_eq!(
            places.len(),
            results.len(),
            "a leader answers every read of a request"
        );
        for (place, result) in places.iter().zip(results) {
            let key = self.progress[*place].key();
            let left = self.room.checked_sub(result.bytes());
            self.room = left.ok_or(RequestError::ReadTooLarge { key })?;
            match (&mut self.progress[*place], result) {
                (Progress::Get { found, .. }, ReadResult::Value(value)) => *found = Some(value),
                (Progress::Scan(scan), ReadResult::Rows { rows, rest }) => scan.take(rows, rest),
                (asked, other) => unreachable!("a leader answered {asked:?} with {other:?}"),
            }
        }
        Ok(())
    }

    fn maybe_finish(&mut self, turn: &mut Turn) -> Flow {
        if !self.asks.is_done() {
            return Flow::Waits;
        }
        let progress = std::mem::take(&mut self.progress);
        let results = progress.into_iter().map(|progress| match progress {
            Progress::Get { found, .. } => ReadResult::Value(found.flatten()),
            Progress::Scan(scan) => ReadResult::Rows {
                rows: scan.rows,
                rest: scan.left,
            },
        });
        let answer = ClientAnswer::Read {
            at: self.at,
            results: results.collect(),
        };
        #[cfg(feature = "mutants")]
        if turn.is(crate::Mutant::YoungerVersionRevealed) {
            self.depends_on = clock::Timestamp::ZERO;
        }
        turn.answer(self.client, Ok(answer), self.depends_on);
        Flow::Over
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.fail(turn, why)
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        let again = self.asks.take_again().concat();
        self.send(turn, again);
        Flow::Waits
    }

    fn fail(&mut self, turn: &mut Turn, why: RequestError) -> Flow {
        self.abandon(turn);
        turn.answer(self.client, Err(why), Timestamp::ZERO);
        Flow::Over
    }

    pub(crate) fn abandon(&mut self, turn: &mut Turn) {
        self.asks.cancel(turn);
    }
}
