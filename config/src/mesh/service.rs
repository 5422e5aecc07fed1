//! What the registry knows of one host: its ports and where they are served.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::resource::Resource;

/// One host of the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Fully qualified name, or a `*.` wildcard.
    pub host: String,
    /// Namespace of the resource that defines it.
    pub namespace: String,
    /// Short name: of the Kubernetes service, or of the `ServiceEntry`.
    pub name: String,
    /// Ports in the order they were written.
    pub ports: Vec<Port>,
    /// How the endpoints' addresses are found.
    pub resolution: Resolution,
    /// Where it is served; for DNS resolution names to resolve.
    pub endpoints: Vec<Endpoint>,
    /// Inside or outside the mesh.
    pub location: Location,
    /// Virtual IP addresses or CIDR ranges under which callers address it.
    pub addresses: Vec<String>,
    /// Callers address its endpoints directly (Kubernetes `clusterIP: None`).
    pub headless: bool,
    /// Names that its certificate may bear; empty means those of the endpoints' identities.
    pub subject_alt_names: Vec<String>,
    /// Namespaces that see it, as written; empty means all.
    pub export_to: Vec<String>,
    /// Every resource whose change changes this.
    pub sources: Vec<Arc<Resource>>,
}

/// Port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// Number by which callers address it.
    pub number: u16,
    /// Name; empty if it has none.
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 if the client begins it.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// gRPC-Web over HTTP/1.1.
    GrpcWeb,
    /// HTTP over TLS that the caller began.
    Https,
    /// TLS that the caller began.
    Tls,
    /// Opaque bytes.
    Tcp,
    /// MongoDB, treated as opaque.
    Mongo,
    /// Redis, treated as opaque.
    Redis,
    /// MySQL, treated as opaque; the server speaks first.
    Mysql,
    /// Not declared: found out from the first bytes.
    Auto,
}

/// How the addresses of a service's endpoints are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Endpoints are addresses.
    Static,
    /// Every answer of DNS for every endpoint is used.
    Dns,
    /// One answer of DNS is used for new connections.
    DnsRoundRobin,
    /// DNS for the host of each request; for wildcards.
    DynamicDns,
    /// The address that the caller asked for.
    OriginalDestination,
}

/// Inside or outside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Location {
    /// Endpoints have proxies: mesh TLS.
    Inside,
    /// Endpoints know nothing of the mesh.
    Outside,
}

/// Where a service is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Address or name to resolve.
    pub address: Address,
    /// Target port of each service port that it serves.
    pub ports: PortMap,
    /// Labels by which subsets select it.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Relative weight, at least 1.
    pub weight: u32,
    /// `region/zone/subzone`, as far as it is known.
    pub locality: Option<String>,
    /// Network, if it is not the callers'.
    pub network: Option<String>,
    /// Service account, which gives the identity.
    pub service_account: Option<String>,
    /// Workload that serves: owner of the pod, or name of the `WorkloadEntry`.
    pub workload: Option<String>,
    /// Whether it takes new requests.
    pub ready: bool,
}

/// Address of an endpoint, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IP address.
    Ip(IpAddr),
    /// DNS name.
    Name(String),
    /// Unix domain socket; ports do not apply.
    Unix(PathBuf),
}

/// Service port to target port, ordered by service port. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMap(Arc<[(u16, u16)]>);

// === impl Service ===

impl Service {
    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

// === impl Protocol ===

impl Protocol {
    /// Reads a protocol name without regard to case; `None` for what is not known.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            _ => return None,
        })
    }

    /// Whether the proxy reads requests on such a port.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb => true,
            Self::Https | Self::Tls | Self::Tcp | Self::Mongo => false,
            Self::Redis | Self::Mysql | Self::Auto => false,
        }
    }
}

// === impl Address ===

impl Address {
    /// Reads an IP address, a `unix://` path or a name; `None` for the empty text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return Some(Self::Unix(path.into()));
        }
        Some(match text.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

// === impl PortMap ===

impl PortMap {
    /// Target port of a service port, or `None` if it is not served here.
    pub fn get(&self, service_port: u16) -> Option<u16> {
        let place = self
            .0
            .binary_search_by_key(&service_port, |&(port, _)| port)
            .ok()?;
        Some(self.0[place].1)
    }

    /// Pairs of service port and target port, ordered by service port.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    /// Whether no port is served.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u16, u16)> for PortMap {
    /// Collects pairs; of two with the same service port the first counts.
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|&(port, _)| port);
        pairs.dedup_by_key(|&mut (port, _)| port);
        Self(pairs.into())
    }
}
