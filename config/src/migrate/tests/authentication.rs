//! Authentication policies of old.

use super::*;

fn policy(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: authentication.istio.io/v1alpha1\nkind: {kind}\n\
         metadata: {{name: default, namespace: shop}}\nspec: {spec}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n"
    )
}

fn made(kind: &str, spec: &str) -> Vec<Value> {
    let mut made = documents(&policy(kind, spec));
    made.retain(|document| document["kind"] != "Service");
    made
}

#[test]
fn mutual_tls_keeps_its_mode_and_reach() {
    for (kind, spec, namespace, expected) in [
        (
            "MeshPolicy",
            "{peers: [{mtls: {}}]}",
            "istio-system",
            "mtls: {mode: STRICT}",
        ),
        (
            "Policy",
            "{peers: [{mtls: null}]}",
            "shop",
            "mtls: {mode: STRICT}",
        ),
        (
            "Policy",
            "{peers: [{mtls: {mode: PERMISSIVE}}]}",
            "shop",
            "mtls: {mode: PERMISSIVE}",
        ),
        (
            "Policy",
            "{peers: [{mtls: {}}], peerIsOptional: true}",
            "shop",
            "mtls: {mode: PERMISSIVE}",
        ),
        (
            "Policy",
            "{targets: [{name: web}], peers: [{mtls: {}}]}",
            "shop",
            "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}",
        ),
        (
            "Policy",
            "{targets: [{name: web, ports: [{number: 80}]}], peers: [{mtls: {}}]}",
            "shop",
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {'8080': {mode: STRICT}}}",
        ),
    ] {
        let made = made(kind, spec);

        assert_eq!(names(&made), [format!("{namespace}/default")]);
        assert_eq!(made[0]["kind"], "PeerAuthentication");
        assert_eq!(made[0]["spec"], value(expected), "{spec}");
    }
}

#[test]
fn a_policy_without_peers_never_shuts_mutual_tls_out() {
    let made = made("Policy", "{targets: [{name: web}]}");

    assert_eq!(made[0]["spec"]["mtls"]["mode"], "PERMISSIVE");
}

#[test]
fn tokens_are_required_unless_they_were_optional() {
    let jwt = "{jwt: {issuer: i, jwksUri: 'https://i.test/keys', jwtHeaders: [x-token], \
               triggerRules: [{excludedPaths: [{exact: /health}, {prefix: /open/}]}]}}";
    let spec = |more: &str| format!("{{targets: [{{name: web}}], origins: [{jwt}]{more}}}");

    let required = made("Policy", &spec(""));
    let optional = made("Policy", &spec(", originIsOptional: true"));

    let kinds: Vec<&Value> = required.iter().map(|it| &it["kind"]).collect();
    assert_eq!(
        kinds,
        [
            "PeerAuthentication",
            "RequestAuthentication",
            "AuthorizationPolicy"
        ]
    );
    let rule = value(
        "{issuer: i, jwksUri: 'https://i.test/keys', fromHeaders: [{name: x-token}], \
         forwardOriginalToken: true}",
    );
    assert_eq!(required[1]["spec"]["jwtRules"][0], rule);
    let expected = value(
        "selector: {matchLabels: {app: web}}\naction: DENY\nrules:\n\
         - from: [{source: {notRequestPrincipals: ['*']}}]\n\
         \x20 to: [{operation: {notPaths: [/health, /open/*]}}]\n",
    );
    assert_eq!(required[2]["spec"], expected);
    assert_eq!(optional.len(), 2);
}

#[test]
fn a_path_by_regex_makes_the_token_required_there_too() {
    let spec = "{origins: [{jwt: {issuer: i, triggerRules: [{excludedPaths: [{regex: '/a.*'}, {exact: /b}]}]}}]}";

    let made = made("Policy", spec);

    let operation = &made[2]["spec"]["rules"][0]["to"][0]["operation"];
    assert_eq!(operation, &value("notPaths: [/b]"));
    assert_eq!(losses(&policy("Policy", spec)).len(), 1);
}

#[test]
fn a_port_that_is_not_known_is_a_loss_and_makes_nothing() {
    let spec = "{targets: [{name: web, ports: [{number: 81}]}], peers: [{mtls: {}}]}";

    assert_eq!(made("Policy", spec), [] as [Value; 0]);
    assert_eq!(losses(&policy("Policy", spec)).len(), 1);
}

#[test]
fn paths_of_one_origin_do_not_excuse_those_of_another() {
    let jwt =
        "{jwt: {issuer: a}}, {jwt: {issuer: b, triggerRules: [{includedPaths: [{exact: /b}]}]}}";

    let made = made("Policy", &format!("{{origins: [{jwt}]}}"));

    let rule = value("from: [{source: {notRequestPrincipals: ['*']}}]");
    assert_eq!(made[2]["spec"]["rules"][0], rule, "on every path");
}
