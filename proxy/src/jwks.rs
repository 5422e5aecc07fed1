//! Keys of issuers that are fetched (`jwksUri`, or what the issuer says of itself): asked for on the
//! control thread, read by workers without waiting.
//!
//! What was fetched outlives reloads, and stays while the issuer is down: who holds one of its tokens
//! is not locked out because the issuer cannot be asked.

mod fetch;
mod keeper;
mod schedule;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, watch};

use crate::inbound::jwt::keys::Keys;
use crate::snapshot::Shared;
use crate::table::Table;
pub use keeper::FetchCounters;
pub(crate) use keeper::Keeper;

/// How long keys are awaited where a rule does not say.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// What is wrong with a set in which no key can be used.
const NO_KEY: &str = "the set has no key that can be used";

/// Whose keys, and where they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The issuer; empty if a rule takes tokens of any.
    pub issuer: Box<str>,
    /// Where its keys are; none if the issuer has to be asked (OpenID Connect Discovery §4).
    pub uri: Option<Box<str>>,
    /// Limit of a fetch.
    pub timeout: Duration,
}

/// An issuer whose keys are fetched.
#[derive(Debug)]
pub struct Issuer {
    origin: Origin,
    /// The last good ones.
    keys: Shared<Keys>,
    /// Somebody asked for a key that is not among them.
    asked: AtomicBool,
    /// Wakes who fetches.
    waker: Notify,
    /// Whether there was an attempt.
    tried: watch::Sender<bool>,
    /// Of the control thread alone.
    standing: Mutex<Standing>,
}

/// How fetching went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// When the keys in use were fetched.
    pub(crate) fetched: Option<SystemTime>,
    /// How many they are, and those that have names.
    pub(crate) keys: usize,
    pub(crate) key_ids: Vec<String>,
    /// How many of the set cannot be used.
    pub(crate) unusable: usize,
    /// Where they were fetched.
    pub(crate) uri: Option<Box<str>>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Why the last attempt failed, if it did.
    pub(crate) error: Option<String>,
}

/// All issuers that are in use, so that one that stays in the configuration stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Issuers(FxHashMap<Origin, Weak<Issuer>>);

/// The issuers whose keys a table needs, each once.
pub(crate) fn of_table(table: &Table) -> Vec<Arc<Issuer>> {
    let admissions = table.everywhere().filter_map(|it| it.admission.as_ref());
    let authentications = admissions.filter_map(|it| it.authentication.as_ref());
    let mut issuers: Vec<Arc<Issuer>> = Vec::new();
    for issuer in authentications.flat_map(|it| it.issuers()) {
        if !issuers.iter().any(|known| Arc::ptr_eq(known, issuer)) {
            issuers.push(Arc::clone(issuer));
        }
    }
    issuers
}

// === impl Issuer ===

impl Issuer {
    /// An issuer of which nothing is known yet.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            keys: Shared::default(),
            asked: AtomicBool::new(false),
            waker: Notify::new(),
            tried: watch::Sender::new(false),
            standing: Mutex::default(),
        }
    }

    /// Whose keys they are.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Reads the keys of this moment; none before they were fetched for the first time.
    pub(crate) fn read<R>(&self, work: impl FnOnce(Option<&Keys>) -> R) -> R {
        self.keys.read(work)
    }

    /// Asks for newer keys than those that are known. Nothing waits for them.
    pub(crate) fn ask_again(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.waker.notify_one();
        }
    }

    /// How fetching went.
    pub(crate) fn standing(&self) -> Standing {
        let standing = self.standing.lock();
        standing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts newer keys to use.
    pub(crate) fn renew(&self, keys: Keys, uri: &str, now: SystemTime) {
        let ids = keys.ids().map(str::to_owned).collect();
        let standing = Standing {
            fetched: Some(now),
            keys: keys.len(),
            key_ids: ids,
            unusable: keys.unusable(),
            uri: Some(uri.into()),
            failures: 0,
            error: keys.is_empty().then(|| NO_KEY.to_owned()),
        };
        self.keys.replace(keys);
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        self.tried.send_replace(true);
    }

    /// Notes that there are no newer keys; those that are known stay. Says how often in a row.
    fn fail(&self, error: String) -> u32 {
        self.tried.send_replace(true);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.failures = standing.failures.saturating_add(1);
        standing.error = Some(error);
        standing.failures
    }

    /// Waits until there was an attempt to fetch.
    async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // The sender is as alive as we are.
        let _ = tried.wait_for(|tried| *tried).await;
    }
}

// === impl Issuers ===

impl Issuers {
    /// The issuer of this origin, the same as before if it is in use.
    pub(crate) fn hold(&mut self, origin: &Origin) -> Arc<Issuer> {
        if let Some(known) = self.0.get(origin).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, issuer| issuer.strong_count() > 0);
        let issuer = Arc::new(Issuer::new(origin.clone()));
        self.0.insert(origin.clone(), Arc::downgrade(&issuer));
        issuer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(issuer: &str) -> Origin {
        Origin {
            issuer: issuer.into(),
            uri: None,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    #[test]
    fn an_issuer_stays_the_same_while_somebody_uses_it() {
        let mut issuers = Issuers::default();
        let first = issuers.hold(&origin("a"));
        first.renew(Keys::none(), "http://a/keys", SystemTime::UNIX_EPOCH);

        let again = issuers.hold(&origin("a"));
        assert!(Arc::ptr_eq(&first, &again));
        assert!(again.read(|keys| keys.is_some()));

        drop((first, again));
        let fresh = issuers.hold(&origin("a"));
        assert!(fresh.read(|keys| keys.is_none()));
        assert_eq!(issuers.0.len(), 1);
    }

    #[test]
    fn keys_stay_when_the_next_attempt_fails() {
        let issuer = Issuer::new(origin("a"));
        issuer.renew(Keys::none(), "http://a/keys", SystemTime::UNIX_EPOCH);

        assert_eq!(issuer.standing().error.as_deref(), Some(NO_KEY));
        assert_eq!(issuer.standing().uri.as_deref(), Some("http://a/keys"));
        assert_eq!(issuer.fail("down".to_owned()), 1);
        assert_eq!(issuer.fail("down".to_owned()), 2);

        assert!(issuer.read(|keys| keys.is_some()));
        let standing = issuer.standing();
        assert_eq!(standing.fetched, Some(SystemTime::UNIX_EPOCH));
        assert_eq!(standing.error.as_deref(), Some("down"));
    }
}
