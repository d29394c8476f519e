//! Who this node is, as its log remembers it.

use bytes::Bytes;
use partition::log::LogRecord;
use serde::{Deserialize, Serialize};
use wire::ids::{ClusterId, NodeId};

/// The kind of the log's meta record that holds the [`Identity`].
pub(crate) const META_IDENTITY: u8 = 1;
/// The kind of the meta record that holds the founding's acceptor.
pub(crate) const META_FOUNDER: u8 = 2;

/// The kind of the meta record that holds the next incarnation of a replica to be given.
pub(crate) const META_INCARNATIONS: u8 = 3;

/// The kind of the meta record that names the replicas which have lost their memory, or are new.
pub(crate) const META_FORGOTTEN: u8 = 4;

/// The kind of the meta record that names the replicas which were removed, and since when.
pub(crate) const META_REMOVED: u8 = 5;

/// Which members each replica knew last, if they are not those of the founding.
pub(crate) const META_MEMBERS: u8 = 6;

/// A node's name in its cluster and how often it has started.
///
/// The start count is part of every coordinator incarnation, so it is logged, and durable, before the
/// node coordinates anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// 1 for the first start.
    pub start: u32,
}

impl Identity {
    pub(crate) fn to_record(self) -> LogRecord {
        let body = postcard::to_stdvec(&self).expect("plain numbers always encode");
        LogRecord::Meta {
            kind: META_IDENTITY,
            body: body.into(),
        }
    }

    pub(crate) fn from_body(body: &Bytes) -> Result<Identity, postcard::Error> {
        postcard::from_bytes(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_from_its_record() {
        let identity = Identity {
            cluster: ClusterId(7),
            node: NodeId(3),
            start: 12,
        };
        let LogRecord::Meta { kind, body } = identity.to_record() else {
            panic!("not a meta")
        };
        assert_eq!(kind, META_IDENTITY);
        assert_eq!(Identity::from_body(&body), Ok(identity));
        assert!(Identity::from_body(&Bytes::from_static(b"")).is_err());
    }
}
