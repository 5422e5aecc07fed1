//! From the source to the hub.

use std::sync::Arc;
use std::time::Instant;

use config::mesh::MeshSettings;
use tokio::sync::mpsc;

use super::Ground;
use crate::cli::Source;
use crate::event::Event;
use crate::hub::{self, Hub};
use crate::metrics::MeshCollector;
use crate::source::directory;
use crate::source::kubernetes::{self, Contact};
use crate::status::known::Known;

/// Events that may wait: a source that is faster than the index waits.
const EVENTS_MAX: usize = 64;

/// What there is, and who is told of it.
pub(super) struct Mesh {
    pub(super) hub: Arc<Hub>,
    /// What became of it, for whoever asks.
    pub(super) known: Arc<Known>,
    /// Whether the API server is still heard of, if that is the source.
    contact: Contact,
}

// === impl Mesh ===

impl Mesh {
    /// Follows the source from now on.
    pub(super) fn start(ground: &mut Ground<'_>) -> anyhow::Result<Self> {
        let arguments = ground.arguments;
        let hub = Hub::new(hub::Settings::default(), &ground.registry)?;
        let generations = MeshCollector::new(hub.generations())?;
        ground.registry.register(Box::new(generations))?;
        let (sender, events) = mpsc::channel::<Event>(EVENTS_MAX);
        let settings = MeshSettings {
            root_namespace: arguments.namespace.as_str().into(),
            ..MeshSettings::default()
        };
        let fed = Arc::clone(&hub);
        ground
            .work
            .spawn(async move { fed.run(events, settings).await });
        let contact = Contact::within(arguments.api_silence_max);
        match (&arguments.source, &ground.client) {
            (Source::Folder(path), _) => {
                ground.work.spawn(directory::run(path.clone(), sender));
            }
            (Source::Kubernetes, Some(client)) => {
                let settings = kubernetes::Settings {
                    root_namespace: arguments.namespace.clone(),
                    secret_namespaces: arguments.secret_namespaces.clone(),
                };
                let metrics = kubernetes::Metrics::register(&ground.registry)?;
                let (client, contact) = (client.clone(), contact.clone());
                let source = kubernetes::run(client, settings, metrics, contact, sender);
                ground.work.spawn(source);
            }
            (Source::Kubernetes, None) => anyhow::bail!("there is no client of the API server"),
        }
        let known = Known::new(Arc::clone(&hub), ground.replica.clone());
        Ok(Self {
            hub,
            known: Arc::new(known),
            contact,
        })
    }

    /// Tells whether what is known is not old.
    pub(super) fn is_current(&self) -> impl Fn() -> bool + Send + Sync + Clone + 'static {
        let contact = self.contact.clone();
        move || contact.is_kept(Instant::now())
    }

    /// Waits until everything was listed once.
    pub(super) async fn synced(&self) {
        let mut generations = self.hub.generations();
        // The hub holds the sender, and we hold the hub.
        let _ = generations.wait_for(Option::is_some).await;
    }
}
