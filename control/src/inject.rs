//! Adds a proxy to pods: a pure function of the pod, its namespace, settings and a template.
//!
//! The template says what is added; it belongs to whoever installs. This code decides whether, fills the
//! template in, leads probes to the proxy and puts containers where clusters start them in order. A pod
//! that has a proxy already is left as it is, so that injecting twice is injecting once.

mod annotation;
mod command;
mod label;
mod manifest;
mod merge;
mod options;
mod policy;
mod probes;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod workload;

use serde_json::{Map, Value, json};

pub use annotation::Mistake;
pub use command::{InjectArgs, injector_in, run};
pub use policy::{Namespace, Skip};
pub use settings::{Amounts, NativeSidecars, Resources, Settings};
pub use template::Template;

use options::Options;
use values::Owner;

/// The container of the proxy, by the name that pods and tools know it by.
pub const PROXY: &str = "istio-proxy";
/// The init container that leads traffic to it.
pub const INIT: &str = "meshproxy-init";
/// Annotation of a pod that was injected: what was added.
pub const STATUS: &str = "sidecar.istio.io/status";

/// Adds proxies to pods.
#[derive(Debug, Clone, Default)]
pub struct Injector {
    /// What is the same for all pods.
    pub settings: Settings,
    /// What is added.
    pub template: Template,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It has a proxy now.
    Injected(Value),
    /// It stays as it is.
    Skipped(Skip),
}

// === impl Injector ===

impl Injector {
    /// Adds a proxy to a pod, or says why it gets none. `workload` is what the pod is made from, if
    /// whoever asks knows better than the pod's own metadata.
    ///
    /// # Errors
    ///
    /// An annotation that does not say what it should: such a pod must not run as if it did not say
    /// anything.
    pub fn inject(
        &self,
        pod: &Value,
        namespace: &Namespace,
        workload: Option<&str>,
    ) -> Result<Outcome, Mistake> {
        let settings = &self.settings;
        if let Some(skip) = policy::judge(pod, namespace, settings) {
            return Ok(Outcome::Skipped(skip));
        }
        let options = Options::of(pod, settings)?;
        let mut injected = pod.clone();
        let app_probes = match options.rewrite_probes {
            true => probes::lead(&mut injected, options.status_port),
            false => Map::new(),
        };
        let workload = workload.map_or_else(|| workload::name(pod), str::to_owned);
        let owner = Owner {
            namespace: &namespace.name,
            workload: &workload,
        };
        let values = values::of(pod, owner, settings, &options, app_probes);
        let mut part = self.template.fill(&values);
        if !settings.image_pull_secrets.is_empty() {
            let secrets = settings.image_pull_secrets.iter();
            part["spec"]["imagePullSecrets"] = secrets.map(|it| json!({"name": it})).collect();
        }
        for (name, value) in &options.variables {
            set_variable(&mut part, name, value);
        }
        let status = status(&part, &options);
        merge::into(&mut injected, part, options.place());
        injected["metadata"]["annotations"][STATUS] = json!(status.to_string());
        Ok(Outcome::Injected(injected))
    }
}

/// A variable of the proxy that the pod asks for.
fn set_variable(part: &mut Value, name: &str, value: &str) {
    let containers = part["spec"]["containers"].as_array_mut();
    let mut containers = containers.into_iter().flatten();
    let Some(proxy) = containers.find(|container| container["name"] == PROXY) else {
        return;
    };
    let entry = json!({"name": name, "value": value});
    match &mut proxy["env"] {
        Value::Array(variables) => {
            variables.retain(|variable| variable["name"] != name);
            variables.push(entry);
        }
        absent => *absent = json!([entry]),
    }
}

/// What is added, by name.
fn status(part: &Value, options: &Options) -> Value {
    let named = |list: &str| -> Vec<&str> {
        let items = part["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str()).collect()
    };
    let (mut init, mut containers) = (named("initContainers"), named("containers"));
    if options.native {
        containers.retain(|name| *name != PROXY);
        init.push(PROXY);
    }
    json!({
        "initContainers": init,
        "containers": containers,
        "volumes": named("volumes"),
        "imagePullSecrets": named("imagePullSecrets"),
        "revision": options.revision,
    })
}
