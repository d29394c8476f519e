use super::*;
use wire::ids::NodeId;
use wire::message::{ClockReading, ClockStanding};

const DRIFT_MAX: Duration = Duration::from_millis(500);
const BOUND: Duration = Duration::from_micros(500);
const START: Duration = Duration::from_secs(1_790_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One node's watch among others, at a monotonic time in milliseconds.
struct Scene {
    watch: ClockWatch,
    peers: ClockPeers,
    now: Now,
}

impl Scene {
    fn new(others: usize) -> Scene {
        let timing = QuarantineTiming::default();
        let now = Now {
            monotonic: Duration::ZERO,
            physical: START,
            bound: Some(BOUND),
        };
        Scene {
            watch: ClockWatch::new(timing, DRIFT_MAX, others == 0, &now),
            peers: ClockPeers::new(timing.probe_every, others, 0),
            now,
        }
    }

    fn pass(&mut self, time: Duration) -> &mut Scene {
        self.now.monotonic += time;
        self.now.physical += time;
        self
    }

    fn look(&mut self) -> Judged {
        self.watch.look(&self.now, Timestamp::ZERO, &mut self.peers)
    }

    /// Another node's clock is heard, `ahead` of this one's, after a round trip of 200 us.
    fn hear(&mut self, node: u32, ahead: i64) {
        self.hear_as(node, ahead, ClockStanding::ReliedOn);
    }

    fn hear_as(&mut self, node: u32, ahead: i64, standing: ClockStanding) {
        let sequence = self.peers.probe(NodeId(node), self.now.monotonic);
        self.pass(Duration::from_micros(200));
        let middle = self.now.physical.as_nanos() as i64 - 100_000;
        let reading = ClockReading {
            sequence,
            physical_ns: (middle + ahead) as u64,
            bound_ns: Some(BOUND.as_nanos() as u64),
            standing,
        };
        self.peers.on_reading(&self.now, NodeId(node), &reading);
    }

    fn cause(&self) -> Option<ClockCause> {
        let trouble = self.watch.trouble_now(self.now.monotonic);
        trouble.map(|trouble| trouble.cause)
    }

    /// Looks every 10 ms for so long, and says how long the clock was not relied on.
    fn look_for(&mut self, time: Duration) -> Duration {
        let mut quarantined = Duration::ZERO;
        let end = self.now.monotonic + time;
        while self.now.monotonic < end {
            self.pass(ms(10)).look();
            quarantined += ms(10) * u32::from(self.watch.is_quarantined());
        }
        quarantined
    }
}

#[test]
fn a_step_is_never_believed_and_the_guess_goes_on_from_before() {
    for step in [3_600_000i64, -3_600_000] {
        let mut scene = Scene::new(0);
        scene.look();
        scene.pass(ms(10)).look();
        let hour = Duration::from_millis(step.unsigned_abs());
        let before = scene.now.physical;
        scene.now.physical = if step < 0 {
            before - hour
        } else {
            before + hour
        };
        let judged = scene.pass(ms(10)).look();
        assert_eq!(judged.now.bound, None);
        assert_eq!(judged.now.physical, before + ms(10), "by monotonic time");
        assert!(
            matches!(scene.cause(), Some(ClockCause::Stepped { by_us, .. }) if by_us == step * 1000)
        );
        assert!(matches!(
            scene.watch.take_change(),
            Some(ClockChange::Distrusted(ClockCause::Stepped { .. }))
        ));
        let quarantined = scene.look_for(ms(7000));
        assert_eq!(quarantined, ms(5000), "then it has been good for 5 s");
        assert!(matches!(
            scene.watch.take_change(),
            Some(ClockChange::Trusted { .. })
        ));
        assert_eq!(
            scene.look().now,
            scene.now,
            "from now on the clock as it is"
        );
    }
}

#[test]
fn a_clock_that_is_set_again_and_again_does_not_flap() {
    let mut scene = Scene::new(0);
    scene.look();
    // Good for 4 s between steps: never long enough.
    for _ in 0..20 {
        scene.now.physical += ms(700);
        scene.look_for(ms(4000));
    }
    assert_eq!(scene.watch.quarantines(), 1);
    // Set once it is relied on again, each time: the waits double.
    let mut waits = Vec::new();
    for _ in 0..5 {
        scene.look_for(ms(1000));
        while scene.watch.is_quarantined() {
            scene.pass(ms(10)).look();
        }
        scene.now.physical += ms(700);
        let quarantined = scene.look_for(ms(70_000));
        waits.push(quarantined.as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 60, 60]);
}

#[test]
fn a_source_that_stops_vouching_or_vouches_for_too_little_is_told() {
    let mut scene = Scene::new(0);
    scene.look();
    scene.now.bound = None;
    scene.pass(ms(10)).look();
    assert_eq!(scene.cause(), Some(ClockCause::NotVouched));
    scene.now.bound = Some(ms(251));
    scene.pass(ms(10)).look();
    let (bound_us, max_us) = (251_000, 250_000);
    assert_eq!(
        scene.cause(),
        Some(ClockCause::BoundTooWide { bound_us, max_us })
    );
    scene.now.bound = Some(BOUND);
    assert_eq!(scene.look_for(ms(6000)), ms(5000));
}

#[test]
fn a_new_node_waits_for_other_clocks_and_raises_no_ceiling_before() {
    let mut scene = Scene::new(2);
    assert_eq!(scene.look_for(ms(3000)), ms(3000), "nobody was heard");
    assert_eq!(scene.cause(), Some(ClockCause::Unproven));
    assert!(!scene.look().is_grounded);
    scene.hear(2, 0);
    let judged = scene.look();
    assert!(
        judged.is_grounded && judged.now.is_vouched(),
        "two of three agree"
    );
    assert_eq!(scene.watch.quarantines(), 0, "to be new is no fault");
}

#[test]
fn a_node_that_most_others_contradict_takes_itself_for_the_wrong_one() {
    let mut scene = Scene::new(2);
    let hour_ahead = -3_600_000_000_000;
    scene.hear(2, hour_ahead);
    scene.hear(3, hour_ahead + 50_000);
    let true_time = scene.now.physical - Duration::from_secs(3600);
    let judged = scene.look();
    let expected = ClockCause::Contradicted {
        off_us: 3_600_000_000,
        against: 2,
        heard: 2,
    };
    let Some(ClockCause::Contradicted { off_us, .. }) = scene.cause() else {
        panic!("{:?} instead of {expected:?}", scene.cause());
    };
    assert!(
        (3_599_999_000..=3_600_001_000).contains(&off_us),
        "{off_us}"
    );
    assert_eq!(judged.now.bound, None);
    let guessed = judged.now.physical.as_micros() as i64 - true_time.as_micros() as i64;
    assert!(
        guessed.abs() < 1000,
        "by what the others say: {guessed} us off"
    );
    assert!(judged.is_grounded, "two of three vouch for the guess");
}

#[test]
fn one_that_contradicts_is_told_and_not_acted_upon() {
    let mut scene = Scene::new(2);
    scene.hear(2, 0);
    scene.hear(3, 5_000_000);
    scene.look();
    assert!(!scene.watch.is_quarantined());
    assert_eq!(scene.peers.contradicting(scene.now.monotonic), [NodeId(3)]);
    let clock = scene.peers.of(scene.now.monotonic, NodeId(3)).unwrap();
    assert_eq!(clock.agrees, Some(false));
    assert!((4_800..=5_200).contains(&clock.ahead_us), "{clock:?}");
}

#[test]
fn with_two_left_that_contradict_each_other_nobody_is_relied_on() {
    let mut scene = Scene::new(2);
    scene.hear(2, 0);
    scene.hear(3, 0);
    scene.look();
    assert!(!scene.watch.is_quarantined());
    // Node 3 is gone; what it said is forgotten. Node 2 steps an hour ahead.
    scene.look_for(ms(5000));
    scene.hear(2, 3_600_000_000_000);
    let judged = scene.look();
    assert!(scene.watch.is_quarantined());
    let carried_on = scene.now.physical.abs_diff(judged.now.physical);
    assert!(
        carried_on < ms(1),
        "one node's word is no majority: {carried_on:?}"
    );
}

#[test]
fn who_knows_its_clock_to_be_wrong_or_is_new_counts_against_nobody_that_is_not() {
    let mut scene = Scene::new(2);
    assert_eq!(scene.watch.standing(), ClockStanding::New);
    scene.hear(2, 0);
    scene.look();
    assert_eq!(scene.watch.standing(), ClockStanding::ReliedOn);
    for standing in [ClockStanding::Doubted, ClockStanding::New] {
        scene.look_for(ms(5000));
        scene.hear_as(2, 3_600_000_000_000, standing);
        scene.look();
        assert!(!scene.watch.is_quarantined(), "{standing:?}");
    }
    scene.hear(2, 3_600_000_000_000);
    scene.look();
    assert!(scene.watch.is_quarantined());
    assert_eq!(
        scene.watch.standing(),
        ClockStanding::ReliedOn,
        "one's word is no proof"
    );
    scene.hear(3, 3_600_000_000_000);
    scene.look();
    assert_eq!(scene.watch.standing(), ClockStanding::Doubted);

    let mut new = Scene::new(2);
    new.hear_as(2, 3_600_000_000_000, ClockStanding::New);
    new.look();
    assert!(matches!(new.cause(), Some(ClockCause::Contradicted { .. })));
}

#[test]
fn offsets_inside_bounds_and_round_trip_are_no_contradiction() {
    let mut scene = Scene::new(2);
    for ahead in [-1_050_000, 1_050_000] {
        scene.hear(2, ahead);
        scene.hear(3, ahead);
        scene.look();
        assert!(!scene.watch.is_quarantined(), "{ahead} ns");
    }
    scene.hear(2, 1_150_000);
    scene.hear(3, 1_150_000);
    scene.look();
    assert!(scene.watch.is_quarantined());
}

#[test]
fn a_clock_behind_what_was_issued_is_not_relied_on_until_it_has_caught_up() {
    let mut scene = Scene::new(0);
    scene.look();
    let issued = scene.now.latest().plus(ms(20_000));
    scene.now.physical -= ms(1);
    scene.pass(ms(10));
    let mut peers = ClockPeers::new(ms(1000), 0, 0);
    scene.watch.look(&scene.now, issued, &mut peers);
    assert!(matches!(scene.cause(), Some(ClockCause::Behind { .. })));
    let mut waited = Duration::ZERO;
    while scene.watch.is_quarantined() {
        scene.pass(ms(100));
        waited += ms(100);
        scene.watch.look(&scene.now, issued, &mut peers);
    }
    assert!((24_000..26_000).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn an_answer_counts_once_and_not_after_a_step() {
    let mut peers = ClockPeers::new(ms(1000), 2, 7);
    let mut now = Scene::new(2).now;
    let sequence = peers.probe(NodeId(2), now.monotonic);
    assert_eq!(sequence, 8);
    let reading = ClockReading {
        sequence,
        physical_ns: now.physical.as_nanos() as u64,
        bound_ns: Some(0),
        standing: ClockStanding::ReliedOn,
    };
    peers.forget_readings();
    peers.on_reading(&now, NodeId(2), &reading);
    assert_eq!(
        peers.of(now.monotonic, NodeId(2)),
        None,
        "asked before the step"
    );
    let sequence = peers.probe(NodeId(2), now.monotonic);
    let reading = ClockReading {
        sequence,
        ..reading
    };
    peers.on_reading(&now, NodeId(3), &reading);
    assert_eq!(
        peers.of(now.monotonic, NodeId(3)),
        None,
        "another node was asked"
    );
    peers.on_reading(&now, NodeId(2), &reading);
    assert!(peers.of(now.monotonic, NodeId(2)).is_some());
    now.monotonic += ms(4001);
    assert_eq!(peers.of(now.monotonic, NodeId(2)), None, "too old");
}
