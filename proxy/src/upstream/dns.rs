//! Addresses of the host names that endpoints are written with.
//!
//! One task keeps every wanted name resolved and tells of changes. Nothing on the way of a request
//! waits for it: workers only ever see addresses.
//!
//! What an answer means: addresses replace those before; a real answer without addresses (the name
//! does not exist, or has no record of the family) replaces them too, because the owner of the name
//! said so. A failure (no answer, a broken one, a refusal) says nothing about the name: the last good
//! addresses stay for as long as it takes. A and AAAA are judged separately, so that a name server
//! that is broken for one family does not take away the other.

mod lookup;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::telemetry::metrics::Results;
use lookup::Lookup;
use schedule::{Answer, Schedule};

/// Lookups under way at the same time; each is one query per family. More would only be dropped by a
/// local name server after a reload that brings thousands of names.
const LOOKUPS_MAX: usize = 32;

/// The addresses of a name have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The name, as it was wanted.
    pub name: Arc<str>,
    /// All its addresses of both families, sorted, each once.
    pub addresses: Vec<IpAddr>,
}

/// Keeps names resolved until dropped.
#[derive(Debug)]
pub struct Resolver {
    wanted: watch::Sender<BTreeSet<Arc<str>>>,
    task: JoinHandle<()>,
}

// === impl Resolver ===

impl Resolver {
    /// A resolver by the system's configuration, which sends what changes to `updates` and counts
    /// lookups in `results`. Where
    /// `/etc/resolv.conf` cannot be used the C library is asked instead, which tells no lifetimes.
    ///
    /// Must be called within a runtime, which runs the task.
    pub fn new(updates: mpsc::Sender<Update>, results: Results) -> Self {
        Self::spawn(Lookup::system(), updates, results)
    }

    /// A resolver that asks one name server over UDP and nothing else, not even the hosts file.
    ///
    /// # Errors
    ///
    /// If the client for it cannot be made.
    pub fn with_nameserver(
        addr: SocketAddr,
        updates: mpsc::Sender<Update>,
        results: Results,
    ) -> io::Result<Self> {
        Ok(Self::spawn(Lookup::nameserver(addr)?, updates, results))
    }

    fn spawn(lookup: Lookup, updates: mpsc::Sender<Update>, results: Results) -> Self {
        let (wanted, names) = watch::channel(BTreeSet::new());
        let task = tokio::spawn(keep_resolved(Arc::new(lookup), names, updates, results));
        Self { wanted, task }
    }

    /// Sets the names to keep resolved: new ones are looked up at once, those that are known keep
    /// their addresses and are not told again, all others are forgotten.
    pub fn want(&self, names: impl Iterator<Item = Arc<str>>) {
        let names: BTreeSet<Arc<str>> = names.collect();
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != names;
            *wanted = names;
            changed
        });
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs until nobody wants names or updates any more.
async fn keep_resolved(
    lookup: Arc<Lookup>,
    mut wanted: watch::Receiver<BTreeSet<Arc<str>>>,
    updates: mpsc::Sender<Update>,
    results: Results,
) {
    let mut schedule = Schedule::default();
    let mut lookups: JoinSet<Answer> = JoinSet::new();
    let mut under_way: HashMap<task::Id, Arc<str>> = HashMap::new();
    loop {
        let due = loop {
            if lookups.len() >= LOOKUPS_MAX {
                break None;
            }
            let Some(name) = schedule.start(Instant::now()) else {
                break schedule.due();
            };
            let (lookup, asked) = (Arc::clone(&lookup), Arc::clone(&name));
            let started = lookups.spawn(async move { lookup.resolve(&asked).await });
            under_way.insert(started.id(), name);
        };
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                schedule.want(&wanted.borrow_and_update(), Instant::now());
            }
            Some(done) = lookups.join_next_with_id() => {
                // A lookup that panicked is one that failed.
                let (id, answer) = done.unwrap_or_else(|error| (error.id(), Answer::FAILED));
                let Some(name) = under_way.remove(&id) else { continue };
                if answer.is_failure() { results.failed.inc() } else { results.ok.inc() }
                let update = schedule.finish(&name, answer, Instant::now(), &mut fastrand::Rng::new());
                if let Some(update) = update
                    && updates.send(update).await.is_err()
                {
                    return;
                }
            }
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
