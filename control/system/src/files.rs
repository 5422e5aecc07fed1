//! Watches configuration files and folders and tells when something changed.
//!
//! Events of the system are only a wake-up: what counts is the state of the files that would be
//! read, compared before and after (`observe`). So unrelated activity in the same folder signals
//! nothing, and a file that is renamed over, removed and made again, or reached through a link that
//! now leads elsewhere, is a change like any other. Reading and compiling is the caller's.

mod debounce;
mod observe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use debounce::Debounce;
use observe::{Identity, Observed, observe};

/// How often the files are looked at when the system's notifications cannot be had.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Rounds in which folders that appear meanwhile are added to the watch at once; what appears later
/// makes an event in a folder that is watched by then.
const FOLLOW_ROUNDS_MAX: usize = 8;

/// A running watch over files and folders.
///
/// Start it before the first load: whatever changes from then on is signalled.
#[derive(Debug)]
pub struct FileWatch(Shared);

/// Adds files that the watched ones name, such as certificates, to a watch.
#[derive(Debug, Clone)]
pub struct NamedFiles(Shared);

/// Two hold it, both on the control thread: the task that watches and whoever reads what is written.
type Shared = Arc<Mutex<Watched>>;

/// What is watched.
#[derive(Debug)]
struct Watched {
    paths: Vec<PathBuf>,
    /// Files that the watched ones name.
    named: Vec<PathBuf>,
    events: Events,
    seen: Seen,
}

/// The state of all that is watched.
#[derive(Debug, Default)]
struct Seen {
    paths: Observed,
    named: Observed,
}

/// How changes come to our notice.
#[derive(Debug)]
enum Events {
    /// The system tells; each watched folder with the identity it had.
    Told {
        watcher: RecommendedWatcher,
        folders: BTreeMap<PathBuf, Identity>,
        woken: Arc<Notify>,
    },
    /// We look.
    Polled,
}

// === impl FileWatch ===

impl FileWatch {
    /// Begins to watch `paths`; they need not exist. Falls back to looking every [`POLL_INTERVAL`]
    /// when the system refuses to watch, and says so once.
    pub fn start(paths: Vec<PathBuf>) -> Self {
        let events = Events::start().unwrap_or_else(|error| polled(&error));
        let mut watched = Watched::new(paths, events);
        watched.seen = watched.follow();
        Self(Arc::new(Mutex::new(watched)))
    }

    /// A watch that looks every [`POLL_INTERVAL`] and asks nothing of the system.
    pub fn polling(paths: Vec<PathBuf>) -> Self {
        let mut watched = Watched::new(paths, Events::Polled);
        watched.seen = watched.observe();
        Self(Arc::new(Mutex::new(watched)))
    }

    /// What adds files to it.
    pub fn named_files(&self) -> NamedFiles {
        NamedFiles(Arc::clone(&self.0))
    }

    /// Sends a signal after each change, as long as somebody listens. Changes in a row make one
    /// signal; one that has not been received yet stands for those that follow it.
    pub async fn run(self, reload: mpsc::Sender<()>) {
        let mut debounce = Debounce::default();
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let woken = locked(&self.0).events.woken();
            match woken {
                Some(woken) => tokio::select! {
                    () = reload.closed() => return,
                    () = woken.notified() => {
                        debounce.event(Instant::now());
                        continue;
                    }
                    () = until(debounce.due()) => debounce = Debounce::default(),
                },
                None => tokio::select! {
                    () = reload.closed() => return,
                    _ = ticks.tick() => {}
                },
            }
            let changed = locked(&self.0).look();
            if changed && matches!(reload.try_send(()), Err(TrySendError::Closed(()))) {
                return;
            }
        }
    }
}

// === impl NamedFiles ===

impl NamedFiles {
    /// Watches exactly `files` besides what was configured, from now on. Call it before they are
    /// read: a change from then on is signalled.
    pub fn watch(&self, files: BTreeSet<PathBuf>) {
        let mut watched = locked(&self.0);
        if watched.named.iter().ne(&files) {
            watched.named = files.into_iter().collect();
            // Whatever else changed has not been signalled yet, and will be.
            watched.seen.named = watched.follow().named;
        }
    }
}

fn locked(watched: &Shared) -> MutexGuard<'_, Watched> {
    // What is noted may be out of date at worst, and then a change is signalled.
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Watched ===

impl Watched {
    fn new(paths: Vec<PathBuf>, events: Events) -> Self {
        Self {
            paths,
            named: Vec::new(),
            events,
            seen: Seen::default(),
        }
    }

    /// Whether anything changed since the last look.
    fn look(&mut self) -> bool {
        let now = self.follow();
        let changed =
            now.paths.differs_from(&self.seen.paths) || now.named.differs_from(&self.seen.named);
        self.seen = now;
        changed
    }

    fn observe(&self) -> Seen {
        Seen {
            paths: observe(&self.paths),
            named: observe(&self.named),
        }
    }

    /// The state of the files, once every folder that leads to them is watched.
    fn follow(&mut self) -> Seen {
        let mut observed = self.observe();
        for _ in 0..FOLLOW_ROUNDS_MAX {
            match self.events.follow(&observed.folders()) {
                Ok(Followed::Nothing) => break,
                // What changed in a new folder before it was watched made no event: look again.
                Ok(Followed::New) => observed = self.observe(),
                Err(error) => {
                    let woken = self.events.woken();
                    self.events = polled(&error);
                    // Whoever waits for an event must not wait for ever.
                    if let Some(woken) = woken {
                        woken.notify_one();
                    }
                }
            }
        }
        observed
    }
}

// === impl Seen ===

impl Seen {
    /// Every folder in which a change shows.
    fn folders(&self) -> BTreeMap<PathBuf, Identity> {
        let folders = self.paths.folders.iter().chain(&self.named.folders);
        folders.map(|(path, id)| (path.clone(), *id)).collect()
    }
}

/// Whether folders were added to the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    Nothing,
    New,
}

// === impl Events ===

impl Events {
    fn start() -> notify::Result<Self> {
        let woken = Arc::new(Notify::new());
        let handle = Arc::clone(&woken);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading of the files is no change; an error may hide one.
            let read = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
            if !read {
                handle.notify_one();
            }
        })?;
        Ok(Self::Told {
            watcher,
            folders: BTreeMap::new(),
            woken,
        })
    }

    /// What wakes whoever waits for an event; none where we look.
    fn woken(&self) -> Option<Arc<Notify>> {
        match self {
            Self::Told { woken, .. } => Some(Arc::clone(woken)),
            Self::Polled => None,
        }
    }

    /// Watches exactly `wanted` from now on.
    fn follow(&mut self, wanted: &BTreeMap<PathBuf, Identity>) -> notify::Result<Followed> {
        let Self::Told {
            watcher, folders, ..
        } = self
        else {
            return Ok(Followed::Nothing);
        };
        let stale = |path: &Path, identity: &Identity| wanted.get(path) != Some(identity);
        folders.retain(|path, identity| {
            let stale = stale(path, identity);
            if stale {
                // Fails for a folder that is gone, whose watch went with it.
                let _ = watcher.unwatch(path);
            }
            !stale
        });
        let mut followed = Followed::Nothing;
        for (path, identity) in wanted {
            if folders.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    folders.insert(path.clone(), *identity);
                    followed = Followed::New;
                }
                Err(error) if is_gone(&error) => followed = Followed::New,
                Err(error) => return Err(error),
            }
        }
        Ok(followed)
    }
}

fn polled(error: &notify::Error) -> Events {
    tracing::warn!(
        %error,
        interval = ?POLL_INTERVAL,
        "files cannot be watched, looking at them at an interval instead"
    );
    Events::Polled
}

/// Whether a folder vanished between our look and the attempt to watch it.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => {
            use std::io::ErrorKind::{NotADirectory, NotFound};
            matches!(error.kind(), NotFound | NotADirectory)
        }
        ErrorKind::Generic(_)
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_)
        | ErrorKind::MaxFilesWatch => false,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
