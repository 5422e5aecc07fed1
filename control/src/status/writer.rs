//! Writes `status.conditions` of resources into Kubernetes: one replica does, within limits, and only
//! what is not there already.
//!
//! What is written is about the content that proxies have. So the object is read first, and left alone as
//! long as it says something else than what is known here: then news of it are on the way. Somebody else
//! may write at the same time; the API server refuses the later one, and it is tried again.

use std::sync::Arc;
use std::time::Duration;

use config::wire::{Name, document, version};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::ResourceStatus;
use super::condition::merged;
use super::known::Known;
use crate::event::Object;
use crate::lease::Leadership;
use crate::source::kubernetes::written;

mod plan;

use plan::{Due, Plan};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long the reading and writing of one object may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How it calls itself to the API server.
const MANAGER: &str = "meshcontrol";

/// Counts of what was written.
#[derive(Debug, Clone)]
pub struct Metrics {
    writes: IntCounterVec,
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It says this now.
    Written,
    /// It said so already.
    Same,
    /// It is gone, or is something else than what is known here.
    Other,
}

// === impl Metrics ===

impl Metrics {
    /// Counters that `registry` shows.
    ///
    /// # Errors
    ///
    /// If it has some of these names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let writes = IntCounterVec::new(
            Opts::new(
                "meshcontrol_status_writes_total",
                "Conditions of resources that were to be written, by result.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(writes.clone()))?;
        Ok(Self { writes })
    }

    fn count(&self, result: &str) {
        self.writes.with_label_values(&[result]).inc();
    }
}

/// Writes whenever this replica is the one to do so.
///
/// # Cancel safety
///
/// A write under way may still take effect.
pub async fn run(client: Client, known: Arc<Known>, mut leadership: Leadership, metrics: Metrics) {
    loop {
        leadership.won().await;
        tokio::select! {
            () = write_on(&client, &known, &metrics) => {}
            () = leadership.lost() => {}
        }
    }
}

async fn write_on(client: &Client, known: &Arc<Known>, metrics: &Metrics) {
    // What others have written meanwhile is not known: all is looked at once.
    let mut plan = Plan::default();
    loop {
        let view = Arc::clone(known);
        let statuses = spawn_blocking(move || view.resources().resources).await;
        let mut statuses = statuses.unwrap_or_else(|error| {
            tracing::error!(%error, "what is known cannot be told");
            Vec::new()
        });
        statuses.retain(|it| written::has_conditions(&it.name.kind));
        for due in plan.due(statuses, Instant::now()) {
            let written = timeout(WRITE_TIMEOUT, write(client, &due)).await;
            let name = &due.status.name;
            match written {
                Ok(Ok(Outcome::Written)) => {
                    metrics.count("written");
                    plan.wrote(&due, Instant::now());
                }
                Ok(Ok(Outcome::Same)) => {
                    metrics.count("same");
                    plan.wrote(&due, Instant::now());
                }
                Ok(Ok(Outcome::Other)) => {
                    metrics.count("other");
                    plan.failed(&due, Instant::now());
                }
                Ok(Err(error)) => {
                    metrics.count("failed");
                    tracing::info!(resource = %name, %error, "conditions not written");
                    plan.failed(&due, Instant::now());
                }
                Err(_) => {
                    metrics.count("failed");
                    tracing::info!(resource = %name, "conditions not written in time");
                    plan.failed(&due, Instant::now());
                }
            }
        }
        sleep(ROUND).await;
    }
}

async fn write(client: &Client, due: &Due) -> Result<Outcome, kube::Error> {
    let name = &due.status.name;
    let Some((api, object)) = find(client, name).await? else {
        return Ok(Outcome::Other);
    };
    let value = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
    if !is_known(&due.status, &value) {
        return Ok(Outcome::Other);
    }
    let present = value
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let present = present.map_or(&[][..], Vec::as_slice);
    let generation = object.metadata.generation.unwrap_or_default();
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let Some(list) = merged(present, &due.conditions, generation, &now) else {
        return Ok(Outcome::Same);
    };
    let patch = Patch::Merge(json!({
        // Whoever wrote since is not overwritten.
        "metadata": {"resourceVersion": object.metadata.resource_version},
        "status": {"conditions": list},
    }));
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(&name.name, &parameters, &patch).await?;
    Ok(Outcome::Written)
}

/// The object of a name, in the first version that has it: of one that is not served nothing is found.
async fn find(
    client: &Client,
    name: &Name,
) -> Result<Option<(Api<DynamicObject>, DynamicObject)>, kube::Error> {
    for resource in written::apis(&name.kind) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &name.namespace, &resource);
        match api.get(&name.name).await {
            Ok(object) => return Ok(Some((api, object))),
            // Of a version that is not served it says so in no form of its own.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether an object says what is known of it here.
fn is_known(status: &ResourceStatus, value: &Value) -> bool {
    match written::read(&status.name.kind, value.clone()) {
        Some(Object::Resource(resource)) => {
            let version = version(&document(&resource));
            status.accepted && status.version.as_ref() == Some(&version)
        }
        Some(Object::Refused(refused)) => !status.accepted && status.reasons == refused.reasons,
        Some(Object::Pod(_) | Object::Node(_)) | None => false,
    }
}
