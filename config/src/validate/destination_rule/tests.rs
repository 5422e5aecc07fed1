use serde_json::{Value, json};

use crate::validate::tests::{assert_reports, reports, resource};

/// Compares what is reported of traffic policies; paths are within the policy.
fn assert_policies(table: &[(Value, &[&str])]) {
    for (policy, expected) in table {
        let rule = json!({"host": "a", "trafficPolicy": policy});
        let reports = reports(&resource("DestinationRule", &rule));
        let reports: Vec<String> = reports
            .iter()
            .map(|report| report.replacen("spec.trafficPolicy.", "", 1))
            .collect();
        assert_eq!(reports, *expected, "{policy}");
    }
}

#[test]
fn subsets_have_unique_names() {
    let name = "must be a DNS label (letters, digits and inner hyphens), got \"v.1\"";
    assert_reports(
        "DestinationRule",
        &[
            (json!({"host": "*"}), &[]),
            (
                json!({"host": ""}),
                &["spec.host: must be a DNS name, got \"\""],
            ),
            (
                json!({"host": "a", "subsets": [{"name": "v1"}, {"name": "v1"}, {}]}),
                &[
                    "spec.subsets[1].name: must be unique, got \"v1\" again",
                    "spec.subsets[2].name: is required",
                ],
            ),
            (
                json!({"host": "a", "subsets": [{"name": "v.1"}]}),
                &[&format!("spec.subsets[0].name: {name}")],
            ),
            (
                json!({"host": "a", "subsets": [{"name": "v1", "labels": {"a": "b c"}}]}),
                &[
                    "spec.subsets[0].labels.a: must have only letters, digits and inner '-', '_' \
                   and '.', got \"b c\"",
                ],
            ),
        ],
    );
}

#[test]
fn rules_are_exported_to_namespaces() {
    let rule = |entries: Value| json!({"host": "a", "exportTo": entries});
    let selector = |entries: Value| json!({"host": "a", "exportTo": entries, "workloadSelector": {"matchLabels": {"a": "b"}}});
    assert_reports(
        "DestinationRule",
        &[
            (rule(json!([".", "other"])), &[]),
            (
                rule(json!([".", "default"])),
                &["spec.exportTo[1]: must not be named twice, got \"default\""],
            ),
            (
                rule(json!(["*", "a"])),
                &["spec.exportTo: must have no other entry beside \"*\", everybody"],
            ),
            (
                rule(json!(["~"])),
                &["spec.exportTo[0]: must be \".\", \"*\" or a namespace, got \"~\""],
            ),
            (selector(json!(["."])), &[]),
            (
                selector(json!(["other"])),
                &["spec.exportTo: must be [\".\"] in a rule with a workloadSelector"],
            ),
        ],
    );
}

#[test]
fn without_a_namespace_there_is_no_own_namespace_to_export_to() {
    let mut rule = resource("DestinationRule", &json!({"host": "a", "exportTo": ["."]}));
    rule.meta.namespace.clear();

    let expected = "spec.exportTo[0]: must not be \".\" in a resource without a namespace";
    assert_eq!(reports(&rule), [expected]);
}

#[test]
fn limits_are_not_negative_and_times_not_too_short() {
    let pool = |fields: Value| json!({"connectionPool": fields});
    assert_policies(&[
        (
            pool(json!({"tcp": {"idleTimeout": "0s", "maxConnections": 0}})),
            &[],
        ),
        (
            pool(json!({})),
            &["connectionPool: must have tcp or http or both"],
        ),
        (
            pool(json!({"tcp": {"maxConnections": -1, "connectTimeout": "0s"}})),
            &[
                "connectionPool.tcp.maxConnections: must not be negative, got -1",
                "connectionPool.tcp.connectTimeout: must be at least 1ms, got 0s",
            ],
        ),
        (
            pool(json!({"http": {"http2MaxRequests": -2, "http2KeepAlive": {"interval": "1s"}}})),
            &[
                "connectionPool.http.http2MaxRequests: must not be negative, got -2",
                "connectionPool.http.http2KeepAlive.timeout: is required",
            ],
        ),
        (
            pool(json!({"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": true}})),
            &[
                "connectionPool.http.useClientProtocol: must not be true with h2UpgradePolicy UPGRADE",
            ],
        ),
    ]);
}

#[test]
fn outlier_detection_has_shares_and_status_codes() {
    let outlier = |fields: Value| json!({"outlierDetection": fields});
    assert_policies(&[
        (
            outlier(json!({"maxEjectionPercent": 100, "interval": "1s"})),
            &[],
        ),
        (
            outlier(json!({"maxEjectionPercent": 101, "minHealthPercent": -1})),
            &[
                "outlierDetection.maxEjectionPercent: must be from 0 to 100, got 101",
                "outlierDetection.minHealthPercent: must be from 0 to 100, got -1",
            ],
        ),
        (
            outlier(json!({"consecutiveLocalOriginFailures": 1})),
            &[
                "outlierDetection.consecutiveLocalOriginFailures: must not be set unless \
               splitExternalLocalOriginErrors is true",
            ],
        ),
        (
            outlier(json!({"outlierDetectionHttpErrorCodes": [429, 600]})),
            &[
                "outlierDetection.outlierDetectionHttpErrorCodes[1]: must be from 100 to 599, got 600",
            ],
        ),
    ]);
}

#[test]
fn hashes_have_one_key_and_one_algorithm() {
    let hash = |fields: Value| json!({"loadBalancer": {"consistentHash": fields}});
    let path = "loadBalancer.consistentHash";
    assert_policies(&[
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 65537}})),
            &[],
        ),
        (
            hash(json!({})),
            &[&format!(
                "warning: {path}: has no effect without a key such as httpHeaderName"
            )],
        ),
        (
            hash(json!({"useSourceIp": true, "httpHeaderName": "x", "httpCookie": {}})),
            &[
                &format!("{path}.httpCookie: must not be set together with httpHeaderName"),
                &format!("{path}.httpCookie.name: is required"),
            ],
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 65536}})),
            &[&format!(
                "{path}.maglev.tableSize: must be a prime below 5000011, got 65536"
            )],
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 2}, "ringHash": {}})),
            &[&format!(
                "{path}.maglev: must not be set together with ringHash"
            )],
        ),
        (
            json!({"loadBalancer": {"simple": "RANDOM", "warmup": {"duration": "1s"}}}),
            &["warning: loadBalancer.warmup: has no effect but with LEAST_REQUEST and ROUND_ROBIN"],
        ),
        (
            json!({"loadBalancer": {"warmup": {"aggression": 0, "minimumPercent": 101}}}),
            &[
                "loadBalancer.warmup.duration: is required",
                "loadBalancer.warmup.minimumPercent: must be from 0 to 100, got 101",
                "loadBalancer.warmup.aggression: must be above 0, got 0",
            ],
        ),
    ]);
}

#[test]
fn keys_of_hashes_can_be_looked_for_and_cookies_be_made() {
    let hash = |fields: Value| json!({"loadBalancer": {"consistentHash": fields}});
    let path = "loadBalancer.consistentHash";
    assert_policies(&[
        (hash(json!({"httpHeaderName": ":path"})), &[]),
        (
            hash(json!({"httpHeaderName": ":method"})),
            &[&format!(
                "warning: {path}.httpHeaderName: has no effect: of these only :authority and :path \
                 can be a key"
            )],
        ),
        (
            hash(json!({"httpHeaderName": "end user"})),
            &[&format!(
                "{path}.httpHeaderName: must be a header name, got \"end user\""
            )],
        ),
        (
            hash(json!({"httpCookie": {"name": "a b", "path": "/;x",
                "attributes": [{"name": "Secure"}, {"name": "", "value": "\n"}]}})),
            &[
                &format!("{path}.httpCookie.name: must be a cookie name, got \"a b\""),
                &format!("{path}.httpCookie.path: must be visible ASCII without ';', got \"/;x\""),
                &format!("{path}.httpCookie.attributes[1].name: is required"),
                &format!(
                    "{path}.httpCookie.attributes[1].value: must be visible ASCII without ';', \
                     got \"\\n\""
                ),
            ],
        ),
    ]);
}

#[test]
fn localities_do_not_overlap_and_total_100() {
    let setting = |fields: Value| json!({"loadBalancer": {"localityLbSetting": fields}});
    let path = "loadBalancer.localityLbSetting";
    assert_policies(&[
        (
            setting(json!({"distribute": [{"from": "a/*", "to": {"a/b": 80, "c": 20}}]})),
            &[],
        ),
        (
            setting(json!({"distribute": [{"from": "a", "to": {"a": 80, "b": 0}}]})),
            &[
                &format!("{path}.distribute[0].to.b: must be from 1 to 100, got 0"),
                &format!("{path}.distribute[0].to: must have weights that total 100, got 80"),
            ],
        ),
        (
            setting(
                json!({"distribute": [{"from": "a", "to": {"a": 100}}, {"from": "a/b", "to": {"a": 100}}]}),
            ),
            &[&format!(
                "{path}.distribute: must not overlap with \"a\", got \"a/b\""
            )],
        ),
        (
            setting(json!({"failover": [{"from": "a", "to": "a"}, {"from": "a/b", "to": "c"}]})),
            &[
                &format!(
                    "{path}.failover[0]: must have two regions in from and to, got \"a\" twice"
                ),
                &format!(
                    "{path}.failover[1].from: must be a region without '/' and '*', got \"a/b\""
                ),
                &format!("warning: {path}: has no effect on failover without outlierDetection"),
            ],
        ),
    ]);
}

/// Said at the field wherever it is set.
const UNVERIFIED: &str = "warning: tls.insecureSkipVerify: the server is not verified: whoever is on the \
                          way to it can read and change what is sent";

#[test]
fn a_rule_that_verifies_nobody_is_a_warning() {
    let policy = |mode: &str| json!({"tls": {"mode": mode, "insecureSkipVerify": true}});
    assert_policies(&[
        (policy("SIMPLE"), &[UNVERIFIED]),
        // Workloads are verified whatever is written.
        (policy("ISTIO_MUTUAL"), &[]),
        (policy("DISABLE"), &[]),
    ]);
}

#[test]
fn a_server_is_asked_for_by_the_name_of_a_host() {
    for (sni, taken) in [
        ("api.example.com", true),
        ("api.example.com.", true),
        ("outbound_.80_._.reviews.default.svc.cluster.local", true),
        ("localhost", true),
        ("10.0.0.1", false),
        ("*.example.com", false),
        ("a..b", false),
        ("-a.test", false),
        ("a b", false),
    ] {
        let policy = json!({"tls": {"mode": "SIMPLE", "sni": sni}});
        let problem = "is no name that a server can be asked for; no connection is opened, got";
        let warning = format!("warning: tls.sni: {problem} \"{sni}\"");
        let expected: &[&str] = if taken { &[] } else { &[&warning] };
        assert_policies(&[(policy, expected)]);
    }
}

#[test]
fn tls_modes_need_their_files() {
    let tls = |fields: Value| json!({"tls": fields});
    assert_policies(&[
        (tls(json!({"mode": "SIMPLE"})), &[]),
        (
            tls(json!({"mode": "MUTUAL", "privateKey": "k"})),
            &["tls.clientCertificate: is required in mode MUTUAL without credentialName"],
        ),
        (
            tls(json!({"mode": "SIMPLE", "credentialName": "c", "caCertificates": "f"})),
            &["tls.caCertificates: must not be set together with credentialName"],
        ),
        (
            tls(json!({"mode": "SIMPLE", "insecureSkipVerify": true, "subjectAltNames": ["a"]})),
            &[
                UNVERIFIED,
                "tls.subjectAltNames: must not be set when insecureSkipVerify is true",
            ],
        ),
        (
            tls(json!({"mode": "SIMPLE", "credentialName": "configmap://other/c"})),
            &[
                "tls.credentialName: must name a config map of namespace \"default\", got \
               \"configmap://other/c\"",
            ],
        ),
    ]);
}

#[test]
fn policies_are_not_empty_and_ports_are_named() {
    assert_reports(
        "DestinationRule",
        &[(
            json!({"host": "a", "trafficPolicy": {}}),
            &["spec.trafficPolicy: must have at least one field"],
        )],
    );
    assert_policies(&[
        (
            json!({"retryBudget": {"percent": 20, "budgetInterval": "0s"}}),
            &[],
        ),
        (
            json!({"retryBudget": {"percent": 101}}),
            &["retryBudget.percent: must be from 0 to 100, got 101"],
        ),
        (
            json!({"portLevelSettings": [{}]}),
            &[
                "portLevelSettings[0].port: is required",
                "portLevelSettings[0]: must have at least one field beside port",
            ],
        ),
        (
            json!({"tunnel": {"protocol": "GET", "targetHost": "*"}, "proxyProtocol": {}}),
            &[
                "proxyProtocol: must not be set together with tunnel",
                "tunnel.protocol: must be CONNECT or POST, got \"GET\"",
                "tunnel.targetHost: must be a DNS name, got \"*\": \"*\" is not 1 to 63 letters, \
                 digits and inner hyphens",
                "tunnel.targetPort: must be a port number from 1 to 65535, got 0",
            ],
        ),
    ]);
}
