//! The YAML that depends on ports: who runs where, and which listeners each proxy opens.
//!
//! Written as text, because people read these files to learn what the pieces do.

use std::net::SocketAddr;

use crate::workload::{NAMESPACE, PRODUCTPAGE, SERVICE_PORT, Workload};

/// Labels of the gateway's proxy, as `--labels` takes them.
pub(crate) const GATEWAY_LABELS: &str = "istio=ingressgateway";
/// `security.yaml`: who may call whom.
pub(crate) const SECURITY: &str = include_str!("../security.yaml");
/// Host that answers with the mark of the configuration in force; only `--check` asks it.
pub(crate) const MARK_HOST: &str = "mark.default.svc.cluster.local";

/// The three addresses of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The workload.
    pub(crate) workload: &'static Workload,
    /// The service itself; only its own proxy connects.
    pub(crate) app: SocketAddr,
    /// Its proxy, for those who call the service.
    pub(crate) ingress: SocketAddr,
    /// Its proxy, for the service's own calls.
    pub(crate) egress: SocketAddr,
}

/// `registry.yaml`: every service with the inbound listeners of its workloads' proxies.
pub(crate) fn registry(places: &[Place]) -> String {
    let mut yaml = String::from(
        "# Written by bookinfo at each start: which services there are, and where. A cluster\n\
         # would say the same with Service and EndpointSlice.\n",
    );
    let mut host = "";
    for place in places {
        let Place {
            workload, ingress, ..
        } = place;
        let app = workload.app.host();
        if app != host {
            host = app;
            yaml += &service_entry(app);
        }
        yaml += &format!(
            "  - address: {ip}\n    ports:\n      http: {port}\n    labels:\n      app: {app}\n      \
             version: {version}\n      security.istio.io/tlsMode: istio\n    serviceAccount: \
             {account}\n",
            ip = ingress.ip(),
            port = ingress.port(),
            version = workload.version,
            account = workload.service_account(),
        );
    }
    yaml
}

fn service_entry(host: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {host}\n  \
         namespace: {NAMESPACE}\nspec:\n  hosts:\n  - {host}.{NAMESPACE}.svc.cluster.local\n  \
         location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  - number: {SERVICE_PORT}\n    \
         name: http\n    protocol: HTTP\n  endpoints:\n"
    )
}

/// `gateway.yaml`: the page's port, and what is reachable through it.
pub(crate) fn gateway(page: SocketAddr) -> String {
    format!(
        "# Written by bookinfo at each start: the door to the page.\n\
         apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: bookinfo\n  \
         namespace: {NAMESPACE}\nspec:\n  selector:\n    istio: ingressgateway\n  servers:\n  \
         - port:\n      number: {port}\n      name: http\n      protocol: HTTP\n    hosts:\n    \
         - \"*\"\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  \
         name: bookinfo\n  namespace: {NAMESPACE}\nspec:\n  hosts:\n  - \"*\"\n  gateways:\n  \
         - bookinfo\n  http:\n  - route:\n    - destination:\n        host: {PRODUCTPAGE}\n        \
         port:\n          number: {SERVICE_PORT}\n",
        port = page.port(),
    )
}

/// The document of one sidecar: its listeners, without any interception of traffic.
pub(crate) fn sidecar(place: &Place) -> String {
    let Place {
        workload,
        app,
        ingress,
        egress,
    } = place;
    format!(
        "# Written by bookinfo at each start: the listeners of the proxy beside {name}.\n\
         apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata:\n  name: {name}\n  \
         namespace: {NAMESPACE}\nspec:\n  workloadSelector:\n    labels:\n      app: {host}\n      \
         version: {version}\n  # What others send to {host}.\n  ingress:\n  - port:\n      \
         number: {inbound}\n      protocol: HTTP\n      name: http\n    bind: {inbound_ip}\n    \
         captureMode: NONE\n    defaultEndpoint: {app}\n  # What {host} sends to others; the \
         Host header says to whom.\n  egress:\n  - port:\n      number: {outbound}\n      \
         protocol: HTTP\n      name: egress\n    bind: {outbound_ip}\n    captureMode: NONE\n    \
         hosts:\n    - \"./*\"\n",
        name = workload.name,
        host = workload.app.host(),
        version = workload.version,
        inbound = ingress.port(),
        inbound_ip = ingress.ip(),
        outbound = egress.port(),
        outbound_ip = egress.ip(),
    )
}

/// A service that exists only as a route which answers `mark`, to be added to `routes.yaml`.
///
/// A configuration takes effect as a whole, so a proxy that answers the mark of a file has
/// everything else of that file in force too.
pub(crate) fn mark(mark: u64) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: mark\n  \
         namespace: {NAMESPACE}\nspec:\n  hosts:\n  - {MARK_HOST}\n  http:\n  - directResponse:\n      \
         status: 200\n      body:\n        string: \"{mark}\"\n"
    )
}

/// The service behind [`mark`]: a name that proxies know, with an endpoint never asked.
pub(crate) fn mark_service(endpoint: SocketAddr) -> String {
    service_entry("mark")
        + &format!(
            "  - address: {}\n    ports:\n      http: {}\n",
            endpoint.ip(),
            endpoint.port()
        )
}

#[cfg(test)]
mod tests;
