//! That a limit lets pass what it says, no more and no less, whoever asks.

use std::time::Duration;

use tests::client::{empty, request};
use tests::{Edge, Http1, Http2, Origin, Port, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{HOST, PRODUCTPAGE, callers, from, ingress, limited, policy};

/// Requests that may pass in a second, and at once: few enough for a busy machine.
const RATE: usize = 40;
const SPAN: Duration = Duration::from_secs(10);
/// Requests of one client at a time: one after the other would be too few where each takes long.
const STREAMS: usize = 16;
/// How often all clients of a group together ask for each request that may pass.
const EAGERNESS: usize = 3;
/// Clients that are held up for a second ask for less than they may have, so that another round
/// decides. None may ever have too much.
const ROUNDS_MAX: usize = 4;

/// What a group of clients got beyond its burst.
#[derive(Debug, Clone, Copy)]
struct Got {
    passed: usize,
    /// Until the last that passed was asked for.
    asked: Duration,
    /// Until the last that passed was answered.
    answered: Duration,
}

async fn passes(client: &mut Http2, group: &str) -> bool {
    let asked = request(http::Method::GET, HOST, "/", &[("x-group", group)], empty());
    match client.send(asked).await.status.as_u16() {
        200 => true,
        status => {
            assert_eq!(status, 429);
            false
        }
    }
}

/// Asks with one stream until the time of the span is over.
async fn ask_on(mut client: Http2, group: String, pause: [Duration; 2], start: Instant) -> Got {
    let [first, pause] = pause;
    let mut got = Got {
        passed: 0,
        asked: Duration::ZERO,
        answered: Duration::ZERO,
    };
    sleep(first).await;
    while start.elapsed() < SPAN {
        let asked = start.elapsed();
        if passes(&mut client, &group).await {
            got.passed += 1;
            (got.asked, got.answered) = (asked, start.elapsed());
        }
        sleep(pause).await;
    }
    got
}

/// Asks as a group of as many clients.
async fn group(edge: &Edge, clients: usize, name: String) -> Got {
    let askers = clients * STREAMS;
    let part = Duration::from_secs(1) / u32::try_from(RATE * EAGERNESS).expect("few");
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(edge.http2().await);
    }
    let start = Instant::now();
    let mut asking = JoinSet::new();
    for (number, client) in (0..).zip(connections.iter().cycle().take(askers)) {
        // The burst is asked for at once, the rest evenly.
        let first = part * number / if number < 2 * RATE as u32 { 10 } else { 1 };
        let pause = [first, part * askers as u32];
        asking.spawn(ask_on(client.clone(), name.clone(), pause, start));
    }
    let all = asking.join_all().await;
    let longest = |of: fn(&Got) -> Duration| all.iter().map(of).max().unwrap_or_default();
    let passed: usize = all.iter().map(|got| got.passed).sum();
    Got {
        passed: passed.saturating_sub(RATE),
        asked: longest(|got| got.asked),
        answered: longest(|got| got.answered),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seconds_are_within_one_percent_of_the_rate_from_1_to_64_clients() {
    let origin = Origin::named("shop").await;
    let limit =
        format!("  - {{name: all, requests: {RATE}, per: 1s, key: ['request.headers[x-group]']}}");
    let edge = limited(&origin, &[policy("shop", "selector: {}", &limit)]).await;

    let mut met = [false; 3];
    for round in 1..=ROUNDS_MAX {
        let of = |clients| group(&edge, clients, format!("{clients} in round {round}"));
        let (one, eight, many) = tokio::join!(of(1), of(8), of(64));
        let all = [one, eight, many];

        let may = |span: Duration| span.as_secs_f64() * RATE as f64;
        let fits = |got: &Got| got.passed as f64 <= may(got.answered) + 1.0;
        assert!(all.iter().all(fits), "{all:?}");
        for (met, got) in met.iter_mut().zip(&all) {
            *met |= got.passed as f64 >= may(got.asked) * 0.99;
        }
        if met == [true; 3] {
            return;
        }
        assert!(round < ROUNDS_MAX, "{met:?}, at last {all:?}");
    }
}

/// Asks as one who could have many more until `end`; how many passed.
async fn ask(mut client: Http1, host: &str, pause: Duration, end: Instant) -> usize {
    let mut passed = 0;
    while Instant::now() < end {
        let reply = client.get(host, "/").await;
        match reply.status.as_u16() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
        sleep(pause).await;
    }
    passed
}

/// The numbers as they were asked for. What the callers ask for beyond them is what is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_5_the_limits_of_a_workload_hold_as_they_are_written() {
    let app = Origin::named("page").await;
    let port = Port::reserve();
    let limits = "
  - name: all
    requests: 500
    per: 1s
    burst: 500
    match: [{uri: {prefix: /}}]
    key: [source.workload, source.version]
    overrides:
    - {dimensions: {source.workload: reviews, source.version: v3}, requests: 1, per: 5s}
    - {dimensions: {source.ip: 127.28.11.20}, requests: 99, per: 1s}
";
    let head = "selector: {matchLabels: {app: productpage}}";
    let yaml = ingress(&port, &app)
        + &callers(&[("127.0.3.1", "app: reviews, version: v3")])
        + &policy("productpage", head, limits);
    let _proxy = Proxy::start_with(&yaml, &["--labels", "app=productpage"]).await;

    let start = Instant::now();
    let caller = async |address: &str, pause: u64| {
        let client = from(address, &port).await;
        ask(
            client,
            PRODUCTPAGE,
            Duration::from_millis(pause),
            start + SPAN,
        )
        .await
    };
    let (slow, address, other) = tokio::join!(
        caller("127.0.3.1", 100),
        caller("127.28.11.20", 2),
        caller("127.0.0.1", 10),
    );
    let seconds = start.elapsed().as_secs() as usize + 1;

    // At once, after five seconds, and perhaps after ten.
    assert!((2..=1 + seconds / 5).contains(&slow), "{slow}");
    assert!(address <= 99 + 99 * seconds, "{address} in {seconds} s");
    assert!(other > 0);
    assert_eq!(app.requests(), slow + address + other);
}
