//! `partitions`: the map of key ranges.

use crate::failure::Failure;
use crate::output::{Object, Output};
use crate::session::Session;
use crate::text::bytes::shown;
use crate::text::table::table;
use clap::Args;
use serde_json::Value;
use wire::ids::NodeId;
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, Key, KeyRange};
use wire::message::MapAnswer;

/// Show which partition holds which keys, and on which nodes
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog partitions
  horolog partitions --json")]
pub(crate) struct Partitions {}

impl Partitions {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let map = session.map().await?;
        print(session.output, &map)
    }
}

fn print(output: Output, map: &MapAnswer) -> Result<(), Failure> {
    if output.is_json() {
        for (descriptor, leader) in &map.partitions {
            output.print(String::new, || partition_json(descriptor, *leader))?;
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = map.partitions.iter().map(partition_row).collect();
    let header = ["PARTITION", "FROM", "TO", "LEADER", "NODES", "GENERATION"];
    Ok(output.print(|| table(&header, &rows).trim_end().to_owned(), Object::new)?)
}

/// A partition as scripts see it; `from` and `to` hold the keyspace's four bytes, too.
pub(crate) fn partition_json(descriptor: &Descriptor, leader: Option<NodeId>) -> Object {
    let members: Vec<u32> = descriptor.members.iter().map(|node| node.0).collect();
    let object = Object::new()
        .with("partition", descriptor.partition.0)
        .with("generation", descriptor.generation.0)
        .with("leader", leader.map(|node| node.0))
        .with("members", members)
        .with("from", border_json(&descriptor.range.start));
    let end = descriptor.range.end.as_ref();
    object.with("to", end.map_or(Value::Null, |end| border_json(end).into()))
}

fn border_json(border: &Key) -> Object {
    let keyspace = border.keyspace().map(|keyspace| keyspace.0);
    Object::new()
        .with("keyspace", keyspace)
        .bytes("key", border.user())
}

fn partition_row((descriptor, leader): &(Descriptor, Option<NodeId>)) -> Vec<String> {
    vec![
        descriptor.partition.to_string(),
        from(&descriptor.range),
        descriptor
            .range
            .end
            .as_ref()
            .map_or("the end".into(), border),
        leader.map_or("not known".into(), |node| node.to_string()),
        nodes(&descriptor.members),
        descriptor.generation.to_string(),
    ]
}

/// Nodes on one line.
pub(crate) fn nodes(members: &[NodeId]) -> String {
    let names: Vec<String> = members.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// Where a partition begins as people read it: the first one is the system's own.
pub(crate) fn from(range: &KeyRange) -> String {
    let first_user_key = Key::new(DEFAULT_KEYSPACE, b"");
    let is_systems = range.end.as_ref().is_some_and(|end| *end <= first_user_key);
    match is_systems && range.start == Key::least() {
        true => "the system's range".to_owned(),
        false => border(&range.start),
    }
}

/// A border between partitions as people read it.
pub(crate) fn border(key: &Key) -> String {
    match key.keyspace() {
        None => "the start".to_owned(),
        Some(DEFAULT_KEYSPACE) => shown(key.user()),
        Some(keyspace) => format!("{keyspace}:{}", shown(key.user())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::{Generation, KeyspaceId, PartitionId};

    #[test]
    fn borders_name_keyspace_and_key() {
        assert_eq!(border(&Key::least()), "the start");
        let system = KeyRange::new(Key::least(), Some(Key::new(DEFAULT_KEYSPACE, b"")));
        assert_eq!(from(&system), "the system's range");
        assert_eq!(from(&KeyRange::new(Key::least(), None)), "the start");
        assert_eq!(border(&Key::new(DEFAULT_KEYSPACE, b"m n")), "\"m n\"");
        assert_eq!(border(&Key::new(KeyspaceId(7), b"")), "ks7:\"\"");
    }

    #[test]
    fn a_partition_in_json() {
        let descriptor = Descriptor {
            partition: PartitionId(2),
            generation: Generation(3),
            range: KeyRange::new(Key::new(DEFAULT_KEYSPACE, b"\xff"), None),
            members: vec![NodeId(1), NodeId(2)],
        };
        let json = Value::from(partition_json(&descriptor, Some(NodeId(2))));
        assert_eq!(
            json.to_string(),
            r#"{"from":{"key_base64":"/w==","keyspace":1},"generation":3,"leader":2,"members":[1,2],"partition":2,"to":null}"#
        );
    }
}
