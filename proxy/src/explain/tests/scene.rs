//! A proxy in this process with a configuration, upstreams that are scripted, and what is explained of
//! the same configuration.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use config::mesh::{Mesh, MeshSettings, Viewer};
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::LocalRuntime;

use super::generated::Generated;
use super::services::SERVICES;
use crate::bootstrap::Locality;
use crate::explain::asked::Asked;
use crate::explain::decision::Decision;
use crate::explain::listener::{Views, Wanted};
use crate::io::Io;
use crate::offline::{Offline, Workload};
use crate::request::explain::Callers;
use crate::request::{Downstream, pipeline};
use crate::snapshot::Publisher;
use crate::table::compile::{Compiler, Perspective};
use crate::table::{Bind, Direction};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::upstream::connect::Connector;
use crate::upstream::endpoint::EndpointAddr;
use crate::worker::Worker;

/// Address of the caller.
pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// The endpoint that gets copies and nothing else.
const MIRROR: &str = "192.0.2.31:80";
/// Room in each direction of a pipe.
const PIPE_BYTES: usize = 16 * 1024;
/// Most series of metrics in one case.
const SERIES_MAX: usize = 100;
/// Turns of the runtime in which what is under way comes to its end: nothing waits for a clock.
const TURNS: usize = 64;

/// A proxy with a configuration, and the files it has it from.
pub(super) struct Scene {
    _folder: TempDir,
    views: Views,
    worker: Rc<Worker>,
    bind: Bind,
    gateway: bool,
    /// Copies that came to the mirror.
    copies: Rc<RefCell<usize>>,
}

/// What came of a request.
pub(super) struct Seen {
    pub(super) response: Response<Bytes>,
    /// The proxy's own account of it.
    pub(super) account: Value,
    /// There was no answer.
    pub(super) reset: bool,
}

fn caller() -> Workload {
    Workload {
        viewer: Viewer {
            namespace: "default".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
        },
        locality: Some(Locality {
            region: "eu".to_owned(),
            zone: "a".to_owned(),
            subzone: String::new(),
        }),
        service_account: "default".to_owned(),
    }
}

// === impl Scene ===

impl Scene {
    pub(super) fn new(generated: &Generated) -> Self {
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
            viewer: caller().viewer,
            identity: Identity::unknown(),
            cluster: "Kubernetes".to_owned(),
            locality: caller().locality,
            principal: "unknown".to_owned(),
            bind: Ipv4Addr::UNSPECIFIED.into(),
            captures: false,
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
        let copies = Rc::default();
        let copied = Rc::clone(&copies);
        let connector = Connector::Custom(Rc::new(move |addr| {
            let io = upstream(addr, Rc::clone(&copied));
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
            copies,
        }
    }

    pub(super) fn explain(&mut self, asked: &Asked) -> Decision {
        let wanted = match self.gateway {
            true => Wanted::Gateway("default/edge".to_owned()),
            false => Wanted::Mesh,
        };
        match self.views.decide(&caller(), Some(&wanted), asked) {
            Ok(decision) => decision,
            Err(undecided) => panic!("{undecided:?}"),
        }
    }

    pub(super) fn happens(&self, runtime: &LocalRuntime, asked: &Asked) -> Seen {
        let peer = SocketAddr::new(SOURCE, 40_000);
        let downstream = Downstream::new(self.bind.clone(), Some(peer), None);
        let mut arrived = asked.arrived();
        let one = http::HeaderValue::from_static("1");
        arrived.head.headers.insert("x-meshproxy-explain", one);
        runtime.block_on(async {
            let worker = Rc::clone(&self.worker);
            let response = pipeline::serve(worker, &downstream, arrived).await;
            let reset = response.body().is_reset();
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let account = head.headers.get("x-meshproxy-explain");
            let account = account.expect("an account of what happened");
            let account = serde_json::from_slice(account.as_bytes()).expect("JSON");
            let response = Response::from_parts(head, body);
            Seen {
                response,
                account,
                reset,
            }
        })
    }
    /// Copies that have come to the mirror, once all are there.
    pub(super) fn copies(&self, runtime: &LocalRuntime) -> usize {
        runtime.block_on(async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        });
        *self.copies.borrow()
    }
}

/// The proxy's end of a connection to an endpoint that answers each request with its own address and
/// what it was sent.
fn upstream(addr: &EndpointAddr, copies: Rc<RefCell<usize>>) -> DuplexStream {
    let (near, mut far) = duplex(PIPE_BYTES);
    let addr = addr.to_string();
    tokio::task::spawn_local(async move {
        let mut read = Vec::new();
        while let Ok(1..) = far.read_buf(&mut read).await {
            if read.ends_with(b"\r\n\r\n") {
                if addr == MIRROR {
                    *copies.borrow_mut() += 1;
                }
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

// === impl Seen ===

impl Seen {
    /// Response flags.
    pub(super) fn flags(&self) -> Vec<&str> {
        let flags = self.account.get("flags").and_then(Value::as_str);
        flags.unwrap_or_default().split(',').collect()
    }

    /// A list of the account; empty if there is none.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let list = self.account.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}
