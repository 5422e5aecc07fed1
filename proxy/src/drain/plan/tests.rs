use std::rc::Rc;
use std::sync::Arc;

use super::super::{Drain, Load, Ticket};
use super::*;
use crate::table::{Bind, Direction};

const TIMES: Times = Times {
    timeout: Duration::from_secs(45),
    minimum: Duration::from_secs(5),
    ends_when_idle: true,
};

/// A proxy with a listener each way.
struct Scene {
    start: Instant,
    plan: Plan,
    loads: Loads,
    drain: Rc<Drain>,
    inbound: Arc<Load>,
    outbound: Arc<Load>,
}

impl Scene {
    fn new(times: Times) -> Self {
        let drain = Rc::new(Drain::default());
        let loads = Loads::default();
        let [inbound, outbound] =
            [(1, Direction::Inbound), (2, Direction::Outbound)].map(|(port, direction)| {
                let load = Arc::new(Load::new(bind(port), direction));
                loads.add(&load);
                drain.listen(Arc::clone(&load));
                load
            });
        let start = Instant::now();
        Self {
            start,
            plan: Plan::new(start, times),
            loads,
            drain,
            inbound,
            outbound,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn begin(&mut self, ms: u64, scope: Scope, manner: Manner, exits: bool) -> Vec<Action> {
        let now = self.at(ms);
        self.plan.begin(now, scope, manner, exits)
    }

    /// Looks, and closes what is to be closed as workers do.
    fn look(&mut self, ms: u64) -> Vec<Action> {
        let now = self.at(ms);
        let actions = self.plan.look(now, &self.loads);
        for action in &actions {
            if let Action::Close(scope) = action {
                self.close(*scope);
            }
        }
        actions
    }

    fn close(&self, scope: Scope) {
        for load in [&self.inbound, &self.outbound] {
            if scope.covers(load.direction) {
                load.close();
            }
        }
    }

    fn connect(&self, port: u16) -> Ticket {
        self.drain.enter(&bind(port))
    }
}

fn bind(port: u16) -> Bind {
    Bind::Tcp(([127, 0, 0, 1], port).into())
}

#[test]
fn callers_are_told_at_once_and_served_for_a_while() {
    let mut scene = Scene::new(TIMES);

    let first = scene.begin(0, Scope::All, Manner::Orderly, true);

    assert_eq!(first, [Action::Tell(Scope::Inbound)]);
    assert_eq!(scene.plan.stage().inbound, Phase::Telling);
    assert!(scene.look(900).is_empty());
    assert_eq!(scene.look(5_000), [Action::Close(Scope::Inbound)]);
}

#[test]
fn the_proxy_exits_once_both_directions_have_ended() {
    let mut scene = Scene::new(TIMES);
    let caller = scene.connect(1);
    scene.begin(0, Scope::All, Manner::Orderly, true);

    assert_eq!(scene.look(5_000), [Action::Close(Scope::Inbound)]);
    assert_eq!(scene.look(8_000), [], "the answer may need others");
    assert_eq!(scene.plan.stage().inbound, Phase::Closing);
    drop(caller);

    assert_eq!(scene.look(8_100), []);
    assert_eq!(scene.look(9_000), [Action::Close(Scope::Outbound)]);
    assert_eq!(scene.look(9_100), [Action::Exit]);
}

#[test]
fn outbound_stays_open_for_as_long_as_the_workload_has_a_connection_or_makes_one() {
    let mut scene = Scene::new(TIMES);
    let own = scene.connect(2);
    scene.begin(0, Scope::All, Manner::Orderly, true);
    scene.look(5_000);
    scene.look(5_100);
    scene.look(20_000);
    assert_eq!(scene.plan.stage().outbound, Phase::Lingering);
    drop(own);

    assert_eq!(scene.look(20_900), []);
    drop(scene.connect(2));
    assert_eq!(scene.look(21_000), [], "there was one since");
    assert_eq!(scene.look(21_900), []);

    assert_eq!(scene.look(22_000), [Action::Close(Scope::Outbound)]);
    assert_eq!(scene.look(22_100), [Action::Exit]);
}

#[test]
fn what_is_left_at_the_deadline_is_cut_once_and_counted() {
    let mut scene = Scene::new(TIMES);
    let _open = [scene.connect(1), scene.connect(1), scene.connect(2)];
    scene.begin(0, Scope::All, Manner::Orderly, true);
    scene.look(5_000);

    assert_eq!(scene.look(44_900), []);
    assert_eq!(
        scene.look(45_000),
        [
            Action::Cut(Scope::Inbound, 2),
            Action::Close(Scope::Outbound),
            Action::Cut(Scope::Outbound, 1),
        ]
    );
    assert_eq!(scene.look(45_100), []);
    assert_eq!(scene.look(46_000), [Action::Exit], "whatever happens");
}

#[test]
fn without_exits_the_proxy_stays_and_the_other_direction_serves() {
    let mut scene = Scene::new(TIMES);

    let first = scene.begin(0, Scope::Inbound, Manner::Now, false);
    assert_eq!(first, [Action::Close(Scope::Inbound)]);
    scene.close(Scope::Inbound);

    assert_eq!(scene.look(100), []);
    let stage = scene.plan.stage();
    assert_eq!(
        (stage.inbound, stage.outbound),
        (Phase::Ended, Phase::Serving)
    );
    assert_eq!(scene.look(60_000), []);
}

#[test]
fn the_other_direction_has_its_whole_time_however_late_it_is_told() {
    let mut scene = Scene::new(TIMES);
    let _open = scene.connect(2);
    scene.begin(0, Scope::Inbound, Manner::Now, false);
    scene.close(Scope::Inbound);
    assert_eq!(scene.look(46_000), []);

    scene.begin(50_000, Scope::Outbound, Manner::Now, false);

    let cut = |actions: Vec<Action>| actions.iter().any(|it| matches!(it, Action::Cut(_, 1..)));
    assert!(!cut(scene.look(50_100)));
    assert!(!cut(scene.look(94_900)));
    assert!(cut(scene.look(95_000)));
}

#[test]
fn a_drain_that_is_under_way_can_become_the_end_and_faster() {
    let mut scene = Scene::new(TIMES);
    scene.begin(0, Scope::Inbound, Manner::Orderly, false);
    let deadline = scene.plan.stage().deadline;

    let exit = scene.begin(1_000, Scope::All, Manner::Orderly, true);

    assert_eq!(exit, []);
    assert!(
        scene.plan.stage().deadline > deadline,
        "the end has its own"
    );
    let now = scene.begin(2_000, Scope::All, Manner::Now, true);
    assert_eq!(
        now,
        [
            Action::Close(Scope::Inbound),
            Action::Close(Scope::Outbound)
        ]
    );
    scene.close(Scope::All);
    assert_eq!(scene.look(2_100), [Action::Exit]);
}

#[test]
fn an_idle_proxy_may_be_asked_to_stay_until_the_deadline() {
    let mut scene = Scene::new(Times {
        ends_when_idle: false,
        ..TIMES
    });
    scene.begin(0, Scope::All, Manner::Now, true);
    scene.close(Scope::All);

    assert_eq!(scene.look(44_000), []);
    assert_eq!(scene.look(45_000), [Action::Exit]);
}
