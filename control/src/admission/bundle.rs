//! By whom API servers know our webhooks: keeps `caBundle` of their configurations at the roots that
//! vouch for us.
//!
//! The chart makes the configurations without it. One replica writes, and only what differs; who changes
//! them by hand or installs anew is corrected at the next look. Whether failures of a webhook count is left
//! as it is written.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::lease::Leadership;

/// Time between two looks when nothing changes here.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// The same after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// Longest wait for an API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Who is said to have written the field.
const FIELD_MANAGER: &str = "meshcontrol";

/// The configurations that are kept, by name: both have the same in the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configurations {
    /// Of injection.
    pub mutating: String,
    /// Of validation.
    pub validating: String,
}

/// Why a configuration is not as it should be.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("no answer of the API server in time")]
    Slow,
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Keeps the configurations while `leadership` is held; ends when nobody tells of roots any more. `pem`
/// are the roots that are told of, none while there is no authority.
pub async fn keep<T>(
    client: Client,
    configurations: Configurations,
    mut told: watch::Receiver<T>,
    pem: impl Fn(&T) -> Option<String>,
    mut leadership: Leadership,
) {
    loop {
        leadership.won().await;
        let roots = pem(&told.borrow_and_update());
        let mut pause = LOOK_INTERVAL;
        if let Some(roots) = roots
            && let Err(error) = write(&client, &configurations, &roots).await
        {
            warn!(%error, "the webhook configurations could not be kept");
            pause = RETRY_INTERVAL;
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() {
                return;
            },
            () = sleep(pause) => {}
        }
    }
}

// === impl Configurations ===

impl Configurations {
    /// Those of the chart.
    pub fn of(service: &str, namespace: &str) -> Self {
        let name = format!("{service}-{namespace}");
        Self {
            mutating: name.clone(),
            validating: name,
        }
    }
}

async fn write(client: &Client, names: &Configurations, roots: &str) -> Result<(), KeepError> {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    // One that fails does not keep the other from being right.
    let first = write_one(&mutating, &names.mutating, roots).await;
    let second = write_one(&validating, &names.validating, roots).await;
    first.and(second)
}

async fn write_one<K>(api: &Api<K>, name: &str, roots: &str) -> Result<(), KeepError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let slow = |_| KeepError::Slow;
    let Some(object) = timeout(CALL_TIMEOUT, api.get_opt(name))
        .await
        .map_err(slow)??
    else {
        debug!(name, "there is no such webhook configuration");
        return Ok(());
    };
    let Some(patch) = correction(&serde_json::to_value(object)?, roots) else {
        return Ok(());
    };
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(patch);
    timeout(CALL_TIMEOUT, api.patch(name, &parameters, &patch))
        .await
        .map_err(slow)??;
    info!(name, "the webhook configuration has the roots of today");
    Ok(())
}

/// The strategic merge patch that makes every webhook of a configuration believe the roots; none if all
/// do. It fails if the configuration has changed since.
fn correction(configuration: &Value, roots: &str) -> Option<Value> {
    let bundle = STANDARD.encode(roots);
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    let wrong: Vec<Value> = webhooks
        // One with a URL is not ours to vouch for.
        .filter(|it| it["clientConfig"]["service"].is_object())
        .filter(|it| it["clientConfig"]["caBundle"] != bundle)
        .map(|it| json!({"name": it["name"], "clientConfig": {"caBundle": bundle}}))
        .collect();
    (!wrong.is_empty()).then(|| {
        json!({
            "metadata": {"resourceVersion": configuration["metadata"]["resourceVersion"]},
            "webhooks": wrong,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(name: &str, bundle: Value) -> Value {
        let service = json!({"name": "meshcontrol", "namespace": "istio-system"});
        json!({"name": name, "clientConfig": {"service": service, "caBundle": bundle}})
    }

    #[test]
    fn only_webhooks_with_other_roots_are_corrected() {
        let right = STANDARD.encode("roots");
        let configuration = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [
                webhook("right", json!(right)),
                webhook("none", Value::Null),
                webhook("old", json!("b2xk")),
                {"name": "url", "clientConfig": {"url": "https://elsewhere"}},
            ],
        });

        let patch = correction(&configuration, "roots").expect("two are wrong");

        let corrected = |name| json!({"name": name, "clientConfig": {"caBundle": right}});
        assert_eq!(
            patch["webhooks"],
            json!([corrected("none"), corrected("old")])
        );
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn nothing_is_written_where_all_is_right() {
        let right = STANDARD.encode("roots");
        let configuration = json!({"webhooks": [webhook("right", json!(right))]});

        assert_eq!(correction(&configuration, "roots"), None);
    }
}
