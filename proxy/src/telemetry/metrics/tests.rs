//! What a scrape shows of what workers recorded.

mod limits;

use std::collections::BTreeMap;
use std::thread;

use super::*;
use crate::request::retry::Refusal;
use crate::table::retry::{Asked, Cause};

const OK: Outcome = Outcome {
    code: 200,
    flags: Flags::NONE,
    protocol: RequestProtocol::Http,
    grpc_status: None,
};

fn identity() -> Identity {
    let labels = [("app", "productpage"), ("version", "v1")];
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Identity::of_workload(&labels, "productpage-v1", "default", "Kubernetes")
}

fn reviews(metrics: &Metrics, version: &str) -> TrafficId {
    let labels = [("app", "reviews"), ("version", version)];
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let workload = format!("reviews-{version}");
    let traffic = Traffic::to_service("reviews.books.svc.cluster.local", "books").with_endpoint(
        &labels,
        Some(&workload),
        "books",
        "Kubernetes",
    );
    metrics.intern(Reporter::Source, traffic)
}

fn with_code(code: u16) -> Outcome {
    Outcome { code, ..OK }
}

/// The families of request metrics.
fn requests_text(metrics: &Metrics, now: Instant) -> String {
    let text = metrics.text(now);
    text.find("# HELP istio_requests_total")
        .map(|at| text[at..].into())
        .unwrap_or_default()
}

/// The samples of `istio_requests_total`: the part of each line that contains `label` and the value.
fn totals(metrics: &Metrics, now: Instant) -> Vec<String> {
    let text = metrics.text(now);
    let lines = text
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"));
    lines
        .map(|line| {
            let (_, end) = line.split_once("response_code=\"").expect("has a code");
            let (code, value) = end.split_once("\"} ").expect("ends in the value");
            format!("{code}: {value}")
        })
        .collect()
}

/// The value of a series without labels.
fn value(metrics: &Metrics, now: Instant, name: &str) -> String {
    let text = metrics.text(now);
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_default().to_owned()
}

const LABELS: &str = "reporter=\"source\",source_workload=\"productpage-v1\",\
    source_canonical_service=\"productpage\",source_canonical_revision=\"v1\",\
    source_workload_namespace=\"default\",source_principal=\"unknown\",\
    source_app=\"productpage\",source_version=\"v1\",source_cluster=\"Kubernetes\",\
    destination_service=\"reviews.books.svc.cluster.local\",\
    destination_service_namespace=\"books\",destination_service_name=\"reviews\",\
    destination_workload=\"reviews-v2\",destination_canonical_service=\"reviews\",\
    destination_canonical_revision=\"v2\",destination_workload_namespace=\"books\",\
    destination_principal=\"unknown\",destination_app=\"reviews\",destination_version=\"v2\",\
    destination_cluster=\"Kubernetes\",request_protocol=\"http\",response_flags=\"-\",\
    connection_security_policy=\"unknown\",response_code=\"200\"";

/// A family as it must look: its head, and its cumulative buckets, sum and count.
fn histogram(name: &str, help: &str, buckets: [u64; 20], sum: &str) -> String {
    let bounds = [
        "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
        "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf",
    ];
    let lines = bounds
        .iter()
        .zip(buckets)
        .map(|(bound, count)| format!("{name}_bucket{{{LABELS},le=\"{bound}\"}} {count}\n"));
    let head = format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
    let end = format!(
        "{name}_sum{{{LABELS}}} {sum}\n{name}_count{{{LABELS}}} {}\n",
        buckets[19]
    );
    head + &lines.collect::<String>() + &end
}

#[test]
fn two_requests_of_two_workers_are_one_series() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let traffic = reviews(&metrics, "v2");
    let micros = Duration::from_micros;
    let first = Sample {
        duration: micros(1_500),
        request_bytes: 0,
        response_bytes: 379,
    };
    let second = Sample {
        duration: micros(5_000),
        request_bytes: 10,
        response_bytes: 4_000_000,
    };

    metrics.worker().record(traffic, OK, first);
    metrics.worker().record(traffic, OK, second);

    let mut durations = [2; 20];
    durations[..2].fill(0);
    durations[2] = 2;
    let mut requests = [2; 20];
    requests[..3].fill(1);
    let mut responses = [1; 20];
    responses[..8].fill(0);
    responses[19] = 2;
    let expected = format!(
        "# HELP istio_requests_total Requests, counted when they end.\n\
         # TYPE istio_requests_total counter\n\
         istio_requests_total{{{LABELS}}} 2\n"
    ) + &histogram(
        "istio_request_duration_milliseconds",
        "Time from the first byte of a request to the last of its response.",
        durations,
        "6.5",
    ) + &histogram(
        "istio_request_bytes",
        "Size of request bodies.",
        requests,
        "10",
    ) + &histogram(
        "istio_response_bytes",
        "Size of response bodies.",
        responses,
        "4000379",
    );
    assert_eq!(requests_text(&metrics, Instant::now()), expected);
}

#[test]
fn what_is_reported_as_destination_has_an_unknown_source() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let own = Traffic::to_service("productpage.default.svc.cluster.local", "default");
    let inbound = metrics.intern(Reporter::Destination, own.with_identity(&identity()));

    metrics.worker().record(inbound, OK, Sample::default());

    let text = requests_text(&metrics, Instant::now());
    let line = text.lines().nth(2).expect("a sample");
    assert!(line.starts_with(
        "istio_requests_total{reporter=\"destination\",source_workload=\"unknown\",\
         source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\",\
         source_workload_namespace=\"unknown\",source_principal=\"unknown\",\
         source_app=\"unknown\",source_version=\"unknown\",source_cluster=\"unknown\",\
         destination_service=\"productpage.default.svc.cluster.local\","
    ));
    assert!(line.contains(",destination_workload=\"productpage-v1\","));
    assert!(line.contains(",connection_security_policy=\"none\","));
}

#[test]
fn a_grpc_call_has_its_status() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let worker = metrics.worker();
    let call = |status| Outcome {
        flags: Flags::URX | Flags::UF,
        protocol: RequestProtocol::Grpc,
        grpc_status: status,
        ..OK
    };

    for status in [None, Some(0), Some(14), Some(16), Some(17), Some(u16::MAX)] {
        worker.record(TrafficId::UNKNOWN, call(status), Sample::default());
    }

    let text = requests_text(&metrics, Instant::now());
    let ends: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"))
        .filter_map(|line| {
            line.split_once("request_protocol=")?
                .1
                .split_once("policy=")
        })
        .map(|(protocol_and_flags, end)| {
            assert_eq!(
                protocol_and_flags,
                "\"grpc\",response_flags=\"URX,UF\",connection_security_"
            );
            end
        })
        .collect();
    assert_eq!(
        ends,
        [
            "\"unknown\",response_code=\"200\"} 1",
            "\"unknown\",response_code=\"200\",grpc_response_status=\"0\"} 1",
            "\"unknown\",response_code=\"200\",grpc_response_status=\"2\"} 2",
            "\"unknown\",response_code=\"200\",grpc_response_status=\"14\"} 1",
            "\"unknown\",response_code=\"200\",grpc_response_status=\"16\"} 1",
        ]
    );
}

#[test]
fn a_label_value_cannot_end_its_quotes() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let hostile = metrics.intern(Reporter::Source, Traffic::to_service("a\"b\\c\nd", ""));

    metrics.worker().record(hostile, OK, Sample::default());

    let text = requests_text(&metrics, Instant::now());
    assert!(text.contains(r#",destination_service="a\"b\\c\nd","#));
}

#[test]
fn workers_in_threads_lose_no_request() {
    const REQUESTS: usize = 10_000;
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let traffic = reviews(&metrics, "v1");

    thread::scope(|scope| {
        for _ in 0..4 {
            let worker = metrics.worker();
            scope.spawn(move || {
                for _ in 0..REQUESTS {
                    worker.record(traffic, OK, Sample::default());
                }
            });
        }
        for _ in 0..100 {
            metrics.text(Instant::now());
        }
    });

    assert_eq!(totals(&metrics, Instant::now()), ["200: 40000"]);
}

#[test]
fn the_proxy_says_what_it_is_and_how_it_does() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let asked = Asked {
        idempotent: true,
        grpc: false,
    };
    let retries = &metrics.process.retries;
    retries.made(Cause::ConnectFailure, asked).inc();
    retries.refused(Refusal::Budget).inc();
    retries.refused(Refusal::Exhausted).inc();
    metrics.process.config_reloads.failed.inc();
    metrics.process.upstream_connections.ok.inc_by(3);

    let text = metrics.text(Instant::now());

    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "meshproxy_config_reloads_total{result=\"failure\"} 1",
        "meshproxy_config_reloads_total{result=\"success\"} 0",
        "meshproxy_upstream_connections_total{result=\"ok\"} 3",
        "meshproxy_retries_total{cause=\"connect-failure\",idempotent=\"true\"} 1",
        "meshproxy_retries_refused_total{cause=\"budget\"} 1",
        "meshproxy_retries_exhausted_total 1",
        "meshproxy_metrics_overflow_total 0",
        &format!("meshproxy_build_info{{version=\"{version}\"}} 1"),
        &format!("istio_build{{component=\"proxy\",tag=\"{version}\"}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.contains("\nprocess_resident_memory_bytes "));
}

#[test]
fn an_outcome_survives_being_a_number() {
    let protocols = [
        RequestProtocol::Http,
        RequestProtocol::Grpc,
        RequestProtocol::Tcp,
    ];
    for protocol in protocols {
        for grpc_status in [None, Some(0), Some(16)] {
            for code in [0, 200, u16::MAX] {
                let flags = Flags::DPE | Flags::DR;
                let outcome = Outcome {
                    code,
                    flags,
                    protocol,
                    grpc_status,
                };
                assert_eq!(OutcomeKey::of(&outcome).outcome(), Some(outcome));
            }
        }
    }
}
