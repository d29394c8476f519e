//! What this turn says to other nodes, a few frames each (pattern Request Batch).

use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::NodeId;
use wire::message::{
    PartitionReply, PartitionRequest, PeerFrame, PeerMessage, ReadResult, ReplicationMessage,
};

/// A frame is closed when its messages carry this much. One message may be larger; the connection's
/// own maximum is far above the largest transaction.
const FRAME_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: BTreeMap<NodeId, Vec<PeerMessage>>,
}

impl Outbox {
    pub(crate) fn push(&mut self, to: NodeId, message: PeerMessage) {
        self.messages.entry(to).or_default().push(message);
    }

    /// The connection is gone, and what waited for it with it.
    pub(crate) fn forget(&mut self, to: NodeId) {
        self.messages.remove(&to);
    }

    /// Ends a turn: the frames, in order for each node.
    pub(crate) fn take_frames(&mut self, stamp: Timestamp) -> Vec<(NodeId, PeerFrame)> {
        let mut frames = Vec::new();
        for (to, messages) in std::mem::take(&mut self.messages) {
            let mut frame = PeerFrame {
                stamp,
                messages: Vec::new(),
            };
            let mut bytes = 0;
            for message in messages {
                let payload = payload_bytes(&message);
                if bytes + payload > FRAME_PAYLOAD_BYTES && !frame.messages.is_empty() {
                    let full = PeerFrame {
                        stamp,
                        messages: std::mem::take(&mut frame.messages),
                    };
                    frames.push((to, full));
                    bytes = 0;
                }
                bytes += payload;
                frame.messages.push(message);
            }
            frames.push((to, frame));
        }
        frames
    }
}

/// The bytes of keys and values in a message, roughly.
fn payload_bytes(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Replication {
            message: ReplicationMessage::Append { entries, .. },
            ..
        } => entries.iter().map(|entry| entry.body.len()).sum(),
        PeerMessage::Replication {
            message: ReplicationMessage::Snapshot { chunk, .. },
            ..
        } => chunk.body.len(),
        PeerMessage::Request { body, .. } => match body {
            PartitionRequest::Commit(commit) => operations_bytes(&commit.operations),
            PartitionRequest::Prepare(prepare) => operations_bytes(&prepare.operations),
            _ => 0,
        },
        PeerMessage::Reply {
            body: PartitionReply::Read(answer),
            ..
        } => answer.results.iter().map(result_bytes).sum(),
        _ => 0,
    }
}

fn operations_bytes(operations: &[wire::message::Operation]) -> usize {
    operations
        .iter()
        .map(|o| o.key.bytes().len() + o.kind.payload_bytes())
        .sum()
}

fn result_bytes(result: &ReadResult) -> usize {
    match result {
        ReadResult::Value(version) => version.as_ref().map_or(0, |v| v.value.len()),
        ReadResult::Rows { rows, .. } => rows
            .iter()
            .map(|row| row.key.bytes().len() + row.version.value.len())
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::ids::{LogIndex, PartitionId, Term};
    use wire::message::{Entry, LogPosition};

    fn append(index: u64, bytes: usize) -> PeerMessage {
        let entry = Entry {
            term: Term(1),
            index: LogIndex(index),
            body: Bytes::from(vec![0; bytes]),
        };
        let message = ReplicationMessage::Append {
            term: Term(1),
            previous: LogPosition::default(),
            entries: vec![entry],
            commit: LogIndex(0),
        };
        PeerMessage::Replication {
            partition: PartitionId(1),
            message,
        }
    }

    #[test]
    fn small_messages_share_a_frame_and_large_ones_do_not() {
        let mut outbox = Outbox::default();
        for index in 0..3 {
            outbox.push(NodeId(2), append(index, 10));
        }
        outbox.push(NodeId(2), append(3, FRAME_PAYLOAD_BYTES));
        outbox.push(NodeId(2), append(4, 10));
        let frames = outbox.take_frames(Timestamp::ZERO);
        let sizes: Vec<usize> = frames
            .iter()
            .map(|(_, frame)| frame.messages.len())
            .collect();
        assert_eq!(sizes, [3, 1, 1]);
        assert!(outbox.take_frames(Timestamp::ZERO).is_empty());
    }
}
