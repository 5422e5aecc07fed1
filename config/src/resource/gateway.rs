//! `Gateway`: the ports a proxy opens for traffic from outside.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `networking.istio.io` `Gateway` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// What the gateway opens.
    pub servers: Vec<Server>,
    /// Labels of the workloads that open it, in any namespace. Empty means all.
    pub selector: BTreeMap<String, String>,
}

/// One port of a gateway and the hosts it serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// Unique name of the server.
    pub name: Option<String>,
    /// Port; required.
    pub port: Option<Port>,
    /// IP address or `unix://` path; unset means all addresses.
    pub bind: Option<String>,
    /// Hosts, `[namespace/]name`; a `VirtualService` must be bound and have a matching host.
    pub hosts: Vec<String>,
    /// TLS; required for HTTPS and TLS ports.
    pub tls: Option<ServerTls>,
    /// Not implemented by the API.
    pub default_endpoint: Option<String>,
}

/// A port with its protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Number, 1–65535 (0 for a Unix socket).
    pub number: u32,
    /// `HTTP`, `HTTPS`, `GRPC`, `GRPC-WEB`, `HTTP2`, `MONGO`, `TCP` or `TLS`.
    pub protocol: String,
    /// Unique name.
    pub name: String,
    /// Deprecated port of the endpoint.
    pub target_port: Option<u32>,
}

/// TLS towards clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTls {
    /// Answer plain HTTP with a redirect to https.
    pub https_redirect: Option<bool>,
    /// Mode; unset means `PASSTHROUGH`.
    pub mode: Option<ServerTlsMode>,
    /// File of the certificate chain.
    pub server_certificate: Option<String>,
    /// File of the key.
    pub private_key: Option<String>,
    /// File of the authorities that verify clients.
    pub ca_certificates: Option<String>,
    /// File of the revocation list.
    pub ca_crl: Option<String>,
    /// Secret with the certificate.
    pub credential_name: Option<String>,
    /// One or two secrets with certificates (RSA and ECDSA).
    pub credential_names: Vec<String>,
    /// Secret or config map with the authorities that verify clients.
    pub ca_cert_credential_name: Option<String>,
    /// One or two certificates from files.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which a client certificate must bear one.
    pub subject_alt_names: Vec<String>,
    /// Base64 SHA-256 hashes of allowed client public keys.
    pub verify_certificate_spki: Vec<String>,
    /// Hex SHA-256 hashes of allowed client certificates.
    pub verify_certificate_hash: Vec<String>,
    /// Lowest version; unset means TLS 1.2.
    pub min_protocol_version: Option<TlsProtocol>,
    /// Highest version; unset means TLS 1.3.
    pub max_protocol_version: Option<TlsProtocol>,
    /// Allowed cipher suites; empty means the default.
    pub cipher_suites: Vec<String>,
    /// Verify clients but allow those that fail.
    pub insecure_skip_verify: Option<bool>,
}

/// One certificate from files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsCertificate {
    /// File of the certificate chain.
    pub server_certificate: Option<String>,
    /// File of the key.
    pub private_key: Option<String>,
    /// File of the authorities that verify clients.
    pub ca_certificates: Option<String>,
}

/// TLS mode towards clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Route by SNI, untouched.
    Passthrough,
    /// Terminate.
    Simple,
    /// Terminate and demand a client certificate.
    Mutual,
    /// Route by a cluster name in the SNI, untouched.
    AutoPassthrough,
    /// Terminate with the workload certificate and demand a client's.
    IstioMutual,
    /// Terminate and verify a client certificate if there is one.
    OptionalMutual,
}

/// TLS version.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsProtocol {
    /// The default.
    TlsAuto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    Tlsv1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    Tlsv1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    Tlsv1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    Tlsv1_3,
}
