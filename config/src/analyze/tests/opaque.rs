//! Connections that are not HTTP.

use super::*;

const DB: &str = "kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  resolution: STATIC
  ports:
  - {number: 3306, name: mysql, protocol: MYSQL}
  - {number: 443, name: tls, protocol: TLS}
  - {number: 8080, name: http, protocol: HTTP}
  endpoints: [{address: 10.0.0.1}]
---
";

fn rules(rules: &str) -> Vec<String> {
    let route = "route: [{destination: {host: db.example, port: {number: 3306}}}]";
    findings(&format!(
        "{DB}kind: VirtualService\nmetadata: {{name: vs}}\nspec: {{hosts: [db.example], {}}}",
        rules.replace("ROUTE", route)
    ))
}

#[test]
fn rules_for_ports_of_another_kind_are_reported() {
    assert_eq!(
        rules(
            "tcp: [{match: [{port: 3306}], ROUTE}, {ROUTE}], \
             tls: [{match: [{sniHosts: [db.example], port: 443}], ROUTE}]"
        ),
        [""; 0]
    );
    assert_eq!(
        rules("tcp: [{match: [{port: 443}], ROUTE}]"),
        [
            "vs: spec.tcp[0].match[0]: never reached in the mesh: port 443 of its hosts does not speak TCP"
        ]
    );
    assert_eq!(
        rules("tls: [{match: [{sniHosts: [db.example], port: 8080}], ROUTE}]"),
        [
            "vs: spec.tls[0].match[0]: never reached in the mesh: port 8080 of its hosts does not \
             speak HTTPS or TLS"
        ]
    );
}

#[test]
fn a_name_that_an_earlier_rule_has_is_reported() {
    let block = |more: &str| format!("{{match: [{{sniHosts: [db.example]{more}}}], ROUTE}}");
    let two = |a: &str, b: &str| rules(&format!("tls: [{}, {}]", block(a), block(b)));

    assert_eq!(two("", ", destinationSubnets: [10.0.0.0/8]"), [""; 0]);
    assert_eq!(
        two("", ""),
        ["vs: spec.tls[1].match[0].sniHosts[0]: never reached: spec.tls[0] has this name"]
    );
}

#[test]
fn services_that_nothing_tells_apart_are_reported() {
    let entry = |name: &str, addresses: &str, protocol: &str| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}.example]\n  \
             addresses: [{addresses}]\n  resolution: STATIC\n  ports: [{{number: 9000, name: p, \
             protocol: {protocol}}}]\n  endpoints: [{{address: 10.0.0.1}}]"
        )
    };
    let two = |a: (&str, &str), b: (&str, &str)| {
        findings(&[entry("a", a.0, a.1), entry("b", b.0, b.1)].join("\n---\n"))
    };
    let told = |place: &str| {
        [format!(
            "b: spec.ports[0]: captured connections to {place} go to a.example, which goes first; \
             addresses of its own would tell them apart"
        )]
    };

    assert_eq!(two(("", "TCP"), ("", "TCP")), told("port 9000"));
    let same = ("10.9.0.1", "TCP");
    assert_eq!(two(same, same), told("10.9.0.1:9000"));
    assert_eq!(two(same, ("10.9.0.2", "TCP")), [""; 0]);
    assert_eq!(two(("", "TCP"), same), [""; 0]);
    assert_eq!(two(("", "TLS"), ("", "TLS")), [""; 0]);
    assert_eq!(two(("", "HTTP"), ("", "HTTP")), [""; 0]);
}
