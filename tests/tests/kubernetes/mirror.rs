//! What somebody knows who takes the events of the Kubernetes source.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use config::Resource;
use config::wire::Name;
use control::event::{Event, Object};
use control::source::kubernetes::{Contact, Metrics, Settings, connect, run};
use tests::eventually;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Events that may wait to be taken.
const EVENTS_MAX: usize = 64;

/// All that was told and still holds.
#[derive(Debug)]
pub(crate) struct Mirror {
    known: Arc<Mutex<Known>>,
    metrics: Metrics,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Known {
    objects: BTreeMap<Name, Object>,
    is_synced: bool,
    /// How often something that was asked for by [`Mirror::guard`] was gone.
    losses: usize,
    guarded: Vec<Name>,
}

// === impl Mirror ===

impl Mirror {
    /// Follows the API server of a kubeconfig.
    pub(crate) async fn of(kubeconfig: &Path) -> Self {
        let settings = Settings::default();
        Self::with(kubeconfig, settings).await
    }

    /// The same with other settings.
    pub(crate) async fn with(kubeconfig: &Path, settings: Settings) -> Self {
        let client = connect(Some(kubeconfig)).await.expect("a client");
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("new names");
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let known = Arc::new(Mutex::new(Known::default()));
        let mut tasks = JoinSet::new();
        let contact = Contact::default();
        tasks.spawn(run(client, settings, metrics.clone(), contact, sender));
        let taker = Arc::clone(&known);
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                let mut known = taker.lock().unwrap_or_else(PoisonError::into_inner);
                known.take(event);
            }
        });
        Self {
            known,
            metrics,
            _tasks: tasks,
        }
    }

    /// Waits until every kind was listed.
    pub(crate) async fn synced(&self) {
        let synced = async || self.known().is_synced;
        eventually("all kinds listed", synced, |it| *it).await;
    }

    /// Waits until `name` is a resource that `accepts` takes.
    pub(crate) async fn resource(
        &self,
        name: &Name,
        accepts: impl Fn(&Resource) -> bool,
    ) -> Arc<Resource> {
        let accepts = |object: &Option<Object>| match object {
            Some(Object::Resource(resource)) => accepts(resource),
            Some(Object::Refused(_) | Object::Pod(_) | Object::Node(_)) | None => false,
        };
        match self.object(name, accepts).await {
            Some(Object::Resource(resource)) => resource,
            other => panic!("a resource was accepted: {other:?}"),
        }
    }

    /// Waits until there is no `name`.
    pub(crate) async fn gone(&self, name: &Name) {
        self.object(name, Option::is_none).await;
    }

    /// Waits until what there is of `name` is as `accepts` wants it.
    pub(crate) async fn object(
        &self,
        name: &Name,
        accepts: impl Fn(&Option<Object>) -> bool,
    ) -> Option<Object> {
        let look = async || self.now(name);
        eventually(&format!("{name}"), look, accepts).await
    }

    /// What there is of `name` now.
    pub(crate) fn now(&self, name: &Name) -> Option<Object> {
        self.known().objects.get(name).cloned()
    }

    /// From now on [`Self::losses`] counts how often `name` was gone.
    pub(crate) fn guard(&self, name: &Name) {
        self.known().guarded.push(name.clone());
    }

    /// How often something guarded was gone after an event.
    pub(crate) fn losses(&self) -> usize {
        self.known().losses
    }

    /// Complete lists of a kind so far.
    pub(crate) fn lists(&self, kind: &str) -> u64 {
        self.metrics.lists.with_label_values(&[kind]).get()
    }

    /// Watches of a kind whose history was gone, so far.
    pub(crate) fn expired(&self, kind: &str) -> u64 {
        self.failures(kind, "expired")
    }

    /// Failures of a kind for one reason, so far.
    pub(crate) fn failures(&self, kind: &str, reason: &str) -> u64 {
        self.metrics
            .failures
            .with_label_values(&[kind, reason])
            .get()
    }

    /// Whether every kind was listed.
    pub(crate) fn is_synced(&self) -> bool {
        self.known().is_synced
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    fn take(&mut self, event: Event) {
        match event {
            Event::Applied(objects) => self.put(objects),
            Event::Deleted(names) => {
                for name in names {
                    self.objects.remove(&name);
                }
            }
            Event::Listed { kind, objects } => {
                self.objects.retain(|name, _| *name.kind != *kind);
                self.put(objects);
            }
            Event::Everything(_) => panic!("Kubernetes tells kind by kind"),
            Event::Synced => self.is_synced = true,
        }
        let is_gone = |name: &&Name| !self.objects.contains_key(name);
        self.losses += self.guarded.iter().filter(is_gone).count();
    }

    fn put(&mut self, objects: Vec<Object>) {
        let named = objects.into_iter().map(|object| (object.name(), object));
        self.objects.extend(named);
    }
}
