//! What the names in a template stand for, for one pod.

use serde_json::{Map, Value, json};

use super::annotation::annotation;
use super::options::{Options, Traffic};
use super::workload;
use super::{PROXY, Settings};

/// Where the proxy answers names, and where captured questions are led to.
const DNS_ADDRESSES: &str = "127.0.0.1:15053,[::1]:15053";
/// Port and path of the proxy's metrics.
const METRICS_PORT: u16 = 15_090;
const METRICS_PATH: &str = "/metrics";
/// Annotations of a pod that lead Prometheus to metrics of its own.
const PROMETHEUS: [&str; 3] = [
    "prometheus.io/scrape",
    "prometheus.io/port",
    "prometheus.io/path",
];

/// A value by name; null is one that is not set.
#[derive(Debug, Default)]
pub(super) struct Values(Map<String, Value>);

/// All names that a template may use.
pub(super) const NAMES: [&str; 41] = [
    "ACCESS_LOG",
    "APP_PROBES",
    "CANONICAL_NAME",
    "CANONICAL_REVISION",
    "CLUSTER",
    "CONCURRENCY",
    "CONTROL",
    "CPU",
    "CPU_LIMIT",
    "DNS_ADDRESSES",
    "DNS_CAPTURE",
    "DRAIN_TIMEOUT",
    "EXCLUDE_INBOUND_PORTS",
    "EXCLUDE_INTERFACES",
    "EXCLUDE_OUTBOUND_IP_RANGES",
    "EXCLUDE_OUTBOUND_PORTS",
    "EXIT_WITH_APP",
    "FIRST_CONTAINER",
    "IMAGE",
    "IMAGE_PULL_POLICY",
    "INCLUDE_INBOUND_PORTS",
    "INCLUDE_OUTBOUND_IP_RANGES",
    "INCLUDE_OUTBOUND_PORTS",
    "INIT_IMAGE",
    "KUBE_VIRT_INTERFACES",
    "LABELS",
    "LOG_LEVEL",
    "MEMORY",
    "MEMORY_LIMIT",
    "MINIMUM_DRAIN",
    "NAMESPACE",
    "PROMETHEUS_PATH",
    "PROMETHEUS_PORT",
    "PROMETHEUS_SCRAPE",
    "READINESS_FAILURES",
    "READINESS_INITIAL_DELAY",
    "READINESS_PERIOD",
    "REVISION",
    "STATUS_PORT",
    "TRUST_DOMAIN",
    "WORKLOAD",
];

/// The values for a pod of a workload; `app_probes` are those that were led to the proxy.
pub(super) fn of(
    pod: &Value,
    owner: Owner<'_>,
    settings: &Settings,
    options: &Options,
    app_probes: Map<String, Value>,
) -> Values {
    let mut values = Values::default();
    values.set("NAMESPACE", owner.namespace);
    values.set("WORKLOAD", owner.workload);
    let (name, revision) = (
        workload::canonical_name(pod, owner.workload),
        workload::canonical_revision(pod),
    );
    values.set("LABELS", labels(pod, &name, &revision));
    values.set("CANONICAL_NAME", name);
    values.set("CANONICAL_REVISION", revision);
    values.set("FIRST_CONTAINER", first_container(pod));
    values.of_settings(settings);
    values.of_options(options);
    values.of_traffic(&options.traffic);
    if ends(pod) && !options.native {
        values.set("EXIT_WITH_APP", "true");
    }
    if options.prometheus && !PROMETHEUS.iter().any(|it| annotation(pod, it).is_some()) {
        values.set("PROMETHEUS_SCRAPE", "true");
        // Annotations are texts.
        values.set("PROMETHEUS_PORT", METRICS_PORT.to_string());
        values.set("PROMETHEUS_PATH", METRICS_PATH);
    }
    if !app_probes.is_empty() {
        values.set("APP_PROBES", Value::Object(app_probes).to_string());
    }
    values
}

/// Whose pod it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'o> {
    pub(super) namespace: &'o str,
    pub(super) workload: &'o str,
}

// === impl Values ===

impl Values {
    /// The value, unless it is not set.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        debug_assert!(NAMES.contains(&name), "templates may not use {name}");
        self.0.insert(name.to_owned(), value.into());
    }

    fn of_settings(&mut self, settings: &Settings) {
        self.set("INIT_IMAGE", settings.init_image.as_str());
        self.set("IMAGE_PULL_POLICY", settings.image_pull_policy.clone());
        self.set("CONTROL", settings.control.as_str());
        self.set("TRUST_DOMAIN", settings.trust_domain.as_str());
        self.set("CLUSTER", settings.cluster.as_str());
        self.set("ACCESS_LOG", settings.access_log.as_str());
    }

    fn of_options(&mut self, options: &Options) {
        self.set("IMAGE", options.image.as_str());
        self.set("REVISION", options.revision.as_str());
        self.set("LOG_LEVEL", options.log.as_str());
        self.set("CPU", options.resources.requests.cpu.clone());
        self.set("MEMORY", options.resources.requests.memory.clone());
        self.set("CPU_LIMIT", options.resources.limits.cpu.clone());
        self.set("MEMORY_LIMIT", options.resources.limits.memory.clone());
        self.set("STATUS_PORT", options.status_port);
        self.set("READINESS_INITIAL_DELAY", options.readiness.initial_delay);
        self.set("READINESS_PERIOD", options.readiness.period);
        self.set("READINESS_FAILURES", options.readiness.failures);
        let text = |span: Option<config::value::Duration>| span.map(|span| span.to_string());
        self.set("DRAIN_TIMEOUT", text(options.drain_timeout));
        self.set("MINIMUM_DRAIN", text(options.minimum_drain));
        self.set("CONCURRENCY", options.concurrency);
        if options.dns {
            self.set("DNS_ADDRESSES", DNS_ADDRESSES);
            self.set("DNS_CAPTURE", "true");
        }
    }

    fn of_traffic(&mut self, traffic: &Traffic) {
        for (name, value) in [
            ("INCLUDE_INBOUND_PORTS", &traffic.include_inbound_ports),
            ("EXCLUDE_INBOUND_PORTS", &traffic.exclude_inbound_ports),
            ("INCLUDE_OUTBOUND_PORTS", &traffic.include_outbound_ports),
            ("EXCLUDE_OUTBOUND_PORTS", &traffic.exclude_outbound_ports),
            (
                "INCLUDE_OUTBOUND_IP_RANGES",
                &traffic.include_outbound_networks,
            ),
            (
                "EXCLUDE_OUTBOUND_IP_RANGES",
                &traffic.exclude_outbound_networks,
            ),
            ("EXCLUDE_INTERFACES", &traffic.exclude_interfaces),
            ("KUBE_VIRT_INTERFACES", &traffic.kube_virt_interfaces),
        ] {
            self.set(name, value.clone());
        }
    }
}

/// The labels of the pod as it will be, `a=b,c=d`: neither part can have a comma.
fn labels(pod: &Value, name: &str, revision: &str) -> String {
    let mut labels = match &pod["metadata"]["labels"] {
        Value::Object(labels) => labels.clone(),
        _ => Map::new(),
    };
    for (label, value) in [
        (super::label::CANONICAL_NAME, name),
        (super::label::CANONICAL_REVISION, revision),
    ] {
        labels.entry(label).or_insert_with(|| json!(value));
    }
    let pairs = labels.iter();
    let pairs = pairs.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
    let pairs: Vec<String> = pairs.collect();
    pairs.join(",")
}

/// Whether the pod is to come to an end by itself, and lets its containers see one another's processes.
/// A proxy that is no native sidecar would keep it from its end, but can see when the others have ended.
fn ends(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let restarts = spec["restartPolicy"].as_str().unwrap_or("Always");
    restarts != "Always" && spec["shareProcessNamespace"] == true
}

/// The container that people mean when they name none.
fn first_container(pod: &Value) -> Option<String> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut names = containers.filter_map(|container| container["name"].as_str());
    names.find(|name| *name != PROXY).map(str::to_owned)
}
