//! Access control of `rbac.istio.io`.

use super::*;

/// Two services that may be read by services of their namespace whose requests say a version.
const ROLES: &str = "\
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: viewer, namespace: default}
spec:
  rules:
  - services: [webapp.default.svc.cluster.local, frontend.default.svc.cluster.local]
    methods: [GET, HEAD]
    constraints:
    - {key: 'request.headers[version]', values: [v1, v2]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: bind-viewer, namespace: default}
spec:
  subjects:
  - properties: {source.namespace: default}
  roleRef: {kind: ServiceRole, name: viewer}
";

const SERVICES: &str = "\
---
apiVersion: v1
kind: Service
metadata: {name: webapp, namespace: default}
spec: {selector: {app: webapp, tier: front}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: default}
spec: {selector: {app: frontend}, ports: [{port: 80, name: http}]}
";

fn with_config(spec: &str) -> String {
    format!(
        "apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\n\
         metadata: {{name: default}}\nspec: {spec}\n---\n{ROLES}{SERVICES}"
    )
}

/// The policies among the documents.
fn policies(text: &str) -> Vec<Value> {
    let mut made = documents(text);
    made.retain(|document| document["kind"] == "AuthorizationPolicy");
    made
}

/// The spec of a policy by its name.
fn spec<'p>(policies: &'p [Value], name: &str) -> &'p Value {
    let found = policies.iter().find(|it| it["metadata"]["name"] == name);
    &found.unwrap_or_else(|| panic!("{name} is not in {policies:?}"))["spec"]
}

#[test]
fn a_binding_becomes_a_policy_for_each_of_its_services() {
    let made = policies(&with_config("{mode: 'ON'}"));

    assert_eq!(
        names(&made),
        [
            "istio-system/deny-by-default",
            "default/bind-viewer-frontend",
            "default/bind-viewer-webapp",
        ]
    );
    assert_eq!(made[0]["spec"], value("{}"));
    let expected = value(
        "selector: {matchLabels: {app: webapp, tier: front}}\n\
         action: ALLOW\n\
         rules:\n\
         - from: [{source: {namespaces: [default]}}]\n\
         \x20 to: [{operation: {methods: [GET, HEAD]}}]\n\
         \x20 when: [{key: 'request.headers[version]', values: [v1, v2]}]\n",
    );
    assert_eq!(spec(&made, "bind-viewer-webapp"), &expected);
    assert!(migrated(&with_config("{mode: 'ON'}")).is_complete());
}

#[test]
fn with_access_control_off_nothing_comes_out() {
    for mode in ["{mode: 'OFF'}", "{}"] {
        assert_eq!(policies(&with_config(mode)), [] as [Value; 0]);
        assert!(migrated(&with_config(mode)).is_complete());
    }
}

#[test]
fn inclusion_closes_what_is_named_and_leaves_the_rest_open() {
    let made = policies(&with_config(
        "{mode: ON_WITH_INCLUSION, inclusion: {services: [webapp.default.svc.cluster.local], namespaces: [bank]}}",
    ));

    assert_eq!(
        names(&made),
        [
            "bank/deny-by-default",
            "default/deny-by-default-webapp",
            "default/bind-viewer-webapp",
        ]
    );
    let closed = value("selector: {matchLabels: {app: webapp, tier: front}}");
    assert_eq!(spec(&made, "deny-by-default-webapp"), &closed);
}

#[test]
fn exclusion_closes_everything_and_opens_what_is_named() {
    let made = policies(&with_config(
        "{mode: ON_WITH_EXCLUSION, exclusion: {services: [webapp], namespaces: [lab]}}",
    ));

    assert_eq!(
        names(&made),
        [
            "istio-system/deny-by-default",
            "lab/allow-all",
            "default/allow-all-webapp",
            "default/bind-viewer-frontend",
        ]
    );
    let open =
        value("selector: {matchLabels: {app: webapp, tier: front}}\naction: ALLOW\nrules: [{}]");
    assert_eq!(spec(&made, "allow-all-webapp"), &open);
}

#[test]
fn without_a_service_document_its_label_is_a_guess_and_said_so() {
    let migrated = migrated(ROLES);

    assert!(migrated.is_complete());
    assert!(migrated.text.contains("app: webapp"));
    let notes: Vec<String> = migrated.notes.iter().map(ToString::to_string).collect();
    let guess = "there is no Service webapp with a selector among the files";
    assert!(notes.iter().any(|note| note.contains(guess)), "{notes:?}");
    assert!(migrated.text.contains(&format!(
        "# note: ServiceRoleBinding default/bind-viewer: {guess}"
    )));
}

fn one(rule: &str, subjects: &str) -> String {
    format!(
        "apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {{name: r}}\n\
         spec: {{rules: [{rule}]}}\n---\n\
         apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRoleBinding\nmetadata: {{name: b}}\n\
         spec: {{subjects: [{subjects}], roleRef: {{kind: ServiceRole, name: r}}}}\n{SERVICES}"
    )
}

fn rules(rule: &str, subjects: &str) -> Value {
    let made = policies(&one(rule, subjects));
    assert_eq!(made.len(), 1, "{made:?}");
    made[0]["spec"]["rules"].clone()
}

#[test]
fn subjects_keep_their_meaning() {
    let any = "{services: ['*']}";
    for (subject, rule) in [
        ("{user: '*'}", "{}"),
        (
            "{user: '*', properties: {source.namespace: a}}",
            "from: [{source: {namespaces: [a]}}]",
        ),
        (
            "{user: cluster.local/ns/a/sa/b}",
            "from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]",
        ),
        (
            "{names: [allAuthenticatedUsers]}",
            "from: [{source: {principals: ['*']}}]",
        ),
        (
            "{properties: {source.principal: '*'}}",
            "from: [{source: {principals: ['*']}}]",
        ),
        (
            "{properties: {source.ip: 10.0.0.0/8}}",
            "from: [{source: {ipBlocks: [10.0.0.0/8]}}]",
        ),
        (
            "{properties: {request.auth.principal: iss/sub}}",
            "from: [{source: {requestPrincipals: [iss/sub]}}]",
        ),
        (
            "{group: admins}",
            "when: [{key: 'request.auth.claims[groups]', values: [admins]}]",
        ),
        (
            "{properties: {'request.auth.claims[iss]': x, source.namespace: a}}",
            "{from: [{source: {namespaces: [a]}}], when: [{key: 'request.auth.claims[iss]', values: [x]}]}",
        ),
        (
            "{user: a/b, properties: {source.principal: 'a/*'}}",
            "{from: [{source: {principals: [a/b]}}], when: [{key: source.principal, values: ['a/*']}]}",
        ),
        (
            "{names: [a/b], not_names: [c/d]}",
            "from: [{source: {principals: [a/b], notPrincipals: [c/d]}}]",
        ),
    ] {
        assert_eq!(
            rules(any, subject),
            Value::Array(vec![value(rule)]),
            "{subject}"
        );
    }
}

#[test]
fn several_subjects_are_alternatives_each_with_its_own_conditions() {
    let made = rules(
        "{services: ['*'], paths: ['/a/*', '*/b'], constraints: [{key: destination.port, values: ['80']}]}",
        "{user: a/b}, {group: g}, {properties: {source.namespace: n}}",
    );

    let expected = value(
        "- from: [{source: {principals: [a/b]}}, {source: {namespaces: [n]}}]\n\
         \x20 to: [{operation: {paths: [/a/*, '*/b']}}]\n\
         \x20 when: [{key: destination.port, values: ['80']}]\n\
         - to: [{operation: {paths: [/a/*, '*/b']}}]\n\
         \x20 when: [{key: destination.port, values: ['80']}, {key: 'request.auth.claims[groups]', values: [g]}]\n",
    );
    assert_eq!(made, expected);
}

#[test]
fn services_are_found_by_prefix_and_suffix_and_labels_narrow_them() {
    let named = |rule: &str| names(&policies(&one(rule, "{user: '*'}")));

    assert_eq!(named("{services: ['*']}"), ["default/b"]);
    assert_eq!(named("{services: ['web*']}"), ["default/b-webapp"]);
    assert_eq!(
        named("{services: ['*.default.svc.cluster.local']}"),
        ["default/b"]
    );
    assert_eq!(named("{services: ['*end']}"), ["default/b-frontend"]);
    let rule = "{services: [webapp], constraints: [{key: 'destination.labels[version]', values: [v1, v2]}]}";
    let made = policies(&one(rule, "{user: '*'}"));
    assert_eq!(names(&made), ["default/b-webapp", "default/b-webapp-2"]);
    let labels = value("{app: webapp, tier: front, version: v2}");
    assert_eq!(made[1]["spec"]["selector"]["matchLabels"], labels);
    // Another value of a label that the workloads have is of no workload.
    let rule =
        "{services: [webapp], constraints: [{key: 'destination.labels[tier]', values: [back]}]}";
    assert_eq!(named(rule), [] as [&str; 0]);
}

#[test]
fn what_cannot_be_said_allows_nothing_and_is_named() {
    for (rule, subject) in [
        (
            "{services: ['*'], constraints: [{key: destination.user, values: [x]}]}",
            "{user: '*'}",
        ),
        (
            "{services: ['*']}",
            "{properties: {'source.labels[app]': x}}",
        ),
        ("{services: ['none*']}", "{user: '*'}"),
        ("{services: [a.other]}", "{user: '*'}"),
    ] {
        let text = one(rule, subject);

        assert_eq!(policies(&text), [] as [Value; 0], "{rule} {subject}");
        assert_eq!(losses(&text).len(), 1, "{rule} {subject}");
    }
    let unbound = ROLES.replace("name: viewer}\n", "name: other}\n");
    assert!(losses(&unbound)[0].contains("its role other is not among the files"));
}

#[test]
fn a_permissive_binding_becomes_a_dry_run() {
    let text = ROLES.replace("  subjects", "  mode: PERMISSIVE\n  subjects");

    for policy in policies(&(text + SERVICES)) {
        assert_eq!(
            policy["metadata"]["annotations"]["istio.io/dry-run"],
            "true"
        );
    }
}

#[test]
fn the_root_namespace_never_opens_the_mesh() {
    let excluded =
        with_config("{mode: ON_WITH_EXCLUSION, exclusion: {namespaces: [istio-system]}}");
    let included =
        with_config("{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [istio-system]}}");
    let bound = one("{services: ['*']}", "{user: '*'}")
        .replace("{name: b}", "{name: b, namespace: istio-system}")
        .replace("{name: r}", "{name: r, namespace: istio-system}");

    for text in [&excluded, &bound, &included] {
        assert_eq!(losses(text).len(), 1, "{:?}", losses(text));
        for policy in policies(text) {
            let is_root = policy["metadata"]["namespace"] == "istio-system";
            assert!(!is_root || policy["spec"] == value("{}"), "{policy}");
        }
    }
}
