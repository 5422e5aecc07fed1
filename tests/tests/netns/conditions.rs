//! Bad cables between pods: what was declared about timeouts, retries and ejections holds, and what was
//! bad becomes good again.
//!
//! Nothing here is measured in time but what must not be shorter than declared: a request that hangs is
//! one that curl gave up long after its timeout.

use std::collections::HashMap;

use serde_json::Value;
use tests::eventually;
use tests::netns::cable::Faults;
use tests::netns::{Families, Host, Sidecar};

use crate::pods::{Pods, SERVICE, STRICT, service};
use crate::servers::{Redis, Web};

/// As a link across half the world on a bad day.
const BAD: Faults = Faults {
    loss_percent: 5.0,
    delay_ms: 50,
    jitter_ms: 20,
};
/// Far more than any timeout here.
const GIVE_UP_SECONDS: &str = "25";

/// What curl saw of a request.
#[derive(Debug)]
struct Seen {
    /// The status; 0 if there was none before it gave up.
    status: u16,
    seconds: f64,
    body: String,
}

async fn get(client: &Host, host: &str) -> Seen {
    let url = format!("http://{host}/");
    let format = "\n%{http_code} %{time_total}";
    let arguments = ["-s", "--max-time", GIVE_UP_SECONDS, "-w", format, &url];
    let output = client.run("curl", &arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, numbers) = text.rsplit_once('\n').expect("curl prints its numbers");
    let (status, seconds) = numbers.split_once(' ').expect("two numbers");
    Seen {
        status: status.parse().expect("a status"),
        seconds: seconds.parse().expect("seconds"),
        body: body.to_owned(),
    }
}

/// A `VirtualService` of `host` with these fields of its only route.
fn route(host: &str, fields: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {}}}
spec:
  hosts: [{host}]
  http:
  - {fields}
    route: [{{destination: {{host: {host}}}}}]
---
",
        host.replace('.', "-")
    )
}

#[tokio::test]
async fn loss_and_delay_cost_time_but_no_more_than_declared() {
    let retries = "timeout: 5s\n    retries: {attempts: 2, perTryTimeout: 2s, retryOn: '5xx'}";
    let pods = Pods::apart(&route(SERVICE, retries)).await;
    let _web = Web::start(&pods.server, SERVICE).await;
    assert_eq!(
        get(&pods.client, SERVICE).await.status,
        200,
        "{}",
        pods.logs()
    );

    pods.cable().has(BAD);
    let mut statuses = HashMap::<u16, usize>::new();
    for _ in 0..20 {
        let seen = get(&pods.client, SERVICE).await;
        *statuses.entry(seen.status).or_default() += 1;
    }
    pods.cable().is_mended();

    let of = |status| statuses.get(&status).copied().unwrap_or_default();
    assert_eq!(of(200) + of(504), 20, "{statuses:?}\n{}", pods.logs());
    assert!(of(200) >= 15, "{statuses:?}\n{}", pods.logs());
    let client = &pods.client;
    eventually("an answer", || get(client, SERVICE), |it| it.status == 200).await;
}

#[tokio::test]
async fn a_partition_is_answered_by_the_timeout_and_forgotten_when_it_ends() {
    let pods = Pods::apart(&route(SERVICE, "timeout: 1s\n    retries: {attempts: 0}")).await;
    let _web = Web::start(&pods.server, SERVICE).await;
    assert_eq!(
        get(&pods.client, SERVICE).await.status,
        200,
        "{}",
        pods.logs()
    );

    pods.cable().is_cut();
    // For three seconds, one after another.
    for _ in 0..3 {
        let seen = get(&pods.client, SERVICE).await;
        assert_eq!(seen.status, 504, "{seen:?}\n{}", pods.logs());
        assert!(seen.seconds >= 0.9, "{seen:?}");
    }
    pods.cable().is_mended();

    let client = &pods.client;
    eventually("an answer", || get(client, SERVICE), |it| it.status == 200).await;
}

#[tokio::test]
async fn a_connection_survives_loss_delay_and_a_partition_with_every_byte() {
    const VALUE_BYTES: usize = 200_000;
    let pods = Pods::apart("").await;
    let _redis = Redis::start(&pods.server).await;
    let value = format!("return redis.call('SET', 'key', string.rep('x', {VALUE_BYTES}))");
    let set = ["-p", "6379", "EVAL", &value, "0"];
    pods.server.says("redis-cli", &set).await;

    pods.cable().has(BAD);
    let reading = pods.client.run("redis-cli", &["-h", SERVICE, "GET", "key"]);
    let cutting = async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        pods.cable().is_cut();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        pods.cable().is_mended();
    };
    let (read, ()) = tokio::join!(reading, cutting);

    let text = String::from_utf8_lossy(&read.stdout);
    let complaint = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{complaint}\n{}", pods.logs());
    assert_eq!(
        text.trim_end().len(),
        VALUE_BYTES,
        "{complaint}\n{}",
        pods.logs()
    );
}

/// The name of a service that is near and far.
const PAIR: &str = "pair.test";

/// The service with an endpoint at each host, and what is declared about endpoints that fail.
fn pair(hosts: [&Host; 2]) -> String {
    let endpoints = hosts.map(|host| {
        format!(
            "  - address: '{}'
    labels: {{app: {name}, security.istio.io/tlsMode: istio}}
    serviceAccount: {name}
",
            host.addr(),
            name = host.name()
        )
    });
    let addrs = Families::V4.service_addrs(11);
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: pair}}
spec:
  hosts: [{PAIR}]
  addresses: ['{}']
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
{}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: pair}}
spec:
  host: {PAIR}
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}
    outlierDetection:
      consecutiveGatewayErrors: 2
      consecutive5xxErrors: 2
      interval: 1s
      baseEjectionTime: 3s
      maxEjectionPercent: 100
---
{}",
        addrs[0],
        endpoints.concat(),
        route(
            PAIR,
            "timeout: 5s\n    retries: {attempts: 2, perTryTimeout: 1s, retryOn: '5xx'}"
        )
    )
}

/// Whether the endpoint at `addr` is ejected.
async fn is_ejected(sidecar: &Sidecar, addr: String) -> bool {
    let destinations = sidecar.admin("/destinations").await;
    let all = destinations.as_array().into_iter().flatten();
    let ours = all.filter(|it| it["host"] == PAIR);
    let mut endpoints = ours.flat_map(|it| it["endpoints"].as_array().into_iter().flatten());
    endpoints.any(|it| it["address"] == *addr && it["health"]["ejected"] != Value::Null)
}

#[tokio::test]
async fn an_endpoint_behind_a_partition_is_ejected_and_comes_back() {
    let pods = Pods::apart("").await;
    let near = pods.network.host("near");
    let addrs = pods.families.service_addrs(11);
    pods.client.resolves(&[(PAIR, &addrs)]);
    let identity = pods.authority.identity_dir("default", "near");
    let own = service(&pods.families.service_addrs(10), &pods.server);
    let yaml = own + STRICT + &pair([&pods.server, &near]);
    let _near_sidecar = Sidecar::capturing(&near, &yaml, Some(&identity)).await;
    pods.client_sidecar.apply(&yaml).await;
    pods.server_sidecar.apply(&yaml).await;
    let _webs = [
        Web::start(&pods.server, PAIR).await,
        Web::start(&near, PAIR).await,
    ];
    let far = pods.server.addr().to_string();
    let both = async || {
        let answers = [get(&pods.client, PAIR).await, get(&pods.client, PAIR).await];
        answers.map(|seen| (seen.status, seen.body.contains(&far)))
    };
    let answered_by_both = |seen: &[(u16, bool); 2]| {
        seen.iter().all(|(status, _)| *status == 200) && seen[0].1 != seen[1].1
    };
    eventually("both endpoints", both, answered_by_both).await;

    pods.cable().is_cut();
    let ejected = async || {
        // What meets the endpoint behind the partition is answered by the other, within its timeout.
        let seen = get(&pods.client, PAIR).await;
        assert_eq!(seen.status, 200, "{seen:?}\n{}", pods.logs());
        is_ejected(&pods.client_sidecar, format!("{far}:80")).await
    };
    eventually("an ejection", ejected, |it| *it).await;
    pods.cable().is_mended();

    eventually("both endpoints again", both, answered_by_both).await;
}
