//! How records lie in a segment.
//!
//! ```text
//!   0        4          8       12     13      16              24
//!   | length | checksum | epoch | kind | zeros | flush start   | payload … | zeros to a multiple of 8 |
//! ```
//!
//! - Numbers are little-endian. `length` counts the payload only.
//! - The checksum (CRC-32C) covers everything after itself, and is mixed with the record's offset, so a
//!   copy of a record that stands elsewhere (in a user's value, say) never validates.
//! - The epoch is the segment's: bytes that an earlier use of a recycled file left never validate.
//! - `flush start` is the offset at which the flush began that wrote the record. One flush runs at a
//!   time, so everything below it was durable when the record was written.

use super::checkpoint::Checkpoint;
use super::record::LogRecord;
use bytes::Bytes;
use clock::Timestamp;
use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};
use wire::ids::{LogIndex, PartitionId, Term};
use wire::message::{Entry, LogPosition};

/// The bytes before a record's payload.
pub const RECORD_HEADER_BYTES: usize = 24;
/// The longest payload: an entry with the largest transaction, and room for what stands around it.
pub const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Records start at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const CHECKED_FROM: usize = 8;
const ENTRY_FIXED_BYTES: usize = 20;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_REPLICA_INSTALLED: u8 = 3;
const KIND_REPLICA_DROPPED: u8 = 4;
const KIND_CEILING: u8 = 5;
const KIND_META: u8 = 6;
const KIND_SEGMENT_HEAD: u8 = 16;
const KIND_LOW_WATER_MARK: u8 = 17;
const KIND_CARRIED: u8 = 18;

const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!(wire::keys::TRANSACTION_BYTES_MAX * 2 <= RECORD_BYTES_MAX);

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The segment's epoch: which use of which file it is.
    pub epoch: u32,
    /// The record's first byte in the segment.
    pub offset: u64,
    /// Where the flush began that writes it; everything below is durable.
    pub flush_start: u64,
}

/// A record as it is stored: what is logged, and what the log says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    Record(LogRecord),
    /// The first record of each segment. One record, so that a crash leaves it whole or not at all:
    /// the segments before it may go, and then nothing else says what it says.
    SegmentHead {
        previous_end: u64,
        checkpoint: Checkpoint,
    },
    /// Entries up to here are discarded.
    LowWaterMark {
        partition: PartitionId,
        up_to: LogPosition,
    },
    /// An entry of an older segment, said again so that that one can go. It replaces nothing.
    Carried {
        partition: PartitionId,
        entry: Entry,
    },
}

/// Appends the stored form of a record to `out`.
pub fn encode_record(record: &LogRecord, place: Place, out: &mut Vec<u8>) {
    match record {
        LogRecord::Entry { partition, entry } => {
            encode_entry(KIND_ENTRY, *partition, entry, place, out)
        }
        LogRecord::HardState {
            partition,
            term,
            voted_for,
        } => posted(KIND_HARD_STATE, place, out, &(partition, term, voted_for)),
        LogRecord::ReplicaInstalled {
            partition,
            incarnation,
            descriptor,
            base,
        } => {
            let body = (partition, incarnation, descriptor, base);
            posted(KIND_REPLICA_INSTALLED, place, out, &body);
        }
        LogRecord::ReplicaDropped { partition } => {
            posted(KIND_REPLICA_DROPPED, place, out, partition);
        }
        LogRecord::Ceiling { timestamp } => posted(KIND_CEILING, place, out, timestamp),
        LogRecord::Meta { kind, body } => posted(KIND_META, place, out, &(kind, body)),
    }
}

fn encode_entry(kind: u8, partition: PartitionId, entry: &Entry, place: Place, out: &mut Vec<u8>) {
    frame(kind, place, out, |out| {
        out.extend_from_slice(&partition.0.to_le_bytes());
        out.extend_from_slice(&entry.term.0.to_le_bytes());
        out.extend_from_slice(&entry.index.0.to_le_bytes());
        out.extend_from_slice(&entry.body);
    });
}

pub(super) fn encode_carried(
    partition: PartitionId,
    entry: &Entry,
    place: Place,
    out: &mut Vec<u8>,
) {
    encode_entry(KIND_CARRIED, partition, entry, place, out);
}

pub(super) fn encode_head(
    previous_end: u64,
    checkpoint: &Checkpoint,
    place: Place,
    out: &mut Vec<u8>,
) {
    posted(KIND_SEGMENT_HEAD, place, out, &(previous_end, checkpoint));
}

pub(super) fn encode_low_water_mark(
    partition: PartitionId,
    up_to: LogPosition,
    place: Place,
    out: &mut Vec<u8>,
) {
    posted(KIND_LOW_WATER_MARK, place, out, &(partition, up_to));
}

fn posted(kind: u8, place: Place, out: &mut Vec<u8>, body: &impl Serialize) {
    frame(kind, place, out, |out| {
        *out = postcard::to_extend(body, std::mem::take(out))
            .expect("writing into memory cannot fail: these types have a fixed form");
    });
}

fn frame(kind: u8, place: Place, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; CHECKED_FROM]);
    out.extend_from_slice(&place.epoch.to_le_bytes());
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&place.flush_start.to_le_bytes());
    payload(out);
    let length = out.len() - start - RECORD_HEADER_BYTES;
    assert!(
        length <= RECORD_BYTES_MAX,
        "a record of {length} bytes is longer than the log takes ({RECORD_BYTES_MAX})"
    );
    let sum = record_checksum(&out[start + CHECKED_FROM..], place.offset);
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    out.resize(start + padded(length), 0);
}

/// The bytes that a record with this payload takes.
fn padded(length: usize) -> usize {
    (RECORD_HEADER_BYTES + length).next_multiple_of(ALIGNMENT)
}

fn record_checksum(bytes: &[u8], offset: u64) -> u32 {
    // An odd multiplier: no two offsets of one segment give the same mask in practice.
    let mask = (offset.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32 ^ mask as u32
}

/// A record that validated.
pub(super) struct Valid<'a> {
    pub(super) flush_start: u64,
    /// The first byte after it.
    pub(super) end: usize,
    kind: u8,
    payload: &'a [u8],
}

/// The record at `offset` of a segment, if the bytes there are one.
pub(super) fn validate(segment: &[u8], offset: usize, epoch: u32) -> Option<Valid<'_>> {
    let header = segment.get(offset..offset + RECORD_HEADER_BYTES)?;
    if read_u32(header, 8) != epoch {
        return None;
    }
    let length = read_u32(header, 0) as usize;
    let flush_start = u64::from_le_bytes(header[16..24].try_into().ok()?);
    if length > RECORD_BYTES_MAX || flush_start > offset as u64 {
        return None;
    }
    // With its padding: what follows a record begins inside the segment.
    let record = segment.get(offset..offset + padded(length))?;
    let checked = &record[CHECKED_FROM..RECORD_HEADER_BYTES + length];
    if record_checksum(checked, offset as u64) != read_u32(header, 4) {
        return None;
    }
    Some(Valid {
        flush_start,
        end: offset + padded(length),
        kind: header[12],
        payload: &checked[RECORD_HEADER_BYTES - CHECKED_FROM..],
    })
}

/// Whether the bytes at `offset` claim to be of this epoch, valid or not.
pub(super) fn claims_epoch(segment: &[u8], offset: usize, epoch: u32) -> bool {
    segment
        .get(offset..offset + RECORD_HEADER_BYTES)
        .is_some_and(|header| read_u32(header, 8) == epoch)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        bytes[at..at + 4]
            .try_into()
            .expect("a slice of four bytes has four bytes"),
    )
}

impl Valid<'_> {
    /// What the record says; an error if this version does not know its form.
    pub(super) fn decode(&self) -> Result<Stored, String> {
        let unreadable = |error: postcard::Error| {
            format!(
                "a record of kind {} has an unknown form: {error}",
                self.kind
            )
        };
        Ok(match self.kind {
            KIND_ENTRY => {
                let (partition, entry) = self.decode_entry()?;
                Stored::Record(LogRecord::Entry { partition, entry })
            }
            KIND_CARRIED => {
                let (partition, entry) = self.decode_entry()?;
                Stored::Carried { partition, entry }
            }
            KIND_HARD_STATE => {
                let (partition, term, voted_for) = from_bytes(self.payload).map_err(unreadable)?;
                Stored::Record(LogRecord::HardState {
                    partition,
                    term,
                    voted_for,
                })
            }
            KIND_REPLICA_INSTALLED => {
                let (partition, incarnation, descriptor, base) =
                    from_bytes(self.payload).map_err(unreadable)?;
                Stored::Record(LogRecord::ReplicaInstalled {
                    partition,
                    incarnation,
                    descriptor,
                    base,
                })
            }
            KIND_REPLICA_DROPPED => {
                let partition = from_bytes(self.payload).map_err(unreadable)?;
                Stored::Record(LogRecord::ReplicaDropped { partition })
            }
            KIND_CEILING => {
                let timestamp: Timestamp = from_bytes(self.payload).map_err(unreadable)?;
                Stored::Record(LogRecord::Ceiling { timestamp })
            }
            KIND_META => {
                let (kind, body): (u8, Bytes) = from_bytes(self.payload).map_err(unreadable)?;
                Stored::Record(LogRecord::Meta { kind, body })
            }
            KIND_SEGMENT_HEAD => {
                let (previous_end, checkpoint) = from_bytes(self.payload).map_err(unreadable)?;
                Stored::SegmentHead {
                    previous_end,
                    checkpoint,
                }
            }
            KIND_LOW_WATER_MARK => {
                let (partition, up_to) = from_bytes(self.payload).map_err(unreadable)?;
                Stored::LowWaterMark { partition, up_to }
            }
            kind => return Err(format!("a record of kind {kind}, which is not known here")),
        })
    }

    fn decode_entry(&self) -> Result<(PartitionId, Entry), String> {
        let (fixed, body) = self
            .payload
            .split_at_checked(ENTRY_FIXED_BYTES)
            .ok_or_else(|| "an entry without term and index".to_owned())?;
        let number = |at: usize| {
            u64::from_le_bytes(
                fixed[at..at + 8]
                    .try_into()
                    .expect("a slice of eight bytes has eight bytes"),
            )
        };
        let entry = Entry {
            term: Term(number(4)),
            index: LogIndex(number(12)),
            body: Bytes::copy_from_slice(body),
        };
        Ok((PartitionId(read_u32(fixed, 0)), entry))
    }
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::NodeId;
    use wire::keys::Descriptor;

    const PLACE: Place = Place {
        epoch: 7,
        offset: 64,
        flush_start: 32,
    };

    fn stored(record: &LogRecord) -> Vec<u8> {
        let mut out = vec![0; 64];
        encode_record(record, PLACE, &mut out);
        out
    }

    fn entry() -> LogRecord {
        LogRecord::Entry {
            partition: PartitionId(3),
            entry: Entry {
                term: Term(4),
                index: LogIndex(5),
                body: Bytes::from_static(b"what it does"),
            },
        }
    }

    #[test]
    fn every_kind_of_record_reads_back() {
        let partition = PartitionId(3);
        let position = LogPosition {
            term: Term(2),
            index: LogIndex(1 << 40),
        };
        let records = [
            entry(),
            LogRecord::HardState {
                partition,
                term: Term(9),
                voted_for: Some(NodeId(2)),
            },
            LogRecord::ReplicaInstalled {
                partition,
                incarnation: 8,
                descriptor: Descriptor {
                    partition,
                    generation: wire::ids::Generation(1),
                    range: wire::keys::KeyRange::all(),
                    members: vec![NodeId(1), NodeId(2)],
                },
                base: position,
            },
            LogRecord::ReplicaDropped { partition },
            LogRecord::Ceiling {
                timestamp: Timestamp::from_micros(77),
            },
            LogRecord::Meta {
                kind: 200,
                body: Bytes::from_static(b"identity"),
            },
        ];
        for record in records {
            let bytes = stored(&record);
            let valid = validate(&bytes, 64, 7).expect("validates");
            assert_eq!(valid.end, bytes.len());
            assert_eq!(valid.flush_start, 32);
            assert_eq!(valid.decode(), Ok(Stored::Record(record)));
        }
    }

    #[test]
    fn a_record_validates_at_its_place_only() {
        let bytes = stored(&entry());
        assert!(validate(&bytes, 64, 7).is_some());
        assert!(validate(&bytes, 64, 6).is_none(), "another epoch");
        assert!(validate(&bytes[8..], 56, 7).is_none(), "another offset");
        assert!(validate(&bytes[..bytes.len() - 8], 64, 7).is_none(), "cut");
    }

    #[test]
    fn no_changed_bit_goes_unseen() {
        let bytes = stored(&entry());
        let length = RECORD_HEADER_BYTES + ENTRY_FIXED_BYTES + b"what it does".len();
        for at in 64..64 + length {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(validate(&changed, 64, 7).is_none(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_an_error_and_not_an_end() {
        let mut bytes = vec![0; 64];
        frame(99, PLACE, &mut bytes, |_| ());
        let why = validate(&bytes, 64, 7).expect("validates").decode();
        assert_eq!(
            why,
            Err("a record of kind 99, which is not known here".to_owned())
        );
    }
}
