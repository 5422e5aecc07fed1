//! One table: what is written, and what is said of it.

mod authorization;
mod opaque;

use super::*;
use crate::mesh::MeshSettings;
use crate::mesh::fixture::resources;

/// A service with two versions and two ports, its subsets, and a gateway.
const BASE: &str = "\
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: more, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
kind: DestinationRule
metadata: {name: base}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
kind: Gateway
metadata: {name: edge}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com', a.com]}]
";

/// Findings about `yaml` beside the base, as `name: path: message`.
fn findings(yaml: &str) -> Vec<String> {
    let resources = resources(&format!("{BASE}---\n{yaml}"));
    let mesh = Mesh::new(&resources, MeshSettings::default());
    analyze(&mesh, &resources)
        .into_iter()
        .map(|(resource, finding)| {
            format!(
                "{}: {}: {}",
                resource.meta.name, finding.path, finding.message
            )
        })
        .collect()
}

fn virtual_service(spec: &str) -> String {
    format!("kind: VirtualService\nmetadata: {{name: vs}}\nspec: {{hosts: [reviews], {spec}}}")
}

fn routed(destination: &str) -> Vec<String> {
    findings(&virtual_service(&format!(
        "http: [{{route: [{{destination: {{{destination}}}}}]}}]"
    )))
}

#[test]
fn what_leads_somewhere_is_not_reported() {
    assert_eq!(
        routed("host: reviews, subset: v1, port: {number: 80}"),
        [""; 0]
    );
}

#[test]
fn destinations_that_lead_nowhere_are_reported() {
    const PATH: &str = "vs: spec.http[0].route[0].destination";
    const FQDN: &str = "reviews.default.svc.cluster.local";

    for (destination, expected) in [
        (
            "host: review, port: {number: 80}",
            format!(
                "{PATH}.host: no service \"review.default.svc.cluster.local\" is known in \
                 namespace \"default\" (did you mean {FQDN:?}?)"
            ),
        ),
        (
            "host: reviews.default",
            format!(
                "{PATH}.host: no service \"reviews.default\" is known in namespace \"default\" \
                 (did you mean {FQDN:?}?)"
            ),
        ),
        (
            "host: reviews, subset: v9, port: {number: 80}",
            format!(
                "{PATH}.subset: no DestinationRule defines subset \"v9\" of {FQDN:?}; \
                 its subsets are v1"
            ),
        ),
        (
            "host: reviews",
            format!(
                "{PATH}.port: should be set: service {FQDN:?} has several ports (80, 90), and the \
                 one a request came to is used"
            ),
        ),
        (
            "host: reviews, port: {number: 81}",
            format!("{PATH}.port: service {FQDN:?} has no port 81; its ports are 80, 90"),
        ),
    ] {
        assert_eq!(routed(destination), [expected], "{destination}");
    }
}

#[test]
fn a_subset_of_a_rule_for_some_workloads_is_known() {
    let rule = "kind: DestinationRule\nmetadata: {name: some}\n\
                spec: {host: reviews, workloadSelector: {matchLabels: {app: x}}, \
                subsets: [{name: v2, labels: {version: v2}}]}\n---\n";
    let route = "http: [{route: [{destination: {host: reviews, subset: v2, port: {number: 80}}}]}]";

    assert_eq!(
        findings(&(rule.to_owned() + &virtual_service(route))),
        [""; 0]
    );
}

#[test]
fn a_service_that_is_not_exported_is_told_apart_from_an_unknown_one() {
    let hidden = "kind: ServiceEntry\nmetadata: {name: hidden, namespace: other}\n\
                  spec: {hosts: [hidden.com], exportTo: ['.'], ports: [{number: 80, name: h}]}\n---\n";
    let yaml = hidden.to_owned()
        + &virtual_service("http: [{route: [{destination: {host: hidden.com}}]}]");

    assert_eq!(
        findings(&yaml),
        [
            "vs: spec.http[0].route[0].destination.host: service \"hidden.com\" is not exported \
             to namespace \"default\""
        ]
    );
}

#[test]
fn bindings_to_gateways_are_checked() {
    let answer = "http: [{directResponse: {status: 200}}]";
    for (spec, expected) in [
        (
            format!("hosts: [a.com], gateways: [edge], {answer}"),
            vec![],
        ),
        (
            format!("hosts: [a.com], gateways: [edgy], {answer}"),
            vec![
                "spec.gateways[0]: no Gateway \"default/edgy\" is known (did you mean \
                 \"default/edge\"?)",
            ],
        ),
        (
            format!("hosts: [b.com], gateways: [edge], {answer}"),
            vec![
                "spec.gateways[0]: no host of this VirtualService is a host of Gateway \
                 \"default/edge\"",
            ],
        ),
        (
            format!("hosts: [x.example.com, b.com], gateways: [edge], {answer}"),
            vec!["spec.hosts[1]: no Gateway of this VirtualService has host \"b.com\""],
        ),
        (
            format!(
                "hosts: [a.com], http: [{{match: [{{gateways: [edge]}}], {}",
                &answer[8..]
            ),
            vec![
                "spec.http[0].match[0].gateways[0]: has no effect: \"default/edge\" is not in \
                 spec.gateways",
            ],
        ),
    ] {
        let yaml = format!("kind: VirtualService\nmetadata: {{name: vs}}\nspec: {{{spec}}}");
        let expected: Vec<String> = expected.iter().map(|line| format!("vs: {line}")).collect();

        assert_eq!(findings(&yaml), expected, "{spec}");
    }
}

#[test]
fn delegates_that_drop_rules_are_reported() {
    let yaml = "\
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [a.com]
  http:
  - {match: [{uri: {prefix: /a}}], delegate: {name: part}}
  - {match: [{uri: {prefix: /b}}], delegate: {name: none}}
  - {match: [{uri: {prefix: /c}}], delegate: {name: whole}}
---
kind: VirtualService
metadata: {name: part}
spec:
  http:
  - {match: [{uri: {prefix: /a/b}}], directResponse: {status: 200}}
  - {match: [{uri: {prefix: /b}}], directResponse: {status: 200}}
---
kind: VirtualService
metadata: {name: whole}
spec: {hosts: [c.com], http: [{directResponse: {status: 200}}]}";

    assert_eq!(
        findings(yaml),
        [
            "root: spec.http[1].delegate: the rule is dropped: VirtualService \"default/none\" \
             does not exist",
            "root: spec.http[2].delegate: the rule is dropped: VirtualService \"default/whole\" \
             has hosts, so that it cannot be a delegate",
            "part: spec.http[1].match: the rule is dropped under VirtualService default/root: it \
             is not within spec.http[0].match there",
        ]
    );
}

#[test]
fn rules_that_are_never_reached_are_reported() {
    let answer = "directResponse: {status: 200}";
    let rule = |matches: &str| format!("{{match: [{matches}], {answer}}}");
    for (rules, expected) in [
        (vec!["{uri: {prefix: /a}}", "{uri: {prefix: /}}"], None),
        (vec!["", "{uri: {prefix: /a}}"], Some("spec.http[1]")),
        (
            vec!["{uri: {prefix: /}}", "{method: {exact: GET}}"],
            Some("spec.http[1]"),
        ),
        (
            vec!["{uri: {prefix: /a}}", "{uri: {exact: /a/b}}"],
            Some("spec.http[1]"),
        ),
        (vec!["{uri: {exact: /a}}", "{uri: {prefix: /a}}"], None),
        (
            vec![
                "{uri: {prefix: /a}}",
                "{uri: {prefix: /a}, ignoreUriCase: true}",
            ],
            None,
        ),
        (
            vec![
                "{uri: {prefix: /a}}",
                "{uri: {prefix: /b}}, {uri: {prefix: /a}, port: 80}",
            ],
            Some("spec.http[1].match[1]"),
        ),
        (
            vec![
                "{headers: {x: {exact: '1'}}}",
                "{headers: {x: {exact: '2'}}}",
            ],
            None,
        ),
        (
            vec!["{headers: {x: {}}}", "{headers: {x: {exact: '2'}}}"],
            Some("spec.http[1]"),
        ),
        (vec!["{gateways: [edge]}", "{uri: {prefix: /}}"], None),
        (vec!["{sourceLabels: {app: x}}", "{uri: {prefix: /}}"], None),
    ] {
        let http: Vec<String> = rules.iter().map(|matches| rule(matches)).collect();
        let yaml = format!(
            "kind: VirtualService\nmetadata: {{name: vs}}\n\
             spec: {{hosts: [a.com], gateways: [mesh, edge], http: [{}]}}",
            http.join(", ")
        );
        let expected: Vec<String> = expected
            .iter()
            .map(|path| {
                format!(
                    "vs: {path}: never reached: spec.http[0] takes every request that it matches"
                )
            })
            .collect();

        assert_eq!(findings(&yaml), expected, "{rules:?}");
    }
}

#[test]
fn destination_rules_that_govern_nothing_are_reported() {
    for (spec, expected) in [
        (
            "host: rating",
            vec![
                "spec.host: no service \"rating.default.svc.cluster.local\" is known in namespace \
                 \"default\"",
            ],
        ),
        (
            "host: '*.nowhere.com'",
            vec!["spec.host: no service is within \"*.nowhere.com\""],
        ),
        (
            "host: reviews, subsets: [{name: v9, labels: {version: v9}}]",
            vec![
                "spec.subsets[0].labels: no endpoint of \"reviews.default.svc.cluster.local\" has \
                 these labels",
            ],
        ),
        (
            "host: reviews, trafficPolicy: {portLevelSettings: [{port: {number: 81}}]}",
            vec![
                "spec.trafficPolicy.portLevelSettings[0].port: service \
                 \"reviews.default.svc.cluster.local\" has no port 81",
            ],
        ),
        (
            "host: reviews, subsets: [{name: v1, labels: {version: v2}}]",
            vec![
                "spec.subsets[0].name: ignored: DestinationRule default/base defines a subset of \
                 this name",
            ],
        ),
    ] {
        let yaml = format!("kind: DestinationRule\nmetadata: {{name: dr}}\nspec: {{{spec}}}");
        let expected: Vec<String> = expected.iter().map(|line| format!("dr: {line}")).collect();

        assert_eq!(findings(&yaml), expected, "{spec}");
    }
}

#[test]
fn the_policy_of_a_second_rule_for_a_host_is_reported_as_ignored() {
    let rule = |name: &str| {
        format!(
            "kind: DestinationRule\nmetadata: {{name: {name}}}\n\
             spec: {{host: reviews, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}"
        )
    };

    assert_eq!(
        findings(&format!("{}\n---\n{}", rule("two"), rule("one"))),
        [
            "two: spec.trafficPolicy: ignored: DestinationRule default/one has one for the same \
             host and goes first"
        ]
    );
}

#[test]
fn of_two_virtual_services_for_a_host_the_one_that_loses_is_named() {
    let vs = |name: &str, namespace: &str, export_to: &str, created: &str| {
        format!(
            "kind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}, \
             creationTimestamp: '{created}'}}\n\
             spec: {{hosts: [a.com], exportTo: ['{export_to}'], \
             http: [{{directResponse: {{status: 200}}}}]}}"
        )
    };
    let (young, old) = ("2024-05-02T00:00:00Z", "2024-05-01T00:00:00Z");

    assert_eq!(
        findings(&format!(
            "{}\n---\n{}",
            vs("a", "x", "*", young),
            vs("b", "y", "*", old)
        )),
        ["a: spec.hosts[0]: ignored in the mesh: VirtualService y/b has this host and goes first"]
    );
    assert_eq!(
        findings(&format!(
            "{}\n---\n{}",
            vs("a", "x", ".", young),
            vs("b", "y", ".", old)
        )),
        [""; 0],
        "nobody sees both"
    );
}

#[test]
fn services_and_ports_that_two_resources_want_are_reported() {
    let yaml = "\
kind: ServiceEntry
metadata: {name: squatter, namespace: other}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
---
kind: Gateway
metadata: {name: tls, namespace: other}
spec:
  selector: {istio: edge}
  servers:
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}
  - {port: {number: 80, name: b, protocol: TCP}, hosts: ['*']}
  - {port: {number: 81, name: c, protocol: HTTP}, hosts: ['*']}";

    assert_eq!(
        findings(yaml),
        [
            "squatter: spec.hosts[0]: ignored where both are seen: ServiceEntry default/reviews \
             defines this host too",
            "tls: spec.servers[1].port: TCP conflicts with HTTP on port 80 of Gateway \
             \"default/edge\", which goes first",
        ]
    );
}

#[test]
fn a_policy_about_mutual_tls_that_does_nothing_is_reported() {
    let policy = |name: &str, namespace: &str, spec: &str| {
        format!(
            "kind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{{spec}}}"
        )
    };
    let of =
        |app: &str| format!("selector: {{matchLabels: {{app: {app}}}}}, mtls: {{mode: STRICT}}");
    let found = findings(
        &[
            policy("mesh", "istio-system", "mtls: {mode: STRICT}"),
            policy("root", "istio-system", &of("a")),
            policy("one", "shop", "mtls: {mode: STRICT}"),
            policy("two", "shop", "selector: {}, mtls: {mode: DISABLE}"),
            policy("a", "shop", &of("a")),
            policy("a2", "shop", &of("a")),
            policy("b", "shop", &of("b")),
        ]
        .join("\n---\n"),
    );

    assert_eq!(
        found,
        [
            "root: spec.selector: has no effect in namespace \"istio-system\", whose policies are \
             for the whole mesh",
            "two: spec: has no effect: shop/one takes precedence for the same workloads",
            "a2: spec: has no effect: shop/a takes precedence for the same workloads",
        ]
    );
}

fn policy(spec: &str) -> String {
    format!("kind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {spec}")
}

#[test]
fn a_policy_for_nobody_that_is_known_is_reported() {
    let misspelt = findings(&policy("{selector: {matchLabels: {version: v3}}}"));
    assert_eq!(misspelt.len(), 1, "{misspelt:?}");
    assert!(misspelt[0].starts_with("p: spec.selector: selects nothing"));

    for selector in ["{version: v1}", "{version: v1, app: reviews}"] {
        let right = findings(&policy(&format!(
            "{{selector: {{matchLabels: {selector}}}}}"
        )));
        assert_eq!(right, [""; 0]);
    }
}

#[test]
fn identities_that_nobody_can_show_are_reported() {
    let peers = "kind: PeerAuthentication\nmetadata: {name: plain}\nspec: {mtls: {mode: DISABLE}}";
    let allows = |source: &str| policy(&format!("{{rules: [{{from: [{{source: {source}}}]}}]}}"));
    let told = |source: &str| findings(&format!("{}\n---\n{peers}", allows(source)));

    assert!(told("{namespaces: [a]}")[0].contains("PeerAuthentication default/plain"));
    assert_eq!(told("{ipBlocks: [10.0.0.1]}"), [""; 0]);
    assert_eq!(findings(&allows("{namespaces: [a]}")), [""; 0]);
}

#[test]
fn authorizers_that_cannot_be_asked_are_reported() {
    let mesh = "kind: MeshConfig\nmetadata: {name: mesh}\nspec:
  extensionProviders:
  - {name: opa, envoyExtAuthzHttp: {service: reviews.default.svc.cluster.local, port: 80}}
  - {name: gone, envoyExtAuthzHttp: {service: gone.example, port: 80}}
  - {name: port, envoyExtAuthzHttp: {service: reviews, port: 81}}
  - {name: log}";
    let told = |name: &str| {
        let custom = format!("{{action: CUSTOM, provider: {{name: {name}}}, rules: [{{}}]}}");
        findings(&format!("{}\n---\n{mesh}", policy(&custom))).join("\n")
    };

    assert_eq!(told("opa"), "");
    assert!(told("opo").contains("is refused"));
    assert!(told("log").contains("is no authorizer"));
    assert!(told("gone").contains("no service \"gone.example\""));
    assert!(told("port").contains("has no port 81"));
}

#[test]
fn tokens_that_nobody_asks_for_are_reported() {
    let tokens = "kind: RequestAuthentication
metadata: {name: tokens}
spec: {jwtRules: [{issuer: 'https://a.example'}]}
---
kind: AuthorizationPolicy
metadata: {name: who, namespace: NAMESPACE}
spec: {rules: [RULE]}
";
    let written = |namespace: &str, rule: &str| {
        findings(&tokens.replace("NAMESPACE", namespace).replace("RULE", rule))
    };
    let reported = [
        "tokens: spec.jwtRules: a request without token passes: no AuthorizationPolicy asks for \
         requestPrincipals or request.auth",
    ];
    let asks = "{from: [{source: {requestPrincipals: ['*']}}]}";

    assert_eq!(written("default", asks), [""; 0]);
    assert_eq!(written("istio-system", asks), [""; 0]);
    assert_eq!(
        written(
            "default",
            "{when: [{key: 'request.auth.claims[a]', values: [b]}]}"
        ),
        [""; 0]
    );
    assert_eq!(written("other", asks), reported);
    assert_eq!(
        written("default", "{to: [{operation: {methods: [GET]}}]}"),
        reported
    );
}
