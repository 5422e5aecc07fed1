//! What the probes of the pod were before they were led to us, as Istio's injector writes it: a mapping
//! from paths to Kubernetes' probes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use ::http::header::{HOST, HeaderName, HeaderValue};
use ::http::uri::PathAndQuery;
use serde::Deserialize;
use serde_json::Value;

/// Most probes of a pod.
const PROBES_MAX: usize = 256;
/// Longest service of gRPC, in bytes.
const SERVICE_BYTES_MAX: usize = 1_024;
/// How long the application may take if nothing is said, as in Kubernetes.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// The same for hooks of the lifecycle, which Kubernetes gives the whole grace period; and the longest
/// that counts, because kubelet's connection to us does not live much longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Probes by the paths that they were led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppProbes(BTreeMap<String, Probe>);

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) handler: Handler,
    pub(super) timeout: Duration,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handler {
    /// An answer by HTTP/1.1.
    Http(HttpGet),
    /// A connection.
    Tcp { port: u16 },
    /// `SERVING` by `grpc.health.v1`.
    Grpc { port: u16, service: String },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpGet {
    pub(super) port: u16,
    pub(super) https: bool,
    pub(super) path: PathAndQuery,
    /// What is said to be asked for, if not the address.
    pub(super) host: Option<HeaderValue>,
    /// All but the host.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A probe as it is written. What else Kubernetes has of probes is kubelet's affair.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    http_get: Option<WrittenGet>,
    tcp_socket: Option<WrittenPort>,
    grpc: Option<WrittenGrpc>,
    timeout_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenGet {
    path: Option<String>,
    port: Value,
    host: Option<String>,
    scheme: Option<String>,
    http_headers: Option<Vec<WrittenHeader>>,
}

#[derive(Debug, Deserialize)]
struct WrittenHeader {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct WrittenPort {
    port: Value,
}

#[derive(Debug, Deserialize)]
struct WrittenGrpc {
    port: Value,
    service: Option<String>,
}

// === impl AppProbes ===

impl AppProbes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, path: &str) -> Option<&Probe> {
        self.0.get(path)
    }
}

impl FromStr for AppProbes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = config::json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let Value::Object(written) = read else {
            return Err("must be a mapping from paths to probes".to_owned());
        };
        if written.len() > PROBES_MAX {
            let got = written.len();
            return Err(format!("must have at most {PROBES_MAX} probes, got {got}"));
        }
        let probe = |(path, written): (String, Value)| {
            let probe = probe(&path, written).map_err(|wrong| format!("{path}: {wrong}"))?;
            Ok((path, probe))
        };
        written
            .into_iter()
            .map(probe)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn probe(path: &str, written: Value) -> Result<Probe, String> {
    let kind = Kind::of(path).ok_or(
        "must be /app-health/CONTAINER/livez, readyz or startupz, or \
         /app-lifecycle/CONTAINER/prestopz or poststartz",
    )?;
    let written: Written = serde_json::from_value(written).map_err(|error| error.to_string())?;
    let handler = match (written.http_get, written.tcp_socket, written.grpc) {
        (Some(get), None, None) => Handler::Http(http_get(get)?),
        (None, Some(tcp), None) => Handler::Tcp {
            port: port("tcpSocket", &tcp.port)?,
        },
        (None, None, Some(grpc)) => Handler::Grpc {
            port: port("grpc", &grpc.port)?,
            service: service(grpc.service.unwrap_or_default())?,
        },
        _ => return Err("must have exactly one of httpGet, tcpSocket and grpc".to_owned()),
    };
    let timeout = match (written.timeout_seconds, kind) {
        (None | Some(0), Kind::Health) => TIMEOUT_DEFAULT,
        (None | Some(0), Kind::Lifecycle) => TIMEOUT_MAX,
        (Some(secs), _) => Duration::from_secs(secs.into()).min(TIMEOUT_MAX),
    };
    Ok(Probe { handler, timeout })
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Health,
    Lifecycle,
}

// === impl Kind ===

impl Kind {
    fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let (first, container, last) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && !container.is_empty();
        match (first, last) {
            _ if !is_whole => None,
            ("app-health", "livez" | "readyz" | "startupz") => Some(Self::Health),
            ("app-lifecycle", "prestopz" | "poststartz") => Some(Self::Lifecycle),
            _ => None,
        }
    }
}

fn http_get(written: WrittenGet) -> Result<HttpGet, String> {
    let https = match written.scheme.as_deref().unwrap_or_default() {
        "" | "HTTP" => false,
        "HTTPS" => true,
        other => {
            return Err(format!(
                "httpGet.scheme: must be HTTP or HTTPS, got \"{other}\""
            ));
        }
    };
    let path = written.path.unwrap_or_default();
    let path = match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    };
    let path = path.split('#').next().unwrap_or_default();
    let wrong = |_| format!("httpGet.path: must be a path, got \"{path}\"");
    let path: PathAndQuery = path.parse().map_err(wrong)?;
    let port = port("httpGet", &written.port)?;
    let mut host = match written.host.filter(|host| !host.is_empty()) {
        Some(host) => Some(header_value("httpGet.host", &host)?),
        None => None,
    };
    let mut headers = Vec::new();
    for header in written.http_headers.unwrap_or_default() {
        let field = format!("httpGet.httpHeaders[{}]", header.name);
        let name: HeaderName = header
            .name
            .parse()
            .map_err(|_| format!("{field}: must be the name of a header"))?;
        let value = header_value(&field, &header.value)?;
        match name == HOST {
            true => host = Some(value),
            false => headers.push((name, value)),
        }
    }
    Ok(HttpGet {
        port,
        https,
        path,
        host,
        headers,
    })
}

fn header_value(field: &str, value: &str) -> Result<HeaderValue, String> {
    value
        .parse()
        .map_err(|_| format!("{field}: must be the value of a header, got {value:?}"))
}

fn service(name: String) -> Result<String, String> {
    match name.len() <= SERVICE_BYTES_MAX {
        true => Ok(name),
        false => Err(format!(
            "grpc.service: must have at most {SERVICE_BYTES_MAX} bytes"
        )),
    }
}

/// A port. Names are known to Kubernetes alone, and whoever leads probes here resolves them.
fn port(handler: &str, written: &Value) -> Result<u16, String> {
    let number = match written {
        Value::Number(number) => number.as_u64().and_then(|it| u16::try_from(it).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("{handler}.port: must be a number of 1–65535, got {written}"))
}
