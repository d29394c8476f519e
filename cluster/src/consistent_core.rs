//! The rows of keyspace 0 (pattern Consistent Core): what every node may look up about the cluster.
//!
//! | key | value |
//! | --- | --- |
//! | `node/<id>` | the node's address, text |
//! | `keyspace/<name>` | the keyspace's id, decimal |
//! | `keyspace-next` | the id that the next new keyspace gets, decimal |
//! | `descriptor/<partition>` | the partition's descriptor, postcard |
//! | `setting/retention` | how long old versions are kept: see [`wire::settings`] |
//!
//! Numbers are decimal without leading zeros, so one thing has one key. The first rows follow from the
//! founding alone ([`initial_rows`]), so whichever node leads partition 1 first can write them, and
//! writing them again changes nothing. From then on they are ordinary rows, changed by ordinary
//! transactions.
//!
//! Not here: a replica's own logged descriptor is the truth for its range and members; the
//! descriptor rows are an index that may lag behind it.

use bytes::Bytes;
use wire::ids::{KeyspaceId, NodeId, PartitionId};
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, Key, KeyRange, SYSTEM_KEYSPACE};
use wire::message::Founding;

/// The name of the keyspace that users have without asking.
pub const DEFAULT_KEYSPACE_NAME: &str = "default";

const NODE: &str = "node/";
const KEYSPACE: &str = "keyspace/";
const KEYSPACE_NEXT: &str = "keyspace-next";
const DESCRIPTOR: &str = "descriptor/";

/// A key of the consistent core, understood.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CoreKey {
    /// `node/<id>`
    Node(NodeId),
    /// `keyspace/<name>`
    Keyspace(String),
    /// `keyspace-next`
    KeyspaceNext,
    /// `descriptor/<partition>`
    Descriptor(PartitionId),
}

impl CoreKey {
    /// The key as it stands in keyspace 0.
    pub fn key(&self) -> Key {
        let text = match self {
            CoreKey::Node(node) => format!("{NODE}{}", node.0),
            CoreKey::Keyspace(name) => format!("{KEYSPACE}{name}"),
            CoreKey::KeyspaceNext => KEYSPACE_NEXT.to_owned(),
            CoreKey::Descriptor(partition) => format!("{DESCRIPTOR}{}", partition.0),
        };
        Key::new(SYSTEM_KEYSPACE, text.as_bytes())
    }

    /// What a key means; `None` if it is none of the consistent core's.
    pub fn parse(key: &Key) -> Option<CoreKey> {
        if key.keyspace() != Some(SYSTEM_KEYSPACE) {
            return None;
        }
        let text = std::str::from_utf8(key.user()).ok()?;
        if text == KEYSPACE_NEXT {
            return Some(CoreKey::KeyspaceNext);
        }
        let (kind, name) = text.split_at(text.find('/')? + 1);
        match kind {
            NODE => parse_number(name).map(|id| CoreKey::Node(NodeId(id))),
            KEYSPACE if !name.is_empty() => Some(CoreKey::Keyspace(name.to_owned())),
            DESCRIPTOR => parse_number(name).map(|id| CoreKey::Descriptor(PartitionId(id))),
            _ => None,
        }
    }
}

/// The key of a node's address.
pub fn node_key(node: NodeId) -> Key {
    CoreKey::Node(node).key()
}

/// The key of a keyspace's id.
pub fn keyspace_key(name: &str) -> Key {
    CoreKey::Keyspace(name.to_owned()).key()
}

/// The key of the id that the next new keyspace gets.
pub fn keyspace_next_key() -> Key {
    CoreKey::KeyspaceNext.key()
}

/// The key of a partition's descriptor.
pub fn descriptor_key(partition: PartitionId) -> Key {
    CoreKey::Descriptor(partition).key()
}

/// The range of all `node/…` keys.
pub fn nodes_range() -> KeyRange {
    prefix_range(NODE)
}

/// The range of all `keyspace/…` keys.
pub fn keyspaces_range() -> KeyRange {
    prefix_range(KEYSPACE)
}

/// The range of all `descriptor/…` keys.
pub fn descriptors_range() -> KeyRange {
    prefix_range(DESCRIPTOR)
}

/// The keys that begin with a text that ends in '/'; the byte after '/' is '0'.
fn prefix_range(prefix: &str) -> KeyRange {
    let above = prefix.replace('/', "0");
    KeyRange::new(
        Key::new(SYSTEM_KEYSPACE, prefix.as_bytes()),
        Some(Key::new(SYSTEM_KEYSPACE, above.as_bytes())),
    )
}

/// A number as the core's keys and values write it: decimal, no sign, no leading zeros.
fn parse_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The value of a row is not what its key promises.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the row {key} of the system keyspace cannot be read: {why}")]
pub struct UnreadableRow {
    /// The row.
    pub key: Key,
    /// What is wrong with it.
    pub why: String,
}

/// The value of a keyspace's row, or of `keyspace-next`.
pub fn encode_keyspace(keyspace: KeyspaceId) -> Bytes {
    keyspace.0.to_string().into()
}

/// Reads what [`encode_keyspace`] wrote.
pub fn decode_keyspace(key: &Key, value: &[u8]) -> Result<KeyspaceId, UnreadableRow> {
    let number = std::str::from_utf8(value).ok().and_then(parse_number);
    number.map(KeyspaceId).ok_or_else(|| UnreadableRow {
        key: key.clone(),
        why: format!("'{}' is not a keyspace id", value.escape_ascii()),
    })
}

/// The value of a descriptor's row.
pub fn encode_descriptor(descriptor: &Descriptor) -> Bytes {
    postcard::to_stdvec(descriptor)
        .expect("a descriptor has only parts that postcard can write, into memory")
        .into()
}

/// Reads what [`encode_descriptor`] wrote.
pub fn decode_descriptor(key: &Key, value: &[u8]) -> Result<Descriptor, UnreadableRow> {
    postcard::from_bytes(value).map_err(|error| UnreadableRow {
        key: key.clone(),
        why: error.to_string(),
    })
}

/// The rows that partition 1 begins with, ascending by key.
pub fn initial_rows(founding: &Founding) -> Vec<(Key, Bytes)> {
    let nodes = founding
        .members
        .iter()
        .map(|member| (node_key(member.node), Bytes::from(member.address.clone())));
    let descriptors = founding
        .descriptors
        .iter()
        .map(|d| (descriptor_key(d.partition), encode_descriptor(d)));
    let keyspaces = [
        (
            keyspace_key(DEFAULT_KEYSPACE_NAME),
            encode_keyspace(DEFAULT_KEYSPACE),
        ),
        (
            keyspace_next_key(),
            encode_keyspace(KeyspaceId(DEFAULT_KEYSPACE.0 + 1)),
        ),
    ];
    let mut rows: Vec<(Key, Bytes)> = nodes.chain(descriptors).chain(keyspaces).collect();
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::SplitMix64;

    fn founding() -> Founding {
        let plan = crate::FoundingPlan {
            me: "a:1".into(),
            list: vec!["a:1".into(), "b:1".into()],
            splits: vec![],
            replication: 3,
            seed: 1,
        };
        plan.proposal(&mut SplitMix64::new(1))
    }

    fn system(user: &str) -> Key {
        Key::new(SYSTEM_KEYSPACE, user.as_bytes())
    }

    #[test]
    fn a_founding_becomes_these_rows() {
        let founding = founding();
        let text = |value: &'static str| Bytes::from_static(value.as_bytes());
        let expected = vec![
            (
                system("descriptor/1"),
                encode_descriptor(&founding.descriptors[0]),
            ),
            (
                system("descriptor/2"),
                encode_descriptor(&founding.descriptors[1]),
            ),
            (system("keyspace-next"), text("2")),
            (system("keyspace/default"), text("1")),
            (system("node/1"), text("a:1")),
            (system("node/2"), text("b:1")),
        ];
        assert_eq!(initial_rows(&founding), expected);
    }

    #[test]
    fn keys_and_values_read_back() {
        let founding = founding();
        for descriptor in &founding.descriptors {
            let key = descriptor_key(descriptor.partition);
            let read = decode_descriptor(&key, &encode_descriptor(descriptor));
            assert_eq!(read.as_ref(), Ok(descriptor));
            assert_eq!(
                CoreKey::parse(&key),
                Some(CoreKey::Descriptor(descriptor.partition))
            );
        }
        for key in [
            CoreKey::Node(NodeId(u32::MAX)),
            CoreKey::Keyspace("a/b".into()),
            CoreKey::KeyspaceNext,
        ] {
            assert_eq!(CoreKey::parse(&key.key()), Some(key));
        }
        let id = KeyspaceId(40);
        assert_eq!(decode_keyspace(&system("k"), &encode_keyspace(id)), Ok(id));
    }

    #[test]
    fn what_is_not_the_cores_is_refused() {
        for user in [
            "node/",
            "node/01",
            "node/+1",
            "node/x",
            "node",
            "keyspace/",
            "other/1",
            "\u{fe}",
        ] {
            assert_eq!(CoreKey::parse(&system(user)), None, "{user}");
        }
        assert_eq!(CoreKey::parse(&Key::new(DEFAULT_KEYSPACE, b"node/1")), None);
        assert_eq!(CoreKey::parse(&Key::least()), None);
        let error = decode_keyspace(&system("keyspace/x"), b"1\xff").unwrap_err();
        assert_eq!(error.why, "'1\\xff' is not a keyspace id");
        assert!(decode_descriptor(&system("descriptor/1"), b"").is_err());
    }

    #[test]
    fn ranges_hold_their_rows_and_no_others() {
        let rows = initial_rows(&founding());
        for (range, count) in [
            (nodes_range(), 2),
            (keyspaces_range(), 1),
            (descriptors_range(), 2),
        ] {
            let inside = rows.iter().filter(|(key, _)| range.contains(key)).count();
            assert_eq!(inside, count, "{range:?}");
        }
    }
}
