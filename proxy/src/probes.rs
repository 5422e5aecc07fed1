//! Probes of the application (`/app-health/…`): kubelet asks us, and we ask the application.
//!
//! Kubelet has no certificate, so that where mutual TLS is demanded it cannot ask the application
//! itself. Whoever writes the pod (as Istio's injector does) leads its probes here and says in
//! `ISTIO_KUBE_APP_PROBERS` what they were. Only these can be asked, at this host, and what comes back
//! is the status alone: whoever reaches the health address learns nothing else of the application.

mod application;
mod declared;
mod http;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderValue, StatusCode, uri};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::telemetry::metrics::ProbeCounters;
use crate::tls::client::{Belief, Own, Terms, TlsClient};
use crate::upstream::health;
use application::Application;
pub use declared::AppProbes;
use declared::{Handler, Probe};

/// Probes under way at the same time. A pod has a few; more come only from who has nothing to ask.
/// Fewer than the health server has connections, so that its own answers are never held up.
const UNDER_WAY_MAX: usize = 32;
/// What an application sees as our name where it is not told kubelet's.
const USER_AGENT: &str = "meshproxy-app-probe";

/// Asks the application what was declared.
#[derive(Debug)]
pub struct Prober {
    declared: AppProbes,
    /// For applications that speak TLS; whoever answers is believed, as by kubelet.
    tls: Option<Arc<TlsClient>>,
    places: Semaphore,
    counters: ProbeCounters,
    /// Which probes failed when they were last asked. Held only while that is noted.
    failing: Mutex<BTreeMap<String, bool>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// The address of ours that was asked: that of the pod.
    pub(crate) asked_at: IpAddr,
    /// What it calls itself.
    pub(crate) agent: Option<&'a HeaderValue>,
}

/// Why a probe has no status of the application.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{UNDER_WAY_MAX} probes are under way")]
    Full,
    #[error("no answer in time")]
    Timeout,
    #[error("connect to port {port}")]
    Connect { port: u16, source: std::io::Error },
    #[error("TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("exchange")]
    Exchange(#[from] hyper::Error),
    #[error("build the request")]
    Request(#[from] ::http::Error),
    #[error("redirected too often")]
    Redirects,
    #[error(transparent)]
    Grpc(#[from] health::Failure),
}

// === impl Prober ===

impl Prober {
    /// Asks what was declared; nothing if nothing was.
    pub fn new(declared: &AppProbes, counters: &ProbeCounters) -> Option<Self> {
        if declared.is_empty() {
            return None;
        }
        let terms = Terms {
            own: Own::Nobody,
            server_name: None,
            belief: Belief::Anyone,
        };
        Some(Self {
            tls: TlsClient::new(terms, None, []).ok(),
            declared: declared.clone(),
            places: Semaphore::new(UNDER_WAY_MAX),
            counters: counters.clone(),
            failing: Mutex::default(),
        })
    }

    /// What the application says to the probe that was led to `path`; none if none was.
    pub(crate) async fn probe(&self, path: &str, asker: Asker<'_>) -> Option<StatusCode> {
        let probe = self.declared.get(path)?;
        let result = match self.places.try_acquire() {
            Err(_) => Err(Failure::Full),
            Ok(_place) => timeout(probe.timeout, self.ask(probe, asker))
                .await
                .unwrap_or(Err(Failure::Timeout)),
        };
        self.note(path, &result);
        Some(match result {
            Ok(status) => status,
            Err(failure) => failure.status(),
        })
    }

    async fn ask(&self, probe: &Probe, asker: Asker<'_>) -> Result<StatusCode, Failure> {
        let application = Application {
            own: asker.asked_at,
        };
        match &probe.handler {
            Handler::Http(get) => http::get(get, application, asker, self.tls.as_deref()).await,
            Handler::Tcp { port } => application.connect(*port).await.map(|_| StatusCode::OK),
            Handler::Grpc { port, service } => {
                let io = application.connect(*port).await?;
                let asked = health::Asked {
                    authority: &application.authority(*port),
                    scheme: uri::Scheme::HTTP,
                    agent: USER_AGENT,
                };
                health::ask_grpc(io, asked, service).await?;
                Ok(StatusCode::OK)
            }
        }
    }

    /// Counts a result, and logs one that is another than before.
    fn note(&self, path: &str, result: &Result<StatusCode, Failure>) {
        if matches!(result, Err(Failure::Full)) {
            self.counters.refused.inc();
            tracing::debug!(path, "too many probes of the application at once");
            return;
        }
        let (failed, reason) = match result {
            Ok(status) if status.as_u16() < 400 => (false, String::new()),
            Ok(status) => (true, format!("status {}", status.as_u16())),
            Err(failure) => (true, failure.text()),
        };
        let counter = match failed {
            true => &self.counters.failed,
            false => &self.counters.passed,
        };
        counter.inc();
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failing.insert(path.to_owned(), failed);
        match (before.unwrap_or(false), failed) {
            (false, true) => tracing::info!(path, reason, "the application fails a probe"),
            (true, false) => tracing::info!(path, "the application passes a probe again"),
            (false, false) | (true, true) => {}
        }
    }
}

// === impl Failure ===

impl Failure {
    /// What kubelet is told.
    fn status(&self) -> StatusCode {
        match self {
            Self::Full | Self::Grpc(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect { .. }
            | Self::Tls(_)
            | Self::Exchange(_)
            | Self::Request(_)
            | Self::Redirects => StatusCode::BAD_GATEWAY,
        }
    }

    /// With its causes, in one line.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(source) = cause {
            text.push_str(": ");
            text.push_str(&source.to_string());
            cause = source.source();
        }
        text
    }
}
