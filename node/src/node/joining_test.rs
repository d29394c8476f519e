//! What a node says of the past when it takes its place in a cluster.

use super::Node;
use crate::{Effect, NodeConfig};
use clock::{Now, Timestamp};
use partition::log::RecoveredLog;
use partition::versions::MemoryStore;
use std::time::Duration;
use wire::ids::{ClusterId, NodeId};
use wire::keys::Descriptor;
use wire::message::{Founding, FoundingMember};

const NOW: Now = Now {
    monotonic: Duration::from_secs(7),
    physical: Duration::from_secs(1_790_000_000),
    bound: Some(Duration::from_micros(50)),
};

fn founders() -> Vec<String> {
    ["a:1", "b:1", "c:1"].map(str::to_owned).into()
}

fn founding() -> Founding {
    let member = |(place, address): (usize, String)| FoundingMember {
        node: NodeId(place as u32 + 1),
        address,
    };
    Founding {
        cluster: ClusterId(9),
        members: founders().into_iter().enumerate().map(member).collect(),
        descriptors: Vec::<Descriptor>::from([whole()]),
    }
}

fn whole() -> Descriptor {
    Descriptor {
        partition: wire::ids::PartitionId(1),
        generation: wire::ids::Generation(1),
        range: wire::keys::KeyRange::all(),
        members: [1, 2, 3].map(NodeId).into(),
    }
}

/// A node that has written its ceiling, and was not a member meanwhile.
fn with_a_durable_ceiling(recovered: RecoveredLog) -> Node {
    let config = NodeConfig::new("a:1", founders(), 1);
    let mut node = Node::new(config, recovered, &MemoryStore::default(), &NOW).unwrap();
    // By itself it would raise none before it has compared its clock with the others'.
    let mut out = Vec::new();
    node.flush(&NOW, &mut out);
    let logs = |effect: &Effect| matches!(effect, Effect::Log(_));
    assert!(!out.iter().any(logs), "nothing is logged yet: {out:?}");
    let raised = node.ceiling.maybe_raise(&NOW).expect("a ceiling is due");
    node.ceiling.on_durable(raised);
    assert!(
        node.ceiling.durable() > NOW.latest(),
        "the ceiling is durable: {}",
        node.ceiling.durable()
    );
    node
}

#[test]
fn a_new_member_has_promised_nothing_however_high_its_ceiling() {
    let mut node = with_a_durable_ceiling(RecoveredLog::default());
    node.join(&founding(), 1, &NOW);
    assert_eq!(node.heartbeats.promised(), Timestamp::ZERO);
}

#[test]
fn what_an_earlier_life_may_have_promised_is_reported() {
    let ceiling = NOW.latest().plus(Duration::from_secs(1));
    let recovered = RecoveredLog {
        ceiling,
        ..RecoveredLog::default()
    };
    let mut node = with_a_durable_ceiling(recovered);
    node.join(&founding(), 2, &NOW);
    assert_eq!(node.heartbeats.promised(), ceiling);
}
