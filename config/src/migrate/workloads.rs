//! Which labels the workloads of a service have, and on which ports they listen: from the `Service`
//! documents of the input.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::documents::Document;

/// The services of the input, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    services: BTreeMap<(String, String), Service>,
}

#[derive(Debug)]
struct Service {
    selector: BTreeMap<String, String>,
    /// Name, number and number of the workload, as far as it is one.
    ports: Vec<(String, u64, Option<u64>)>,
}

/// The workloads of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Name of the service; `None` for all workloads of the namespace.
    pub(super) service: Option<String>,
    /// Labels of the workloads; of all workloads, none.
    pub(super) labels: BTreeMap<String, String>,
    /// Whether the labels are a guess.
    pub(super) is_assumed: bool,
}

// === impl Workloads ===

impl Workloads {
    /// Those of the documents.
    pub(super) fn of(documents: &[Document]) -> Self {
        let services = documents.iter().filter_map(|document| {
            let is_service = document.kind() == "Service"
                && document.value.get("apiVersion").and_then(Value::as_str) == Some("v1");
            let spec = document.value.get("spec").filter(|_| is_service)?;
            let key = (document.namespace.clone(), document.name.clone());
            Some((key, Service::of(spec)))
        });
        Self {
            services: services.collect(),
        }
    }

    /// The workloads of a service; without its document, those with the label `app` of its name.
    pub(super) fn target(&self, namespace: &str, name: &str) -> Target {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.services.get(&key).map(|service| &service.selector);
        let known = known.filter(|selector| !selector.is_empty());
        let assumed = || BTreeMap::from([("app".to_owned(), name.to_owned())]);
        Target {
            service: Some(name.to_owned()),
            labels: known.cloned().unwrap_or_else(assumed),
            is_assumed: known.is_none(),
        }
    }

    /// The names of a namespace's services.
    pub(super) fn names<'w>(&'w self, namespace: &'w str) -> impl Iterator<Item = &'w str> {
        let all = self.services.keys();
        all.filter_map(move |(of, name)| (of == namespace).then_some(name.as_str()))
    }

    /// The port of the workload for one of the service, by number or name; `None` if that is not known.
    pub(super) fn port(&self, namespace: &str, name: &str, port: &Value) -> Option<u64> {
        let key = (namespace.to_owned(), name.to_owned());
        let ports = &self.services.get(&key)?.ports;
        let is_meant = |(name, number, _): &&(String, u64, Option<u64>)| match port {
            Value::String(text) => name == text,
            other => other.as_u64() == Some(*number),
        };
        ports.iter().find(is_meant)?.2
    }
}

// === impl Service ===

impl Service {
    fn of(spec: &Value) -> Self {
        let mut selector = BTreeMap::new();
        if let Some(Value::Object(labels)) = spec.get("selector") {
            for (key, value) in labels {
                let value = value.as_str().map(str::to_owned);
                selector.extend(value.map(|value| (key.clone(), value)));
            }
        }
        let ports = spec.get("ports").and_then(Value::as_array);
        let ports = ports.into_iter().flatten().filter_map(|port| {
            let number = port.get("port")?.as_u64()?;
            let name = port.get("name").and_then(Value::as_str);
            let target = match port.get("targetPort") {
                None => Some(number),
                Some(target) => target.as_u64(),
            };
            Some((name.unwrap_or_default().to_owned(), number, target))
        });
        Self {
            selector,
            ports: ports.collect(),
        }
    }
}

// === impl Target ===

impl Target {
    /// All workloads of the namespace.
    pub(super) fn all() -> Self {
        Self {
            service: None,
            labels: BTreeMap::new(),
            is_assumed: false,
        }
    }

    /// Puts it into a `spec`.
    pub(super) fn select(&self, spec: &mut serde_json::Map<String, Value>) {
        if !self.labels.is_empty() {
            let selector = json!({ "matchLabels": self.labels });
            spec.insert("selector".to_owned(), selector);
        }
    }

    /// What is to be said if the labels are a guess.
    pub(super) fn doubt(&self) -> Option<String> {
        let name = self.service.as_ref().filter(|_| self.is_assumed)?;
        Some(format!(
            "there is no Service {name} with a selector among the files: its workloads are taken to \
             have the label app: {name}"
        ))
    }
}

/// Name and namespace of a service as old rules wrote it: `name`, `name.namespace` or in full.
pub(super) fn parts<'t>(text: &'t str, namespace: &'t str) -> (&'t str, &'t str) {
    match text.split_once('.') {
        Some((name, rest)) => (name, rest.split('.').next().unwrap_or(rest)),
        None => (text, namespace),
    }
}
