//! One judge: a server that prints a line for each request, and the proxy before it.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;
use tests::yaml::{self, Service};
use tests::{Edge, Port, eventually};
use tokio::net::TcpStream;

use super::corpus::Whole;
use crate::process::Running;
use crate::tools;

const HOST: &str = "judge.test";

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Node's `http`, with its strict parser.
    Node,
    /// h11, a parser in Python that is known to be exact.
    H11,
    /// nginx.
    Nginx,
}

/// A running judge behind a running proxy.
#[derive(Debug)]
pub(super) struct Judge {
    kind: Kind,
    server: Running,
    edge: Edge,
    /// Lines that were taken already.
    taken: usize,
    /// Where nginx is told to put its files.
    _folder: TempDir,
}

/// What a judge printed.
#[derive(Debug)]
pub(super) enum Record {
    /// It took a whole request.
    Request {
        /// The request.
        whole: Whole,
        /// Its `Host`.
        host: String,
    },
    /// It could not read what came, or it broke off.
    Refused {
        /// Why, in its own words.
        reason: String,
    },
}

// === impl Judge ===

impl Judge {
    /// Starts both.
    pub(super) async fn start(kind: Kind) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let (server, addr) = match kind {
            Kind::Node => {
                let server = node();
                let addr = server.announced().await;
                (server, addr)
            }
            Kind::H11 => {
                let server = h11();
                let addr = server.announced().await;
                (server, addr)
            }
            Kind::Nginx => nginx(&folder).await,
        };
        let service = Service::new(HOST).at(addr);
        let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
        let edge = Edge::start(&[service.to_string(), yaml::routes("*", &rules)]).await;
        let taken = server.stdout.all().len();
        Self {
            kind,
            server,
            edge,
            taken,
            _folder: folder,
        }
    }

    /// Where to send.
    pub(super) fn addr(&self) -> SocketAddr {
        self.edge.port.addr()
    }

    /// What was printed since the last call, up to the request for `target`.
    pub(super) async fn records_before(&mut self, target: &str) -> Vec<Record> {
        let marker = format!("{target}\"");
        let is_marker = |line: &str| line.contains(&marker);
        self.server.stdout.line("a marker", is_marker).await;
        let all = self.server.stdout.all();
        let new = all[self.taken..].iter();
        let before: Vec<_> = new.take_while(|line| !is_marker(line)).collect();
        self.taken += before.len() + 1;
        before
            .into_iter()
            .map(|line| record(self.kind, line))
            .collect()
    }

    /// Connections of the proxy that ended by a panic.
    pub(super) async fn proxy_panics(&self) -> f64 {
        let metrics = self.edge.proxy.metrics().await;
        metrics.sum("meshproxy_connection_panics_total", &[])
    }
}

fn node() -> Running {
    let program = tools::debian("node", "nodejs");
    Running::start(&program, &[tools::own("judge.js")])
}

fn h11() -> Running {
    Running::start(&tools::python(), &[tools::own("judge.py")])
}

async fn nginx(folder: &TempDir) -> (Running, SocketAddr) {
    let port = Port::reserve();
    let folder = folder.path().to_str().expect("temporary paths are text");
    let template = fs::read_to_string(tools::own("judge.nginx.conf"));
    let written = template
        .expect("a file of the project")
        .replace("FOLDER", folder)
        .replace("PORT", &port.to_string());
    let file = format!("{folder}/nginx.conf");
    fs::write(&file, written).expect("a temporary file can be written");
    let program = tools::debian("nginx", "nginx");
    let server = Running::start(&program, &["-p", folder, "-c", &file]);
    let connects = async || TcpStream::connect(port.addr()).await.is_ok();
    eventually("nginx", connects, |connects| *connects).await;
    (server, port.addr())
}

fn record(kind: Kind, line: &str) -> Record {
    let line = match kind {
        Kind::Node | Kind::H11 => line.to_owned(),
        // It writes bytes as \xHH, which JSON does not know.
        Kind::Nginx => line.replace("\\x", "\\u00"),
    };
    let read: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let field = |name: &str| read[name].as_str().unwrap_or_default().to_owned();
    match kind {
        Kind::Nginx if !nginx_took(&read) => {
            let reason = format!("{} {} {}", read["status"], field("method"), field("target"));
            return Record::Refused { reason };
        }
        Kind::Node | Kind::H11 if field("kind") == "refused" => {
            let reason = field("reason");
            return Record::Refused { reason };
        }
        Kind::Node | Kind::H11 | Kind::Nginx => {}
    }
    // nginx writes a variable that is empty as a dash.
    let or_empty = |value: String| match value.as_str() {
        "-" if kind == Kind::Nginx => String::new(),
        _ => value,
    };
    Record::Request {
        whole: Whole {
            method: field("method"),
            target: field("target"),
            body: or_empty(field("body")),
        },
        host: or_empty(field("host")),
    }
}

/// Whether the status is one that nginx gives to requests that it read, such as 412 to conditions.
fn nginx_took(line: &Value) -> bool {
    matches!(line["status"].as_u64(), Some(200 | 206 | 304 | 412 | 416))
}
