//! Names that the workload asks the proxy for.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use tests::names::{self, NameServer, Zone, ask, ask_by_tcp, question, with_room};
use tests::{Edge, eventually};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// After so long a client asks again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A service with a cluster address, an entry with addresses and one without, and a wildcard.
const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.test]
  addresses: ['fd00:96::2']
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.test]
  resolution: STATIC
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.test']
  addresses: [10.96.0.3]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}]
";

/// A proxy that answers names, and where.
async fn start(yaml: &str, servers: &[&NameServer]) -> (Edge, SocketAddr) {
    let upstream: Vec<String> = servers.iter().map(|it| it.addr().to_string()).collect();
    let upstream = upstream.join(",");
    let arguments = ["--dns", "127.0.0.1:0", "--dns-upstream", &upstream];
    let edge = Edge::start_with(&[yaml.to_owned()], &arguments).await;
    let listening = edge.proxy.admin("/dns").await["listening"][0].clone();
    let addr = listening.as_str().expect("an address").parse();
    (edge, addr.expect("an address"))
}

fn found(addresses: &[&str]) -> (ResponseCode, Vec<String>) {
    let addresses = addresses.iter().map(|it| (*it).to_owned()).collect();
    (ResponseCode::NoError, addresses)
}

#[tokio::test]
async fn names_of_the_mesh_are_answered_by_udp_and_tcp_and_nobody_else_is_asked() {
    let others = NameServer::start(Zone::default()).await;
    let (edge, dns) = start(MESH, &[&others]).await;

    for (name, v4, v6) in [
        ("reviews", &["10.96.0.1"][..], &[][..]),
        ("reviews.default.svc.cluster.local", &["10.96.0.1"], &[]),
        ("ReViews.Default", &["10.96.0.1"], &[]),
        ("api.example.test", &[], &["fd00:96::2"]),
        (
            "api.example.test.default.svc.cluster.local",
            &[],
            &["fd00:96::2"],
        ),
        ("a.b.wild.test", &["10.96.0.3"], &[]),
    ] {
        for (wanted, expected) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let question = question(name, wanted);

            assert_eq!(ask(dns, &question).await.brief(), found(expected), "{name}");
            assert_eq!(
                ask_by_tcp(dns, &question).await.brief(),
                found(expected),
                "{name}"
            );
        }
    }
    assert_eq!(others.asked(), []);
    let answered = [("answered_by", "mesh")];
    let metrics = edge.proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_dns_requests_total", &answered), 24.0);
}

#[tokio::test]
async fn a_host_without_addresses_is_answered_with_those_that_were_allotted() {
    let others = NameServer::start(Zone::default().with("db.example.test", "192.0.2.1")).await;
    let (edge, dns) = start(MESH, &[&others]).await;
    let page = edge.proxy.admin("/dns").await;
    let names = page["names"].as_array().expect("names");
    let shown = names.iter().find(|it| it["name"] == "db.example.test");
    let shown = shown.expect("the host is shown");

    let v4 = ask(dns, &question("db.example.test", RecordType::A)).await;
    let v6 = ask(dns, &question("db.example.test", RecordType::AAAA)).await;

    assert_eq!(shown["from"], "allotted");
    // Which families there are is the machine's affair.
    let answered = [v4.addresses(), v6.addresses()].concat();
    assert_eq!(shown["addresses"], serde_json::json!(answered));
    assert!(!answered.is_empty());
    assert!(v4.addresses().iter().all(|it| it.starts_with("240.240.")));
    assert!(v6.addresses().iter().all(|it| it.starts_with("2001:2:")));
    assert_eq!(
        (v4.code(), v6.code()),
        (ResponseCode::NoError, ResponseCode::NoError)
    );
    assert_eq!(others.asked(), []);
}

#[tokio::test]
async fn other_names_are_asked_the_name_servers_and_come_back_as_they_were() {
    let zone = Zone::default().with("elsewhere.test", "192.0.2.7");
    let others = NameServer::start(zone.clone()).await;
    let (edge, dns) = start(MESH, &[&others]).await;
    let asked = with_room(question("ElseWhere.test", RecordType::A), 1_232);

    for answer in [ask(dns, &asked).await, ask_by_tcp(dns, &asked).await] {
        assert_eq!(answer.brief(), found(&["192.0.2.7"]));
        assert_eq!(answer.0.answers[0].ttl, 77);
        assert_eq!(answer.0.metadata.id, asked.metadata.id);
        assert_eq!(answer.0.queries, asked.queries);
    }
    let unknown = ask(dns, &question("nowhere.test", RecordType::A)).await;
    assert_eq!(unknown.brief(), (ResponseCode::NXDomain, Vec::new()));
    // A name of the mesh has other records where others know them, but exists in any case.
    let mail = ask(dns, &question("api.example.test", RecordType::MX)).await;
    assert_eq!(mail.brief(), found(&[]));

    let seen = others.asked();
    assert_eq!(seen[0].name, "ElseWhere.test");
    // The id is ours: it is the client's once in 65 536 runs.
    assert!(seen.iter().any(|it| it.id != asked.metadata.id));
    let metrics = edge.proxy.metrics().await;
    let upstream = [("answered_by", "upstream")];
    assert_eq!(metrics.sum("meshproxy_dns_requests_total", &upstream), 4.0);
}

#[tokio::test]
async fn a_name_server_that_is_silent_does_not_take_the_names_of_the_others() {
    let silent = NameServer::start(Zone::silent()).await;
    let good = NameServer::start(Zone::default().with("elsewhere.test", "192.0.2.7")).await;
    let (_edge, dns) = start(MESH, &[&silent, &good]).await;

    for _ in 0..3 {
        let answer = ask(dns, &question("elsewhere.test", RecordType::A)).await;
        assert_eq!(answer.brief(), found(&["192.0.2.7"]));
    }

    // The one that answered is asked first from then on.
    assert_eq!(silent.asked().len(), 1);
    assert_eq!(good.asked().len(), 3);
}

#[tokio::test]
async fn where_nobody_answers_the_client_is_told_and_the_mesh_goes_on() {
    let silent = NameServer::start(Zone::silent()).await;
    let (edge, dns) = start(MESH, &[&silent]).await;

    let (nobody, mesh) = tokio::join!(
        async { ask(dns, &question("elsewhere.test", RecordType::A)).await },
        async { ask(dns, &question("reviews", RecordType::A)).await },
    );

    assert_eq!(nobody.brief(), (ResponseCode::ServFail, Vec::new()));
    assert_eq!(mesh.brief(), found(&["10.96.0.1"]));
    let metrics = edge.proxy.metrics().await;
    let timeout = [("cause", "timeout")];
    assert_eq!(
        metrics.sum("meshproxy_dns_upstream_failures_total", &timeout),
        1.0
    );
}

#[tokio::test]
async fn a_change_of_the_mesh_is_answered_at_once() {
    let others = NameServer::start(Zone::default()).await;
    let (edge, dns) = start(MESH, &[&others]).await;
    let changed = MESH
        .replace("10.96.0.1", "10.96.0.9")
        .replace("*.wild.test", "*.wilder.test");

    edge.apply(&[changed]).await;

    let reviews = ask(dns, &question("reviews", RecordType::A)).await;
    assert_eq!(reviews.brief(), found(&["10.96.0.9"]));
    let gone = ask(dns, &question("a.wild.test", RecordType::A)).await;
    assert_eq!(gone.code(), ResponseCode::NXDomain);
    let new = ask(dns, &question("a.wilder.test", RecordType::A)).await;
    assert_eq!(new.brief(), found(&["10.96.0.3"]));
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_whole_on_a_connection() {
    let endpoints: String = (0..200)
        .map(|last| format!("- {{addresses: [10.1.0.{last}]}}\n"))
        .collect();
    let yaml = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: many}}
spec: {{clusterIP: None, ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: many-1, labels: {{kubernetes.io/service-name: many}}}}
addressType: IPv4
ports: [{{name: http, port: 80}}]
endpoints:
{endpoints}"
    );
    let others = NameServer::start(Zone::default()).await;
    let (_edge, dns) = start(&yaml, &[&others]).await;
    let many = question("many", RecordType::A);

    let cut = ask(dns, &many).await;
    let whole = ask_by_tcp(dns, &many).await;

    assert!(cut.0.metadata.truncation);
    assert!((1..200).contains(&cut.addresses().len()));
    assert!(!whole.0.metadata.truncation);
    let mut addresses = whole.addresses();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 200);
}

#[tokio::test]
async fn a_flood_of_garbage_is_not_answered_and_holds_up_nobody() {
    let others = NameServer::start(Zone::default()).await;
    let (edge, dns) = start(MESH, &[&others]).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    stranger.connect(dns).await.expect("loopback");
    let answered = question("reviews", RecordType::A)
        .to_vec()
        .expect("a question");
    let mut response = answered.clone();
    response[2] |= 0x80;

    for number in 0..1_000_u32 {
        let garbage = [&number.to_be_bytes()[..], &[0xff; 8]].concat();
        for packet in [&garbage[..], &response, b"", &[0; 5_000]] {
            stranger.send(packet).await.expect("sent");
        }
    }

    // A question may be lost in the flood, as any datagram: clients ask again.
    let reviews = async || timeout(ASK_AGAIN, names::exchange(dns, &answered)).await;
    let answer = eventually("an answer", reviews, Result::is_ok).await;
    assert!(answer.is_ok_and(|answer| answer.len() > answered.len()));
    let refused = [("answered_by", "refused")];
    let counted = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_dns_requests_total", &refused)
    };
    eventually("a count of what was refused", counted, |count| *count > 0.0).await;
    assert_eq!(others.asked(), []);
}

#[tokio::test]
async fn names_are_not_answered_unless_that_is_asked_for() {
    let edge = Edge::start(&[MESH.to_owned()]).await;

    let page = edge.proxy.admin("/dns").await;

    assert_eq!(page, serde_json::json!({"listening": []}));
}
