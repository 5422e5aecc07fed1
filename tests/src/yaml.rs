//! The documents that most scenarios need.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

use crate::port::Port;

/// A `Gateway` named `edge` for every host at `port`.
pub fn gateway(port: &Port) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - hosts: ['*']
    port: {{name: http, number: {port}, protocol: HTTP}}
---
"
    )
}

/// A `VirtualService` at the gateway `edge` for `host`, with `rules` as the items of `http`.
pub fn routes(host: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {}}}
spec:
  hosts: ['{host}']
  gateways: [edge]
  http:
{}
---
",
        host.replace('*', "all").replace('.', "-"),
        rules.trim_matches('\n')
    )
}

/// A `ServiceEntry` with fixed endpoints.
#[derive(Debug, Clone)]
pub struct Service {
    host: String,
    port_name: String,
    protocol: String,
    endpoints: Vec<String>,
}

// === impl Service ===

impl Service {
    /// A service that speaks HTTP/1.1 at port 80 of `host`.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            port_name: "http".to_owned(),
            protocol: "HTTP".to_owned(),
            endpoints: Vec::new(),
        }
    }

    /// Speaks another protocol; its port has the protocol's name.
    #[must_use]
    pub fn protocol(mut self, protocol: &str) -> Self {
        self.protocol = protocol.to_owned();
        self.port_name = protocol.to_lowercase();
        self
    }

    /// With an endpoint.
    #[must_use]
    pub fn at(self, addr: SocketAddr) -> Self {
        self.endpoint(addr, "")
    }

    /// With an endpoint that has `more` fields, such as `weight: 3` or `labels: {version: v1}`.
    #[must_use]
    pub fn endpoint(mut self, addr: SocketAddr, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        self.endpoints.push(format!(
            "{{address: '{}', ports: {{{}: {}}}{comma}{more}}}",
            addr.ip(),
            self.port_name,
            addr.port()
        ));
        self
    }

    /// With an endpoint of a version.
    #[must_use]
    pub fn version(self, addr: SocketAddr, version: &str) -> Self {
        self.endpoint(addr, &format!("labels: {{version: {version}}}"))
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut endpoints = String::new();
        for endpoint in &self.endpoints {
            write!(endpoints, "\n  - {endpoint}")?;
        }
        let empty = if self.endpoints.is_empty() { " []" } else { "" };
        let name = self.host.replace('.', "-");
        let Self {
            host,
            port_name,
            protocol,
            ..
        } = self;
        writeln!(
            f,
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: {port_name}, protocol: {protocol}}}]
  endpoints:{empty}{endpoints}
---"
        )
    }
}

/// A `DestinationRule` of `host` with a subset for each of `versions`.
pub fn subsets(host: &str, versions: &[&str]) -> String {
    let name = host.replace('.', "-");
    let mut document = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {host}
  subsets:
"
    );
    for version in versions {
        document.push_str(&format!(
            "  - {{name: {version}, labels: {{version: {version}}}}}\n"
        ));
    }
    document.push_str("---\n");
    document
}
