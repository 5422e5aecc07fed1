//! Upstreams that close, reset and restart while many requests are under way: GETs do not notice, and
//! no POST is processed twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use tests::client::{full, request};
use tests::origin::{Protocol, text};
use tests::script::Peer;
use tests::{Edge, Origin, Port, Script};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{HOST, edge};

/// Callers at once.
const CALLERS: u64 = 16;
/// Requests of each.
const REQUESTS: u64 = 60;

/// A sequence that is the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    async fn pause(&mut self, millis_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(millis_max))).await;
    }
}

/// An answer: method, status, and the cause if it is one of the proxy's own.
type Seen = (Method, u16, String);

/// What every caller got for its GETs and POSTs, each of which has a path of its own.
async fn call(edge: &Edge, caller: u64) -> Vec<Seen> {
    let mut chance = Chance(caller);
    let mut seen = Vec::new();
    let mut client = edge.http1().await;
    for number in 0..REQUESTS {
        let path = format!("/{caller}/{number}");
        let (method, body) = match chance.below(3) {
            0 => (Method::POST, full("order")),
            _ => (Method::GET, tests::client::empty()),
        };
        let reply = client
            .send(request(method.clone(), HOST, &path, &[], body))
            .await;
        let cause = reply.header("x-meshproxy-error").to_owned();
        seen.push((method, reply.status.as_u16(), cause));
        chance.pause(12).await;
    }
    seen
}

async fn call_at_once(edge: &Arc<Edge>) -> Vec<Seen> {
    let mut calling = JoinSet::new();
    for caller in 0..CALLERS {
        let edge = Arc::clone(edge);
        calling.spawn(async move { call(&edge, caller).await });
    }
    calling.join_all().await.concat()
}

/// Panics if a POST came more than once.
fn assert_once<'l>(lines: impl Iterator<Item = &'l str>) {
    let mut times = HashMap::<&str, u32>::new();
    for line in lines.filter(|line| line.starts_with("POST")) {
        *times.entry(line).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "processed more than once: {twice:?}");
    assert!(!times.is_empty(), "some were processed");
}

/// Answers properly and closes the connection, in one of three ways, after a rest of random length.
async fn close_at_random(mut peer: Peer) {
    let mut chance = Chance(peer.number as u64);
    if peer.request().await.is_none() {
        return;
    }
    peer.answer("ok").await;
    loop {
        let rest = Duration::from_millis(chance.below(15));
        match tokio::time::timeout(rest, peer.request()).await {
            Ok(Some(_)) => peer.answer("ok").await,
            Ok(None) => return,
            Err(_) => match chance.below(3) {
                0 => return,
                1 => return peer.reset(),
                _ => {
                    peer.finish().await;
                    // It reads on but can answer no more.
                    while peer.request().await.is_some() {}
                    return;
                }
            },
        }
    }
}

#[tokio::test]
async fn connections_that_are_closed_at_random_cost_no_get_and_double_no_post() {
    let origin = Script::start(close_at_random).await;
    let edge = Arc::new(edge(&[origin.addr()], "HTTP", "").await);

    let seen = call_at_once(&edge).await;

    for (method, status, cause) in &seen {
        let whole = *status == 200;
        // Whether a POST was processed cannot be known; then it is told why it failed.
        let unknown =
            *method == Method::POST && (*status, &**cause) == (503, "upstream_closed_while_idle");
        assert!(whole || unknown, "{method} {status} {cause}");
    }
    let heads = origin.heads();
    assert_once(heads.iter().filter_map(|head| head.lines().next()));
}

#[tokio::test]
async fn a_get_whose_connection_had_died_is_repeated_on_a_new_one() {
    const RESTING: usize = 6;

    // The first connections answer once, all at the same time, and reset the next request.
    let all = Arc::new(Barrier::new(RESTING));
    let origin = Script::start(move |mut peer: Peer| {
        let all = Arc::clone(&all);
        async move {
            if peer.number >= RESTING {
                while peer.request().await.is_some() {
                    peer.answer("new").await;
                }
            } else if peer.request().await.is_some() {
                all.wait().await;
                peer.answer("old").await;
                peer.request().await;
                peer.reset();
            }
        }
    })
    .await;
    let edge = Arc::new(edge(&[origin.addr()], "HTTP", "").await);
    let mut asking = JoinSet::new();
    for _ in 0..RESTING {
        let edge = Arc::clone(&edge);
        asking.spawn(async move { edge.http1().await.get(HOST, "/").await });
    }
    for reply in asking.join_all().await {
        assert_eq!(reply.brief(), (200, "old"));
    }

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "new"), "{:?}", reply.headers);
    assert_eq!(origin.heads().len(), RESTING + 2, "one attempt was lost");
}

#[tokio::test]
async fn a_restart_under_load_costs_no_get_on_a_connection_in_use_and_doubles_no_post() {
    const RESTARTS: usize = 12;

    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::Http2, "HTTP2")] {
        let processed = Arc::<Mutex<Vec<String>>>::default();
        let held = Port::reserve();
        let start = |addr| {
            let processed = Arc::clone(&processed);
            Origin::serving_at(addr, protocol, move |request| {
                let line = format!("{} {}", request.method(), request.uri().path());
                let mut all = processed.lock().expect("not poisoned");
                all.push(line);
                async { text("ok") }
            })
        };
        let steady = start(([127, 0, 0, 1], 0).into()).await;
        let mut restarting = start(held.addr()).await;
        let edge = Arc::new(edge(&[held.addr(), steady.addr()], name, "").await);

        let calling = tokio::spawn({
            let edge = Arc::clone(&edge);
            async move { call_at_once(&edge).await }
        });
        let mut chance = Chance(7);
        for _ in 0..RESTARTS {
            chance.pause(40).await;
            restarting.end().await;
            chance.pause(20).await;
            restarting = start(held.addr()).await;
        }
        let seen = calling.await.expect("callers do not panic");

        for (method, status, cause) in &seen {
            let told = match &**cause {
                // On a connection of its own, or among other requests: it may have been processed.
                "upstream_reset_before_response" | "upstream_closed_before_response" => true,
                "upstream_closed_while_idle" => *method == Method::POST,
                _ => false,
            };
            assert!(
                *status == 200 || (*status == 503 && told),
                "{name}: {method} {status} {cause}"
            );
        }
        let processed = processed.lock().expect("not poisoned");
        assert_once(processed.iter().map(String::as_str));
        let whole = seen.iter().filter(|(_, status, _)| *status == 200).count();
        assert!(
            whole * 10 >= seen.len() * 9,
            "{name}: {whole} of {}",
            seen.len()
        );
    }
}
