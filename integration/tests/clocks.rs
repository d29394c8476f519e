//! Clocks that leave their bounds: the node concerned finds out before anything is drawn from its clock,
//! says by how much it is off, leads and coordinates nothing, and comes back by itself.

use integration::io::run_many;
use integration::simulation::clocks::{ClockBreak, true_timestamp};
use integration::simulation::{Mixture, SimulationOptions, World, WorldOptions};
use std::time::Duration;
use wire::message::{
    ClientAnswer, ClientRequest, ClockCause, NodeStatus, ReplicaRole, RequestError,
};

const PATIENCE: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
const HOUR_NS: i64 = 3_600_000_000_000;
const SEEDS: u64 = 12;

struct Scene {
    world: World,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let one_way = Duration::from_millis(1);
        let options = WorldOptions {
            clock_bound: Duration::from_millis(1),
            ..WorldOptions::calm(seed, 3, 4, one_way)
        };
        let mut world = World::new(options);
        world.run_to(5 * SECOND).unwrap();
        Scene { world }
    }

    fn pass(&mut self, time: Duration) {
        let to = self.world.now() + time;
        self.world.run_to(to).unwrap();
    }

    fn status(&mut self, seat: usize) -> NodeStatus {
        let reply = self.world.ask(seat, ClientRequest::Status, PATIENCE);
        match reply.unwrap().expect("a node that is up tells its status") {
            reply if reply.reply.is_ok() => match reply.reply.unwrap() {
                ClientAnswer::Status(status) => *status,
                other => panic!("not a status: {other:?}"),
            },
            other => panic!("no status: {other:?}"),
        }
    }

    /// What a node answers when a timestamp is asked for.
    fn draw(&mut self, seat: usize) -> Result<ClientAnswer, RequestError> {
        let reply = self.world.ask(seat, ClientRequest::Timestamp, PATIENCE);
        reply
            .unwrap()
            .expect("it answers, one way or the other")
            .reply
    }

    fn leads(&mut self, seat: usize) -> usize {
        let leads = |role| matches!(role, ReplicaRole::Leader | ReplicaRole::LeaderStarting);
        let replicas = self.status(seat).replicas;
        replicas
            .iter()
            .filter(|replica| leads(replica.role))
            .count()
    }

    /// Nothing of a wrong clock may stay behind in what votes will tell.
    fn check_ceiling(&mut self, seat: usize) {
        let ceiling = self.status(seat).ceiling;
        let truth = true_timestamp(self.world.now());
        assert!(
            ceiling < truth.plus(5 * SECOND),
            "the ceiling {ceiling} followed a wrong clock; true time is {truth}"
        );
    }

    fn wait_until_relied_on(&mut self, seat: usize) {
        let limit = self.world.now() + 20 * SECOND;
        while self.status(seat).clock_trouble.is_some() {
            assert!(
                self.world.now() < limit,
                "{:?}",
                self.status(seat).clock_trouble
            );
            self.pass(SECOND / 4);
        }
    }
}

#[test]
fn a_node_whose_clock_steps_gives_up_its_place_and_comes_back_when_it_is_right() {
    for (seed, by_ns) in [(1, HOUR_NS), (2, -HOUR_NS), (3, 2_500_000), (4, -2_500_000)] {
        let mut scene = Scene::new(seed);
        let seat = (0..3)
            .find(|seat| scene.leads(*seat) > 0)
            .expect("somebody leads");
        scene.world.break_clock(seat, ClockBreak::Step { by_ns });
        let refused = scene.draw(seat).unwrap_err();
        let RequestError::ClockUnusable { why, begun, .. } = &refused else {
            panic!("{refused}");
        };
        assert!(
            !begun && why.contains(&format!("stepped by {} us", by_ns / 1000)),
            "{why}"
        );
        scene.pass(3 * SECOND);
        assert_eq!(scene.leads(seat), 0);
        for other in (0..3).filter(|other| *other != seat) {
            assert!(scene.draw(other).is_ok(), "node {other} serves");
            let status = scene.status(other);
            assert!(status.clock_trouble.is_none(), "{:?}", status.clock_trouble);
            let me = scene.status(seat).node;
            let seen = status.peers.iter().find(|peer| peer.node == me).unwrap();
            let clock = seen.clock.expect("its clock is looked at all the same");
            assert!((clock.ahead_us - by_ns / 1000).abs() < 2000, "{clock:?}");
            // A step inside the two bounds together contradicts nobody.
            assert_eq!(clock.agrees, Some(by_ns.abs() < 4_000_000), "{clock:?}");
        }
        let leaders: usize = (0..3).map(|seat| scene.leads(seat)).sum();
        assert_eq!(leaders, 4, "every partition has a leader");
        scene.check_ceiling(seat);
        scene.world.mend_clock(seat);
        scene.wait_until_relied_on(seat);
        assert!(scene.draw(seat).is_ok());
        scene.check_ceiling(seat);
    }
}

#[test]
fn a_source_that_stops_vouching_is_told_and_so_is_its_return() {
    let mut scene = Scene::new(5);
    scene.world.break_clock(0, ClockBreak::Unvouched);
    let refused = scene.draw(0).unwrap_err().to_string();
    assert!(refused.contains("vouches for no bound"), "{refused}");
    scene.pass(8 * SECOND);
    let trouble = scene.status(0).clock_trouble.expect("it lasts");
    assert_eq!(trouble.cause, ClockCause::NotVouched);
    assert!(trouble.for_ms >= 8000, "{trouble:?}");
    assert_eq!(scene.leads(0), 0);
    scene.world.mend_clock(0);
    scene.wait_until_relied_on(0);
}

#[test]
fn a_node_that_starts_with_a_wrong_clock_is_told_by_the_others() {
    for by_ns in [HOUR_NS, -HOUR_NS, -20_000_000] {
        let mut scene = Scene::new(6);
        scene.world.crash(2);
        scene.pass(SECOND);
        scene.world.break_clock(2, ClockBreak::Step { by_ns });
        scene.world.start(2);
        scene.pass(3 * SECOND);
        let trouble = scene.status(2).clock_trouble.expect("it was contradicted");
        let ClockCause::Contradicted {
            off_us,
            against: 2,
            heard: 2,
        } = trouble.cause
        else {
            panic!("{trouble:?}");
        };
        assert!((off_us - by_ns / 1000).abs() < 4000, "{trouble}");
        scene.check_ceiling(2);
        // It votes and appends: with another node gone the cluster still has its majority.
        scene.world.crash(0);
        scene.pass(4 * SECOND);
        assert_eq!(
            scene.leads(1),
            4,
            "by the votes of a node that is not relied on"
        );
        scene.check_ceiling(2);
        scene.world.mend_clock(2);
        scene.world.start(0);
        scene.wait_until_relied_on(2);
    }
}

#[test]
fn a_drift_is_found_by_the_node_itself() {
    let mut scene = Scene::new(7);
    scene
        .world
        .break_clock(1, ClockBreak::Drift { ppm: 50_000 });
    scene.pass(SECOND);
    let trouble = scene.status(1).clock_trouble.expect("50 ms in a second");
    let is_own = matches!(
        trouble.cause,
        ClockCause::Drifted { .. } | ClockCause::Stepped { .. }
    );
    let is_told = matches!(trouble.cause, ClockCause::Contradicted { .. });
    assert!(is_own || is_told, "{trouble:?}");
}

#[test]
fn outside_their_bound_clocks_cost_the_order_of_real_time_and_nothing_else() {
    let options = SimulationOptions {
        mixture: Mixture::BrokenClocks,
        acknowledged_min: 200,
        ..SimulationOptions::default()
    };
    let swarm = run_many(0..SEEDS, 2, &options, 5, |_| {});
    let failures: Vec<String> = swarm.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(swarm.totals.seeds, SEEDS);
}
