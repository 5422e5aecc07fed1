//! For generated configurations and requests: what `explain` says of a request is what the pipeline
//! then does with it, up to the bytes that the upstream gets.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use config::mesh::{Mesh, MeshSettings, Viewer};
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use super::generated::{Generated, SERVICES, Sent, mesh, request};
use crate::explain::asked::Asked;
use crate::explain::decision::{Answer, Decision, Failure, Forward, Outcome, Taken, Target};
use crate::explain::listener::{Views, Wanted};
use crate::io::Io;
use crate::offline::{Offline, Workload};
use crate::request::explain::Callers;
use crate::request::path::Normalization;
use crate::request::{Downstream, pipeline};
use crate::snapshot::Publisher;
use crate::table::compile::{Compiler, Perspective};
use crate::table::{Bind, Direction};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::upstream::connect::Connector;
use crate::upstream::endpoint::EndpointAddr;
use crate::worker::Worker;

/// Generated configurations.
const CONFIGURATIONS: u32 = 500;
/// Requests to each of them.
const REQUESTS: usize = 20;
/// Address of the caller.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// Room in each direction of a pipe.
const PIPE_BYTES: usize = 16 * 1024;
/// Most series of metrics in one case.
const SERIES_MAX: usize = 100;

/// Headers that are made for each request or attempt, that frame, or that are this test's question.
const NOT_TOLD: [&str; 5] = [
    "content-length",
    "grpc-timeout",
    "x-envoy-attempt-count",
    "x-meshproxy-explain",
    "x-request-id",
];

/// A proxy with a configuration, and the files it has it from.
struct Scene {
    _folder: TempDir,
    views: Views,
    worker: Rc<Worker>,
    bind: Bind,
    gateway: bool,
}

/// What came of a request.
struct Seen {
    response: Response<Bytes>,
    /// The proxy's own account of it.
    account: Value,
}

#[test]
fn what_is_explained_is_what_happens() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the system gives an event queue");
    let config = Config {
        cases: CONFIGURATIONS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let requests = proptest::collection::vec(request(), REQUESTS);
    let (forwarded, refused, answered) = (Cell::new(0), Cell::new(0), Cell::new(0));

    let result = runner.run(&(mesh(), requests), |(generated, requests)| {
        let mut scene = Scene::new(&generated);
        for sent in requests {
            let asked = asked(&sent);
            let decision = scene.explain(&asked);
            let seen = scene.happens(&runtime, &asked);
            compare(&decision, &seen).map_err(|difference| {
                let told = serde_json::to_string_pretty(&decision).unwrap_or_default();
                TestCaseError::fail(format!("{difference}\n{sent:?}\n{told}\n{}", seen.account))
            })?;
            let count = match &decision.outcome {
                Outcome::Forwarded(_) => &forwarded,
                Outcome::Refused(_) => &refused,
                Outcome::Answered(_) => &answered,
            };
            count.set(count.get() + 1);
        }
        Ok(())
    });

    result.unwrap_or_else(|error| panic!("{error}"));
    for (name, count) in [
        ("forwarded", forwarded.get()),
        ("refused", refused.get()),
        ("answered", answered.get()),
    ] {
        assert!(count > 1_000, "only {count} requests were {name}");
    }
}

fn asked(sent: &Sent) -> Asked {
    let headers = sent.headers.iter().map(|(name, value)| {
        let value = http::HeaderValue::from_static(value);
        (http::HeaderName::from_static(name), value)
    });
    Asked {
        method: sent.method.parse().expect("a method"),
        url: format!("http://{}{}", sent.authority, sent.target)
            .parse()
            .expect("a URL"),
        headers: headers.collect(),
        source: Some(SOURCE),
        normalization: Normalization::default(),
    }
}

fn viewer() -> Viewer {
    Viewer {
        namespace: "default".into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
    }
}

// === impl Scene ===

impl Scene {
    fn new(generated: &Generated) -> Self {
        let services = match generated.gateway {
            true => SERVICES.to_owned(),
            // With a gateway there is no outbound listener.
            false => {
                let rest = SERVICES.split_once("---");
                rest.map_or_else(String::new, |(_, rest)| rest.to_owned())
            }
        };
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, services + &generated.routes).expect("written");
        let paths = [file];
        let offline = match Offline::load(&paths, "default") {
            Ok(offline) => offline,
            Err(problems) => panic!("{problems:#?}\n{}", generated.routes),
        };

        let mesh = Mesh::new(&offline.resources, MeshSettings::default());
        let metrics = Metrics::new(Identity::unknown(), SERIES_MAX);
        let perspective = Perspective {
            viewer: viewer(),
            identity: Identity::unknown(),
            cluster: "Kubernetes".to_owned(),
            locality: None,
            principal: "unknown".to_owned(),
            bind: Ipv4Addr::UNSPECIFIED.into(),
        };
        let compiled = Compiler::new(perspective, Arc::clone(&metrics)).compile(&mesh);
        let direction = match generated.gateway {
            true => Direction::Gateway,
            false => Direction::Outbound,
        };
        let mut listeners = compiled.table.listeners.iter();
        let listener = listeners.find(|it| it.direction == direction);
        let bind = listener.expect("a listener").bind.clone();
        let publisher = Publisher::default();
        publisher.publish(compiled.table, compiled.destinations);
        let connector = Connector::Custom(Rc::new(|addr| {
            let io = upstream(addr);
            Box::pin(async { io::Result::Ok(Io::Memory(io)) })
        }));
        let callers = Callers::new(&["198.51.100.0/24".parse().expect("a network")]);
        let worker = Worker::new(&publisher, &metrics, None, connector).with_explanations(callers);
        Self {
            _folder: folder,
            views: Views::new(offline),
            worker: Rc::new(worker),
            bind,
            gateway: generated.gateway,
        }
    }

    fn explain(&mut self, asked: &Asked) -> Decision {
        let wanted = match self.gateway {
            true => Wanted::Gateway("default/edge".to_owned()),
            false => Wanted::Mesh,
        };
        let caller = Workload {
            viewer: viewer(),
            locality: None,
            service_account: "default".to_owned(),
        };
        match self.views.decide(&caller, Some(&wanted), asked) {
            Ok(decision) => decision,
            Err(undecided) => panic!("{undecided:?}"),
        }
    }

    fn happens(&self, runtime: &LocalRuntime, asked: &Asked) -> Seen {
        let peer = SocketAddr::new(SOURCE, 40_000);
        let downstream = Downstream::new(self.bind.clone(), Some(peer), None);
        let mut arrived = asked.arrived();
        let one = http::HeaderValue::from_static("1");
        arrived.head.headers.insert("x-meshproxy-explain", one);
        runtime.block_on(async {
            let worker = Rc::clone(&self.worker);
            let response = pipeline::serve(worker, &downstream, arrived).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let account = head.headers.get("x-meshproxy-explain");
            let account = account.expect("an account of what happened");
            let account = serde_json::from_slice(account.as_bytes()).expect("JSON");
            let response = Response::from_parts(head, body);
            Seen { response, account }
        })
    }
}

/// The proxy's end of a connection to an endpoint that answers each request with its own address and
/// what it was sent.
fn upstream(addr: &EndpointAddr) -> DuplexStream {
    let (near, mut far) = duplex(PIPE_BYTES);
    let addr = addr.to_string();
    tokio::task::spawn_local(async move {
        let mut read = Vec::new();
        while let Ok(1..) = far.read_buf(&mut read).await {
            if read.ends_with(b"\r\n\r\n") {
                let body = [addr.as_bytes(), b"\r\n", &read].concat();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nup: 1\r\nr: up\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let answer = [head.as_bytes(), &body].concat();
                if far.write_all(&answer).await.is_err() {
                    return;
                }
                read.clear();
            }
        }
    });
    near
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: T, seen: T) -> Result<(), String> {
    match told == seen {
        true => Ok(()),
        false => Err(format!("{what}: told {told:?}, seen {seen:?}")),
    }
}

/// How what was told differs from what was seen, if it does.
fn compare(decision: &Decision, seen: &Seen) -> Result<(), String> {
    let account = |name: &str| seen.account.get(name).and_then(Value::as_str);
    let written = decision.rule().and_then(|rule| rule.written.as_ref());
    let resource = written.map(|it| it.resource.replace("VirtualService ", ""));
    let number = |name: &str| seen.account.get(name).and_then(Value::as_u64);
    let routed = !matches!(decision.outcome, Outcome::Refused(_));
    if routed {
        let name = decision.rule().map(|rule| rule.name.as_str());
        same("rule", name, account("rule"))?;
        let service = account("virtualService");
        let told = resource.as_deref();
        // A delegate's rules are told as its own.
        same("resource", told, service)?;
        same("http", written.map(|it| u64::from(it.http)), number("http"))?;
        same(
            "match",
            written.map(|it| u64::from(it.block)),
            number("match"),
        )?;
    }
    match &decision.outcome {
        Outcome::Refused(failure) => failed(failure, seen),
        Outcome::Answered(answer) => answered(answer, seen),
        Outcome::Forwarded(forward) => forwarded(forward, seen),
    }
}

fn failed(failure: &Failure, seen: &Seen) -> Result<(), String> {
    let error = seen.response.headers().get("x-meshproxy-error");
    let error = error.and_then(|error| error.to_str().ok());
    same("error", Some(failure.error.as_str()), error)?;
    let flags = seen.account.get("flags").and_then(Value::as_str);
    same("flags", Some(failure.flags.as_str()), flags)?;
    same("status", failure.status, seen.response.status().as_u16())
}

fn answered(answer: &Answer, seen: &Seen) -> Result<(), String> {
    same("status", answer.status, seen.response.status().as_u16())?;
    same("body", answer.body_bytes, seen.response.body().len() as u64)?;
    let mut headers = seen.response.headers().clone();
    headers.remove("x-meshproxy-explain");
    same("headers", &answer.headers, &headers)
}

fn forwarded(forward: &Forward, seen: &Seen) -> Result<(), String> {
    let destination = seen.account.get("destination").and_then(Value::as_str);
    let could = |target: &&Target| target.taken != Taken::Never && leads_to(target, destination);
    let target = forward.targets.iter().find(could);
    let target = target.ok_or_else(|| format!("no target leads to {destination:?}"))?;
    let certain = forward.targets.iter().find(|it| it.taken == Taken::Always);
    if let Some(certain) = certain
        && !std::ptr::eq(certain, target)
    {
        return Err(format!("certain was {} {:?}", certain.host, certain.subset));
    }
    if let Some(failure) = &target.failure {
        return failed(failure, seen);
    }
    same("status", 200, seen.response.status().as_u16())?;
    sent(target, seen)?;
    let headers = seen.response.headers();
    for name in target.response_headers.keys() {
        let lines = |headers: &HeaderMap| -> Vec<http::HeaderValue> {
            headers.get_all(name).iter().cloned().collect()
        };
        same(
            name.as_str(),
            lines(&target.response_headers),
            lines(headers),
        )?;
    }
    let removed = target.response_edits.iter().any(|edit| edit.name == "up");
    same("removed", removed, !headers.contains_key("up"))
}

fn leads_to(target: &Target, destination: Option<&str>) -> bool {
    let key = target.destination.as_ref().map(|it| it.key.as_str());
    key == destination
}

/// What the upstream got, against what was told.
fn sent(target: &Target, seen: &Seen) -> Result<(), String> {
    let told = target.sent.as_ref().ok_or("told that nothing is sent")?;
    let text = std::str::from_utf8(seen.response.body()).map_err(|error| error.to_string())?;
    let mut lines = text.split("\r\n");
    let endpoint = lines.next().unwrap_or_default();
    let destination = target.destination.as_ref();
    let endpoints = destination.iter().flat_map(|it| &it.endpoints);
    let addresses: Vec<&str> = endpoints.map(|it| it.address.as_str()).collect();
    if !addresses.contains(&endpoint) {
        return Err(format!("endpoints: told {addresses:?}, seen {endpoint}"));
    }
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    same("path", Some(told.path.as_str()), path)?;
    let mut got: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "host" => same("authority", told.authority.as_str(), value)?,
            name if NOT_TOLD.contains(&name) => {}
            name => got.push((name.to_owned(), value.to_owned())),
        }
    }
    let told = told.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    let mut told: Vec<(String, String)> = told.collect();
    told.sort();
    got.sort();
    same("headers", told, got)
}
