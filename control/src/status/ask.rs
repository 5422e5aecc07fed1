//! Asks replicas of the control plane over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long one replica may take for its whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read: some 1 KiB for each of 100 000 proxies.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Most replicas that are asked.
const REPLICAS_MAX: usize = 64;
/// Port if none is named.
const PORT: u16 = 8080;

/// Where a control plane answers: `http://HOST[:PORT]`. A host with several addresses has a replica
/// at each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

// === impl Address ===

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| FORM.to_owned())?;
        let host = uri.host().filter(|host| !host.is_empty());
        match (uri.scheme_str(), host, uri.path()) {
            (Some("http"), Some(host), "/" | "") if uri.query().is_none() => Ok(Self {
                host: host.to_owned(),
                port: uri.port_u16().unwrap_or(PORT),
            }),
            _ => Err(FORM.to_owned()),
        }
    }
}

const FORM: &str = "must be of the form http://HOST:PORT";

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// The addresses of all replicas behind `address`.
///
/// # Errors
///
/// If there are none.
pub async fn replicas(address: &Address) -> anyhow::Result<Vec<SocketAddr>> {
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(ANSWER_TIMEOUT, lookup_host((host, address.port)));
    let found = found.await.context("no answer of DNS in time")?;
    let found = found.with_context(|| format!("look up {host}"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_unstable();
    found.dedup();
    // `localhost` is one process under two addresses.
    if found.iter().all(|it| it.ip().is_loopback()) {
        found.truncate(1);
    }
    ensure!(!found.is_empty(), "{host} has no address");
    ensure!(
        found.len() <= REPLICAS_MAX,
        "{host} has more than {REPLICAS_MAX} addresses"
    );
    Ok(found)
}

/// What the replica at `addr` answers for `path`.
///
/// # Errors
///
/// If it does not answer in time, refuses, or says what we do not understand.
pub async fn ask<T: DeserializeOwned>(addr: SocketAddr, path: &str) -> anyhow::Result<T> {
    let answer = timeout(ANSWER_TIMEOUT, fetch(addr, path)).await;
    let answer = answer.context("no answer in time")??;
    serde_json::from_slice(&answer).context("read the answer")
}

async fn fetch(addr: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let tcp = TcpStream::connect(addr).await.context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp))
        .await
        .context("begin HTTP")?;
    let request = Request::get(path)
        .header(HOST, addr.to_string())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .context("make a request")?;
    let exchange = async {
        let response = sender.send_request(request).await.context("ask")?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(anyhow::Error::from_boxed);
        let body = body.context("read the answer")?.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body);
            bail!("it says {status}: {}", said.trim());
        }
        Ok(body)
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends with the exchange; what is wrong with it is told there.
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_and_nothing_else() {
        let shown = |text: &str| text.parse::<Address>().map(|it| it.to_string());

        for (text, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            (
                "http://meshcontrol.istio-system",
                "http://meshcontrol.istio-system:8080",
            ),
            ("http://[::1]:9/", "http://[::1]:9"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:8080",
            "https://a",
            "http://a/b",
            "http://a?b",
            "http://:80",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
