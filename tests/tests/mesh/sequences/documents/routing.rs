//! What says where requests go.

use fastrand::Rng;

use super::{Backends, Document, SINGLE, WRITTEN, created, export, hosts, namespace, one_of};

/// Most rules of a `VirtualService`.
const RULES_MAX: usize = 3;

pub(super) fn routes(rng: &mut Rng, _: &Backends) -> Document {
    let head = (
        "VirtualService",
        namespace(rng),
        format!("v{}", rng.u8(0..5)),
    );
    let (created, export, written) = (created(rng), export(rng), hosts(rng, &WRITTEN));
    let gateways = one_of(
        rng,
        &[
            "",
            "",
            "  gateways: [shop/edge]\n",
            "  gateways: [mesh, shop/edge]\n",
        ],
    );
    let mut lines =
        format!("spec:\n  hosts: [{written}]\n  exportTo: {export}\n{gateways}  http:\n");
    for number in 0..rng.usize(1..=RULES_MAX) {
        lines += &format!("  - name: r{number}\n");
        for line in [condition(rng), &action(rng), extra(rng)]
            .iter()
            .filter(|it| !it.is_empty())
        {
            lines += &format!("    {line}\n");
        }
    }
    Document::new(head, &created, &lines)
}

/// Routes that others lead to.
pub(super) fn delegate(rng: &mut Rng, _: &Backends) -> Document {
    let head = ("VirtualService", namespace(rng), "part".to_owned());
    let (created, export) = (created(rng), export(rng));
    let lines = format!(
        "spec:\n  exportTo: {export}\n  http:\n  - name: part\n    {}\n",
        forward(rng)
    );
    Document::new(head, &created, &lines)
}

pub(super) fn rule(rng: &mut Rng, _: &Backends) -> Document {
    let head = (
        "DestinationRule",
        namespace(rng),
        format!("d{}", rng.u8(0..5)),
    );
    let (created, export) = (created(rng), export(rng));
    let host = one_of(rng, &WRITTEN);
    let selector = one_of(
        rng,
        &["", "", ", workloadSelector: {matchLabels: {app: web}}"],
    );
    let policy = one_of(
        rng,
        &[
            "{}",
            "{loadBalancer: {simple: RANDOM}}",
            "{connectionPool: {tcp: {maxConnections: 500, connectTimeout: 3s}}}",
            "{connectionPool: {http: {http1MaxPendingRequests: 400}}}",
            "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
        ],
    );
    let subsets = one_of(
        rng,
        &[
            "[{name: v1, labels: {version: v1}}]",
            "[{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
            "[{name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}]",
            "[]",
        ],
    );
    let lines = format!(
        "spec: {{host: '{host}', exportTo: {export}, trafficPolicy: {policy}, subsets: {subsets}{selector}}}"
    );
    Document::new(head, &created, &lines)
}

fn condition(rng: &mut Rng) -> &'static str {
    one_of(
        rng,
        &[
            "",
            "match: [{uri: {prefix: /x}}]",
            "match: [{headers: {x-user: {exact: beta}}}]",
            "match: [{uri: {exact: /}, sourceLabels: {app: web}}, {method: {exact: POST}}]",
            "match: [{sourceNamespace: shop}]",
            "match: [{uri: {regex: '/x/[0-9]+'}}]",
        ],
    )
}

fn action(rng: &mut Rng) -> String {
    match rng.u8(0..8) {
        0 => "directResponse: {status: 418, body: {string: direct}}".to_owned(),
        1 => "redirect: {uri: /elsewhere, authority: one.example.com}".to_owned(),
        2 => one_of(
            rng,
            &[
                "delegate: {name: part}",
                "delegate: {name: part, namespace: shop}",
            ],
        )
        .to_owned(),
        _ => forward(rng),
    }
}

fn forward(rng: &mut Rng) -> String {
    let mut destination = || {
        let subset = one_of(rng, &["", "", ", subset: v1", ", subset: v2"]);
        let port = one_of(rng, &["", ", port: {number: 80}"]);
        format!(
            "{{host: {}{subset}{port}}}",
            one_of(rng, &WRITTEN[..SINGLE])
        )
    };
    let (one, other) = (destination(), destination());
    match rng.u8(0..3) {
        0 => {
            let weight = one_of(rng, &[0, 25, 90]);
            let rest = 100 - weight;
            format!(
                "route: [{{destination: {one}, weight: {weight}}}, {{destination: {other}, weight: {rest}}}]"
            )
        }
        1 => format!(
            "route: [{{destination: {one}, headers: {{request: {{set: {{x-added: a}}}}}}}}]"
        ),
        _ => format!("route: [{{destination: {one}}}]"),
    }
}

/// What an item of `http` says beside where it leads to; not all of them go with all actions.
fn extra(rng: &mut Rng) -> &'static str {
    one_of(
        rng,
        &[
            "",
            "",
            "timeout: 7s",
            "retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}",
            "rewrite: {uri: /rewritten}",
            "headers: {request: {set: {x-added: b}}, response: {set: {x-told: c}}}",
            "fault: {abort: {httpStatus: 429, percentage: {value: 100}}}",
            "corsPolicy: {allowOrigins: [{exact: 'https://example.com'}], allowMethods: [GET]}",
        ],
    )
}
