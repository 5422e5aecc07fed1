//! The authority of a control plane without Kubernetes: files in its folder.
//!
//! `cacerts/` has an authority from elsewhere, in the files of Istio's Secret of that name. Without it
//! there is one of our own in `authority.json`, made at the first start. A file `rotate-root` has its
//! root replaced. What workloads are to believe is in `root-cert.pem`.
//!
//! If `cacerts/` vanishes what it had goes on signing, and that is told: another root would be believed by
//! nobody. Only a start without it takes our own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::{AuthorityError, Bundle};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::outlet::Outlet;
use super::ring::{self, Change, Files, Ring};
use super::trust::{Trust, TrustError};
use crate::state_dir::{StateDir, StateError};

/// How often is looked whether something changed or is due.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Our own authority with its key.
const AUTHORITY: &str = "authority.json";
/// What workloads are to believe.
const ROOTS: &str = "root-cert.pem";
/// Asks for a new root.
const ROTATE: &str = "rotate-root";
/// Folder of an authority from elsewhere.
const PLUGGED: &str = "cacerts";
/// Name of our roots.
const NAME: &str = "meshcontrol";
/// Files of an authority from elsewhere.
const PLUGGED_FILES: [&str; 4] = [ring::CERTIFICATE, ring::KEY, "cert-chain.pem", ring::ROOTS];

/// Keeps an authority in a folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    dir: StateDir,
    /// The longest that certificates may live.
    longest: Duration,
    used: Option<Used>,
}

/// What was read last and is in use, by where it is from.
#[derive(Debug, PartialEq, Eq)]
enum Used {
    Plugged(Files),
    Own(Files),
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    Trust(&'static str, #[source] TrustError),
    #[error("{PLUGGED}/ is gone, and what it had is in use until a restart")]
    Gone,
    #[error("{AUTHORITY} cannot be read")]
    Unreadable,
    #[error("cannot make a root")]
    Make(#[source] AuthorityError),
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(dir: StateDir, longest: Duration) -> Self {
        Self {
            dir,
            longest,
            used: None,
        }
    }

    /// What there is at the start, made if need be.
    ///
    /// # Errors
    ///
    /// If there is none and none can be made.
    pub(crate) fn start(&mut self, now: SystemTime) -> Result<Arc<Trust>, KeepError> {
        let trust = self.look(now)?.ok_or(KeepError::Unreadable)?;
        Ok(Arc::new(trust))
    }

    /// Follows what changes in the folder and does what is due, for ever. With something that cannot be
    /// used what was before stays.
    pub(crate) async fn run(mut self, trust: watch::Sender<Option<Arc<Trust>>>) {
        let mut outlet = Outlet::new(trust);
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Files are small, and a lock is held for no longer than they take.
            let looked = tokio::task::spawn_blocking(move || {
                let looked = self.look(SystemTime::now());
                (self, looked)
            });
            let Ok((keeper, looked)) = looked.await else {
                return;
            };
            self = keeper;
            outlet.take(looked);
        }
    }

    /// What is to be used from now on, if it is not what was used before.
    fn look(&mut self, now: SystemTime) -> Result<Option<Trust>, KeepError> {
        match (self.plugged()?, &self.used) {
            (Some(files), used) => {
                let read = Used::Plugged(files.clone());
                if used.as_ref() == Some(&read) {
                    return Ok(None);
                }
                let trust = ring::plugged(&files, now);
                let trust = trust.map_err(|error| KeepError::Trust(PLUGGED, error))?;
                self.take(read, trust).map(Some)
            }
            (None, Some(Used::Plugged(_))) => Err(KeepError::Gone),
            (None, Some(Used::Own(_)) | None) => self.look_at_own(now),
        }
    }

    fn look_at_own(&mut self, now: SystemTime) -> Result<Option<Trust>, KeepError> {
        let own = |error| KeepError::Trust(AUTHORITY, error);
        let _lock = self.dir.lock()?;
        let kept = self.dir.read(AUTHORITY)?;
        let before: Option<Files> = match &kept {
            Some(text) => Some(serde_json::from_str(text).map_err(|_| KeepError::Unreadable)?),
            None => None,
        };
        let mut ring = match &before {
            Some(files) => Ring::from_files(files, NAME, self.longest).map_err(own)?,
            None => {
                tracing::info!("made a root");
                Ring::make(NAME, self.longest, now).map_err(KeepError::Make)?
            }
        };
        if self.dir.read(ROTATE)?.is_some() {
            ring.ask();
            // What is asked for is written down before the file goes, so that no crash loses it, and
            // done after, so that one that cannot be removed does not replace root after root.
            self.keep(before.as_ref(), &ring.to_files().map_err(own)?)?;
            self.dir.remove(ROTATE)?;
        }
        let mut changes = Vec::new();
        while let Some(change) = ring.step(self.longest, now).map_err(KeepError::Make)? {
            changes.push(change);
        }
        let files = ring.to_files().map_err(own)?;
        self.keep(before.as_ref(), &files)?;
        changes.into_iter().for_each(Change::tell);
        let read = Used::Own(files);
        if self.used.as_ref() == Some(&read) {
            return Ok(None);
        }
        let trust = ring.trust(now).map_err(own)?;
        self.take(read, trust).map(Some)
    }

    /// Writes our own authority if it is another than before.
    fn keep(&self, before: Option<&Files>, files: &Files) -> Result<(), KeepError> {
        if before != Some(files) {
            let text = serde_json::to_string_pretty(files);
            let text = text.map_err(|_| KeepError::Unreadable)?;
            self.dir.replace(AUTHORITY, &text)?;
        }
        Ok(())
    }

    fn take(&mut self, read: Used, trust: Trust) -> Result<Trust, KeepError> {
        let roots = trust.roots_pem();
        let before = self.dir.read(ROOTS)?;
        if before.as_ref() != Some(&roots) {
            self.dir.replace(ROOTS, &roots)?;
        }
        let believed = before.and_then(|text| Bundle::from_pem(&text).ok());
        if believed.is_some_and(|before| !trust.shares_root(&before)) {
            tracing::warn!(
                target: "audit",
                "another authority than before: who believes only {ROOTS} as it was believes nothing of it"
            );
        }
        self.used = Some(read);
        Ok(trust)
    }

    /// The files of an authority from elsewhere, if there is one.
    fn plugged(&self) -> Result<Option<Files>, KeepError> {
        let mut files = Files::new();
        for name in PLUGGED_FILES {
            if let Some(text) = self.dir.read(&format!("{PLUGGED}/{name}"))? {
                files.insert(name.to_owned(), text);
            }
        }
        Ok(Some(files).filter(|files| !files.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn keeper(folder: &TempDir) -> Keeper {
        let dir = StateDir::open(&folder.path().join("state")).expect("a folder");
        Keeper::new(dir, DAY)
    }

    #[test]
    fn a_restart_keeps_the_root() {
        let (folder, now) = (TempDir::new().expect("a folder"), SystemTime::now());

        let first = keeper(&folder).start(now).expect("made");
        let second = keeper(&folder).start(now + HOUR).expect("kept");

        assert_eq!(first.roots_pem(), second.roots_pem());
        let beside = fs::read_to_string(folder.path().join("state/root-cert.pem"));
        assert_eq!(beside.expect("written"), first.roots_pem());
    }

    #[test]
    fn several_that_start_at_once_have_one_root() {
        let folder = TempDir::new().expect("a folder");
        let start = || keeper(&folder).start(SystemTime::now()).expect("made");

        let roots: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            let joined = all.into_iter().map(|it| it.join().expect("no panic"));
            joined.map(|trust| trust.roots_pem()).collect()
        });

        assert!(roots.iter().all(|it| *it == roots[0]));
    }

    #[test]
    fn a_file_asks_for_a_new_root_once() {
        let (folder, now) = (TempDir::new().expect("a folder"), SystemTime::now());
        let mut keeper = keeper(&folder);
        let first = keeper.start(now).expect("made");
        let ask = folder.path().join("state/rotate-root");
        fs::write(&ask, "").expect("written");

        let second = keeper.look(now).expect("no error").expect("it changed");

        assert_eq!(second.roots.roots().len(), 2);
        assert_eq!(
            second.authority.certificate(),
            first.authority.certificate()
        );
        assert!(!ask.exists());
        assert!(keeper.look(now + HOUR).expect("no error").is_none());
    }

    #[test]
    fn a_new_root_that_cannot_be_written_down_is_still_asked_for() {
        let (folder, now) = (TempDir::new().expect("a folder"), SystemTime::now());
        let mut keeper = keeper(&folder);
        keeper.start(now).expect("made");
        fs::write(folder.path().join("state/rotate-root"), "").expect("written");
        // Where it is written first there is something else, as if the disk were full.
        let in_the_way = folder.path().join("state/.authority.json.new");
        fs::create_dir(&in_the_way).expect("made");

        keeper.look(now).expect_err("it cannot be written");

        fs::remove_dir(&in_the_way).expect("removed");
        let trust = keeper.look(now).expect("no error").expect("it changed");
        assert_eq!(trust.roots.roots().len(), 2);
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let (folder, now) = (TempDir::new().expect("a folder"), SystemTime::now());
        let mut keeper = keeper(&folder);
        keeper.start(now).expect("made");
        let file = folder.path().join("state/authority.json");
        let good = fs::read_to_string(&file).expect("written");

        for bad in ["", "{}", &good.replace("ca-key.pem", "other")] {
            fs::write(&file, bad).expect("written");
            keeper.look(now).expect_err("it cannot be used");
            assert_eq!(fs::read_to_string(&file).expect("there"), bad, "left alone");
        }
        fs::write(&file, good).expect("written");
        assert!(keeper.look(now).expect("good again").is_none());
    }

    #[test]
    fn an_authority_from_elsewhere_is_used_in_place_of_our_own() {
        let (folder, now) = (TempDir::new().expect("a folder"), SystemTime::now());
        let mut keeper = keeper(&folder);
        keeper.start(now).expect("made");
        let root = authority::Authority::root("company", now, DAY * 30).expect("a root");
        let below = root.intermediate("mesh", now, DAY * 10).expect("below");
        let plugged = folder.path().join("state/cacerts");
        fs::create_dir(&plugged).expect("made");
        let write = |name, text: &str| fs::write(plugged.join(name), text).expect("written");

        write("ca-cert.pem", &below.chain_pem());
        write("ca-key.pem", &below.key_pem());
        write("cert-chain.pem", &(below.chain_pem() + &root.chain_pem()));
        keeper.look(now).expect_err("nothing is believed yet");
        write("root-cert.pem", &root.chain_pem());
        let trust = keeper.look(now).expect("no error").expect("it changed");

        assert_eq!(trust.roots_pem(), root.chain_pem());
        assert_eq!(trust.authority.certificate(), below.certificate());
        let believed = || fs::read_to_string(folder.path().join("state/root-cert.pem"));
        assert_eq!(believed().expect("written"), root.chain_pem());

        // When it vanishes nothing else is taken, and its coming back is no news.
        let aside = folder.path().join("aside");
        fs::rename(&plugged, &aside).expect("moved away");
        let error = keeper.look(now).expect_err("it is told");
        assert!(matches!(error, KeepError::Gone), "{error}");
        assert_eq!(believed().expect("written"), root.chain_pem());
        fs::rename(&aside, &plugged).expect("moved back");
        assert!(keeper.look(now).expect("it is back").is_none());
    }
}
