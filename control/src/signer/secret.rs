//! The authority of a control plane in Kubernetes: Secrets in its namespace.
//!
//! `cacerts` has an authority from elsewhere, in the form that Istio knows. Without it there is one of
//! our own in `meshcontrol-ca`, made at the first start by whichever replica comes first. All
//! replicas see both by a watch, and each write is on top of what was seen, so that of several that
//! want to write the same time one does and the others take what it wrote. The annotation
//! `meshproxy.io/rotate-root` on our own has its root replaced, after a rotation that is under way.
//!
//! If `cacerts` vanishes what it had goes on signing, and that is told: another root would be believed
//! by nobody. Only a start without it takes our own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::AuthorityError;
use futures::{Stream, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::Error as WatchError};
use prometheus::{IntGauge, Registry};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, error::Elapsed, interval, timeout};

use super::outlet::Outlet;
use super::ring::{self, Change, Files, Ring};
use super::trust::{Trust, TrustError};

/// An authority from elsewhere.
const PLUGGED: &str = "cacerts";
/// Our own.
const OWN: &str = "meshcontrol-ca";
/// Asks for a new root; its value says nothing.
const ROTATE: &str = "meshproxy.io/rotate-root";
/// Name of our roots.
const NAME: &str = "meshcontrol";
/// How often is looked whether something is due, or goes better than before.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Limit of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a Secret of our namespace has an authority, by its name. None but the keeper may read it.
pub(crate) fn is_authority(name: &str) -> bool {
    name == PLUGGED || name == OWN
}

/// Keeps an authority in Secrets.
pub(crate) struct Keeper {
    secrets: Api<Secret>,
    namespace: String,
    /// The longest that certificates may live.
    longest: Duration,
    plugged: Seen,
    own: Seen,
    used: Option<Used>,
    failing: IntGauge,
}

/// What is in use, by where it is from: what is from elsewhere is never written to our own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Used {
    Plugged(Files),
    Own(Files),
}

/// What is known of a Secret.
#[derive(Debug)]
enum Seen {
    /// Nothing yet.
    Unknown,
    /// It does not exist.
    Absent,
    /// What it was like.
    There(Box<Secret>),
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("Secret {0}")]
    Trust(&'static str, #[source] TrustError),
    #[error("Secret {PLUGGED} is gone, and what it had is in use until a restart")]
    Gone,
    #[error("cannot make a root")]
    Make(#[source] AuthorityError),
    #[error("cannot {0} Secret {OWN}")]
    Request(&'static str, #[source] kube::Error),
    #[error("cannot {0} Secret {OWN}: no answer in time")]
    Timeout(&'static str, #[source] Elapsed),
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(
        client: kube::Client,
        namespace: &str,
        longest: Duration,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let failing = IntGauge::new(
            "meshcontrol_authority_failing",
            "1 while the authority in use is not the one that is kept: that is gone, or cannot be used.",
        )?;
        registry.register(Box::new(failing.clone()))?;
        Ok(Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            longest,
            plugged: Seen::Unknown,
            own: Seen::Unknown,
            used: None,
            failing,
        })
    }

    /// Follows both Secrets and does what is due, for ever. With something that cannot be used what
    /// was before stays.
    pub(crate) async fn run(mut self, trust: watch::Sender<Option<Arc<Trust>>>) {
        let mut outlet = Outlet::new(trust);
        let mut plugged = std::pin::pin!(self.follow(PLUGGED));
        let mut own = std::pin::pin!(self.follow(OWN));
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = plugged.next() => self.plugged.see(event),
                Some(event) = own.next() => self.own.see(event),
                _ = ticks.tick() => {}
            }
            let looked = self.look(SystemTime::now()).await;
            self.failing.set(i64::from(looked.is_err()));
            outlet.take(looked);
        }
    }

    fn follow(
        &self,
        name: &'static str,
    ) -> impl Stream<Item = Result<Event<Secret>, WatchError>> + use<> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        watcher(self.secrets.clone(), config).default_backoff()
    }

    /// What is to be used from now on, if it is not what was used before.
    async fn look(&mut self, now: SystemTime) -> Result<Option<Trust>, KeepError> {
        match (&self.plugged, &self.own) {
            // One that may be there must not be overlooked: two roots that know nothing of each other
            // would be two meshes.
            (Seen::Unknown, _) | (_, Seen::Unknown) => Ok(None),
            (Seen::There(secret), _) => {
                let files = files(secret);
                let used = Some(Used::Plugged(files.clone()));
                if self.used == used {
                    return Ok(None);
                }
                let trust = ring::plugged(&files, now);
                let trust = trust.map_err(|error| KeepError::Trust(PLUGGED, error))?;
                self.used = used;
                Ok(Some(trust))
            }
            (Seen::Absent, _) if matches!(self.used, Some(Used::Plugged(_))) => {
                Err(KeepError::Gone)
            }
            (Seen::Absent, Seen::Absent) => {
                self.own = Seen::There(Box::new(self.create(now).await?));
                self.look_at_own(now).await
            }
            (Seen::Absent, Seen::There(_)) => self.look_at_own(now).await,
        }
    }

    async fn look_at_own(&mut self, now: SystemTime) -> Result<Option<Trust>, KeepError> {
        let Seen::There(secret) = &self.own else {
            return Ok(None);
        };
        let own = |error| KeepError::Trust(OWN, error);
        let before = files(secret);
        let mut ring = Ring::from_files(&before, NAME, self.longest).map_err(own)?;
        let asked = secret.metadata.annotations.as_ref();
        let asked = asked.is_some_and(|annotations| annotations.contains_key(ROTATE));
        if asked {
            ring.ask();
        }
        let mut changes = Vec::new();
        while let Some(change) = ring.step(self.longest, now).map_err(KeepError::Make)? {
            changes.push(change);
        }
        let after = ring.to_files().map_err(own)?;
        if asked || after != before {
            let secret = self.replace(secret, &after).await?;
            let Some(secret) = secret else {
                // Somebody was faster; what he wrote is on its way.
                return Ok(None);
            };
            changes.into_iter().for_each(Change::tell);
            self.own = Seen::There(Box::new(secret));
        }
        let used = Some(Used::Own(after));
        if self.used == used {
            return Ok(None);
        }
        let trust = ring.trust(now).map_err(own)?;
        self.used = used;
        Ok(Some(trust))
    }

    /// Writes our own for the first time, or again if somebody removed what is in use; or reads what
    /// another replica wrote meanwhile.
    async fn create(&self, now: SystemTime) -> Result<Secret, KeepError> {
        let files = match &self.used {
            Some(Used::Own(files)) => files.clone(),
            Some(Used::Plugged(_)) => return Err(KeepError::Gone),
            None => {
                let ring = Ring::make(NAME, self.longest, now).map_err(KeepError::Make)?;
                let files = ring.to_files();
                files.map_err(|error| KeepError::Trust(OWN, error))?
            }
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(OWN.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data(&files)),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let created = self.secrets.create(&parameters, &secret);
        match within("create", created).await {
            Ok(secret) => {
                tracing::info!(target: "audit", secret = OWN, "made a root");
                Ok(secret)
            }
            Err(KeepError::Request(_, error)) if is_conflict(&error) => {
                within("read", self.secrets.get(OWN)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Writes over what was seen; `None` if it is another by now.
    async fn replace(&self, before: &Secret, files: &Files) -> Result<Option<Secret>, KeepError> {
        let mut secret = before.clone();
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(ROTATE);
        }
        secret.data = Some(data(files));
        let parameters = PostParams::default();
        let replaced = self.secrets.replace(OWN, &parameters, &secret);
        match within("write", replaced).await {
            Ok(secret) => Ok(Some(secret)),
            Err(KeepError::Request(_, error)) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

// === impl Seen ===

impl Seen {
    fn see(&mut self, event: Result<Event<Secret>, WatchError>) {
        match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                *self = Self::There(Box::new(secret));
            }
            Ok(Event::Delete(_)) => *self = Self::Absent,
            // The list that follows says whether it is there.
            Ok(Event::Init) => *self = Self::Unknown,
            Ok(Event::InitDone) => {
                if matches!(self, Self::Unknown) {
                    *self = Self::Absent;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot watch a Secret of the authority"),
        }
    }
}

async fn within<T>(
    action: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KeepError> {
    let answered = timeout(REQUEST_TIMEOUT, request).await;
    let answered = answered.map_err(|error| KeepError::Timeout(action, error))?;
    answered.map_err(|error| KeepError::Request(action, error))
}

/// Whether somebody else was faster.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// What of a Secret is text.
fn files(secret: &Secret) -> Files {
    let data = secret.data.iter().flatten();
    let text = data.filter_map(|(name, value)| {
        let text = String::from_utf8(value.0.clone()).ok()?;
        Some((name.clone(), text))
    });
    text.collect()
}

fn data(files: &Files) -> BTreeMap<String, ByteString> {
    let data = files.iter();
    data.map(|(name, text)| (name.clone(), ByteString(text.clone().into_bytes())))
        .collect()
}

#[cfg(test)]
mod tests;
