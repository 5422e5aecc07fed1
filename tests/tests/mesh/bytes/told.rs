//! What the log and the metrics tell of connections, and what policies make of them.

use serde_json::Value;
use tests::eventually;

use super::*;

const LOG: [&str; 2] = ["--access-log", "json"];

async fn line_of(proxy: &Proxy, flag: &str) -> Value {
    let sought = format!("\"response_flags\":\"{flag}\"");
    let is_it = |line: &str| line.contains(&sought);
    let line = proxy.stdout.line("a line of the connection", is_it).await;
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn the_log_tells_all_there_is_of_a_connection() {
    let passing = Passing::start_with("", &LOG).await;
    let (mut client, mut origin) = passing.pair().await;
    client.write_all(b"question").await.expect("room");
    let mut question = [0; 8];
    let read = soon("a question", origin.read_exact(&mut question)).await;
    read.expect("all of it");
    origin.write_all(b"answer").await.expect("room");
    let (near, far) = (client.local_addr(), origin.peer_addr());
    drop(origin);
    let mut answer = Vec::new();
    let read = soon("an answer", client.read_to_end(&mut answer)).await;
    read.expect("an orderly end");
    drop(client);

    let line = line_of(&passing.proxy, "-").await;

    let (near, far) = (near.expect("bound"), far.expect("connected"));
    let host = passing.listener.local_addr().expect("bound");
    assert_eq!(line["downstream_remote_address"], near.to_string());
    assert_eq!(
        line["downstream_local_address"],
        passing.port.addr().to_string()
    );
    assert_eq!(line["upstream_local_address"], far.to_string());
    assert_eq!(line["upstream_host"], host.to_string());
    assert_eq!(line["upstream_cluster"], "outbound|80||one.test");
    assert_eq!(line["requested_server_name"], HOST);
    let up = passing.greeting.len() + 8;
    assert_eq!(line["bytes_received"], up);
    assert_eq!(line["bytes_sent"], 6);
    assert_eq!(line["method"], Value::Null);
    let labels = [("destination_service", HOST), ("request_protocol", "tcp")];
    let received = counted(&passing.proxy, "received_bytes", &labels).await;
    assert_eq!(received, up as f64);
    assert_eq!(counted(&passing.proxy, "sent_bytes", &labels).await, 6.0);
}

#[tokio::test]
async fn bytes_are_counted_while_they_flow() {
    let passing = Passing::start().await;
    let (mut client, mut origin) = passing.pair().await;
    // Enough to be spliced.
    let much = vec![1; 4 * 1024 * 1024];
    let taking = tokio::spawn(async move {
        let mut all = vec![0; 4 * 1024 * 1024];
        origin.read_exact(&mut all).await.expect("all of it");
        origin
    });
    client.write_all(&much).await.expect("it is taken");
    let _origin = taking.await.expect("no panic");

    let expected = (much.len() + passing.greeting.len()) as f64;
    let received = async || counted(&passing.proxy, "received_bytes", &[]).await;
    eventually("they are counted", received, |received| {
        *received == expected
    })
    .await;
    assert_eq!(
        counted(&passing.proxy, "connections_closed", &[]).await,
        0.0
    );
}

#[tokio::test]
async fn the_log_names_the_policy_that_forbids_a_connection() {
    let deny = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shut}
spec: {action: DENY, rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]}
---
";
    let passing = Passing::start_with(deny, &LOG).await;
    let client = TcpStream::connect(passing.port.addr()).await;
    let mut client = client.expect("a listener");
    client.write_all(&passing.greeting).await.expect("room");

    let ended = soon("an end", client.read(&mut [0])).await;
    ended.expect_err("a reset");

    let line = line_of(&passing.proxy, "UAEX").await;
    assert_eq!(
        line["connection_termination_details"],
        "rbac_access_denied_matched_policy[ns[default]-policy[shut]-rule[0]]"
    );
    assert_eq!(line["upstream_host"], Value::Null, "it never was connected");
}

/// Connections that are under way at each of two endpoints, as they are listed.
async fn busy(proxy: &Proxy, endpoints: [SocketAddr; 2]) -> [u64; 2] {
    let destinations = proxy.admin("/destinations").await.to_string();
    endpoints.map(|endpoint| {
        let at = format!("\"address\":\"{endpoint}\"");
        let (_, listed) = destinations.split_once(&at).expect("it is listed");
        let (_, active) = listed.split_once("\"active\":").expect("a count");
        let end = active
            .find(|it: char| !it.is_ascii_digit())
            .expect("an end");
        active[..end].parse().expect("a count")
    })
}

#[tokio::test]
async fn open_connections_make_an_endpoint_busy() {
    let ((first, one), (second, two)) = (listen().await, listen().await);
    let port = Port::reserve();
    let yaml = passing_to(&port, &[one, two]) + &policy("loadBalancer: {simple: LEAST_REQUEST}");
    let proxy = Proxy::start(&yaml).await;
    let greeting = greeting();
    let (mut held, mut counts) = (Vec::new(), [0, 0]);

    for _ in 0..20 {
        let client = TcpStream::connect(port.addr()).await;
        let mut client = client.expect("a listener");
        client.write_all(&greeting).await.expect("room");
        let (at, origin) = tokio::select! {
            origin = accept(&first) => (0, origin),
            origin = accept(&second) => (1, origin),
        };
        counts[at] += 1;
        held.push((client, origin));
    }

    let look = async || busy(&proxy, [one, two]).await;
    eventually("they are counted", look, |busy| *busy == counts).await;
    drop(held);
    eventually("they are gone", look, |busy| *busy == [0, 0]).await;
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_is_ejected() {
    let (listener, good) = listen().await;
    let dead = Port::reserve();
    let port = Port::reserve();
    let detection = "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, \
                     baseEjectionTime: 10m, maxEjectionPercent: 50}";
    let yaml = passing_to(&port, &[dead.addr(), good]) + &policy(detection);
    let proxy = Proxy::start(&yaml).await;
    let greeting = greeting();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });

    let ejected = async || {
        let client = TcpStream::connect(port.addr()).await;
        let mut client = client.expect("a listener");
        client.write_all(&greeting).await.expect("room");
        let destinations = proxy.admin("/destinations").await;
        destinations.to_string().contains("\"available\":false")
    };
    eventually("an ejection", ejected, |ejected| *ejected).await;
}
