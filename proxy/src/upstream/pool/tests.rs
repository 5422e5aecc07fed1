//! Which connection is used again, and what closes teach: over real sockets, with time given.

use rustc_hash::FxHashSet;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::net::UnixStream;

use super::*;
use crate::io::Io;
use crate::upstream::connect::{Fresh, Open};
use crate::upstream::endpoint::EndpointAddr;

const HOUR: Duration = Duration::from_secs(3_600);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A connection and the other end of it.
fn connected() -> (Box<Connection>, StdUnixStream) {
    let (near, far) = StdUnixStream::pair().expect("a pair of sockets");
    near.set_nonblocking(true).expect("a socket option");
    let near = UnixStream::from_std(near).expect("a runtime");
    let gauge = prometheus::IntGauge::new("open", "open").expect("a valid name");
    (
        Connection::new(Fresh {
            io: Io::Unix(near),
            open: Open::new(&gauge, None),
            peer: None,
        }),
        far,
    )
}

struct Scene {
    pool: Pool,
    home: Rc<Home>,
    known: FxHashSet<HomeKey>,
    start: Instant,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let pool = Pool::default();
        let endpoint = Arc::new(Endpoint::new(EndpointAddr::Unix("/test".into())));
        let home = pool.home(&endpoint, Way::default(), &Arc::default(), limits);
        let key = HomeKey {
            endpoint: endpoint.id,
            channel: 0,
            caller: 0,
        };
        let known = [key].into_iter().collect();
        let start = home.looked.get();
        Self {
            pool,
            home,
            known,
            start,
        }
    }

    /// Puts a connection into the pool at `at`.
    fn rest(&self, at: Duration) -> StdUnixStream {
        let (conn, far) = connected();
        self.home.put(conn, self.start + at);
        far
    }

    /// The home of connections to the same endpoint that are opened for a caller.
    fn home_of(&self, caller: &Rc<Caller>) -> Rc<Home> {
        let way = Way {
            channel: 0,
            caller: Some(caller),
        };
        let (endpoint, limits) = (&self.home.endpoint, self.home.limits.get());
        let home = self.pool.home(endpoint, way, &Arc::default(), limits);
        home.looked.set(self.start);
        home
    }

    fn sweep(&self, at: Duration) {
        self.pool
            .sweep(|key| self.known.contains(key), self.start + at);
    }

    fn take(&self, at: Duration) -> Option<Duration> {
        self.home.take(self.start + at).map(|it| it.rest)
    }

    fn limit(&self) -> &crate::upstream::idle_limit::IdleLimit {
        &self.home.endpoint.idle_limit
    }
}

fn limits(idle: Duration) -> Limits {
    Limits {
        idle,
        age: None,
        requests: 0,
    }
}

#[tokio::test]
async fn the_connection_that_rested_least_is_used_first() {
    let scene = Scene::new(limits(HOUR));
    let _others: Vec<_> = [0, 10, 20].map(|at| scene.rest(ms(at))).into();

    assert_eq!(scene.take(ms(30)), Some(ms(10)));
    assert_eq!(scene.take(ms(30)), Some(ms(20)));
    assert_eq!(scene.take(ms(30)), Some(ms(30)));
    assert_eq!(scene.take(ms(30)), None);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_not_used_though_the_reactor_has_not_said_so() {
    let scene = Scene::new(limits(HOUR));
    drop(scene.rest(ms(0)));

    // No await in between: the reactor had no turn.
    assert_eq!(scene.take(ASK_AFTER), None);
}

#[tokio::test]
async fn a_connection_with_input_that_nobody_asked_for_is_not_used() {
    use std::io::Write as _;

    let scene = Scene::new(limits(HOUR));
    let mut far = scene.rest(ms(0));
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .expect("written");

    assert_eq!(scene.take(ASK_AFTER), None);
}

#[tokio::test]
async fn what_was_announced_is_undercut() {
    let scene = Scene::new(limits(HOUR));
    let said = KeepAlive {
        timeout: Some(ms(5_000)),
        requests_left: Some(10),
    };
    assert!(scene.home.heed(said));
    let _others: Vec<_> = [0, 10].map(|at| scene.rest(ms(at))).into();

    assert_eq!(scene.take(ms(4_505)), Some(ms(4_495)));
    assert_eq!(scene.take(ms(4_505)), None, "it may be closed any moment");
}

#[tokio::test]
async fn the_last_request_that_an_upstream_takes_is_the_last() {
    let scene = Scene::new(limits(HOUR));

    let said = KeepAlive {
        timeout: None,
        requests_left: Some(0),
    };

    assert!(!scene.home.heed(said));
}

#[tokio::test]
async fn connections_that_are_too_old_are_closed_when_they_rest() {
    let scene = Scene::new(Limits {
        age: Some(ms(60_000)),
        ..limits(HOUR)
    });
    let _far = scene.rest(ms(0));
    scene.sweep(ms(50_000));
    assert_eq!(scene.pool.idle(), 1);
    assert_eq!(scene.take(ms(61_000)), None);

    let _far = scene.rest(ms(1_000));
    scene.sweep(ms(61_000));
    assert_eq!(scene.pool.idle(), 0);
    let _far = scene.rest(ms(61_000));
    assert_eq!(scene.pool.idle(), 0, "it does not come back either");
}

#[tokio::test]
async fn closes_at_the_same_age_teach_the_limit() {
    let scene = Scene::new(limits(HOUR));

    for round in 0..2 {
        let start = ms(20_000 * round);
        scene.sweep(start + ms(4_900));
        let far = scene.rest(start + ms(1_000));
        let younger = scene.rest(start + ms(5_000));
        drop(far);
        // The reactor learns of the close within this turn.
        tokio::task::yield_now().await;
        scene.sweep(start + ms(5_900));
        assert_eq!(scene.pool.idle(), 1);
        assert_eq!(scene.take(start + ms(5_900)), Some(ms(900)));
        drop(younger);
    }

    assert_eq!(scene.limit().observed(), Some(ms(3_900)));
}

#[tokio::test]
async fn a_restart_teaches_nothing() {
    let scene = Scene::new(limits(HOUR));

    for round in 0..3 {
        let start = ms(20_000 * round);
        let all: Vec<_> = [0, 1_000, 5_000]
            .map(|at| scene.rest(start + ms(at)))
            .into();
        scene.sweep(start + ms(6_000));
        drop(all);
        tokio::task::yield_now().await;
        scene.sweep(start + ms(7_000));
        assert_eq!(scene.pool.idle(), 0);
    }

    assert_eq!(scene.limit().observed(), None);
}

#[tokio::test]
async fn a_connection_that_died_under_a_request_takes_those_along_that_rested_longer() {
    let scene = Scene::new(limits(HOUR));
    let _others: Vec<_> = [0, 10, 20].map(|at| scene.rest(ms(at))).into();

    scene.home.distrust(ms(30), scene.start);

    assert_eq!(scene.pool.idle(), 0);
}

#[tokio::test]
async fn what_was_opened_for_one_caller_serves_no_other_and_goes_with_it() {
    let scene = Scene::new(limits(HOUR));
    let [one, other] = [(); 2].map(|()| Rc::new(Caller::new(None)));
    let _far = [scene.home_of(&one), scene.home_of(&other)].map(|home| {
        let (conn, far) = connected();
        home.put(conn, scene.start);
        far
    });

    assert!(scene.take(ms(0)).is_none(), "for nobody in particular");
    drop(other);
    scene.sweep(ms(10));

    assert_eq!(scene.pool.idle(), 1, "one caller is gone");
    let kept = scene.home_of(&one).take(scene.start + ms(20));
    assert_eq!(kept.map(|it| it.rest), Some(ms(20)));
}
