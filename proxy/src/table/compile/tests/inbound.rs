//! What captured connections to the workload meet.

use super::*;

use Direction::Inbound;

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: shop}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: grpc, port: 81, targetPort: 8081}
  - {name: mysql, port: 3306}
  - {name: anything, port: 7000}
";

fn inbound(documents: &[&str]) -> Compiled {
    capturing(&[("app", "shop")], documents)
}

fn destination<'c>(compiled: &'c Compiled, key: &str) -> &'c Arc<Destination> {
    let mut all = compiled.destinations.iter();
    all.find(|it| it.key.to_string() == key)
        .unwrap_or_else(|| panic!("no destination {key}"))
}

#[test]
fn ports_of_own_services_speak_what_these_declare() {
    let compiled = inbound(&[SHOP]);

    for (port, speaks, protocol) in [
        (8080, Speaks::Http, Protocol::Http1),
        (8081, Speaks::Http, Protocol::Http2),
        (3306, Speaks::Opaque, Protocol::Http1),
        (7000, Speaks::Unknown, Protocol::AsDownstream),
    ] {
        let listener = captured(&compiled, Inbound, &format!("10.0.0.1:{port}"));
        assert_eq!(listener.speaks, speaks, "{port}");
        assert_eq!(listener.port_rule, PortRule::Listener(port), "{port}");
        let destination = destination(&compiled, &format!("inbound|{port}||"));
        assert_eq!(destination.policy.protocol, protocol, "{port}");
        assert!(destination.policy.from_own, "{port}");
        let reached = destination.reached(format!("10.0.0.1:{port}").parse().ok());
        let addr = reached.expect("an address").members()[0]
            .endpoint
            .addr
            .to_string();
        assert_eq!(addr, format!("10.0.0.1:{port}"));
    }
}

#[test]
fn ports_that_nobody_told_us_of_lead_to_the_application_too() {
    let compiled = inbound(&[SHOP]);

    let listener = captured(&compiled, Inbound, "10.0.0.1:9999");
    assert_eq!(listener.speaks, Speaks::Unknown);
    let way = opaque_way(&compiled, listener, None, "10.0.0.1");
    assert_eq!(way.as_deref(), Some("InboundPassthroughCluster"));
    let destination = destination(&compiled, "InboundPassthroughCluster");
    assert!(destination.policy.from_own);
}

#[test]
fn ingress_of_the_sidecar_says_what_there_is() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shop}
spec:
  workloadSelector: {labels: {app: shop}}
  inboundConnectionPool: {tcp: {maxConnections: 100}}
  ingress:
  - {port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:8080'}
  - {port: {number: 9306, protocol: MYSQL, name: mysql}, connectionPool: {tcp: {maxConnections: 7}}}
  - {port: {number: 9400, protocol: TCP, name: tcp}, defaultEndpoint: '0.0.0.0:9400'}
  - {port: {number: 9500, protocol: HTTP, name: own}, captureMode: NONE, defaultEndpoint: '127.0.0.1:8080'}
";
    let compiled = inbound(&[SHOP, sidecar]);

    let http = captured(&compiled, Inbound, "10.0.0.1:9080");
    assert_eq!(http.speaks, Speaks::Http);
    assert_eq!(addrs(&compiled, "inbound|9080||"), ["127.0.0.1:8080"]);
    let http = destination(&compiled, "inbound|9080||");
    assert!(!http.policy.from_own, "the loopback is not captured");
    assert_eq!(http.policy.thresholds.connections, Some(100));
    for (port, connections) in [(9306, 7), (9400, 100)] {
        let listener = captured(&compiled, Inbound, &format!("10.0.0.1:{port}"));
        assert_eq!(listener.speaks, Speaks::Opaque, "{port}");
        let destination = destination(&compiled, &format!("inbound|{port}||"));
        assert!(
            destination.originals.is_some() && destination.policy.from_own,
            "{port}"
        );
        assert_eq!(destination.policy.thresholds.connections, Some(connections));
    }
    let other = captured(&compiled, Inbound, "10.0.0.1:8080");
    assert_eq!(
        other.name, "inbound passthrough",
        "the service is not asked"
    );
    let explicit = compiled
        .table
        .listeners
        .iter()
        .find(|it| it.bind.to_string() == "0.0.0.0:9500");
    assert!(explicit.is_some_and(|it| it.captured.is_none()));
    assert_eq!(
        captured(&compiled, Inbound, "10.0.0.1:9500").name,
        "inbound passthrough"
    );
}

#[test]
fn each_port_takes_what_policies_let_it_even_if_nobody_told_us_of_it() {
    let policy = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  mtls: {mode: STRICT}
  portLevelMtls: {'3306': {mode: DISABLE}, '9999': {mode: DISABLE}}
";
    let compiled = inbound(&[SHOP, policy]);

    for (port, is_shut) in [(8080, true), (3306, false), (9999, false), (9998, true)] {
        let listener = captured(&compiled, Inbound, &format!("10.0.0.1:{port}"));
        // Without an identity STRICT is shut.
        assert_eq!(listener.transport.is_shut(), is_shut, "{port}");
    }
    let way = opaque_way(
        &compiled,
        captured(&compiled, Inbound, "10.0.0.1:9999"),
        None,
        "",
    );
    assert_eq!(way.as_deref(), Some("InboundPassthroughCluster"));
}
