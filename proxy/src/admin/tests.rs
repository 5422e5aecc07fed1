//! The three servers over real connections, with a small table made by hand.

pub(super) mod fixture;

use std::time::{Duration, SystemTime};

use config::{Problem, Severity};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::drain::plan::Phase;
use crate::drain::{Drain, Load};
use crate::table::{Bind, Direction};
use fixture::state;

const DEADLINE: Duration = Duration::from_secs(10);

/// The three servers, running.
struct Running {
    state: Arc<AdminState>,
    lifecycle: watch::Sender<Lifecycle>,
    commands: mpsc::Receiver<Command>,
    at: Addresses,
    task: JoinHandle<()>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Running {
    async fn start() -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let wanted = Addresses {
            admin: any,
            metrics: any,
            health: any,
        };
        let servers = Servers::bind(wanted, &mut Sockets::default()).await;
        let servers = servers.expect("bound");
        let at = servers.addresses();
        let (state, lifecycle, commands) = state();
        let state = Arc::new(state);
        let task = tokio::spawn(servers.serve(Arc::clone(&state)));
        Self {
            state,
            lifecycle,
            commands,
            at,
            task,
        }
    }

    async fn admin(&self, method: &str, path: &str) -> Reply {
        request(self.at.admin, method, path).await
    }

    async fn page(&self, path: &str) -> Value {
        let reply = self.admin("GET", path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(
            reply.head.contains("content-type: application/json"),
            "{path}: {}",
            reply.head
        );
        serde_json::from_str(&reply.body).expect("JSON")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn request(addr: SocketAddr, method: &str, path: &str) -> Reply {
    let mut tcp = TcpStream::connect(addr).await.expect("connected");
    let text = format!("{method} {path} HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n");
    tcp.write_all(text.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    timeout(DEADLINE, tcp.read_to_string(&mut reply))
        .await
        .expect("in time")
        .expect("received");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn the_index_lists_every_page_and_each_answers() {
    let running = Running::start().await;

    let index = running.page("/").await;

    let entries = index.as_array().expect("a list");
    assert_eq!(entries.len(), 14);
    for entry in entries.iter().filter(|entry| entry["method"] == "GET") {
        running.page(entry["path"].as_str().expect("a path")).await;
    }
}

#[tokio::test]
async fn routes_are_shown_as_people_read_them() {
    let running = Running::start().await;

    let routes = running.page("/routes").await;

    let host = &routes[0]["hosts"][0];
    assert_eq!(
        host["names"],
        json!(["reviews", "reviews.default.svc.cluster.local"])
    );
    assert_eq!(
        host["rules"][0],
        json!({
            "name": "main",
            "when": ["path begins with /api", "method is GET", "header end-user is jason"],
            "then": {
                "forward": [
                    {
                        "host": "reviews.default.svc.cluster.local",
                        "subset": "v1",
                        "percent": 75.0,
                        "destination": "outbound|9080|v1|reviews.default.svc.cluster.local",
                    },
                    {
                        "host": "reviews.default.svc.cluster.local",
                        "subset": "v2",
                        "percent": 25.0,
                        "destination": null,
                    },
                ],
                "stickyBy": "source address",
            },
            "timeout": "1.5s",
            "retries": {
                "attempts": 2,
                "on": ["connect-failure", "refused-stream"],
                "perTryTimeout": null,
            },
            "origin": {
                "resource": "VirtualService default/reviews",
                "position": 1,
                "source": "mesh/reviews.yaml:7",
            },
        })
    );
    let redirect = json!({"status": 301, "location": "https://{authority}{path}"});
    assert_eq!(host["rules"][1]["then"], json!({"redirect": redirect}));
    assert_eq!(host["rules"][2]["when"], json!([]));
    assert_eq!(
        host["rules"][2]["then"],
        json!({"answer": {"status": 418, "bodyBytes": 3}})
    );
}

#[tokio::test]
async fn listeners_and_destinations_are_shown() {
    let running = Running::start().await;

    let listeners = running.page("/listeners").await;
    let destinations = running.page("/destinations").await;

    assert_eq!(
        listeners,
        json!([{
            "address": "127.0.0.1:15001",
            "name": "outbound",
            "direction": "outbound",
            "tls": false,
            "speaks": "http",
            "port": "of the authority",
            "unknownHost": 502,
            "hosts": 2,
        }])
    );
    assert_eq!(
        destinations,
        json!([{
            "key": "outbound|9080|v1|reviews.default.svc.cluster.local",
            "host": "reviews.default.svc.cluster.local",
            "port": 9080,
            "subset": "v1",
            "direction": "outbound",
            "algorithm": "LEAST_REQUEST",
            "policy": {
                "connectTimeout": "10s",
                "idleTimeout": "3600s",
                "requestsPerConnectionMax": null,
                "connectionAgeMax": null,
                "streamsPerConnectionMax": 100,
                "tcpKeepalive": null,
                "http2KeepAlive": null,
                "proxyProtocol": null,
                "protocol": "HTTP/1.1",
                "outlierDetection": null,
                "healthCheck": null,
            },
            "spoken": {"http1": 0, "http2": 0, "tls": 0, "opaque": 0, "serverFirst": 0},
            "breaker": {
                "connections": {"open": 0, "max": null, "refused": 0},
                "pending": {"waiting": 0, "max": null, "refused": 0},
                "requests": {"active": 0, "max": null, "refused": 0},
            },
            "retries": {
                "limit": "20 % of requests, of what may have been processed",
                "allowed": 3,
                "active": 0,
                "refused": 0,
            },
            "groups": [{
                "level": 0, "name": null, "percent": 100.0, "panics": false,
                "endpoints": ["127.0.0.1:9081"],
            }],
            "endpoints": [{
                "address": "127.0.0.1:9081", "weight": 2, "locality": null, "tls": null,
                "available": true,
                "active": 0, "requests": 0, "failures": 0,
                "health": {
                    "available": true, "ejected": null, "ejections": null, "streaks": null,
                    "check": null,
                },
                "keepAlive": {"announced": null, "observed": null},
                "level": 0,
            }],
            "originals": null,
        }])
    );
}

#[tokio::test]
async fn the_configuration_in_use_and_its_problems_are_shown() {
    let running = Running::start().await;
    *running.state.config.lock().expect("not poisoned") = ConfigInfo {
        files: vec!["a.yaml".into()],
        resources: [("Gateway".to_owned(), 1)].into(),
        generation: 3,
        loaded_at: Some(SystemTime::UNIX_EPOCH),
        valid: false,
        last_error: Some("1 error".into()),
        problems: vec![Problem {
            severity: Severity::Error,
            file: std::path::Path::new("a.yaml").into(),
            line: 2,
            column: 1,
            resource: String::new(),
            path: "spec".into(),
            message: "is required".into(),
        }],
        control: None,
    };

    let config = running.page("/config").await;

    assert_eq!(
        config,
        json!({
            "files": ["a.yaml"],
            "resources": {"Gateway": 1},
            "generation": 3,
            "loadedAt": "1970-01-01T00:00:00.000Z",
            "valid": false,
            "lastError": "1 error",
            "problems": [{
                "severity": "error", "file": "a.yaml", "line": 2, "column": 1, "path": "spec",
                "message": "is required",
            }],
        })
    );
}

#[tokio::test]
async fn what_cannot_be_answered_is_an_error_in_json() {
    let running = Running::start().await;
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("POST", "/routes", 405, Some("GET")),
        ("GET", "/quitquitquit", 405, Some("POST")),
        ("PUT", "/drain", 405, Some("GET, POST")),
        ("POST", "/drain?direction=up", 400, None),
        ("POST", "/log?filter=debug", 405, Some("PUT")),
        ("PUT", "/log", 400, None),
        ("PUT", "/log?filter=", 400, None),
        ("PUT", "/log?filter=%zz", 400, None),
        ("PUT", "/log?filter=proxy%3Dloud", 400, None),
    ] {
        let reply = running.admin(method, path).await;

        assert_eq!(reply.status, status, "{method} {path}");
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert!(body["error"].is_string(), "{method} {path}: {body}");
        let allowed = allow.map(|allow| format!("allow: {allow}"));
        assert!(
            allowed.is_none_or(|allow| reply.head.contains(&allow)),
            "{}",
            reply.head
        );
    }
}

#[tokio::test]
async fn commands_reach_the_application_and_one_too_many_is_refused() {
    let mut running = Running::start().await;

    assert_eq!(
        running
            .admin("PUT", "/log?filter=info%2Cproxy=debug")
            .await
            .status,
        200
    );
    assert_eq!(
        running.admin("POST", "/drain").await.status,
        503,
        "the first is still waiting"
    );

    let command = running.commands.recv().await;
    assert!(matches!(command, Some(Command::SetLogFilter(f)) if f == "info,proxy=debug"));
    assert_eq!(running.admin("POST", "/drain").await.status, 200);
    assert!(matches!(
        running.commands.recv().await,
        Some(Command::Drain(Scope::All))
    ));
    assert_eq!(running.admin("POST", "/quitquitquit").await.status, 200);
    assert!(matches!(running.commands.recv().await, Some(Command::Quit)));
    running.commands.close();
    assert_eq!(running.admin("POST", "/drain").await.status, 503);
}

#[tokio::test]
async fn a_drain_is_shown_with_what_there_is_to_do() {
    let running = Running::start().await;
    let bind = Bind::Tcp(([127, 0, 0, 1], 80).into());
    let load = Arc::new(Load::new(bind.clone(), Direction::Gateway));
    running.state.loads.add(&load);
    let drain = std::rc::Rc::new(Drain::default());
    drain.listen(Arc::clone(&load));
    let ticket = drain.enter(&bind);
    let _request = ticket.ending().begin_request();
    *running.state.stage.lock().expect("no panic") = Stage {
        inbound: Phase::Telling,
        ..Stage::default()
    };

    let shown = running.page("/drain").await;

    assert_eq!(
        shown,
        json!({
            "inbound": {"phase": "telling", "openConnections": 1, "requestsUnderWay": 1},
            "outbound": {"phase": "serving", "openConnections": 0, "requestsUnderWay": 0},
            "exits": false,
            "listeners": [{
                "address": "127.0.0.1:80",
                "direction": "gateway",
                "takesConnections": true,
                "connections": 1,
                "openConnections": 1,
                "requestsUnderWay": 1,
            }],
        })
    );
}

#[tokio::test]
async fn a_server_that_another_process_has_taken_over_takes_no_more_connections() {
    let mut running = Running::start().await;

    running.lifecycle.send_replace(Lifecycle::Replaced);

    let ended = tokio::time::timeout(Duration::from_secs(10), &mut running.task).await;
    ended.expect("with all its connections").expect("no panic");
    assert!(TcpStream::connect(running.at.admin).await.is_err());
}

#[tokio::test]
async fn health_follows_the_lifecycle() {
    let running = Running::start().await;
    for (lifecycle, ready, text) in [
        (Lifecycle::Starting, 503, "starting\n"),
        (Lifecycle::Ready, 200, "ready\n"),
        (Lifecycle::Draining, 503, "draining\n"),
    ] {
        running.lifecycle.send_replace(lifecycle);

        let reply = request(running.at.health, "GET", "/healthz/ready").await;
        assert_eq!((reply.status, &*reply.body), (ready, text));
        assert_eq!(
            request(running.at.health, "GET", "/healthz/live")
                .await
                .status,
            200
        );
    }
    assert_eq!(request(running.at.health, "GET", "/").await.status, 404);
    assert_eq!(
        request(running.at.health, "POST", "/healthz/live")
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn metrics_are_at_both_of_their_names() {
    let running = Running::start().await;
    for path in ["/metrics", "/stats/prometheus", "/metrics?name=a"] {
        let reply = request(running.at.metrics, "GET", path).await;

        assert_eq!((reply.status, &*reply.body), (200, "a_total 1\n"), "{path}");
        assert!(
            reply
                .head
                .contains("content-type: text/plain; version=0.0.4"),
            "{}",
            reply.head
        );
    }
    assert_eq!(request(running.at.metrics, "GET", "/").await.status, 404);
    assert_eq!(
        request(running.at.metrics, "HEAD", "/metrics").await.body,
        ""
    );
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_its_flag() {
    let running = Running::start().await;
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let wanted = Addresses {
        admin: any,
        metrics: running.at.metrics,
        health: any,
    };

    let error = Servers::bind(wanted, &mut Sockets::default())
        .await
        .expect_err("in use");

    let expected = format!("listen at {} (--metrics-addr)", running.at.metrics);
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let running = Running::start().await;
    let mut idle = Vec::new();
    for _ in 0..serve::CONNECTIONS_MAX {
        idle.push(
            TcpStream::connect(running.at.admin)
                .await
                .expect("connected"),
        );
    }
    let mut late = Box::pin(running.admin("GET", "/"));
    // Long enough to be answered if there were a place; too short for an idle one to be let go.
    let early = timeout(Duration::from_millis(300), late.as_mut()).await;
    assert!(early.is_err(), "no place yet");

    idle.pop();

    assert_eq!(late.await.status, 200);
}
