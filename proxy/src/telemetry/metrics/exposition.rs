//! The text format of a scrape, written series by series.
//!
//! Request series do not go through the registry: it wants every label of every series as an owned
//! string at once, about 100 MiB for 10 000 series, where a piece of text needs 64 KiB.

use std::fmt::Write;
use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::telemetry::labels::{Identity, Reporter, UNKNOWN};
use crate::telemetry::metrics::groups::{AllShown, Shown};
use crate::telemetry::metrics::series::{BOUNDS, Histogram, Measure};
use crate::telemetry::metrics::tcp::{self, TcpShown};
use crate::telemetry::metrics::traffics::Labels;
use crate::telemetry::metrics::{Outcome, RequestProtocol};

/// Size at which a piece of the exposition is handed out; one series may make it larger.
const PIECE_BYTES: usize = 64 << 10;
const OVERFLOW: &str = "overflow";
const OUTCOME_LABELS: [&str; 4] = [
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    CODE_LABEL,
];
const CODE_LABEL: &str = "response_code";

/// The text exposition, piece by piece.
#[derive(Debug)]
pub struct Scrape {
    process: Vec<MetricFamily>,
    shown: AllShown,
    tcp: Vec<TcpShown>,
    identity: Identity,
    overflowed: Identity,
    /// Where the next piece starts: the family, and the group in it.
    family: usize,
    group: usize,
    started: bool,
}

/// A family of request metrics.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

enum Kind {
    Requests,
    Histogram(Measure),
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "istio_requests_total",
        help: "Requests, counted when they end.",
        kind: Kind::Requests,
    },
    Family {
        name: "istio_request_duration_milliseconds",
        help: "Time from the first byte of a request to the last of its response.",
        kind: Kind::Histogram(Measure::Duration),
    },
    Family {
        name: "istio_request_bytes",
        help: "Size of request bodies.",
        kind: Kind::Histogram(Measure::Request),
    },
    Family {
        name: "istio_response_bytes",
        help: "Size of response bodies.",
        kind: Kind::Histogram(Measure::Response),
    },
];

// === impl Scrape ===

impl Scrape {
    pub(super) fn new(
        process: Vec<MetricFamily>,
        shown: AllShown,
        tcp: Vec<TcpShown>,
        identity: Identity,
    ) -> Self {
        Self {
            process,
            shown,
            tcp,
            identity,
            overflowed: Identity::uniform(OVERFLOW),
            family: 0,
            group: 0,
            started: false,
        }
    }

    fn write_process(&self, out: &mut String) {
        // The registry refused invalid families, so there is nothing left that could fail.
        let encoded = TextEncoder::new().encode_utf8(&self.process, out);
        debug_assert!(encoded.is_ok());
        let own = [
            (
                "meshproxy_metrics_series",
                "Combinations of labels that request metrics show.",
                "gauge",
                self.shown.places as u64,
            ),
            (
                "meshproxy_metrics_overflow_total",
                "Requests counted in an overflow series because the limit of series was reached.",
                "counter",
                self.shown.overflow_requests,
            ),
        ];
        for (name, help, kind, value) in own {
            write_header(out, name, help, kind);
            push(out, format_args!("{name} {value}\n"));
        }
    }

    fn write_series(&self, out: &mut String, family: &Family, shown: &Shown) {
        let name = family.name;
        let labels = self.labels(&shown.labels, shown.outcome.outcome());
        match family.kind {
            Kind::Requests => {
                let requests: u64 = shown.series.iter().map(|series| series.requests()).sum();
                push(out, format_args!("{name}{{{labels}}} {requests}\n"));
            }
            Kind::Histogram(measure) => {
                let mut total = Histogram::default();
                shown
                    .series
                    .iter()
                    .for_each(|series| series.add_to(&mut total, measure));
                let mut count = 0;
                for (bucket, bound) in total.buckets.iter().zip(BOUNDS) {
                    count += bucket;
                    push(
                        out,
                        format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}\n"),
                    );
                }
                let sum = total.sum;
                push(out, format_args!("{name}_sum{{{labels}}} {sum}\n"));
                push(out, format_args!("{name}_count{{{labels}}} {count}\n"));
            }
        }
    }

    /// The series of connections that are not HTTP, which are few.
    fn write_tcp(&self, out: &mut String) {
        if self.tcp.is_empty() {
            return;
        }
        let labels = self.tcp.iter().map(|shown| {
            let outcome = Outcome {
                code: 0,
                flags: shown.flags,
                protocol: RequestProtocol::Tcp,
                grpc_status: None,
            };
            self.labels(&shown.labels, Some(outcome))
        });
        let labels: Vec<String> = labels.collect();
        for (at, (name, help)) in tcp::FAMILIES.into_iter().enumerate() {
            write_header(out, name, help, "counter");
            for (shown, labels) in self.tcp.iter().zip(&labels) {
                let value = shown.values[at];
                push(out, format_args!("{name}{{{labels}}} {value}\n"));
            }
        }
    }

    /// The labels of a series in Istio's order, without braces.
    fn labels(&self, labels: &Labels, outcome: Option<Outcome>) -> String {
        let mut out = String::with_capacity(1 << 10);
        let reporter = labels.reporter;
        label(&mut out, "reporter", reporter.as_str());
        match (outcome, reporter) {
            (None, _) => write_source(&mut out, &self.overflowed),
            (Some(_), Reporter::Source) => write_source(&mut out, &self.identity),
            (Some(_), Reporter::Destination) => {
                let principal = Arc::clone(&labels.traffic.source_principal);
                let caller = Identity {
                    principal,
                    ..Identity::unknown()
                };
                write_source(&mut out, &caller);
            }
        }
        write_destination(&mut out, labels);
        let Some(outcome) = outcome else {
            for name in OUTCOME_LABELS {
                label(&mut out, name, OVERFLOW);
            }
            return out;
        };
        let security = match reporter {
            Reporter::Source => UNKNOWN,
            Reporter::Destination if *labels.traffic.source_principal == *UNKNOWN => "none",
            Reporter::Destination => "mutual_tls",
        };
        let (flags, code) = (outcome.flags.to_string(), outcome.code.to_string());
        let values = [outcome.protocol.as_str(), &flags, security, &code];
        for (name, value) in OUTCOME_LABELS.into_iter().zip(values) {
            // Connections have no status.
            if outcome.protocol != RequestProtocol::Tcp || name != CODE_LABEL {
                label(&mut out, name, value);
            }
        }
        if let Some(status) = outcome.grpc_status {
            label(&mut out, "grpc_response_status", &status.to_string());
        }
        out
    }
}

impl Iterator for Scrape {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::new();
        if !self.started {
            self.started = true;
            self.write_process(&mut out);
            self.write_tcp(&mut out);
        }
        while let Some(family) = FAMILIES.get(self.family)
            && out.len() < PIECE_BYTES
        {
            match self.shown.groups.get(self.group) {
                Some(shown) => {
                    if self.group == 0 {
                        let kind = match family.kind {
                            Kind::Requests => "counter",
                            Kind::Histogram(_) => "histogram",
                        };
                        write_header(&mut out, family.name, family.help, kind);
                    }
                    self.write_series(&mut out, family, shown);
                    self.group += 1;
                }
                None => {
                    self.family += 1;
                    self.group = 0;
                }
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

fn write_header(out: &mut String, name: &str, help: &str, kind: &str) {
    push(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
    );
}

fn write_source(out: &mut String, identity: &Identity) {
    label(out, "source_workload", &identity.workload);
    label(out, "source_canonical_service", &identity.canonical_service);
    label(
        out,
        "source_canonical_revision",
        &identity.canonical_revision,
    );
    label(out, "source_workload_namespace", &identity.namespace);
    label(out, "source_principal", &identity.principal);
    label(out, "source_app", &identity.app);
    label(out, "source_version", &identity.version);
    label(out, "source_cluster", &identity.cluster);
}

fn write_destination(out: &mut String, labels: &Labels) {
    let traffic = &labels.traffic;
    label(out, "destination_service", &traffic.destination_service);
    label(
        out,
        "destination_service_namespace",
        &traffic.destination_service_namespace,
    );
    label(
        out,
        "destination_service_name",
        &traffic.destination_service_name,
    );
    label(out, "destination_workload", &traffic.destination_workload);
    label(
        out,
        "destination_canonical_service",
        &traffic.destination_canonical_service,
    );
    label(
        out,
        "destination_canonical_revision",
        &traffic.destination_canonical_revision,
    );
    label(
        out,
        "destination_workload_namespace",
        &traffic.destination_workload_namespace,
    );
    label(out, "destination_principal", &traffic.destination_principal);
    label(out, "destination_app", &traffic.destination_app);
    label(out, "destination_version", &traffic.destination_version);
    label(out, "destination_cluster", &traffic.destination_cluster);
}

fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes everything");
}
