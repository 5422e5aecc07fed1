//! The tasks of the control thread that fetch keys: one for each issuer, as long as it is in use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::fetch::{self, FetchError};
use super::schedule::Schedule;
use super::{Issuer, Standing, of_table};
use crate::table::Table;

/// Fetches under way at the same time.
const FETCHES_MAX: usize = 16;

/// What is counted of fetches, by issuer.
#[derive(Debug, Clone)]
pub struct FetchCounters {
    /// Fetches by `issuer` and `result`.
    pub(crate) fetches: IntCounterVec,
    /// When the keys in use were fetched, in seconds since 1970, by `issuer`.
    pub(crate) fetched: IntGaugeVec,
}

/// Keeps the keys of the issuers of one generation after another fresh.
#[derive(Debug)]
pub(crate) struct Keeper {
    tasks: JoinSet<()>,
    minded: Vec<(Arc<Issuer>, AbortHandle)>,
    slots: Arc<Semaphore>,
    counters: FetchCounters,
}

// === impl Keeper ===

impl Keeper {
    /// A keeper of no issuer yet.
    pub(crate) fn new(counters: FetchCounters) -> Self {
        Self {
            tasks: JoinSet::new(),
            minded: Vec::new(),
            slots: Arc::new(Semaphore::new(FETCHES_MAX)),
            counters,
        }
    }

    /// Minds the issuers of this table from now on, and no others.
    ///
    /// Must be called within a runtime, which runs the tasks.
    pub(crate) fn mind(&mut self, table: &Table) {
        let wanted = of_table(table);
        let is_wanted = |issuer: &Arc<Issuer>| wanted.iter().any(|it| Arc::ptr_eq(it, issuer));
        let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.minded)
            .into_iter()
            .partition(|(issuer, _)| is_wanted(issuer));
        self.minded = stay;
        for (issuer, task) in gone {
            task.abort();
            self.counters.forget(&issuer);
        }
        while self.tasks.try_join_next().is_some() {}
        for issuer in wanted {
            let known = self.minded.iter().any(|(it, _)| Arc::ptr_eq(it, &issuer));
            if !known {
                let (slots, counters) = (Arc::clone(&self.slots), self.counters.clone());
                let task = self.tasks.spawn(keep(Arc::clone(&issuer), slots, counters));
                self.minded.push((issuer, task));
            }
        }
    }

    /// Waits until every issuer has been asked once, but not longer than `limit`.
    pub(crate) async fn first(&self, limit: Duration) {
        let all = async {
            for (issuer, _) in &self.minded {
                issuer.tried().await;
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!("keys of issuers not fetched yet: their tokens are refused until then");
        }
    }
}

/// Runs until it is aborted.
async fn keep(issuer: Arc<Issuer>, slots: Arc<Semaphore>, counters: FetchCounters) {
    let mut schedule = Schedule::new(Instant::now());
    loop {
        let fetched = {
            // Never closed.
            let _slot = slots.acquire().await;
            issuer.asked.store(false, Ordering::Relaxed);
            let limit = issuer.origin.timeout;
            let fetching = Box::pin(fetch::keys(&issuer.origin));
            let fetched = timeout(limit, fetching).await;
            fetched.unwrap_or(Err(FetchError::Timeout(limit)))
        };
        let (now, chance) = (Instant::now(), fastrand::f64());
        let name = &*issuer.origin.issuer;
        let Standing {
            failures,
            fetched: before,
            ..
        } = issuer.standing();
        counters.count(name, fetched.is_ok());
        match fetched {
            Ok((keys, uri)) => {
                if keys.is_empty() {
                    tracing::warn!(issuer = name, "issuer has no key that can be used");
                } else if failures > 0 {
                    let again = if before.is_some() { " again" } else { "" };
                    tracing::info!(issuer = name, "keys fetched{again}");
                }
                let fetched = SystemTime::now();
                counters.note(name, fetched);
                issuer.renew(keys, &uri, fetched);
                schedule.succeeded(now, chance);
            }
            Err(error) => {
                let error = chain(&error);
                if failures == 0 {
                    tracing::warn!(issuer = name, error, "keys not fetched");
                }
                schedule.failed(issuer.fail(error), now, chance);
            }
        }
        tokio::select! {
            () = sleep_until(schedule.due()) => {}
            () = issuer.waker.notified() => sleep_until(schedule.asked(Instant::now())).await,
        }
    }
}

/// An error with all of its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

// === impl FetchCounters ===

impl FetchCounters {
    fn count(&self, issuer: &str, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.fetches.with_label_values(&[issuer, result]).inc();
    }

    fn note(&self, issuer: &str, fetched: SystemTime) {
        let since = fetched.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let gauge = self.fetched.with_label_values(&[issuer]);
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Shows nothing more of an issuer. What was never shown is not missed.
    fn forget(&self, issuer: &Issuer) {
        let name = &*issuer.origin.issuer;
        for result in ["ok", "failed"] {
            let _ = self.fetches.remove_label_values(&[name, result]);
        }
        let _ = self.fetched.remove_label_values(&[name]);
    }
}
