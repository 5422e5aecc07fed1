//! A folder of YAML, or one file, as the source of a whole mesh.
//!
//! It is read by the code that `meshproxy --config` reads it by, but a mistake is not a matter of all or
//! nothing here: a resource that cannot be used stays at its last good form, and others follow their
//! files. While anything is wrong with a file, or with a folder, nothing that came from it goes away:
//! who cannot read a document does not know what it took back. What would vanish by a change without
//! mistakes is taken once the files have rested, see [`system::settle`].
//!
//! At the start there is no last good form to stay at, but proxies may have one: so nothing is told
//! before everything could be read once without a mistake.
//!
//! There are no pods in a folder: `WorkloadEntry`, `ServiceEntry` and `EndpointSlice` say where
//! workloads are and who they are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::wire::Name;
use config::{Loaded, Loader, Problem, Resource, Severity};
use system::files::FileWatch;
use system::settle::{InUse, Settle, Trigger};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::event::{Event, Object, Refused};

/// Namespace of documents that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// Problems of one look that are logged one by one.
const LOGGED_PROBLEMS_MAX: usize = 50;

/// Tells what the file or folder `path` holds, as soon as all of it can be used and then after every
/// change, as long as somebody listens. It need not exist yet.
///
/// # Cancel safety
///
/// Dropping it ends the watch; nothing is left behind but a look that was under way.
pub async fn run(path: PathBuf, sender: mpsc::Sender<Event>) {
    let (signal, changed) = mpsc::channel(1);
    // Watched before the first look, so that no change falls between the two.
    let watch = FileWatch::start(vec![path.clone()]);
    tokio::select! {
        () = watch.run(signal) => {}
        () = follow(Folder::new(path), changed, sender) => {}
    }
}

async fn follow(mut folder: Folder, mut changed: mpsc::Receiver<()>, sender: mpsc::Sender<Event>) {
    let mut trigger = Trigger::Operator;
    let mut synced = false;
    loop {
        // Thousands of files take a while to read.
        let looked = spawn_blocking(move || {
            let news = folder.look(trigger, Instant::now());
            (folder, news)
        });
        let news = match looked.await {
            Ok((same, news)) => {
                folder = same;
                news
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends.
                Err(_) => return,
            },
        };
        let everything = news.map(Event::Everything);
        let is_told = folder.told.is_some();
        let first = (is_told && !synced).then_some(Event::Synced);
        synced = is_told;
        for event in everything.into_iter().chain(first) {
            if sender.send(event).await.is_err() {
                return;
            }
        }
        trigger = tokio::select! {
            signal = changed.recv() => match signal {
                Some(()) => Trigger::Files,
                None => return,
            },
            () = until(folder.settle.due()) => Trigger::Settled,
            () = sender.closed() => return,
        };
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The folder as it was seen last.
struct Folder {
    path: PathBuf,
    loader: Loader,
    /// What was told last; nothing was yet if there is none.
    told: Option<InForce>,
    /// The same for the question what would vanish.
    in_use: InUse,
    settle: Settle,
    /// What was wrong at the last look, so that it is logged once.
    problems: HashSet<Problem>,
}

/// What counts.
#[derive(Debug, PartialEq)]
struct InForce {
    /// Resources as they are written now, then those that stay because something is wrong.
    resources: Vec<Arc<Resource>>,
    /// Documents that cannot be used, in the order of their names.
    refused: Vec<Refused>,
}

// === impl Folder ===

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            loader: Loader::new(DEFAULT_NAMESPACE),
            told: None,
            in_use: InUse::default(),
            settle: Settle::default(),
            problems: HashSet::new(),
        }
    }

    /// Everything there is now, if it is something else than before.
    fn look(&mut self, trigger: Trigger, now: Instant) -> Option<Vec<Object>> {
        let loaded = self.loader.load(std::slice::from_ref(&self.path));
        self.log(&loaded.problems);
        let mistaken = mistaken(&loaded.problems);
        if self.told.is_none() && !mistaken.is_empty() && !is_empty(&self.path, &mistaken) {
            tracing::error!(
                path = %self.path.display(),
                "not ready: no proxy is told anything until all of it can be used"
            );
            return None;
        }
        let before = self.told.as_ref();
        let before = before.map_or(&[][..], |told| &told.resources);
        let next = in_force(loaded, &mistaken, before);
        let bytes = |file: &Path| self.loader.bytes(file);
        let lost = self.in_use.lost(&next.resources, bytes);
        if !self.settle.passes(trigger, lost, now) {
            return None;
        }
        if self.told.as_ref().is_some_and(|told| told.is(&next)) {
            return None;
        }
        // A file that is being written counts as long as it was: half of it is no measure.
        let bytes = |file: &Path| match is_below(file, &mistaken) {
            true => self.in_use.bytes(file).max(bytes(file)),
            false => bytes(file),
        };
        self.in_use = InUse::new(&next.resources, bytes);
        tracing::info!(
            resources = next.resources.len(),
            refused = next.refused.len(),
            "read what the mesh is made of"
        );
        let objects = next.objects();
        self.told = Some(next);
        Some(objects)
    }

    /// Logs what was not wrong before.
    fn log(&mut self, problems: &[Problem]) {
        let new = problems.iter().filter(|it| !self.problems.contains(it));
        let new: Vec<&Problem> = new.collect();
        for problem in new.iter().take(LOGGED_PROBLEMS_MAX) {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
            }
        }
        if let Some(more) = new.len().checked_sub(LOGGED_PROBLEMS_MAX + 1) {
            tracing::warn!(
                more = more + 1,
                "further problems: see `meshcontrol analyze`"
            );
        }
        self.problems = problems.iter().cloned().collect();
    }
}

// === impl InForce ===

impl InForce {
    /// Whether it says the same by the very same resources.
    fn is(&self, next: &Self) -> bool {
        let mut pairs = self.resources.iter().zip(&next.resources);
        self.resources.len() == next.resources.len()
            && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
            && self.refused == next.refused
    }

    /// The last good form of what is refused is not told again: whoever takes events has it.
    fn objects(&self) -> Vec<Object> {
        let refused: HashSet<&Name> = self.refused.iter().map(|it| &it.name).collect();
        let resources = self.resources.iter();
        let resources = resources.filter(|it| !refused.contains(&Name::of(it)));
        let resources = resources.map(|it| Object::Resource(Arc::clone(it)));
        let refused = self.refused.iter().cloned().map(Object::Refused);
        resources.chain(refused).collect()
    }
}

/// Files and folders with an error.
fn mistaken(problems: &[Problem]) -> BTreeSet<Arc<Path>> {
    errors(problems).map(|it| Arc::clone(&it.file)).collect()
}

/// Whether all that is wrong is that a folder, which can be read, has no files yet.
fn is_empty(path: &Path, mistaken: &BTreeSet<Arc<Path>>) -> bool {
    mistaken.iter().all(|it| **it == *path) && std::fs::read_dir(path).is_ok()
}

fn errors(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    let problems = problems.iter();
    problems.filter(|problem| problem.severity == Severity::Error)
}

/// Whether a file is one of `paths`, or below one of them.
fn is_below(file: &Path, paths: &BTreeSet<Arc<Path>>) -> bool {
    file.ancestors().any(|path| paths.contains(path))
}

/// What counts when this was loaded, and `before` was in force.
fn in_force(loaded: Loaded, mistaken: &BTreeSet<Arc<Path>>, before: &[Arc<Resource>]) -> InForce {
    let good: HashSet<Name> = loaded.resources.iter().map(|it| Name::of(it)).collect();
    let mut refused: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for problem in errors(&loaded.problems) {
        // One that is written twice is in force as it is written first.
        if let Some(name) = name(problem).filter(|name| !good.contains(name)) {
            refused.entry(name).or_default().push(problem.to_string());
        }
    }
    let stays = |it: &&Arc<Resource>| {
        let name = Name::of(it);
        !good.contains(&name)
            && (refused.contains_key(&name) || is_below(&it.source.file, mistaken))
    };
    let mut resources = loaded.resources;
    resources.extend(before.iter().filter(stays).cloned());
    let refused = refused.into_iter();
    let refused = refused.map(|(name, reasons)| Refused { name, reasons });
    InForce {
        resources,
        refused: refused.collect(),
    }
}

/// Which resource is meant; none if its document does not say.
fn name(problem: &Problem) -> Option<Name> {
    let (kind, name) = problem.resource.split_once(' ')?;
    let (namespace, name) = name.split_once('/')?;
    Some(Name::new(kind, namespace, name))
}

#[cfg(test)]
mod tests;
