//! The task of the control thread that keeps the health of endpoints up to date: it makes health
//! checks and ends ejections. Requests only ever see what came of it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::probe;
use super::schedule::{Schedule, Target};
use crate::telemetry::metrics::{Results, TlsMetrics};
use crate::upstream::destination::Destinations;
use crate::upstream::outlier::sweep::{LOOK_INTERVAL, Sweep};

/// Checks under way at the same time; each is one connection. A burst of more would only compete with
/// requests for the machine.
pub(super) const CHECKS_MAX: usize = 64;

/// Minds the endpoints of one generation after another until dropped.
#[derive(Debug)]
pub struct Keeper {
    minded: watch::Sender<Destinations>,
    task: JoinHandle<()>,
}

// === impl Keeper ===

impl Keeper {
    /// A keeper of no endpoint yet, which counts checks in `results` and their handshakes in `tls`.
    ///
    /// Must be called within a runtime, which runs the task.
    pub fn new(results: Results, tls: TlsMetrics) -> Self {
        let (minded, destinations) = watch::channel(Destinations::default());
        let task = tokio::spawn(keep(destinations, results, tls));
        Self { minded, task }
    }

    /// Minds these endpoints from now on. What is known of those that it minds already stays.
    pub fn mind(&self, destinations: &Destinations) {
        self.minded.send_replace(destinations.clone());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs until nobody can say any more what is to be minded.
async fn keep(mut minded: watch::Receiver<Destinations>, results: Results, tls: TlsMetrics) {
    let mut sweep = Sweep::default();
    let mut schedule = Schedule::default();
    let mut checks: JoinSet<Option<Result<(), String>>> = JoinSet::new();
    let mut under_way: HashMap<task::Id, Arc<Target>> = HashMap::new();
    let mut look = Instant::now();
    loop {
        let due = loop {
            if checks.len() >= CHECKS_MAX {
                break None;
            }
            let Some(target) = schedule.start(Instant::now()) else {
                break schedule.due();
            };
            let started = checks.spawn(check(Arc::clone(&target), tls.clone()));
            under_way.insert(started.id(), target);
        };
        tokio::select! {
            // A look at what was replaced would judge by rules and endpoints that are not in use any
            // more. Looks come ten times in a second at most, so that checks are not held up by them.
            biased;
            changed = minded.changed() => {
                if changed.is_err() {
                    return;
                }
                let destinations = minded.borrow_and_update().clone();
                let now = Instant::now();
                sweep = Sweep::of(&destinations);
                look = now;
                schedule.want(&destinations, now);
            }
            () = until((!sweep.is_empty()).then_some(look)) => {
                let now = Instant::now();
                sweep.look(now);
                look = now + LOOK_INTERVAL;
            }
            Some(done) = checks.join_next_with_id() => {
                // A check that panicked says nothing of the endpoint.
                let (id, result) = done.unwrap_or_else(|error| (error.id(), None));
                let Some(target) = under_way.remove(&id) else { continue };
                note(&mut schedule, &target, result, &results);
            }
            () = until(due) => {}
        }
    }
}

async fn check(target: Arc<Target>, tls: TlsMetrics) -> Option<Result<(), String>> {
    let result = probe::run(&target, &tls).await?;
    Some(result.map_err(|failure| failure.text()))
}

/// Counts a result, and logs what it changes.
fn note(
    schedule: &mut Schedule,
    target: &Arc<Target>,
    result: Option<Result<(), String>>,
    results: &Results,
) {
    let error = match &result {
        Some(Ok(())) => {
            results.ok.inc();
            String::new()
        }
        Some(Err(error)) => {
            results.failed.inc();
            error.clone()
        }
        None => String::new(),
    };
    let (addr, host) = (&target.addr, &target.check.authority);
    match schedule.finish(target, result, Instant::now()) {
        Some(true) => tracing::info!(endpoint = %addr, host, "endpoint passes its health check"),
        Some(false) => {
            tracing::info!(endpoint = %addr, host, error, "endpoint fails its health check");
        }
        None => {}
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
