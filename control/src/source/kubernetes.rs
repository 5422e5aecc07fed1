//! The mesh as a Kubernetes API server has it: one watch for each kind, for as long as somebody takes
//! what they tell.
//!
//! A watch that is cut off goes on where it was. One whose history is gone lists again; what is known
//! stays until the new list is complete and takes its place at once. A kind whose definition is not
//! installed has no objects, and is looked for again.
//!
//! Nothing is kept here: an object is read, told and forgotten.

mod backoff;
mod client;
mod contact;
mod gather;
mod kind;
mod metrics;
mod read;
mod watch;
pub(crate) mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::Client;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

pub use client::{ConnectError, connect};
pub use contact::{Contact, SILENCE_MAX};
pub use metrics::Metrics;

use crate::event::Event;
use kind::KINDS;
use watch::Watch;

/// What of a cluster belongs to the mesh.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace whose `ConfigMap` `istio` holds the settings of the mesh.
    pub root_namespace: String,
    /// Namespaces whose secrets Gateways may name; all if there are none here. Only these need to be
    /// readable.
    pub secret_namespaces: Vec<String>,
}

/// Where all watches send, and how many of them have not listed yet.
#[derive(Debug, Clone)]
struct Sink {
    sender: Sender<Event>,
    unlisted: Arc<AtomicUsize>,
}

/// Nobody takes events any more.
#[derive(Debug)]
struct Closed;

/// Watches all kinds and tells `sender` what there is and what changes, until nobody takes it.
///
/// Nothing that an API server does or fails to do ends it: it tries again, at growing intervals with a
/// bound. Dropping it ends all watches. `contact` learns of each success.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    contact: Contact,
    sender: Sender<Event>,
) {
    let watches: Vec<Watch> = KINDS
        .iter()
        .flat_map(|kind| Watch::of(kind, &client, &settings, &metrics, &contact))
        .collect();
    let sink = Sink {
        sender,
        unlisted: Arc::new(AtomicUsize::new(watches.len())),
    };
    let mut running = JoinSet::new();
    for watch in watches {
        running.spawn(watch.run(sink.clone()));
    }
    drop(sink);
    while let Some(ended) = running.join_next().await {
        // A watch that is gone would leave its kind as it is for ever.
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            root_namespace: "istio-system".to_owned(),
            secret_namespaces: Vec::new(),
        }
    }
}

// === impl Sink ===

impl Sink {
    async fn send(&self, events: Vec<Event>) -> Result<(), Closed> {
        for event in events {
            self.sender.send(event).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// To be called once for each watch, after its first list was sent.
    async fn listed(&self) -> Result<(), Closed> {
        // Each list was sent before its count is taken away, so that whoever takes away the last one
        // sends after all lists.
        match self.unlisted.fetch_sub(1, Ordering::SeqCst) {
            1 => self.send(vec![Event::Synced]).await,
            _ => Ok(()),
        }
    }
}
