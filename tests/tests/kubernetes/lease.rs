//! Who does what only one of several replicas may do.

use std::time::Duration;

use control::lease::{Leadership, Settings, Timing, contend};
use control::source::kubernetes::connect;
use tests::{Cluster, Gate, soon};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Fast enough for a test, in the proportions of the usual one.
const TIMING: Timing = Timing {
    duration: Duration::from_secs(3),
    renew: Duration::from_secs(2),
    retry: Duration::from_millis(400),
};

/// A replica, and the way to stop it.
struct Replica {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Replica {
    /// One that reaches the API server by `kubeconfig`.
    async fn start(kubeconfig: &std::path::Path, namespace: &str, identity: &str) -> Self {
        let settings = Settings {
            namespace: namespace.to_owned(),
            name: "status".to_owned(),
            identity: identity.to_owned(),
            timing: TIMING,
        };
        let client = connect(Some(kubeconfig)).await.expect("a client");
        let (contender, leadership) = contend(client, settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(contender.run(async move {
            // Dropping it stops, too.
            let _ = stopped.await;
        }));
        Self {
            leadership,
            stop,
            tasks,
        }
    }

    async fn won(&mut self) {
        soon("leadership", self.leadership.won()).await;
    }
}

#[tokio::test]
async fn a_replica_that_hangs_gives_way_before_another_takes_its_place() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("hung").await;
    let gate = Gate::before(cluster.api_addr()).await;
    let mut first = Replica::start(&cluster.admin_at(gate.addr()), &namespace, "first").await;
    first.won().await;
    let mut second = Replica::start(&cluster.admin(), &namespace, "second").await;

    gate.shut();
    let (mut watched, mut other) = (first.leadership.clone(), second.leadership.clone());
    let order = async {
        tokio::select! {
            biased;
            () = watched.lost() => {}
            () = other.won() => panic!("two at once"),
        }
    };
    soon("loss of leadership", order).await;
    second.won().await;
    assert!(!first.leadership.is_held());

    // Being back is no claim.
    gate.open();
    let kubectl = cluster.kubectl();
    let lease = kubectl.get(&["lease", "-n", &namespace, "status"]).await;
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    assert!(!first.leadership.is_held());
    assert!(second.leadership.is_held());
}

#[tokio::test]
async fn a_replica_that_stops_hands_over_at_once() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("handed").await;
    let mut first = Replica::start(&cluster.admin(), &namespace, "first").await;
    first.won().await;
    let mut second = Replica::start(&cluster.admin(), &namespace, "second").await;

    let Replica {
        stop,
        mut tasks,
        mut leadership,
    } = first;
    drop(stop);
    soon("the end of the first", tasks.join_next()).await;

    let kubectl = cluster.kubectl();
    let lease = kubectl.get(&["lease", "-n", &namespace, "status"]).await;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    assert!(holder.is_empty() || holder == "second", "{holder}");
    soon("the first knows it", leadership.lost()).await;
    second.won().await;
}
