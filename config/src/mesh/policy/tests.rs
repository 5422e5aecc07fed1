//! Which rules govern, and what the blocks come to.

use crate::mesh::fixture::{mesh, viewer};
use crate::mesh::{EffectivePolicy, HostPolicy, Mesh};
use crate::resource::destination_rule::SimpleLb;

const HOST: &str = "s.svc.svc.cluster.local";

fn rule(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    format!(
        "kind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}"
    )
}

fn governing(mesh: &Mesh, namespace: &str, labels: &[&str]) -> Vec<String> {
    let policy = mesh.policy(&viewer(namespace, labels), HOST, Some("svc"));
    policy
        .sources
        .iter()
        .map(|source| source.meta.name.clone())
        .collect()
}

fn policy_of(spec: &str) -> HostPolicy {
    let mesh = mesh(&rule("svc/only", &format!("host: s, {spec}")));
    HostPolicy::clone(&mesh.policy(&viewer("client", &[]), HOST, Some("svc")))
}

/// Which blocks are set, in short.
fn blocks(policy: &EffectivePolicy) -> String {
    let lb = policy.load_balancer.as_ref().and_then(|lb| lb.simple);
    let pool = policy
        .connection_pool
        .as_ref()
        .and_then(|pool| pool.tcp.as_ref());
    [
        lb.map(|lb| match lb {
            SimpleLb::Random => "random".to_owned(),
            SimpleLb::RoundRobin => "round-robin".to_owned(),
            other => format!("{other:?}"),
        }),
        pool.and_then(|tcp| tcp.max_connections)
            .map(|max| format!("pool-{max}")),
        policy
            .outlier_detection
            .as_ref()
            .map(|_| "outlier".to_owned()),
        policy.tls.as_ref().map(|_| "tls".to_owned()),
        policy.retry_budget.as_ref().map(|_| "budget".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(" ")
}

#[test]
fn the_client_goes_before_the_service_and_the_root() {
    let own = rule("client/own", &format!("host: {HOST}"));
    let service = rule("svc/service", "host: s");
    let root = rule("istio-system/root", "host: '*'");
    let private = rule("svc/private", "host: s, exportTo: ['.']");
    for (rules, namespace, expected) in [
        (vec![&own, &service, &root], "client", "own"),
        (vec![&service, &root], "client", "service"),
        (vec![&root], "client", "root"),
        (vec![&private, &root], "client", "root"),
        (vec![&private, &root], "svc", "private"),
        (vec![&own, &service, &root], "istio-system", "service"),
        (vec![&own], "elsewhere", ""),
    ] {
        let text: Vec<&str> = rules.into_iter().map(String::as_str).collect();
        let found = governing(&mesh(&text.join("\n---\n")), namespace, &[]);

        assert_eq!(found.join(" "), expected, "{text:?} from {namespace}");
    }
}

#[test]
fn a_private_rule_of_the_root_namespace_governs_there() {
    let service = rule("svc/service", "host: s");
    let root = rule(
        "istio-system/root",
        &format!("host: {HOST}, exportTo: ['.']"),
    );
    let mesh = mesh(&format!("{service}\n---\n{root}"));

    assert_eq!(governing(&mesh, "istio-system", &[]), ["root"]);
    assert_eq!(governing(&mesh, "client", &[]), ["service"]);
}

#[test]
fn the_most_specific_host_governs() {
    let hosts = [
        "'*'",
        "'*.cluster.local'",
        "'*.svc.svc.cluster.local'",
        HOST,
    ];
    for count in 1..=hosts.len() {
        let rules: Vec<String> = hosts[..count]
            .iter()
            .enumerate()
            .map(|(at, host)| rule(&format!("client/r{at}"), &format!("host: {host}")))
            .collect();

        let found = governing(&mesh(&rules.join("\n---\n")), "client", &[]);

        assert_eq!(found, [format!("r{}", count - 1)]);
    }
}

#[test]
fn a_rule_that_selects_workloads_governs_those_of_its_namespace_first() {
    let chosen = rule(
        "client/chosen",
        &format!(
            "host: {HOST}, workloadSelector: {{matchLabels: {{app: x}}}}, \
             trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}"
        ),
    );
    let all = rule(
        "client/all",
        &format!("host: {HOST}, subsets: [{{name: v1}}]"),
    );
    let mesh = mesh(&format!("{chosen}\n---\n{all}"));

    assert_eq!(governing(&mesh, "client", &["app=x"]), ["chosen", "all"]);
    assert_eq!(governing(&mesh, "client", &["app=y"]), ["all"]);
}

#[test]
fn rules_for_one_host_are_merged_with_the_first_policy_and_all_subsets() {
    let first = rule("svc/a", "host: s, subsets: [{name: v1, labels: {from: a}}]");
    let second = rule(
        "svc/b",
        "host: s, trafficPolicy: {loadBalancer: {simple: RANDOM}}, \
         subsets: [{name: v1, labels: {from: b}}, {name: v2, labels: {from: b}}]",
    );
    let third = rule(
        "svc/c",
        "host: s, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}",
    );
    let mesh = mesh(&[third, second, first].join("\n---\n"));

    let policy = mesh.policy(&viewer("client", &[]), HOST, None);

    assert!(
        policy.sources.is_empty(),
        "without a service its namespace is unknown"
    );
    let policy = mesh.policy(&viewer("client", &[]), HOST, Some("svc"));
    let subsets: Vec<_> = policy
        .subsets
        .iter()
        .map(|s| (s.name.as_str(), s.labels["from"].as_str()))
        .collect();
    assert_eq!(subsets, [("v1", "a"), ("v2", "b")]);
    assert_eq!(blocks(&policy.policy(None, 80)), "random");
    assert_eq!(blocks(&policy.policy(Some("v1"), 80)), "random");
}

#[test]
fn ports_replace_their_level_and_subsets_override_block_by_block() {
    let policy = policy_of(
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {}, \
         connectionPool: {tcp: {maxConnections: 1}}, retryBudget: {}, portLevelSettings: \
         [{port: {number: 8080}, tls: {mode: SIMPLE}}]}, \
         subsets: [{name: plain}, \
         {name: pool, trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}}, \
         {name: port, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, portLevelSettings: \
         [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 3}}}]}}]",
    );

    for (subset, port, expected) in [
        (None, 80, "random pool-1 outlier budget"),
        (None, 8080, "tls"),
        (Some("plain"), 80, "random pool-1 outlier budget"),
        (Some("unknown"), 80, "random pool-1 outlier budget"),
        (Some("pool"), 80, "random pool-2 outlier budget"),
        (Some("pool"), 8080, "pool-2 tls"),
        (Some("port"), 80, "pool-3 budget"),
        (Some("port"), 8080, "round-robin tls"),
        (Some("port"), 81, "round-robin pool-1 outlier budget"),
    ] {
        assert_eq!(
            blocks(&policy.policy(subset, port)),
            expected,
            "{subset:?} on {port}"
        );
    }
}
