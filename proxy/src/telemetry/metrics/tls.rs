//! Handshakes of TLS, and how long certificates last.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Result};

use crate::telemetry::metrics::process::Results;
use crate::tls::client::Secured;
use crate::tls::facts::{CertificateFacts, Purpose};
use crate::upstream::connect::ConnectError;

/// What is counted of TLS.
#[derive(Debug, Clone)]
pub struct TlsMetrics {
    downstream: Handshakes,
    upstream: Handshakes,
    /// By side and reason.
    failures: IntCounterVec,
    /// Looks at the files of the identity that found something else than before, by result `success`
    /// and `failure`.
    pub identity_reloads: Results,
    /// Unix times by purpose and file.
    expirations: IntGaugeVec,
}

/// Handshakes that went well.
#[derive(Debug, Clone)]
struct Handshakes {
    full: IntCounter,
    resumed: IntCounter,
}

/// With whom a handshake was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client.
    Downstream,
    /// A server.
    Upstream,
}

// === impl TlsMetrics ===

impl TlsMetrics {
    pub(super) fn new(
        handshakes: &IntCounterVec,
        failures: IntCounterVec,
        identity_reloads: Results,
        expirations: IntGaugeVec,
    ) -> Result<Self> {
        let of = |side: Side| -> Result<Handshakes> {
            let kind = |kind| handshakes.get_metric_with_label_values(&[side.as_str(), kind]);
            Ok(Handshakes {
                full: kind("full")?,
                resumed: kind("resumed")?,
            })
        };
        Ok(Self {
            downstream: of(Side::Downstream)?,
            upstream: of(Side::Upstream)?,
            failures,
            identity_reloads,
            expirations,
        })
    }

    /// Counts a handshake that went well; `resumed` if the peer went on with a session of before.
    pub(crate) fn shook_hands(&self, side: Side, resumed: bool) {
        let handshakes = match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        };
        match resumed {
            true => handshakes.resumed.inc(),
            false => handshakes.full.inc(),
        }
    }

    /// Counts a handshake that failed, by a reason out of a fixed set.
    pub(crate) fn failed(&self, side: Side, reason: &'static str) {
        let labels = [side.as_str(), reason];
        self.failures.with_label_values(&labels).inc();
    }

    /// Counts the handshake of a connection to an upstream, if it had one.
    pub(crate) fn reached(&self, result: &std::result::Result<Secured, ConnectError>) {
        match result {
            Ok(Secured {
                resumed: Some(resumed),
                ..
            }) => self.shook_hands(Side::Upstream, *resumed),
            Err(ConnectError::Tls(error)) => self.failed(Side::Upstream, error.reason()),
            Ok(Secured { resumed: None, .. }) | Err(_) => {}
        }
    }

    /// Shows until when certificates are valid: of each file the one that expires first.
    pub(crate) fn show_expirations(&self, all: &[CertificateFacts]) {
        let mut first: BTreeMap<(Purpose, &std::path::Path), SystemTime> = BTreeMap::new();
        for facts in all {
            let known = first.entry((facts.purpose, &facts.file));
            let known = known.or_insert(facts.not_after);
            *known = (*known).min(facts.not_after);
        }
        self.expirations.reset();
        for ((purpose, file), not_after) in first {
            let seconds = not_after.duration_since(SystemTime::UNIX_EPOCH);
            let seconds = seconds.map_or(0, |since| since.as_secs());
            let file = file.to_string_lossy();
            let gauge = self
                .expirations
                .with_label_values(&[purpose.as_str(), &file]);
            gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }
}

// === impl Side ===

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

// === impl Purpose ===

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Root => "root",
            Self::Gateway => "gateway",
            Self::Client => "client",
            Self::Authority => "authority",
        }
    }
}
