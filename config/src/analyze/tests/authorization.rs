//! What policies count on and do not get.

use super::*;

fn of_paths(action: &str, field: &str, path: &str, mesh: &str) -> Vec<String> {
    let policy = policy(&format!(
        "{{action: {action}, provider: {{name: reviews}}, \
          rules: [{{to: [{{operation: {{{field}: ['{path}']}}}}]}}]}}"
    ));
    let mesh = format!("kind: MeshConfig\nmetadata: {{name: mesh}}\nspec: {{{mesh}}}");
    let mut all = findings(&format!("{policy}\n---\n{mesh}"));
    all.retain(|it| it.contains(".operation."));
    all
}

fn normalization(name: &str) -> String {
    format!("pathNormalization: {{normalization: {name}}}")
}

#[test]
fn paths_that_can_be_written_otherwise_are_reported_with_the_flag_that_helps() {
    for (action, field) in [
        ("DENY", "paths"),
        ("CUSTOM", "paths"),
        ("ALLOW", "notPaths"),
    ] {
        let base = of_paths(action, field, "/admin*", "");
        let place = format!("p: spec.rules[0].to[0].operation.{field}: `//` and `%2F` in a path");
        assert_eq!(base.len(), 1, "{action} {base:?}");
        assert!(base[0].starts_with(&place), "{base:?}");
        assert!(base[0].contains("--path-normalization=decode-and-merge-slashes"));

        let merged = of_paths(action, field, "/admin*", &normalization("MERGE_SLASHES"));
        assert!(merged[0].contains(": `%2F` in a path"), "{merged:?}");
        let decoded = normalization("DECODE_AND_MERGE_SLASHES");
        assert_eq!(of_paths(action, field, "/admin*", &decoded), [""; 0]);
    }
}

#[test]
fn paths_that_somebody_must_be_at_to_pass_cannot_be_evaded() {
    for (action, field, path) in [
        ("ALLOW", "paths", "/admin"),
        ("DENY", "notPaths", "/public"),
        ("AUDIT", "paths", "/admin"),
        ("DENY", "paths", "*"),
        ("DENY", "paths", "/*"),
    ] {
        assert_eq!(
            of_paths(action, field, path, ""),
            [""; 0],
            "{action} {path}"
        );
    }
}

#[test]
fn a_policy_is_told_once_that_its_paths_can_be_evaded() {
    let rule = "{to: [{operation: {paths: [/a]}}, {operation: {paths: [/b]}}]}";

    let told = findings(&policy(&format!(
        "{{action: DENY, rules: [{rule}, {rule}]}}"
    )));

    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn paths_that_the_normal_form_of_the_mesh_never_has_are_reported() {
    let merged = normalization("MERGE_SLASHES");
    let decoded = normalization("DECODE_AND_MERGE_SLASHES");

    for (path, mesh, expected) in [
        ("/a//b", &merged, "slashes that follow one another"),
        ("/a%2fb", &decoded, "escaped slashes are decoded"),
        ("/a%5Cb", &decoded, "escaped slashes are decoded"),
    ] {
        let told = of_paths("ALLOW", "paths", path, mesh);
        assert!(told[0].contains(expected), "{path} {told:?}");
        assert!(told[0].starts_with("p: spec.rules[0].to[0].operation.paths[0]: never"));
    }
    assert_eq!(of_paths("ALLOW", "paths", "/a%2fb", &merged), [""; 0]);
}

#[test]
fn addresses_of_clients_need_somebody_to_be_believed() {
    let trusting = "kind: MeshConfig\nmetadata: {name: mesh}\n\
                    spec: {defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}}";
    for (rule, place) in [
        (
            "{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}",
            "from[0].source.remoteIpBlocks",
        ),
        (
            "{from: [{source: {notRemoteIpBlocks: [10.0.0.0/8]}}]}",
            "from[0].source.notRemoteIpBlocks",
        ),
        (
            "{when: [{key: remote.ip, values: [10.0.0.1]}]}",
            "when[0].key",
        ),
    ] {
        let policy = policy(&format!("{{action: DENY, rules: [{rule}]}}"));

        let told = findings(&policy);

        let start = format!("p: spec.rules[0].{place}: is the address of the connection");
        assert!(told.len() == 1 && told[0].starts_with(&start), "{told:?}");
        assert_eq!(findings(&format!("{policy}\n---\n{trusting}")), [""; 0]);
    }
}

#[test]
fn a_policy_that_is_only_tried_or_for_nobody_asks_for_no_token() {
    let tokens = "kind: RequestAuthentication\nmetadata: {name: tokens}\n\
                  spec: {jwtRules: [{issuer: 'https://a.example'}]}";
    let rules = "rules: [{from: [{source: {requestPrincipals: ['*']}}]}]";
    let tried = format!(
        "kind: AuthorizationPolicy\nmetadata: {{name: p, annotations: {{istio.io/dry-run: 'true'}}}}\n\
         spec: {{{rules}}}"
    );
    let unused = policy(&format!(
        "{{{rules}, targetRefs: [{{kind: Service, name: a}}]}}"
    ));

    for policy in [&tried, &unused] {
        let told = findings(&format!("{tokens}\n---\n{policy}"));
        assert!(
            told[0].contains("a request without token passes"),
            "{told:?}"
        );
    }
    let asked = findings(&format!(
        "{tokens}\n---\n{}",
        policy(&format!("{{{rules}}}"))
    ));
    assert_eq!(asked, [""; 0]);
}
