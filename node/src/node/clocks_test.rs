//! What a node's log says of its clock.

use super::Node;
use crate::NodeConfig;
use clock::{CEILING_AHEAD, Now};
use partition::log::RecoveredLog;
use partition::versions::MemoryStore;
use std::time::Duration;
use wire::message::{ClockCause, ClockTrouble};

/// When the earlier life wrote its last ceiling.
const BEFORE: Now = Now {
    monotonic: Duration::from_secs(7),
    physical: Duration::from_secs(1_790_000_000),
    bound: Some(Duration::from_micros(50)),
};

fn at(physical: Duration) -> Now {
    Now { physical, ..BEFORE }
}

/// A node that starts again, and reads its clock for the first time.
fn started_again(founders: &[&str], now: &Now) -> Node {
    let founders = founders.iter().map(|founder| (*founder).to_owned());
    let config = NodeConfig::new("a:1", founders.collect(), 1);
    let recovered = RecoveredLog {
        ceiling: BEFORE.latest().plus(CEILING_AHEAD),
        ..RecoveredLog::default()
    };
    let mut node = Node::new(config, recovered, &MemoryStore::default(), now).expect("starts");
    node.flush(now, &mut Vec::new());
    node
}

fn trouble(node: &Node, now: &Now) -> Option<ClockTrouble> {
    node.clock_watch.trouble_now(now.monotonic)
}

#[test]
fn a_lone_node_that_starts_again_at_once_relies_on_its_clock() {
    for later in [0, 1, 1_999, 86_400_000] {
        let now = at(BEFORE.physical + Duration::from_millis(later));
        let node = started_again(&["a:1"], &now);
        assert_eq!(trouble(&node, &now), None, "{later} ms later");
    }
}

#[test]
fn a_lone_node_whose_clock_was_set_back_while_it_was_down_waits() {
    let mut now = at(BEFORE.physical - Duration::from_secs(60));
    let mut node = started_again(&["a:1"], &now);
    let cause = trouble(&node, &now).map(|trouble| trouble.cause);
    let by_us = 60_000_000;
    assert_eq!(cause, Some(ClockCause::Behind { by_us }));
    // It has caught up but for the drift after 59.5 s, and then has been good for 5 s.
    let mut waited = Duration::ZERO;
    while node.clock_watch.is_quarantined() {
        let pause = Duration::from_millis(100);
        (now.monotonic, now.physical) = (now.monotonic + pause, now.physical + pause);
        waited += pause;
        assert!(waited < Duration::from_secs(70), "it waits for ever");
        node.flush(&now, &mut Vec::new());
    }
    assert!(waited > Duration::from_secs(64), "{waited:?}");
}

#[test]
fn a_node_among_others_that_was_not_set_back_waits_for_them_only() {
    let node = started_again(&["a:1", "b:1", "c:1"], &BEFORE);
    let cause = trouble(&node, &BEFORE).map(|trouble| trouble.cause);
    assert_eq!(cause, Some(ClockCause::Unproven));
    let earlier = at(BEFORE.physical - Duration::from_secs(1));
    let node = started_again(&["a:1", "b:1", "c:1"], &earlier);
    let cause = trouble(&node, &earlier).map(|trouble| trouble.cause);
    assert!(
        matches!(cause, Some(ClockCause::Behind { .. })),
        "{cause:?}"
    );
}
