use serde_json::{Value, json};

use crate::validate::tests::{assert_reports, reports, resource};

/// One rule with `fields` and, unless they hold an action, a destination.
fn rule(fields: Value) -> Value {
    let mut rule = fields;
    let has_action = ["route", "redirect", "directResponse", "delegate"]
        .iter()
        .any(|name| rule[name].is_object() || rule[name].is_array());
    if !has_action {
        rule["route"] = json!([{"destination": {"host": "reviews"}}]);
    }
    json!({"hosts": ["reviews"], "http": [rule]})
}

/// Compares what is reported of single rules; paths are within the rule.
fn assert_rules(table: &[(Value, &[&str])]) {
    for (fields, expected) in table {
        let reports = reports(&resource("VirtualService", &rule(fields.clone())));
        let reports: Vec<String> = reports
            .iter()
            .map(|report| {
                report
                    .replacen("spec.http[0]", "RULE", 1)
                    .replacen("RULE.", "", 1)
            })
            .collect();
        assert_eq!(reports, *expected, "{fields}");
    }
}

#[test]
fn a_rule_has_exactly_one_action() {
    let to = json!([{"destination": {"host": "a"}}]);
    let redirect = json!({"uri": "/x"});
    assert_rules(&[
        (
            json!({"route": []}),
            &["RULE: must have one of route, redirect, directResponse and delegate"],
        ),
        (
            json!({"route": to, "redirect": redirect}),
            &["route: must not be set together with redirect"],
        ),
        (
            json!({"redirect": redirect, "directResponse": {"status": 200}, "rewrite": {"uri": "/"}}),
            &[
                "directResponse: must not be set together with redirect",
                "rewrite: must not be set together with redirect",
            ],
        ),
        (
            json!({"directResponse": {"status": 200}, "fault": {"delay": {"fixedDelay": "1s", "percent": 1}}}),
            &["fault: must not be set together with directResponse"],
        ),
        (
            json!({"delegate": {"name": "d"}, "route": to, "redirect": redirect}),
            &[
                "route: must not be set together with delegate",
                "redirect: must not be set together with delegate",
            ],
        ),
        (
            json!({"delegate": {}}),
            &["delegate.name: must name a VirtualService"],
        ),
        (
            json!({"mirror": {"host": "a"}, "mirrors": [{"destination": {"host": "b"}}]}),
            &["mirrors: must not be set together with mirror"],
        ),
    ]);
}

#[test]
fn weights_are_not_negative_and_not_all_zero() {
    let to = |one: i64, other: i64| {
        json!({"route": [{"destination": {"host": "a"}, "weight": one},
                         {"destination": {"host": "b"}, "weight": other}]})
    };
    assert_rules(&[
        (to(1, 0), &[]),
        (
            to(0, 0),
            &["route: must have a weight above 0 in at least one of several destinations"],
        ),
        (
            to(10, -5),
            &["route[1].weight: must not be negative, got -5"],
        ),
        (json!({"route": [{"destination": {"host": "a"}}]}), &[]),
        (
            json!({"route": [{"weight": 1}]}),
            &["route[0].destination: is required"],
        ),
        (
            json!({"route": [{"destination": {"host": "*", "subset": "V_1", "port": {"number": 0}}}]}),
            &[
                "route[0].destination.host: must be a host of the registry, got \"*\"",
                "route[0].destination.subset: must be a DNS label (letters, digits and inner \
                 hyphens), got \"V_1\"",
                "route[0].destination.port.number: must be a port number from 1 to 65535, got 0",
            ],
        ),
    ]);
}

#[test]
fn redirects_change_something_and_have_a_status_that_redirects() {
    let prefix = json!([{"uri": {"prefix": "/a"}}]);
    let exact = json!([{"uri": {"exact": "/a"}}]);
    assert_rules(&[
        (json!({"redirect": {"uri": "/x", "redirectCode": 308}}), &[]),
        (
            json!({"match": prefix, "redirect": {"prefixRewrite": "/x"}}),
            &[],
        ),
        (
            json!({"redirect": {}}),
            &[
                "redirect: must have one of uri, prefixRewrite, authority, scheme, port and derivePort",
            ],
        ),
        (
            json!({"match": exact, "redirect": {"prefixRewrite": "/x"}}),
            &["redirect.prefixRewrite: must have only matches whose uri is a prefix"],
        ),
        (
            json!({"redirect": {"uri": "/", "prefixRewrite": "/x"}}),
            &["redirect.prefixRewrite: must not be set together with uri"],
        ),
        (
            json!({"redirect": {"uri": "/", "redirectCode": 304}}),
            &["redirect.redirectCode: must be 301, 302, 303, 307 or 308, got 304"],
        ),
        (
            json!({"redirect": {"scheme": "ftp"}}),
            &["redirect.scheme: must be \"http\" or \"https\", got \"ftp\""],
        ),
        (
            json!({"redirect": {"port": 70000, "derivePort": "FROM_REQUEST_PORT"}}),
            &[
                "redirect.port: must be a port number from 1 to 65535, got 70000",
                "redirect.derivePort: must not be set together with port",
            ],
        ),
    ]);
}

#[test]
fn answers_have_a_status_and_a_bounded_body() {
    let body = |bytes: usize| json!({"directResponse": {"status": 200, "body": {"string": "x".repeat(bytes)}}});
    assert_rules(&[
        (body(100 << 10), &[]),
        (
            body((100 << 10) + 1),
            &["warning: directResponse.body: should have at most 102400 bytes, got 102401"],
        ),
        (
            body((1 << 20) + 1),
            &["directResponse.body: must have at most 1048576 bytes, got 1048577"],
        ),
        (
            json!({"directResponse": {"status": 600}}),
            &["directResponse.status: must be from 200 to 599, got 600"],
        ),
        (
            json!({"directResponse": {"status": 200, "body": {"bytes": "a", "string": "b"}}}),
            &["directResponse.body: must have only one of string and bytes"],
        ),
    ]);
}

#[test]
fn rewrites_set_one_thing() {
    assert_rules(&[
        (json!({"rewrite": {"uri": "/", "authority": "a"}}), &[]),
        (
            json!({"rewrite": {}}),
            &["rewrite: must have one of uri, uriRegexRewrite and authority"],
        ),
        (
            json!({"rewrite": {"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}}),
            &["rewrite.uriRegexRewrite: must not be set together with uri"],
        ),
        (
            json!({"rewrite": {"uriRegexRewrite": {"match": "a"}}}),
            &["rewrite.uriRegexRewrite.rewrite: is required"],
        ),
        (
            json!({"rewrite": {"authority": "a"}, "headers": {"request": {"set": {"Host": "b"}}}}),
            &["headers.request.set.Host: must not set the authority again, it is \"a\" already"],
        ),
    ]);
}

#[test]
fn retries_need_attempts_and_known_conditions() {
    assert_rules(&[
        (
            json!({"retries": {"attempts": 2, "retryOn": "5xx,503,reset"}}),
            &[],
        ),
        (json!({"retries": {}}), &[]),
        (
            json!({"retries": {"attempts": -1}}),
            &["retries.attempts: must not be negative, got -1"],
        ),
        (
            json!({"retries": {"perTryTimeout": "1s"}}),
            &["retries.perTryTimeout: must not be set with attempts 0, which disables retries"],
        ),
        (
            json!({"retries": {"attempts": 1, "retryOn": "5xx, 999"}}),
            &[
                "retries.retryOn: must be conditions such as \"5xx\" or status codes, separated by \
               commas without spaces, got \" 999\"",
            ],
        ),
        (
            json!({"timeout": "500us", "retries": {"attempts": 1, "perTryTimeout": "1500us"}}),
            &[
                "timeout: must be at least 1ms, got 500000ns",
                "retries.perTryTimeout: must be whole milliseconds, got 1500000ns",
            ],
        ),
    ]);
}

#[test]
fn faults_have_a_kind_and_a_share() {
    let share = json!({"value": 10});
    let abort = |mut fields: Value| {
        if fields["percentage"].is_null() {
            fields["percentage"] = share.clone();
        }
        json!({"fault": {"abort": fields}})
    };
    assert_rules(&[
        (
            abort(json!({"httpStatus": 500, "percentage": {"value": 0.0001}})),
            &[],
        ),
        (
            json!({"fault": {}}),
            &["fault: must have delay or abort or both"],
        ),
        (
            abort(json!({})),
            &["warning: fault.abort: has no effect without httpStatus or grpcStatus"],
        ),
        (
            abort(json!({"httpStatus": 600})),
            &["fault.abort.httpStatus: must be from 200 to 599, got 600"],
        ),
        (
            abort(json!({"grpcStatus": "NOPE"})),
            &["fault.abort.grpcStatus: must be a gRPC status such as UNAVAILABLE, got \"NOPE\""],
        ),
        (
            abort(json!({"httpStatus": 500, "grpcStatus": "OK"})),
            &["fault.abort: must have only one of httpStatus and grpcStatus"],
        ),
        (
            abort(json!({"httpStatus": 500, "percentage": {"value": 0.00001}})),
            &["fault.abort.percentage.value: must be 0 or from 0.0001 to 100, got 0.00001"],
        ),
        (
            json!({"fault": {"delay": {"exponentialDelay": "1s", "percentage": share}}}),
            &["fault.delay.exponentialDelay: is not supported, use fixedDelay"],
        ),
        (
            json!({"fault": {"abort": {"httpStatus": 500, "percent": 101}}}),
            &["fault.abort.percent: must be from 0 to 100, got 101"],
        ),
        (
            json!({"fault": {"abort": {"httpStatus": 500}, "delay": {"percentage": {}}}}),
            &[
                "warning: fault.delay: has no effect without fixedDelay",
                "warning: fault.abort: has no effect without percentage",
            ],
        ),
    ]);
}

#[test]
fn matchers_are_not_empty_and_compile() {
    let block = |fields: Value| json!({"match": [fields]});
    assert_rules(&[
        (
            block(json!({"uri": {"prefix": ""}, "headers": {"x-a": {}, ":path": {"exact": "/"}}})),
            &[],
        ),
        (
            block(json!({"withoutHeaders": {"x-a": {"regex": "*"}}})),
            &[],
        ),
        (
            block(json!({"method": {"prefix": ""}})),
            &["match[0].method.prefix: must not be empty"],
        ),
        (
            block(json!({"uri": {"regex": ""}})),
            &["match[0].uri.regex: must not be empty"],
        ),
        (
            block(json!({"headers": {"x-a": {"regex": "*"}}})),
            &[
                "match[0].headers.x-a.regex: must be a regular expression in RE2 syntax, got \"*\": \
               repetition operator missing expression",
            ],
        ),
        (
            block(json!({"headers": {"a b": {"exact": "x"}}})),
            &[
                "match[0].headers[\"a b\"]: must be a header name (letters, digits, '-' and '_'), \
               got \"a b\"",
            ],
        ),
        (
            block(json!({"headers": {"@request.auth.claims.sub": {"exact": "x"}}})),
            &[
                "match[0].headers[\"@request.auth.claims.sub\"]: must not match claims in a \
               VirtualService that is not bound to gateways only",
            ],
        ),
        (
            block(json!({"port": 70000, "sourceNamespace": "a.b", "gateways": ["*/a"]})),
            &[
                "match[0].port: must be a port number from 1 to 65535, got 70000",
                "match[0].gateways[0]: must be \"namespace/name\", \"name\" or \"mesh\", got \"*/a\"",
                "match[0].sourceNamespace: must be a DNS label (letters, digits and inner hyphens), \
                 got \"a.b\"",
            ],
        ),
    ]);
}

#[test]
fn cors_names_origins_methods_and_headers() {
    let cors = |fields: Value| json!({"corsPolicy": fields});
    assert_rules(&[
        (
            cors(
                json!({"allowOrigins": [{"exact": "*"}], "allowMethods": ["GET", "*"], "maxAge": "1h"}),
            ),
            &[],
        ),
        (
            cors(json!({"allowOrigins": [{}], "allowMethods": ["get"], "allowHeaders": ["a b"]})),
            &[
                "corsPolicy.allowOrigins[0]: must have one of exact, prefix and regex",
                "corsPolicy.allowMethods[0]: must be a method such as GET (in capitals), got \"get\"",
                "corsPolicy.allowHeaders[0]: must be a header name (letters, digits, '-' and '_'), \
                 got \"a b\"",
            ],
        ),
        (
            cors(json!({"maxAge": "1500ms"})),
            &["corsPolicy.maxAge: must be whole seconds, got 1500ms"],
        ),
    ]);
}

#[test]
fn header_operations_keep_pseudo_headers() {
    assert_rules(&[
        (
            json!({"headers": {"request": {"set": {":authority": "a"}, "remove": ["x-a"]}}}),
            &[],
        ),
        (
            json!({"headers": {"request": {"set": {":path": "/"}, "remove": ["host"]},
                               "response": {"add": {"x-a": "50%"}}}}),
            &[
                "headers.request.set[\":path\"]: must not be changed here, got \":path\"",
                "headers.request.remove[0]: must not be changed here, got \"host\"",
                "headers.response.add.x-a: must write a literal % as %% and close every %NAME%, \
                 got \"50%\"",
            ],
        ),
        (
            json!({"directResponse": {"status": 200}, "mirror": {"host": "a"}}),
            &["warning: mirror: has no effect: what is answered here is not mirrored"],
        ),
        (
            json!({"mirrorPercent": 101}),
            &["mirrorPercent: must be from 0 to 100, got 101"],
        ),
        (
            json!({"mirrors": [{"percentage": {"value": -1}}]}),
            &[
                "mirrors[0].destination: is required",
                "mirrors[0].percentage.value: must be from 0 to 100, got -1",
            ],
        ),
    ]);
}

#[test]
fn hosts_are_names_that_do_not_overlap() {
    let rules = json!([{"route": [{"destination": {"host": "a"}}]}]);
    let service = |hosts: Value, gateways: Value| json!({"hosts": hosts, "gateways": gateways, "http": rules});
    assert_reports(
        "VirtualService",
        &[
            (service(json!(["*"]), json!(["ns/gw"])), &[]),
            (service(json!(["10.0.0.1", "a.b"]), json!([])), &[]),
            (
                service(json!(["*"]), json!(["mesh", "ns/gw"])),
                &[
                    "spec.hosts[0]: must not be \"*\" in a VirtualService of the mesh; name a gateway or a host",
                ],
            ),
            (
                service(json!(["*.a", "b.a"]), json!([])),
                &["spec.hosts[1]: must not overlap with \"*.a\", got \"b.a\""],
            ),
            (
                service(json!([]), json!(["gw"])),
                &["spec.gateways: must not be set without hosts (in a delegate)"],
            ),
            (
                service(json!(["a"]), json!(["gw.ns.svc"])),
                &["warning: spec.gateways[0]: should be written \"ns/gw\", got \"gw.ns.svc\""],
            ),
            (
                json!({"hosts": ["a"]}),
                &["spec: must have at least one rule in http, tls or tcp"],
            ),
        ],
    );
}

#[test]
fn tls_and_tcp_rules_have_matches_and_destinations() {
    let to = json!([{"destination": {"host": "a"}}]);
    let tls = |block: Value| json!({"hosts": ["*.a"], "tls": [{"match": [block], "route": to}]});
    assert_reports(
        "VirtualService",
        &[
            (
                tls(json!({"sniHosts": ["b.a"], "destinationSubnets": ["10.0.0.0/8"]})),
                &[],
            ),
            (
                tls(json!({})),
                &["spec.tls[0].match[0].sniHosts: must have at least one server name"],
            ),
            (
                tls(json!({"sniHosts": ["b.c", "1.2.3.4"], "destinationSubnets": ["x"]})),
                &[
                    "spec.tls[0].match[0].sniHosts[0]: must lie within spec.hosts, got \"b.c\"",
                    "warning: spec.tls[0].match[0].sniHosts[1]: should be a name: clients do not send \
                 an address, got \"1.2.3.4\"",
                    "spec.tls[0].match[0].destinationSubnets[0]: must be an IP address or a CIDR range \
                 such as \"10.0.0.0/8\", got \"x\"",
                ],
            ),
            (
                json!({"hosts": ["a"], "tls": [{}], "tcp": [{"match": [{"port": 1}]}]}),
                &[
                    "spec.tls[0].match: must have at least one match with sniHosts",
                    "spec.tls[0].route: must have at least one destination",
                    "spec.tcp[0].route: must have at least one destination",
                ],
            ),
        ],
    );
}

#[test]
fn what_earlier_rules_take_is_never_reached() {
    let to = json!([{"destination": {"host": "a"}}]);
    let rules = |blocks: &[Value]| {
        let rules: Vec<Value> = blocks
            .iter()
            .map(|block| json!({"match": block, "route": to}))
            .collect();
        json!({"hosts": ["a"], "http": rules})
    };
    let by = |rule: &str, by: &str| {
        format!(
            "warning: spec.http[{rule}]: is never reached: {by} takes everything that it matches"
        )
    };
    let prefix = |prefix: &str| json!({"uri": {"prefix": prefix}});
    for (blocks, expected) in [
        (
            vec![json!([prefix("/ab")]), json!([prefix("/a")]), json!([])],
            vec![],
        ),
        (
            vec![json!([prefix("/a")]), json!([prefix("/ab")])],
            vec![by("1", "http[0]")],
        ),
        (
            vec![json!([]), json!([prefix("/a")])],
            vec![by("1", "http[0]")],
        ),
        (
            vec![
                json!([{"uri": {"prefix": "/a"}, "port": 80}]),
                json!([prefix("/a")]),
            ],
            vec![],
        ),
        (
            vec![
                json!([{"uri": {"prefix": "/A"}, "ignoreUriCase": true}]),
                json!([prefix("/ab")]),
            ],
            vec![by("1", "http[0]")],
        ),
        (
            vec![
                json!([prefix("/a")]),
                json!([{"uri": {"exact": "/a"}, "method": {"exact": "GET"}}]),
            ],
            vec![by("1", "http[0]")],
        ),
        (
            vec![json!([prefix("/a"), prefix("/b")]), json!([prefix("/b")])],
            vec![by("1", "http[0].match[1]")],
        ),
    ] {
        assert_eq!(
            reports(&resource("VirtualService", &rules(&blocks))),
            expected,
            "{blocks:?}"
        );
    }
}
