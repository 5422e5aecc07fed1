//! Configurations and requests made at random over few hosts, paths and headers, so that they meet.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::select;

/// A mesh: whether its routes are those of the gateway, and the text of the `VirtualService`s.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    pub(super) gateway: bool,
    pub(super) routes: String,
}

/// A request, its caller included.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: &'static str,
    pub(super) authority: &'static str,
    pub(super) target: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

pub(super) fn mesh() -> impl Strategy<Value = Generated> {
    let service = || (prop::collection::vec(rule(), 0..16), annotations());
    (any::<bool>(), service(), service()).prop_map(|(gateway, first, second)| {
        let mut routes = String::new();
        let hosts = if gateway {
            ["a.test", "'*'"]
        } else {
            ["a.test", "b.test"]
        };
        for (name, host, (rules, annotations)) in
            [("first", hosts[0], first), ("second", hosts[1], second)]
        {
            // Only rules that there are can be named.
            let names_rule = rules.iter().any(|rule| rule.contains("name: resets"));
            let legal = names_rule || !annotations.contains("rules=");
            let annotations = if legal { annotations } else { "" };
            if !rules.is_empty() {
                write_service(&mut routes, name, host, gateway, annotations, &rules);
                write_limits(&mut routes, name);
            }
        }
        Generated { gateway, routes }
    })
}

fn write_service(
    routes: &mut String,
    name: &str,
    host: &str,
    gateway: bool,
    annotations: &str,
    rules: &[String],
) {
    let bound = if gateway { "  gateways: [edge]\n" } else { "" };
    write!(
        routes,
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata:\n  name: {name}\n{annotations}spec:\n  hosts: [{host}]\n{bound}  http:\n"
    )
    .expect("a string takes all text");
    routes.extend(rules.iter().map(String::as_str));
}

/// One request in an hour for each value of a header, of those that meet a rule of this service.
fn write_limits(routes: &mut String, name: &str) {
    write!(
        routes,
        "---\napiVersion: policy.meshproxy.io/v1alpha1\nkind: RateLimitPolicy\n\
         metadata: {{name: {name}}}\nspec:\n  \
         targetRefs: [{{group: networking.istio.io, kind: VirtualService, name: {name}}}]\n  \
         limits:\n  - {{name: few, requests: 1, per: 1h, match: [{{headers: {{z: {{}}}}}}], \
         key: ['request.headers[x]']}}\n"
    )
    .expect("a string takes all text");
}

fn annotations() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "",
            "  annotations: {meshproxy.io/sticky-by: 'header:x'}\n",
            "  annotations: {meshproxy.io/sticky-by: 'cookie:c'}\n",
            "  annotations: {meshproxy.io/sticky-by: source-ip}\n",
            "  annotations: {meshproxy.io/fault-reset: '100%; rules=resets'}\n",
            "  annotations: {meshproxy.io/fault-reset: '100%; rules=resets', \
             meshproxy.io/fault-scope: attempt}\n",
        ][..],
    )
}

/// One item of `http`, as lines.
fn rule() -> impl Strategy<Value = String> {
    let blocks = prop::collection::vec(block(), 0..3);
    (blocks, action(), prop::collection::vec(extra(), 0..3)).prop_map(|(blocks, action, extras)| {
        let mut text = "  - ".to_owned();
        let mut lines = vec![action.to_owned()];
        if !blocks.is_empty() {
            lines.insert(0, format!("match: [{}]", blocks.join(", ")));
        }
        // A key can be written once, and some go with routes alone.
        let forwards = action.starts_with("route");
        let mut seen = Vec::new();
        for extra in extras {
            let key = extra.split(':').next().unwrap_or_default();
            if forwards && !seen.contains(&key) {
                seen.push(key);
                lines.push(extra.to_owned());
            }
        }
        text.push_str(&lines.join("\n    "));
        text.push('\n');
        text
    })
}

fn block() -> impl Strategy<Value = String> {
    let conditions = select(
        &[
            "uri: {exact: /a}",
            "uri: {prefix: /a}",
            "uri: {prefix: /a/}",
            "uri: {regex: '/[ab].*'}",
            "uri: {prefix: /A}, ignoreUriCase: true",
            "method: {exact: GET}",
            "method: {regex: 'P.*'}",
            "headers: {x: {exact: '1'}}",
            "headers: {x: {prefix: '2'}, y: {}}",
            "withoutHeaders: {y: {}}",
            "withoutHeaders: {x: {exact: '1'}}",
            "queryParams: {q: {exact: '1'}}",
            "scheme: {exact: http}",
            "authority: {prefix: a}",
            "sourceLabels: {app: web}",
            "sourceLabels: {app: other}",
            "sourceNamespace: elsewhere",
        ][..],
    );
    prop::collection::vec(conditions, 0..3).prop_map(|conditions| {
        let mut seen: Vec<&str> = Vec::new();
        let mut kept = Vec::new();
        for condition in conditions {
            let key = condition.split(':').next().unwrap_or_default();
            if !seen.contains(&key) {
                seen.push(key);
                kept.push(condition);
            }
        }
        format!("{{{}}}", kept.join(", "))
    })
}

fn action() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "route: [{destination: {host: a.test, subset: v1}}]",
            "route: [{destination: {host: a.test, subset: v2}, \
         headers: {request: {set: {t: target}}, response: {add: {t: target}}}}]",
            "route: [{destination: {host: b.test, port: {number: 80}}}]",
            "route: [{destination: {host: a.test, subset: v1}, weight: 100}, \
         {destination: {host: b.test, port: {number: 80}}, weight: 0}]",
            "route: [{destination: {host: a.test, subset: v1}, weight: 50}, \
         {destination: {host: a.test, subset: v2}, weight: 50}]",
            "route: [{destination: {host: keyed.test}}]",
            "route: [{destination: {host: far.test}}]",
            "route: [{destination: {host: keyed.test}, weight: 50}, \
         {destination: {host: far.test}, weight: 50}]",
            "route: [{destination: {host: nowhere.test}}]",
            "route: [{destination: {host: a.test, subset: v9}}]",
            "route: [{destination: {host: empty.test}}]",
            "redirect: {uri: /moved, authority: other.test}",
            "redirect: {redirectCode: 308, scheme: https}",
            "directResponse: {status: 418, body: {string: teapot}}",
            "delegate: {name: part}",
        ][..],
    )
}

fn extra() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "rewrite: {uri: /new}",
            "rewrite: {uri: /, authority: inner.test}",
            "rewrite: {uriRegexRewrite: {match: 'a', rewrite: 'z'}}",
            "headers: {request: {set: {x: set}, add: {y: added}, remove: [z]}, \
         response: {set: {r: set}, remove: [up]}}",
            "timeout: 30s",
            "retries: {attempts: 0}",
            "name: resets",
            "fault: {abort: {percentage: {value: 100}, httpStatus: 418}}",
            "fault: {abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}}",
            "fault: {abort: {percentage: {value: 0}, httpStatus: 418}}",
            "fault: {delay: {percentage: {value: 100}, fixedDelay: 1ms}}",
            "mirrors: [{destination: {host: shadow.test}}, {destination: {host: nowhere.test}}]",
            "mirrors: [{destination: {host: shadow.test}, percentage: {value: 0}}]",
            "corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}], allowMethods: [GET]}",
        ][..],
    )
}

pub(super) fn request() -> impl Strategy<Value = Sent> {
    let header = select(
        &[
            ("x", "1"),
            ("x", "2"),
            ("y", "1"),
            ("z", "1"),
            ("cookie", "c=1"),
            ("origin", "https://ok.test"),
            ("access-control-request-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("content-type", "application/grpc"),
        ][..],
    );
    let method = select(&["GET", "GET", "POST", "PUT", "OPTIONS", "CONNECT"][..]);
    let authority = select(
        &[
            "a.test",
            "a.test",
            "A.test:80",
            "b.test",
            "b.test:81",
            "b.test:82",
            "empty.test",
            "no.test",
        ][..],
    );
    let target = select(
        &[
            "/",
            "/a",
            "/a/b",
            "/A/c",
            "/ab?q=1",
            "/b?q=2&q=1",
            "/b/../a",
            "/c?",
        ][..],
    );
    let headers = prop::collection::vec(header, 0..4);
    (method, authority, target, headers).prop_map(|(method, authority, target, headers)| Sent {
        method,
        authority,
        target,
        headers,
    })
}
