//! A compiler as a proxy at the edge has it, for benchmarks that begin with YAML.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use config::mesh::Viewer;
use proxy::table::compile::{Compiler, Perspective};
use proxy::telemetry::labels::Identity;
use proxy::telemetry::metrics::{Metrics, SERIES_MAX};

/// Namespace of the proxy and of documents that name none.
pub(crate) const NAMESPACE: &str = "default";

/// Metrics of a proxy that has seen no request.
pub(crate) fn metrics() -> Arc<Metrics> {
    Metrics::new(identity(), SERIES_MAX)
}

/// A compiler that has made nothing yet.
pub(crate) fn compiler(metrics: &Arc<Metrics>) -> Compiler {
    let perspective = Perspective {
        viewer: Viewer {
            namespace: NAMESPACE.to_owned(),
            labels: BTreeMap::new(),
        },
        identity: identity(),
        cluster: "Kubernetes".to_owned(),
        locality: None,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        principal: "unknown".to_owned(),
        captures: false,
    };
    Compiler::new(perspective, Arc::clone(metrics))
}

fn identity() -> Identity {
    Identity::of_workload(&BTreeMap::new(), "edge", NAMESPACE, "Kubernetes")
}
