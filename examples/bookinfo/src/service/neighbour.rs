//! Calls from one service to another, all through the caller's own meshproxy.
//!
//! The proxy's outbound listener takes plain HTTP and finds the service by `Host`. In a pod nobody
//! has to know of it: there the proxy takes whatever the service sends. There is no retry and no
//! balancing here: both are the proxy's work.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::workload::SERVICE_PORT;

/// Largest answer that is read, in bytes; ours are far smaller.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long an unused connection is kept: less than servers commonly allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The user, as routes see it.
pub(crate) const END_USER: HeaderName = HeaderName::from_static("end-user");
/// Why the proxy answered instead of the service.
const PROXY_ERROR: HeaderName = HeaderName::from_static("x-meshproxy-error");

/// Headers that a service hands on: who asks, what belongs to the trace, and what rules match.
const HANDED_ON: [HeaderName; 12] = [
    END_USER,
    USER_AGENT,
    COOKIE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
];

/// An HTTP client that keeps its connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The other services, as one service reaches them.
#[derive(Debug, Clone)]
pub(crate) struct Neighbours {
    /// The outbound listener of the own proxy; none where connections are captured.
    egress: Option<SocketAddr>,
    http: Http,
}

/// The part of `headers` that a service hands on to those it asks.
pub(crate) fn handed_on(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in &HANDED_ON {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

// === impl Http ===

impl Http {
    /// A client without connections.
    pub(crate) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build_http();
        Self { client }
    }

    /// Sends `req` to `authority`, a host or an address with a port, and reads the whole answer, all
    /// within `timeout`.
    ///
    /// The target of `req` is a path; `Host` comes from its headers.
    ///
    /// # Errors
    ///
    /// When there is no whole answer of at most 1 MiB in time; any status is an answer.
    pub(crate) async fn send(
        &self,
        authority: impl Display,
        mut req: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> anyhow::Result<Response<Bytes>> {
        let target = format!("http://{authority}{}", req.uri());
        *req.uri_mut() = target.parse().context("make the address of the request")?;
        let exchange = async {
            let rsp = self.client.request(req).await.context("send the request")?;
            let (parts, body) = rsp.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body
                .map_err(anyhow::Error::from_boxed)
                .context("read the answer")?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {} ms", timeout.as_millis()),
        }
    }
}

// === impl Neighbours ===

impl Neighbours {
    /// The services behind the outbound listener at `egress`.
    pub(crate) fn new(egress: SocketAddr, http: Http) -> Self {
        Self {
            egress: Some(egress),
            http,
        }
    }

    /// The services at the addresses that their names have.
    pub(crate) fn by_name(http: Http) -> Self {
        Self { egress: None, http }
    }

    /// Asks the service `host` for the JSON at `path`, for the request that came in with `headers`.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, it is no success, or it is not the JSON expected.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        host: &str,
        path: &str,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> anyhow::Result<T> {
        let mut req = Request::new(Full::default());
        *req.method_mut() = Method::GET;
        *req.uri_mut() = path.parse().context("make the path of the request")?;
        *req.headers_mut() = handed_on(headers);
        let authority = format!("{host}:{SERVICE_PORT}");
        req.headers_mut().insert(HOST, authority.parse()?);

        let at = self.egress.map_or(authority, |egress| egress.to_string());
        let rsp = self.http.send(at, req, timeout).await?;
        if !rsp.status().is_success() {
            let cause = rsp.headers().get(PROXY_ERROR);
            match cause.and_then(|value| value.to_str().ok()) {
                Some(cause) => bail!("{host} answered {} ({cause})", rsp.status().as_u16()),
                None => bail!("{host} answered {}", rsp.status().as_u16()),
            }
        }
        serde_json::from_slice(rsp.body()).with_context(|| format!("read what {host} answered"))
    }
}
