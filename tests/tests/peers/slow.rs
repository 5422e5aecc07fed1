//! `slowhttptest`, which occupies a server with hundreds of clients that hardly move: slow heads, slow
//! bodies, lists of ranges, slow readers. Others must be served meanwhile, memory must stay bounded, and
//! nothing may be left behind.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use http::Response;
use tests::body::{Large, drain};
use tests::origin::{Protocol, body, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, eventually};

use crate::process::Running;
use crate::tools;

const HOST: &str = "slow.test";
const CONNECTIONS: u32 = 300;
/// Connections that the tool makes each second: all of them in two.
const RATE: &str = "150";
/// How long the tool goes on unless the proxy ends its connections.
const ATTACK_SECONDS: &str = "15";
/// Pause between two requests of the others.
const PAUSE: Duration = Duration::from_millis(20);
/// An answer that no socket buffer holds.
const LARGE_BYTES: usize = 8 * 1024 * 1024;
/// What all slow clients together may add to the proxy's memory: some 200 KiB for each.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What the system may keep for one of them of what it was given to send: what the proxy lets it keep
/// unsent, the last write that began below that, and what fits into the little window of the client.
const QUEUED_BYTES_MAX: u64 = 1536 * 1024;

/// What was seen of one run of the tool.
#[derive(Debug)]
struct Attack {
    /// What the tool says of how it ended.
    ended: String,
    /// The most connections that were open at once.
    open_max: f64,
    /// Requests of others that were answered meanwhile.
    others: usize,
    /// The most bytes that the system kept for one connection, sent and not acknowledged or not sent.
    queued_bytes_max: u64,
}

async fn origin() -> Origin {
    Origin::serving(Protocol::Http1, |request| async move {
        if request.uri().path() == "/large" {
            return Response::new(body(Large::new(LARGE_BYTES)));
        }
        // Whether the upload breaks off is the attacker's affair.
        let _ = drain(request.into_body()).await;
        text("slow")
    })
    .await
}

/// Runs the tool in a mode, serves others meanwhile, and waits until all it took is given back.
async fn attack(mode: &[&str], path: &str, flags: &[&str]) -> Attack {
    let origin = origin().await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let edge = Edge::start_with(&[service, yaml::routes("*", &rules)], flags).await;
    let mut keeping = edge.http1().await;
    keeping.get(HOST, "/").await;
    let before = edge.proxy.resident_bytes();

    let tool = start(mode, &format!("http://{}{path}", edge.port.addr()));
    let mut attack = Attack {
        ended: String::new(),
        open_max: 0.0,
        others: 0,
        queued_bytes_max: 0,
    };
    {
        let status = |line: &str| line.contains("Exit status:");
        let mut ended = std::pin::pin!(tool.stdout.line("the end of the tool", status));
        while attack.ended.is_empty() {
            assert_eq!(keeping.get(HOST, "/").await.brief(), (200, "slow"));
            let fresh = edge.http1().await.get(HOST, "/").await;
            assert_eq!(fresh.brief(), (200, "slow"));
            attack.others += 2;
            attack.open_max = attack.open_max.max(open(&edge).await);
            let queued = queued_bytes_max(edge.port.addr());
            attack.queued_bytes_max = attack.queued_bytes_max.max(queued);
            tokio::select! {
                line = &mut ended => attack.ended = line,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    assert!(attack.queued_bytes_max < QUEUED_BYTES_MAX, "{attack:?}");
    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{mode:?}: {growth} bytes more");
    drop(keeping);
    eventually("no connection", || open(&edge), |open| *open == 0.0).await;
    attack
}

fn start(mode: &[&str], url: &str) -> Running {
    let connections = CONNECTIONS.to_string();
    let mut arguments = mode.to_vec();
    arguments.extend(["-c", &connections, "-r", RATE, "-l", ATTACK_SECONDS]);
    arguments.extend(["-v", "1", "-u", url]);
    Running::start(&tools::debian("slowhttptest", "slowhttptest"), &arguments)
}

async fn open(edge: &Edge) -> f64 {
    let metrics = edge.proxy.metrics().await;
    metrics.sum("meshproxy_downstream_connections_active", &[])
}

/// The longest queue of bytes to be sent on connections to an address, as the system counts them.
fn queued_bytes_max(to: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let port = format!(":{:04X}", to.port());
    let queued = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_ours = fields.next()?.ends_with(&port);
        let (unsent, _) = fields.nth(2)?.split_once(':')?;
        is_ours.then(|| u64::from_str_radix(unsent, 16).ok())?
    });
    queued.max().unwrap_or_default()
}

/// That the attack was one.
fn assert_occupied(attack: &Attack) {
    assert!(attack.open_max > f64::from(CONNECTIONS / 2), "{attack:?}");
    assert!(attack.others > 20, "{attack:?}");
}

#[tokio::test]
async fn slow_heads_are_ended_and_delay_nobody() {
    // A new line of the head every second: no pause is long, only the whole.
    let mode = ["-H", "-i", "1", "-x", "24"];

    let attack = attack(&mode, "/", &["--request-head-timeout", "4s"]).await;

    assert_occupied(&attack);
    let all_closed = attack.ended.contains("No open connections left");
    assert!(all_closed, "{attack:?}");
}

#[tokio::test]
async fn slow_bodies_delay_nobody() {
    let attack = attack(&["-B", "-i", "1", "-s", "8192"], "/", &[]).await;

    assert_occupied(&attack);
}

#[tokio::test]
async fn long_lists_of_ranges_delay_nobody() {
    let attack = attack(&["-R", "-a", "10", "-b", "3000", "-t", "GET"], "/", &[]).await;

    assert!(attack.others > 0, "{attack:?}");
}

#[tokio::test]
async fn slow_readers_delay_nobody() {
    let mode = ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"];

    let attack = attack(&mode, "/large", &[]).await;

    assert_occupied(&attack);
}
