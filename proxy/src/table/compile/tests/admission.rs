//! Which policies a gateway is under that is opened by a proxy without labels.

use super::*;
use crate::request::Downstream;

/// A gateway at port 80 for the workloads of a selector.
fn gateway(name: &str, selector: &str, port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  selector: {{{selector}}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['{name}.test']}}]
"
    )
}

/// A policy for the workloads of a selector about whoever comes from an address.
fn policy(name: &str, selector: &str, action: &str, from: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{{selector}}}}}
  action: {action}
  rules: [{{from: [{{source: {{ipBlocks: ['{from}']}}}}]}}]
"
    )
}

/// Whether whoever comes from an address gets in at a port.
fn admits(compiled: &Compiled, port: u16, from: [u8; 4]) -> bool {
    let bind = Bind::Tcp((Ipv4Addr::UNSPECIFIED, port).into());
    let listener = compiled.table.listener(&bind).expect("a gateway");
    let peer = Some((from, 1).into());
    let downstream = Downstream::new(bind, peer, None);
    let admission = listener.admission.as_ref();
    admission.is_none_or(|it| it.tolerates(&downstream).is_ok())
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn a_gateway_is_under_the_policies_of_the_workload_that_it_is_for() {
    let compiled = compiled(&[
        &gateway("edge", "istio: edge", 80),
        &gateway("inner", "istio: inner", 81),
        &policy("no-a", "istio: edge", "DENY", "10.0.0.1"),
        &policy("no-b", "istio: other", "DENY", "10.0.0.2"),
    ]);

    assert!(!admits(&compiled, 80, A));
    assert!(admits(&compiled, 80, B));
    assert!(admits(&compiled, 81, A));
}

#[test]
fn a_gateway_is_under_the_tokens_of_the_workload_that_it_is_for() {
    let compiled = compiled(&[
        &gateway("edge", "istio: edge", 80),
        "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users}
spec:
  selector: {matchLabels: {istio: edge}}
  jwtRules: [{issuer: users.test, jwks: '{\"keys\": []}'}]
",
    ]);

    let admission = compiled.table.listeners[0].admission.as_ref();
    assert!(admission.is_some_and(|it| it.authentication.is_some()));
}

#[test]
fn what_denies_at_one_of_two_gateways_denies_at_the_port_that_they_share() {
    let compiled = compiled(&[
        &gateway("edge", "istio: edge", 80),
        &gateway("inner", "istio: inner", 80),
        &policy("no-a", "istio: edge", "DENY", "10.0.0.1"),
        &policy("no-b", "istio: inner", "DENY", "10.0.0.2"),
    ]);

    assert!(!admits(&compiled, 80, A));
    assert!(!admits(&compiled, 80, B));
    assert!(admits(&compiled, 80, [10, 0, 0, 3]));
}

#[test]
fn what_is_allowed_at_one_of_two_gateways_is_not_at_the_port_that_they_share() {
    let gateways = [
        gateway("edge", "istio: edge", 80),
        gateway("inner", "istio: inner", 80),
    ];
    let only_a = policy("a", "istio: edge", "ALLOW", "10.0.0.1");
    let only_b = policy("b", "istio: inner", "ALLOW", "10.0.0.2");
    let all = policy("all", "istio: inner", "ALLOW", "0.0.0.0/0");

    // Nothing is said of the other: what is said of one concerns both.
    let one = compiled(&[&gateways[0], &gateways[1], &only_a]);
    assert!(admits(&one, 80, A));
    assert!(!admits(&one, 80, B));
    // Each allows something else: nothing is allowed to both.
    for other in [&only_b, &all] {
        let both = compiled(&[&gateways[0], &gateways[1], &only_a, other]);
        assert!(!admits(&both, 80, A), "{other}");
        assert!(!admits(&both, 80, B), "{other}");
    }
}

#[test]
fn a_proxy_with_labels_is_the_workload_that_they_say() {
    let mut perspective = perspective();
    let labels = [("istio", "edge"), ("zone", "a")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    perspective.viewer.labels = labels.into();
    let mut compiler = Compiler::new(perspective, Metrics::new(Identity::unknown(), 100));

    let compiled = compiler.compile(&mesh(&[
        &gateway("edge", "istio: edge", 80),
        &policy("no-a", "zone: a", "DENY", "10.0.0.1"),
    ]));

    assert!(!admits(&compiled, 80, A));
    assert!(admits(&compiled, 80, B));
}
