//! From files to what the workers see, at start and at every change: all or nothing.

mod effect;
pub(super) mod listeners;
mod problems;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use config::load::{Loaded, Loader};
use config::mesh::{Mesh, MeshSettings, Viewer};
use config::{Problem, Resource};
use system::settle::{InUse, Settle, Trigger};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::identity::OwnIdentity;
use super::plane::Plane;
use crate::admin::AdminState;
use crate::bootstrap::{Locality, Settings};
use crate::demand::Answered;
use crate::handover::Sockets;
use crate::jwks::Keeper as KeyKeeper;
use crate::snapshot::Publisher;
use crate::source::file::NamedFiles;
use crate::table::compile::{Compiled, Compiler, Perspective};
use crate::telemetry::causes::chain;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::{Certificates, named_files};
use crate::tls::facts::CertificateFacts;
use crate::tls::identity::WorkloadIdentity;
use crate::upstream::dns::{Resolver, Update};
use crate::upstream::health::Keeper;
use listeners::{Listeners, NewSockets};
use problems::{ReloadError, count_errors, log_problems};

/// Limit of the wait for the keys of issuers when the proxy starts.
const FIRST_KEYS_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything between the files and the workers.
pub(super) struct Configuration {
    paths: Vec<PathBuf>,
    /// Where the workload is as flags say, which counts before what a control plane does.
    locality: Option<Locality>,
    named_files: NamedFiles,
    /// Tells the configuration in the place of files, if anybody does.
    plane: Option<Plane>,
    /// Who the workload is, if it can prove it.
    own: Option<OwnIdentity>,
    loader: Loader,
    /// What flags say of the mesh.
    settings: MeshSettings,
    /// What was loaded for the generation in use.
    in_use: InUse,
    settle: Settle,
    mesh: Option<Mesh>,
    certificates: Certificates,
    compiler: Compiler,
    publisher: Publisher,
    listeners: Listeners,
    resolver: Resolver,
    keeper: Keeper,
    keys: KeyKeeper,
    metrics: Arc<Metrics>,
    admin: Arc<AdminState>,
}

/// The next generation, complete but not yet in use.
struct Next {
    loaded: Loaded,
    mesh: Mesh,
    compiled: Compiled,
    sockets: NewSockets,
    certificates: Certificates,
    answered: Arc<Answered>,
}

/// What became of the files.
enum Prepared {
    Next(Box<Next>),
    /// They say what is in use.
    Unchanged(Loaded, Arc<Answered>),
    /// Nothing was told but answers.
    Answered(Arc<Answered>),
    /// What would vanish may be about to come back.
    Unsettled,
}

/// What a configuration begins with.
pub(super) struct Beginning {
    /// Who the proxy is in metrics.
    pub(super) identity: Identity,
    /// Who the workload is, if it can prove it.
    pub(super) own: Option<OwnIdentity>,
    /// Tells the configuration in the place of files, if anybody does.
    pub(super) plane: Option<Plane>,
    /// What watches the files that the configuration names.
    pub(super) named_files: NamedFiles,
    pub(super) listeners: Listeners,
    pub(super) publisher: Publisher,
    pub(super) metrics: Arc<Metrics>,
    pub(super) resolver: Resolver,
    pub(super) admin: Arc<AdminState>,
}

// === impl Configuration ===

impl Configuration {
    pub(super) fn new(settings: &Settings, beginning: Beginning) -> Self {
        let Beginning {
            identity,
            own,
            plane,
            named_files,
            listeners,
            publisher,
            metrics,
            resolver,
            admin,
        } = beginning;
        let viewer = Viewer {
            namespace: settings.namespace.clone(),
            labels: settings.labels.clone(),
        };
        let cluster = settings.cluster.clone();
        let perspective = Perspective {
            viewer,
            identity,
            cluster,
            locality: settings.locality.clone(),
            bind: settings.bind,
            captures: settings.capture,
            principal: match &own {
                Some(own) => own.current().id.to_string(),
                None => format!(
                    "spiffe://{}/ns/{}/sa/{}",
                    settings.trust_domain, settings.namespace, settings.service_account
                ),
            },
        };
        // What is read before the first load is read again then.
        named_files.watch(own.iter().flat_map(OwnIdentity::files).collect());
        Self {
            paths: settings.config.clone(),
            locality: settings.locality.clone(),
            named_files,
            plane,
            own,
            loader: Loader::new(&settings.namespace),
            settings: MeshSettings {
                // Whoever is believed under another name is meant by policies, too.
                trust_domains: settings.trust_domain_aliases.clone(),
                path_normalization: settings.limits.normalization.into(),
                ..MeshSettings::default()
            },
            in_use: InUse::default(),
            settle: Settle::default(),
            mesh: None,
            certificates: Certificates::default(),
            compiler: Compiler::new(perspective, Arc::clone(&metrics)),
            publisher,
            listeners,
            resolver,
            keeper: Keeper::new(
                metrics.process.health_checks.clone(),
                metrics.process.tls.clone(),
            ),
            keys: KeyKeeper::new(metrics.process.jwks.clone()),
            metrics,
            admin,
        }
    }

    /// What goes to a process that takes this one's place: sockets that listen, and what was told.
    pub(super) fn handed_over(&self) -> io::Result<Sockets> {
        let mut sockets = self.listeners.sockets()?;
        if let Some(plane) = &self.plane {
            plane.hand_over(&mut sockets);
        }
        Ok(sockets)
    }

    /// Whether a control plane tells it, and not files.
    pub(super) fn is_told(&self) -> bool {
        self.plane.is_some()
    }

    /// What is open, to be changed.
    pub(super) fn listeners_mut(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// How long drains may last as the configuration has it; none if it does not say.
    pub(super) fn drain_timeout(&self) -> Option<Duration> {
        self.mesh.as_ref()?.drain_timeout()
    }

    /// The first load; any error is fatal. Waits for the first DNS answers before traffic is taken,
    /// but not longer than `dns_limit`.
    pub(super) async fn start(
        &mut self,
        resolved: &mut mpsc::Receiver<Update>,
        dns_limit: Duration,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let prepared = self.prepare(Trigger::Operator).inspect_err(|error| {
            if let ReloadError::Problems(problems) = error {
                log_problems(problems.iter());
            }
        })?;
        let Prepared::Next(mut next) = prepared else {
            anyhow::bail!("nothing is in use that could stay");
        };
        self.keys.mind(&next.compiled.table);
        next.compiled = self.await_names(next.compiled, resolved, dns_limit).await;
        self.keys.first(FIRST_KEYS_TIMEOUT).await;
        self.take_effect(*next, started).await;
        self.listeners.forget_inherited();
        Ok(())
    }

    /// Takes a change of the files, or keeps everything as it was and says why.
    pub(super) async fn reload(&mut self, trigger: Trigger) {
        let started = Instant::now();
        match self.prepare(trigger) {
            Ok(Prepared::Next(next)) => {
                self.metrics.process.config_reloads.ok.inc();
                self.take_effect(*next, started).await;
            }
            Ok(Prepared::Unchanged(loaded, answered)) => {
                self.metrics.process.config_reloads.ok.inc();
                self.answer(answered);
                self.stay(loaded);
            }
            Ok(Prepared::Answered(answered)) => {
                self.metrics.process.config_reloads.ok.inc();
                self.answer(answered);
            }
            Ok(Prepared::Unsettled) => self.replace_identity(),
            Err(error) => {
                self.refuse(error);
                self.replace_identity();
            }
        }
    }

    /// Notes that what is in use is what is written, perhaps again.
    fn stay(&mut self, loaded: Loaded) {
        self.metrics.process.config_valid.set(1);
        let info = self.admin.config.lock();
        let generation = info.unwrap_or_else(PoisonError::into_inner).generation;
        match self.plane {
            None => tracing::info!(generation, "configuration unchanged"),
            // Whoever demands what the mesh does not have would fill the log.
            Some(_) => tracing::debug!(generation, "configuration unchanged"),
        }
        self.note(loaded, generation);
    }

    /// Publishes answers of the control plane with what is in use.
    fn answer(&mut self, answered: Arc<Answered>) {
        if Arc::ptr_eq(&self.publisher.current().answered, &answered) {
            return;
        }
        let (table, destinations) = self.compiler.refresh();
        let published = Arc::clone(&answered);
        let snapshot = self
            .publisher
            .publish_answered(table, destinations, published);
        self.keeper.mind(&snapshot.destinations);
        self.tell_answered(&answered);
    }

    /// Lets go of whoever waited for these answers.
    fn tell_answered(&self, answered: &Arc<Answered>) {
        if let Some(plane) = &self.plane {
            plane.published(answered);
        }
    }

    /// Says why everything stays as it is. What was said of the same files before is not repeated:
    /// a signal and the watch may both tell of one change.
    fn refuse(&mut self, error: ReloadError) {
        self.settle.forget();
        let info = self.admin.config.lock();
        let mut info = info.unwrap_or_else(PoisonError::into_inner);
        if let ReloadError::Problems(problems) = &error {
            let known: HashSet<&Problem> = info.problems.iter().collect();
            log_problems(problems.iter().filter(|it| !known.contains(it)));
        }
        tracing::error!(
            error = chain(&error),
            "configuration not reloaded; the last good one stays"
        );
        self.metrics.process.config_reloads.failed.inc();
        self.metrics.process.config_valid.set(0);
        info.valid = false;
        info.last_error = Some(chain(&error));
        if let ReloadError::Problems(problems) = error {
            info.problems = problems;
        }
    }

    /// When to look again at files by which something would vanish; never if there are none.
    pub(super) fn settled_at(&self) -> Option<tokio::time::Instant> {
        self.settle.due()
    }

    /// Takes a new identity into the generation in use, where the next one cannot be had: what is
    /// wrong in some file must not let certificates expire.
    fn replace_identity(&mut self) {
        let (Some(mesh), Some(own)) = (&self.mesh, &self.own) else {
            return;
        };
        let in_use = self.certificates.identity();
        if in_use.is_some_and(|in_use| Arc::ptr_eq(in_use, own.current())) {
            return;
        }
        let certificates = self.certificates.with_identity(Arc::clone(own.current()));
        let facts = certificates.facts();
        let compiled = self.compiler.plan(mesh, &certificates).commit();
        let snapshot = self
            .publisher
            .publish(compiled.table, compiled.destinations);
        self.keeper.mind(&snapshot.destinations);
        self.certificates = certificates;
        self.show_certificates(facts);
    }

    fn show_certificates(&self, facts: Vec<CertificateFacts>) {
        self.metrics.process.tls.show_expirations(&facts);
        let shown = self.admin.certificates.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// When to look again at the files of the identity, or to listen where that could not be; never while
    /// all is well.
    pub(super) fn retry_at(&self) -> Option<tokio::time::Instant> {
        let own = self.own.as_ref().and_then(OwnIdentity::retry_at);
        own.into_iter().chain(self.listeners.retry_at()).min()
    }

    /// Tries again what is due.
    pub(super) async fn retry(&mut self) {
        let now = tokio::time::Instant::now();
        if self.listeners.retry_at().is_some_and(|at| at <= now) {
            let table = Arc::clone(&self.publisher.current().table);
            let sockets = self.listeners.bind_possible(&table);
            self.listeners.open(sockets, &table).await;
        }
        let own = self.own.as_ref().and_then(OwnIdentity::retry_at);
        if own.is_none_or(|at| at > now) {
            return;
        }
        let results = &self.metrics.process.tls.identity_reloads;
        let own = self.own.as_mut();
        if own.is_some_and(|own| own.look(results)) {
            self.reload(Trigger::Identity).await;
        }
    }

    /// Takes in what DNS says of a name.
    pub(super) fn resolved(&mut self, update: &Update) {
        self.compiler.resolved(&update.name, &update.addresses);
        let (table, destinations) = self.compiler.refresh();
        let snapshot = self.publisher.publish(table, destinations);
        self.keeper.mind(&snapshot.destinations);
    }

    /// Everything of the next generation that can fail.
    fn prepare(&mut self, trigger: Trigger) -> Result<Prepared, ReloadError> {
        let mut clock = Stopwatch::start();
        // Before anything can fail: what is wrong elsewhere does not hold up a new identity.
        let identity = self.look();
        let (mut loaded, answered, has_moved) = self.load();
        let load = clock.lap();
        if loaded.has_errors() {
            return Err(ReloadError::Problems(loaded.problems));
        }
        if !has_moved && self.is_told_the_same(&loaded.resources, identity.as_ref()) {
            return Ok(Prepared::Answered(answered));
        }
        let lost = self.lost(&loaded.resources);
        if !self
            .settle
            .passes(trigger, lost, tokio::time::Instant::now())
        {
            return Ok(Prepared::Unsettled);
        }
        let mesh = match &self.mesh {
            Some(mesh) => mesh.next(&loaded.resources),
            None => Mesh::new(&loaded.resources, self.settings.clone()),
        };
        let index = clock.lap();
        self.watch(&loaded.resources);
        // A plan that cannot listen is dropped, which leaves the generation in use as it is.
        let viewer = self.compiler.viewer();
        let rules = mesh.destination_rules(viewer);
        let before = Some(&self.certificates);
        let (certificates, findings) = Certificates::load(&mesh, viewer, rules, identity, before);
        let tls = self.loader.locate(findings);
        // From a control plane what is wrong with one resource stops no other.
        if count_errors(&tls) > 0 && self.plane.is_none() {
            return Err(ReloadError::Problems(tls));
        }
        loaded.problems.extend(tls);
        let same_files = self.mesh.is_some() && self.in_use.is(&loaded.resources);
        if same_files && !has_moved && certificates.is_same(&self.certificates) {
            return Ok(Prepared::Unchanged(loaded, answered));
        }
        let planned = self.compiler.plan(&mesh, &certificates);
        let sockets = match self.plane {
            None => self.listeners.bind_new(planned.table())?,
            Some(_) => self.listeners.bind_possible(planned.table()),
        };
        let compiled = planned.commit();
        let compile = clock.lap();
        tracing::debug!(?load, ?index, ?compile, "generation prepared");
        Ok(Prepared::Next(Box::new(Next {
            loaded,
            mesh,
            compiled,
            sockets,
            certificates,
            answered,
        })))
    }

    /// What is written now, or was told, what was answered, and whether the workload is elsewhere than it
    /// was known to be.
    fn load(&mut self) -> (Loaded, Arc<Answered>, bool) {
        let Some(plane) = &self.plane else {
            return (self.loader.load(&self.paths), Arc::default(), false);
        };
        let supplied = plane.supplied();
        let loaded = Loaded {
            resources: supplied.resources,
            ..Loaded::default()
        };
        let locality = self.locality.clone().or(supplied.locality);
        let has_moved = self.compiler.move_to(locality);
        (loaded, supplied.answered, has_moved)
    }

    /// Whether a control plane told just what is in use, and nothing of it is in files, which may be others
    /// by now. Whoever demands what the mesh does not have costs no look at all of it.
    fn is_told_the_same(
        &self,
        resources: &[Arc<Resource>],
        identity: Option<&Arc<WorkloadIdentity>>,
    ) -> bool {
        let own = |it: Option<&Arc<WorkloadIdentity>>| it.map(Arc::as_ptr);
        self.plane.is_some()
            && self.mesh.is_some()
            && own(self.certificates.identity()) == own(identity)
            && self.in_use.is(resources)
            && named_files(resources).is_empty()
    }

    /// What would vanish that may be about to come back: nothing of what was told, which is told whole.
    fn lost(&self, resources: &[Arc<Resource>]) -> Vec<String> {
        match self.plane {
            Some(_) => Vec::new(),
            None => self.in_use.lost(resources, |file| self.loader.bytes(file)),
        }
    }

    /// Watches the files that are read for `resources`; before they are, so that no change falls in
    /// between.
    fn watch(&self, resources: &[Arc<Resource>]) {
        let mut files = named_files(resources);
        files.extend(self.own.iter().flat_map(OwnIdentity::files));
        self.named_files.watch(files);
    }

    /// Who the workload is by now.
    fn look(&mut self) -> Option<Arc<WorkloadIdentity>> {
        let own = self.own.as_mut()?;
        own.look(&self.metrics.process.tls.identity_reloads);
        Some(Arc::clone(own.current()))
    }

    /// Asks DNS for the names of the first generation and waits for all answers or the limit.
    async fn await_names(
        &mut self,
        mut compiled: Compiled,
        resolved: &mut mpsc::Receiver<Update>,
        limit: Duration,
    ) -> Compiled {
        let mut missing = compiled.names.clone();
        self.resolver.want(missing.iter().cloned());
        let all = async {
            while !missing.is_empty() {
                let Some(update) = resolved.recv().await else {
                    break;
                };
                missing.remove(&update.name);
                self.compiler.resolved(&update.name, &update.addresses);
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!(names = ?missing, "not resolved yet");
        }
        compiled.destinations = self.compiler.refresh().1;
        compiled
    }
}

/// Measures the steps of a reload.
struct Stopwatch(Instant);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
