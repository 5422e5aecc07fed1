//! What a cluster has at one time, as the control plane would see it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use config::mesh::MeshSettings;
use config::wire::Name;
use config::{Problem, Resource, Severity};
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::event::Event;
use crate::index::{Generation, Index};
use crate::source::kubernetes::{self, Contact, Metrics, Settings};

/// How long the API server may take to list everything.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that wait to be taken in.
const EVENTS_MAX: usize = 64;

/// What was there when everything was listed.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Resources that are right, endpoints with what is known of their pods.
    pub(super) resources: Vec<Arc<Resource>>,
    /// What is wrong with others.
    pub(super) refused: Vec<(Name, Problem)>,
}

// === impl Cluster ===

impl Cluster {
    /// Lists everything by the source that the control plane has.
    pub(super) async fn read(
        kubeconfig: Option<&Path>,
        root_namespace: &str,
    ) -> anyhow::Result<Self> {
        // Whoever is first installs one; that nobody else did is no matter of order.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = kubernetes::connect(kubeconfig).await?;
        let settings = Settings {
            root_namespace: root_namespace.to_owned(),
            ..Settings::default()
        };
        let metrics = Metrics::register(&Registry::new()).context("count what is listed")?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let listed = tokio::select! {
            listed = timeout(LIST_TIMEOUT, listed(events)) => listed,
            () = kubernetes::run(client, settings, metrics, Contact::default(), sender) => {
                bail!("the watch of the API server ended")
            }
        };
        let waited = LIST_TIMEOUT.as_secs();
        let generation = listed
            .ok()
            .flatten()
            .with_context(|| format!("the API server did not list everything in {waited} s"))?;
        Ok(Self::of(&generation))
    }

    fn of(generation: &Generation) -> Self {
        let entries = generation.entries.values();
        let mut resources: Vec<_> = entries.map(|it| Arc::clone(&it.resource)).collect();
        resources.sort_by_cached_key(|it| Name::of(it));
        let refused = generation.refused.iter();
        let refused = refused.flat_map(|(name, reasons)| {
            reasons
                .iter()
                .map(|reason| (name.clone(), problem(name, reason)))
        });
        Self {
            resources,
            refused: refused.collect(),
        }
    }
}

/// The mesh once everything was listed.
async fn listed(mut events: mpsc::Receiver<Event>) -> Option<Arc<Generation>> {
    let mut index = Index::new(MeshSettings::default());
    loop {
        let event = events.recv().await?;
        let synced = matches!(event, Event::Synced);
        index.apply(event);
        if synced {
            return Some(index.next(Instant::now())?.0);
        }
    }
}

/// A reason as the source gives it: `path: message`, or only a message.
fn problem(name: &Name, reason: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        file: Arc::from(Path::new("")),
        line: 0,
        column: 0,
        resource: format!("{} {}/{}", name.kind, name.namespace, name.name),
        path: String::new(),
        message: reason.to_owned(),
    }
}
