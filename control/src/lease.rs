//! Which of several replicas does what only one may do, by a `Lease` of Kubernetes.
//!
//! All replicas serve; only what is written for all of them has one author. Whoever cannot renew in time
//! knows by its own clock that it lost, before anybody else may take the place: no clocks are compared.
//! It relies on the clock of the machine going on while the process is stopped, as Linux' does.

mod election;

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use election::{Election, Record, Step};

/// Where the lease is, and who contends for it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who we are: different for each process that ever contends, so that one that was started anew is
    /// nobody's heir.
    pub identity: String,
    /// How fast it goes.
    pub timing: Timing,
}

/// How fast it goes: `retry` < `renew` < `duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after they last saw the lease change; whole seconds.
    pub duration: Duration,
    /// How long it is held after a renewal.
    pub renew: Duration,
    /// Time between two looks, and longest wait for an answer.
    pub retry: Duration,
}

/// Whether it is us, for whoever does what only one may do.
#[derive(Debug, Clone)]
pub struct Leadership {
    held_until: watch::Receiver<Option<Instant>>,
}

/// One replica's part of the election.
#[derive(Debug)]
pub struct Contender {
    leases: Api<Lease>,
    settings: Settings,
    election: Election,
    held_until: watch::Sender<Option<Instant>>,
}

/// A replica that contends once its [`Contender::run`] is polled, and what others may ask of it.
pub fn contend(client: Client, settings: Settings) -> (Contender, Leadership) {
    let (sender, receiver) = watch::channel(None);
    let contender = Contender {
        leases: Api::namespaced(client, &settings.namespace),
        election: Election::new(&settings.identity, settings.timing),
        settings,
        held_until: sender,
    };
    let leadership = Leadership {
        held_until: receiver,
    };
    (contender, leadership)
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

// === impl Leadership ===

impl Leadership {
    /// Whether it is us now. It is to be asked before each thing that only one may do.
    pub fn is_held(&self) -> bool {
        self.held_until
            .borrow()
            .is_some_and(|end| Instant::now() < end)
    }

    /// Waits until it is us; for ever if nobody contends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn won(&mut self) {
        loop {
            if self.is_held() {
                return;
            }
            if self.held_until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until it is not us any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn lost(&mut self) {
        loop {
            let end = *self.held_until.borrow_and_update();
            let Some(end) = end.filter(|end| Instant::now() < *end) else {
                return;
            };
            tokio::select! {
                () = sleep_until(end) => {}
                changed = self.held_until.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

// === impl Contender ===

impl Contender {
    /// Contends until `stop`, then hands the lease back, so that the next one need not wait.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let retry = self.settings.timing.retry;
            let work = async {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, lease = self.settings.name, "the lease cannot be renewed");
                }
                // Replicas that were started together should not look together.
                sleep(retry.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            };
            tokio::select! {
                () = work => {}
                () = &mut stop => break,
            }
        }
        self.step_down().await;
    }

    async fn look(&mut self) -> Result<(), Error> {
        let seen = self
            .bounded(self.leases.get_opt(&self.settings.name))
            .await?;
        // Not before the answer: a lease must not seem to rest for longer than it does.
        let begun = Instant::now();
        let record = seen.as_ref().map(record);
        self.election.observe(record, begun);
        let was_held = self.election.is_held(begun);
        match self.election.step(begun) {
            Step::Wait => {}
            Step::Create => {
                let lease = self.lease(None, 0);
                let parameters = PostParams::default();
                let made = self.bounded(self.leases.create(&parameters, &lease)).await;
                self.wrote(made, begun)?;
            }
            Step::Take { transitions } => {
                let lease = self.lease(seen.as_ref(), transitions);
                let written = self.replace(&lease).await;
                self.wrote(written, begun)?;
            }
        }
        let is_held = self.election.is_held(Instant::now());
        if is_held != was_held {
            let (lease, identity) = (&self.settings.name, &self.settings.identity);
            tracing::info!(lease, identity, is_held, "leadership changed");
        }
        self.publish();
        Ok(())
    }

    /// Somebody who was faster is no failure: the next look shows who it was.
    fn wrote(&mut self, written: Result<Lease, Error>, begun: Instant) -> Result<(), Error> {
        match written {
            Ok(lease) => {
                self.election.wrote(record(&lease), begun);
                Ok(())
            }
            Err(Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                self.election.defeated();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn step_down(mut self) {
        let seen = self.election.step_down();
        self.publish();
        if let Some(seen) = seen {
            let mut lease = self.lease(None, seen.transitions);
            lease.metadata.resource_version = Some(seen.version);
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
            }
            // Others wait until it expires if this fails.
            if let Err(error) = self.replace(&lease).await {
                tracing::debug!(%error, "the lease cannot be handed back");
            }
        }
    }

    fn publish(&self) {
        let end = self.election.held_until();
        self.held_until.send_if_modified(|published| {
            let is_new = *published != end;
            *published = end;
            is_new
        });
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, Error> {
        let parameters = PostParams::default();
        let written = self.leases.replace(&self.settings.name, &parameters, lease);
        self.bounded(written).await
    }

    /// A request that is not answered in time has failed.
    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout(self.settings.timing.retry, request).await {
            Ok(answered) => answered,
            Err(elapsed) => Err(Error::Service(elapsed.into())),
        }
    }

    /// The lease as it is once it is ours, in the place of `seen`.
    fn lease(&self, seen: Option<&Lease>, transitions: i32) -> Lease {
        let now = || Some(MicroTime(Timestamp::now()));
        let before = seen.and_then(|lease| lease.spec.as_ref());
        let ours = before.filter(|spec| {
            spec.holder_identity.as_deref() == Some(self.settings.identity.as_str())
        });
        let seconds = self.settings.timing.duration.as_secs();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                resource_version: seen.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.settings.identity.clone()),
                lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
                acquire_time: ours.map_or_else(now, |spec| spec.acquire_time.clone()),
                renew_time: now(),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
