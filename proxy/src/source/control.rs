//! Resources from a control plane (`--control`): follows it, and tells when what it said changed.
//!
//! One task on the control thread talks to one control plane at a time. What it told is a set of
//! resources of the same form as those of files, and whoever compiles reads it as if it came from
//! there. Beside them are the answers to what requests demanded. Both are kept on disk where there is
//! a folder for it, so that a start needs no control plane.

mod book;
pub(crate) mod certificate;
mod connect;
mod disk;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod handed;
mod message;
mod replicas;
mod shown;
mod store;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use config::Resource;
use config::wire::Demand;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::bootstrap::Locality;
use crate::demand::{Answered, Demands};
use crate::handover::Sockets;
use crate::snapshot::{Publisher, Snapshot};
use crate::telemetry::metrics::ControlCounters;
use book::{Book, Count};
use connect::{Connector, Proof};
use disk::Disk;
use message::Node;
pub use replicas::Replica;
pub use shown::Shown;
use store::Store;
use stream::Follower;

/// How long a start waits for a control plane when it could begin with what is on disk.
const DISK_GRACE: Duration = Duration::from_secs(3);
/// File below the folder of `--state-dir`.
const RESOURCES: &str = "resources.jsonl";

/// How a control plane is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where control planes are; at least one, all in TLS or none.
    pub replicas: Vec<Replica>,
    /// The file of the authorities that vouch for them.
    pub root: PathBuf,
    /// The file of the token that is shown to them.
    pub token: PathBuf,
    /// The folder for what is kept; none if nothing is.
    pub state_dir: Option<PathBuf>,
    /// How long certificates are asked for.
    pub certificate_lifetime: Duration,
    /// How long requests are held for an answer; zero for not at all.
    pub demand_timeout: Duration,
}

/// For whom a control plane is followed.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) trust_domain: String,
    pub(crate) cluster: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Region, zone and part of the zone.
    pub(crate) locality: [String; 3],
    /// Folder of the identity that is shown, if there is one.
    pub(crate) identity: Option<PathBuf>,
}

/// What following it needs of others.
pub(crate) struct Around {
    /// Told when there is something else to compile.
    pub(crate) reload: mpsc::Sender<()>,
    /// What requests want to reach.
    pub(crate) demands: Demands,
    /// What is in use, to see what is still used.
    pub(crate) publisher: Publisher,
    pub(crate) counters: ControlCounters,
}

/// A control plane that is followed until this is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    shared: Shared,
    node: String,
    begun: watch::Receiver<bool>,
    origin: Origin,
    tasks: Vec<AbortHandle>,
}

/// What there is to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Nothing before somebody tells it.
    Nobody,
    /// What was told some time ago.
    Disk,
    /// What the process has in use whose place this one takes.
    Predecessor,
}

/// What people may see of it.
#[derive(Debug, Clone)]
pub struct View(Shared);

/// What a control plane told by now.
#[derive(Debug)]
pub(crate) struct Supplied {
    /// Where the workload is, if that was told.
    pub(crate) locality: Option<Locality>,
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) answered: Arc<Answered>,
}

/// Two hold it, both on the control thread: the task that follows and whoever compiles.
#[derive(Debug, Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// Told of whatever is to be kept.
    changed: watch::Sender<()>,
}

/// What was told, and how it goes.
#[derive(Debug, Default)]
struct State {
    store: Store,
    /// Where the workload is, `region/zone/subzone`, if that was told.
    locality: Option<Box<str>>,
    book: Book,
    standing: Standing,
}

/// How it goes with the control plane.
#[derive(Debug, Default)]
struct Standing {
    /// The one that is followed, and since when.
    connected: Option<(String, SystemTime)>,
    /// Why there was none the last time.
    last_error: Option<String>,
}

// === impl Source ===

impl Source {
    /// Begins to follow, from what the process before left in `inherited`, or what is on disk, if there is
    /// something that can be used.
    pub(crate) fn start(
        settings: &Settings,
        subject: Subject,
        around: Around,
        inherited: &mut Sockets,
    ) -> Self {
        let node = subject.node();
        let id = node.id.clone();
        let disk = settings.state_dir.as_ref();
        let disk = disk.map(|folder| Disk::new(folder.join(RESOURCES), &id));
        let mut state = State::default();
        let origin = match handed::take(inherited, &id) {
            Some(handed) => {
                state = handed;
                Origin::Predecessor
            }
            None if disk.as_ref().is_some_and(|it| it.restore(&mut state)) => Origin::Disk,
            None => Origin::Nobody,
        };
        let shared = Shared {
            state: Arc::new(Mutex::new(state)),
            changed: watch::Sender::new(()),
        };
        let (begin, begun) = watch::channel(false);
        let connector = Connector::new(settings, subject.identity, Proof::Certificate);
        let follower = Follower::new(shared.clone(), connector, node, around, begin);
        let following = tokio::spawn(follower.run());
        let keeping = disk.map(|disk| tokio::spawn(disk.keep(shared.clone())));
        let tasks = [Some(following), keeping].into_iter().flatten();
        Self {
            shared,
            node: id,
            begun,
            origin,
            tasks: tasks.map(|task| task.abort_handle()).collect(),
        }
    }

    /// Waits until there is something to begin with.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub(crate) async fn ready(&mut self) {
        if self.origin == Origin::Predecessor {
            return;
        }
        let told = async {
            // Nobody is there to tell if it cannot be told.
            if self.begun.wait_for(|begun| *begun).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = told => {}
            () = sleep(DISK_GRACE), if self.origin == Origin::Disk => {
                tracing::warn!("no control plane: beginning with what it told last");
            }
        }
    }

    /// What it told by now.
    pub(crate) fn supplied(&self) -> Supplied {
        let mut state = self.shared.locked();
        Supplied {
            locality: state.locality.as_deref().map(Locality::from_parts),
            resources: state.store.resources(),
            answered: state.book.answered(),
        }
    }

    /// Adds what it told to what goes to the process that takes this one's place.
    pub(crate) fn hand_over(&self, sockets: &mut Sockets) {
        if let Err(error) = handed::add(&self.shared.locked(), &self.node, sockets) {
            tracing::warn!(%error, "what was told is not handed over");
        }
    }

    /// How it goes, for people.
    pub(crate) fn view(&self) -> View {
        View(self.shared.clone())
    }
}

// === impl View ===

impl View {
    /// How it goes now.
    pub(crate) fn shown(&self) -> Shown {
        Shown::of(&self.0.locked())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

// === impl Subject ===

impl Subject {
    fn node(&self) -> Node {
        let metadata = [
            ("NAMESPACE", &self.namespace),
            ("SERVICE_ACCOUNT", &self.service_account),
            ("TRUST_DOMAIN", &self.trust_domain),
            ("CLUSTER_ID", &self.cluster),
        ];
        Node {
            id: format!("{}.{}", self.name, self.namespace),
            cluster: self.cluster.clone(),
            metadata: metadata.map(|(name, value)| (name, value.clone())).into(),
            labels: self.labels.clone(),
            locality: self.locality.clone(),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        // What was taken in is complete, resource by resource.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Gives up demands for what is not used any more of what is in use.
    fn sweep(&mut self, in_use: &Snapshot, now: Instant) -> Vec<Demand> {
        let table = &in_use.table;
        let used = |demand: &Demand| table.is_used(demand);
        let given_up = self.book.sweep(now, &in_use.answered, used);
        table.forget_uses();
        given_up
    }

    fn count(&self) -> Count {
        self.book.count()
    }
}
