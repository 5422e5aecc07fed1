use crate::load::parse;

/// What is said of a policy with this spec, a line for each finding.
fn told(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\n\
         spec: {spec}\n"
    );
    let problems = parse("p.yaml", &text, "default").problems;
    let told = |it: &crate::Problem| format!("{:?} {}: {}", it.severity, it.path, it.message);
    problems.iter().map(told).collect()
}

#[test]
fn what_is_written_for_every_field_is_accepted() {
    let spec = "{selector: {matchLabels: {app: a}}, rules: [{
        from: [{source: {principals: [td/ns/a/sa/b, '*/sa/b', 'td/*', '*'], requestPrincipals: ['*'],
                         namespaces: [a, 'b*'], trustDomains: [td], ipBlocks: [10.0.0.0/8],
                         remoteIpBlocks: ['::1'], notPrincipals: [x], notNamespaces: [c]}},
               {source: {serviceAccounts: [a/b, c], notServiceAccounts: [d]}}],
        to: [{operation: {hosts: [a.example, '*.b'], ports: ['80'], methods: [GET],
                          paths: [/a, '/b*', '*/c', '/d/{*}/e', '/f/{**}'], notPaths: [/g]}}],
        when: [{key: 'request.headers[x-a]', values: [v], notValues: [w]},
               {key: source.ip, values: [1.2.3.4]}, {key: destination.port, notValues: ['80']},
               {key: 'request.auth.claims[a][b]', values: [c]}]}]}";

    assert_eq!(told(spec), Vec::<String>::new());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_no_proxy_could_hold_is_an_error_at_its_place() {
    for (spec, path) in [
        ("{action: DENY}", "spec.rules"),
        ("{action: CUSTOM, provider: {name: x}}", "spec.rules"),
        ("{action: CUSTOM, rules: [{}]}", "spec.provider.name"),
        ("{provider: {name: x}, rules: [{}]}", "spec.provider"),
        ("{rules: [{from: [{}]}]}", "spec.rules[0].from[0].source"),
        (
            "{rules: [{from: [{source: {}}]}]}",
            "spec.rules[0].from[0].source",
        ),
        ("{rules: [{to: [{}]}]}", "spec.rules[0].to[0].operation"),
        (
            "{rules: [{to: [{operation: {}}]}]}",
            "spec.rules[0].to[0].operation",
        ),
        (
            "{rules: [{from: [{source: {principals: ['']}}]}]}",
            "spec.rules[0].from[0].source.principals[0]",
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: [a]}}]}]}",
            "spec.rules[0].from[0].source.ipBlocks[0]",
        ),
        (
            "{rules: [{from: [{source: {namespaces: [a], serviceAccounts: [b]}}]}]}",
            "spec.rules[0].from[0].source.serviceAccounts",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: ['a*']}}]}]}",
            "spec.rules[0].from[0].source.serviceAccounts[0]",
        ),
        (
            "{rules: [{to: [{operation: {ports: ['65536']}}]}]}",
            "spec.rules[0].to[0].operation.ports[0]",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/{*}/{a}']}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
        ),
        (
            "{rules: [{when: [{values: [a]}]}]}",
            "spec.rules[0].when[0].key",
        ),
        (
            "{rules: [{when: [{key: a, values: [b]}]}]}",
            "spec.rules[0].when[0].key",
        ),
        (
            "{rules: [{when: [{key: source.ip}]}]}",
            "spec.rules[0].when[0]",
        ),
        (
            "{rules: [{when: [{key: source.ip, notValues: [a]}]}]}",
            "spec.rules[0].when[0].notValues[0]",
        ),
        (
            "{action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {principals: [a]}}]}]}",
            "spec.rules[0].from[0].source.principals",
        ),
        (
            "{action: CUSTOM, provider: {name: x},
              rules: [{when: [{key: request.auth.principal, values: [a]}]}]}",
            "spec.rules[0].when[0].key",
        ),
    ] {
        let told = told(spec);

        let expected = format!("Error {path}: ");
        assert!(
            told.iter().any(|it| it.starts_with(&expected)),
            "{spec}: {told:?}"
        );
    }
}

#[test]
fn what_never_matches_or_matches_more_than_it_says_is_a_warning() {
    for (spec, path, word) in [
        (
            "{rules: [{to: [{operation: {methods: [get]}}]}]}",
            "spec.rules[0].to[0].operation.methods[0]",
            "upper case",
        ),
        (
            "{rules: [{to: [{operation: {paths: [a]}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "begin with /",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/a?b']}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "without query",
        ),
        (
            "{rules: [{to: [{operation: {paths: [/a/../b]}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "normal form",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/a/*/b']}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "stands for itself",
        ),
        (
            "{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}",
            "spec.rules[0]",
            "are refused as if",
        ),
        (
            "{action: DENY, rules: [{from: [{source: {requestPrincipals: [a]}}]}]}",
            "spec.rules[0]",
            "are refused as if",
        ),
        ("{action: AUDIT}", "spec.rules", "nothing is ever recorded"),
        (
            "{rules: [{to: [{operation: {paths: [/%61dmin]}}]}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "normal form",
        ),
        (
            "{rules: [{when: [{key: 'request.auth.claims[age]', values: ['18']}]}]}",
            "spec.rules[0].when[0].values[0]",
            "texts alone",
        ),
        (
            "{rules: [{when: [{key: 'request.auth.claims[banned]', notValues: ['true']}]}]}",
            "spec.rules[0].when[0].notValues[0]",
            "texts alone",
        ),
        (
            "{action: DENY, rules: [{}], targetRefs: [{kind: Service, name: a}]}",
            "spec.targetRefs",
            "NOT ENFORCED",
        ),
        (
            "{rules: [{}], targetRef: {kind: ServiceEntry, group: networking.istio.io, name: a}}",
            "spec.targetRef",
            "NOT ENFORCED",
        ),
        (
            "{rules: [{when: [{key: 'experimental.envoy.filters.a[b]', values: [c]}]}]}",
            "spec.rules[0].when[0].key",
            "not known here",
        ),
    ] {
        let told = told(spec);

        let expected = format!("Warning {path}: ");
        let fits = |it: &String| it.starts_with(&expected) && it.contains(word);
        assert!(told.iter().any(fits), "{spec}: {told:?}");
    }
}

#[test]
fn a_rule_that_names_its_ports_or_allows_is_no_wider_without_http() {
    for spec in [
        "{action: DENY, rules: [{to: [{operation: {methods: [POST], ports: ['80']}}]}]}",
        "{action: DENY, rules: [{to: [{operation: {methods: [POST]}}],
                                 when: [{key: destination.port, values: ['80']}]}]}",
        "{rules: [{to: [{operation: {methods: [POST]}}]}]}",
        "{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}",
    ] {
        assert_eq!(told(spec), Vec::<String>::new(), "{spec}");
    }
}

#[test]
fn a_dry_run_is_true_or_false_and_only_for_policies() {
    let told = |kind: &str, value: &str| {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\n\
             metadata: {{name: p, annotations: {{istio.io/dry-run: '{value}'}}}}\nspec: {{}}\n"
        );
        parse("p.yaml", &text, "default").has_errors()
    };

    assert!(!told("AuthorizationPolicy", "true"));
    assert!(told("AuthorizationPolicy", "maybe"));
    assert!(told("PeerAuthentication", "true"));
}
