//! Policies and requests at random: the compiled policies say what the plain evaluator says.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use config::mesh::{Mesh, MeshSettings};
use config::resource::authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationRule, Condition, From, Operation, Source, To,
};
use config::resource::{Metadata, Source as Place};
use config::{Resource, Spec};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::naive::{Http, World, judge};
use super::*;
use crate::inbound::authz::facts::Request as Asked;

/// Up to two of `values`, more often none.
fn some(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let few = subsequence(values, 0..=2.min(values.len()));
    prop_oneof![3 => Just(Vec::new()), 2 => few]
        .prop_map(|few| few.into_iter().map(str::to_owned).collect())
}

/// A list and its `not` form.
fn both(values: &'static [&'static str]) -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    (
        some(values),
        prop_oneof![2 => Just(Vec::new()), 1 => some(values)],
    )
}

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/a/sa/x",
    "td2/ns/a/sa/x",
    "td3/ns/a/sa/x",
    "cluster.local/ns/a/*",
    "*/sa/y",
    "*",
];
const BLOCKS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "11.0.0.1/32",
];
const TOKENS: &[&str] = &["i/s", "i/*", "*/s", "j/s", "*"];

fn source() -> impl Strategy<Value = Source> {
    let first = (
        both(PRINCIPALS),
        both(&["a", "b", "a*", "*"]),
        both(&["a/x", "x"]),
        both(&["cluster.local", "td*"]),
    );
    let second = (both(BLOCKS), both(BLOCKS), both(TOKENS));
    (first, second).prop_map(|((principals, namespaces, accounts, domains), second)| {
        let (blocks, remote, tokens) = second;
        Source {
            principals: principals.0,
            not_principals: principals.1,
            namespaces: namespaces.0,
            not_namespaces: namespaces.1,
            service_accounts: accounts.0,
            not_service_accounts: accounts.1,
            trust_domains: domains.0,
            not_trust_domains: domains.1,
            ip_blocks: blocks.0,
            not_ip_blocks: blocks.1,
            remote_ip_blocks: remote.0,
            not_remote_ip_blocks: remote.1,
            request_principals: tokens.0,
            not_request_principals: tokens.1,
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let hosts = both(&["app", "APP", "*.example", "app:80", "*"]);
    let ports = both(&["80", "8080"]);
    let methods = both(&["GET", "P*", "*"]);
    let paths = both(&["/a", "/a*", "*b", "/a/*", "*"]);
    (hosts, ports, methods, paths).prop_map(|(hosts, ports, methods, paths)| Operation {
        hosts: hosts.0,
        not_hosts: hosts.1,
        ports: ports.0,
        not_ports: ports.1,
        methods: methods.0,
        not_methods: methods.1,
        paths: paths.0,
        not_paths: paths.1,
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let of = |key: &'static str, values: &'static [&'static str]| {
        both(values).prop_map(move |(values, not_values)| Condition {
            key: key.to_owned(),
            values,
            not_values,
        })
    };
    prop_oneof![
        of("request.headers[x-a]", &["1", "2", "1,2", "1*", "*"]),
        of("source.ip", BLOCKS),
        of("remote.ip", BLOCKS),
        of("source.namespace", &["a", "b"]),
        of("source.serviceAccount", &["a/x", "x"]),
        of("source.trustDomain", &["cluster.local", "td2"]),
        of("source.principal", PRINCIPALS),
        of("request.auth.principal", TOKENS),
        of("request.auth.audiences", &["shop", "api", "*"]),
        of("request.auth.presenter", &["shop", "app"]),
        of("request.auth.claims[groups]", &["admin", "a*"]),
        of("destination.ip", BLOCKS),
        of("destination.port", &["80", "8080"]),
        of("connection.sni", &["shop", "*p", "*"]),
    ]
}

fn rule() -> impl Strategy<Value = AuthorizationRule> {
    let from = prop::collection::vec(source(), 0..3);
    let to = prop::collection::vec(operation(), 0..3);
    let when = prop::collection::vec(condition(), 0..3);
    (from, to, when).prop_map(|(from, to, when)| AuthorizationRule {
        from: from
            .into_iter()
            .map(|it| From { source: Some(it) })
            .collect(),
        to: to
            .into_iter()
            .map(|it| To {
                operation: Some(it),
            })
            .collect(),
        when,
    })
}

fn policy() -> impl Strategy<Value = AuthorizationPolicy> {
    let action = select(vec![
        None,
        Some(Action::Allow),
        Some(Action::Deny),
        Some(Action::Audit),
    ]);
    let rules = prop::collection::vec(rule(), 0..4);
    (action, rules).prop_map(|(action, rules)| AuthorizationPolicy {
        action,
        rules,
        ..AuthorizationPolicy::default()
    })
}

fn http() -> impl Strategy<Value = Http> {
    let one = |values: &'static [&'static str]| select(values).prop_map(str::to_owned);
    let claims = select(vec![
        None,
        Some(json!({"iss": "i", "sub": "s", "aud": "shop", "groups": ["admin"]})),
        Some(json!({"iss": "j", "sub": "s", "aud": ["api", "x"], "azp": "shop", "groups": "abc"})),
        Some(json!({"iss": "i", "sub": 1, "groups": true})),
        Some(json!({})),
    ]);
    let headers = subsequence(vec![("x-a", "1"), ("x-a", "2"), ("x-b", "1")], 0..=3);
    let request = (
        one(&["GET", "POST", "PUT", "get"]),
        one(&["/", "/a", "/a/b", "/ab", "/b"]),
        one(&["app", "app:80", "APP.", "a.example", "a.EXAMPLE:1"]),
    );
    (request, headers, claims).prop_map(|((method, path, host), headers, claims)| Http {
        method,
        path,
        host,
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        claims,
    })
}

fn world() -> impl Strategy<Value = World> {
    let peer = select(vec![
        None,
        Some("cluster.local/ns/a/sa/x"),
        Some("td2/ns/a/sa/x"),
        Some("td3/ns/a/sa/y"),
        Some("cluster.local/ns/default/sa/x"),
        Some("cluster.local/ns/b/sa/z"),
    ]);
    let ip = select(vec![
        [10, 0, 0, 1],
        [10, 0, 0, 2],
        [10, 1, 0, 1],
        [11, 0, 0, 1],
    ]);
    let ip = move || ip.clone().prop_map(|it| IpAddr::V4(Ipv4Addr::from(it)));
    let http = prop_oneof![4 => http().prop_map(Some), 1 => Just(None)];
    let connection = (
        ip(),
        ip(),
        select(vec![80, 8080, 9]),
        select(vec!["", "shop", "x"]),
    );
    (peer, connection, http).prop_map(|(peer, (ip, to, port, sni), http)| World {
        peer: peer.map(str::to_owned),
        ip,
        to,
        port,
        sni: sni.to_owned(),
        http,
    })
}

fn resource(at: usize, policy: &AuthorizationPolicy) -> Arc<Resource> {
    Arc::new(Resource {
        meta: Metadata {
            name: format!("p{at}"),
            namespace: "default".to_owned(),
            ..Metadata::default()
        },
        source: Place {
            file: Path::new("random.yaml").into(),
            line: 1,
        },
        spec: Spec::AuthorizationPolicy(policy.clone()),
    })
}

/// What the compiled policies say.
fn by_compiled(authorization: Option<&Authorization>, world: &World) -> String {
    let Some(authorization) = authorization else {
        return "allow".to_owned();
    };
    let id = |it: &String| SpiffeId::parse(&format!("spiffe://{it}")).expect("an identity");
    let peer = world.peer.as_ref().map(id);
    let mut headers = HeaderMap::new();
    let http = world.http.as_ref();
    for (name, value) in http.iter().flat_map(|http| &http.headers) {
        let name: http::HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let token = http.and_then(|http| http.claims.clone()).map(Token::of);
    let request = http.map(|http| Asked {
        method: &http.method,
        target: &http.path,
        authority: &http.host,
        secure: false,
        headers: &headers,
        token: token.as_ref(),
    });
    told(authorization.judge(&Facts {
        peer: peer.as_ref(),
        source_ip: Some(world.ip),
        remote_ip: Some(world.ip),
        destination_ip: Some(world.to),
        destination_port: world.port,
        server_name: &world.sni,
        request,
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn compiled_policies_say_what_the_plain_evaluator_says(
        policies in prop::collection::vec(policy(), 0..4),
        worlds in prop::collection::vec(world(), 8),
    ) {
        let resources = policies.iter().enumerate().map(|(at, it)| resource(at, it));
        let mut resources: Vec<Arc<Resource>> = resources.collect();
        let gateway = parse("gateway.yaml", GATEWAY, "default").resources;
        resources.extend(gateway);
        let settings = MeshSettings {
            trust_domains: vec!["td2".to_owned()],
            ..MeshSettings::default()
        };
        let authorization = compiled(&Mesh::new(&resources, settings));

        for world in &worlds {
            let compiled = by_compiled(authorization.as_deref(), world);
            prop_assert_eq!(compiled, judge(&policies, world), "{:?}", world);
        }
    }
}
