//! Which pods the API server asks about, judged by the selectors of the webhooks as it does.

use serde_json::{Map, Value, json};

use tests::chart::{items, of_kind, render, texts};

/// Whether labels meet a selector.
fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    items(&selector["matchExpressions"]).all(|expression| {
        let key = expression["key"].as_str().expect("an expression has a key");
        let label = labels.get(key).and_then(Value::as_str);
        let is_listed = label.is_some_and(|label| texts(&expression["values"]).contains(&label));
        match expression["operator"].as_str() {
            Some("In") => is_listed,
            Some("NotIn") => !is_listed,
            Some("DoesNotExist") => label.is_none(),
            Some("Exists") => label.is_some(),
            other => panic!("{other:?} is no operator"),
        }
    })
}

/// The webhooks of injection.
fn webhooks(settings: &[&str]) -> Value {
    let objects = render(settings);
    let configuration = of_kind(&objects, "MutatingWebhookConfiguration").next();
    configuration.expect("injection is on")["webhooks"].clone()
}

/// How many of them are asked about a pod, in `shop` if nothing else is said.
fn asked(webhooks: &Value, namespace: &Value, pod: &Value) -> usize {
    let mut namespace = namespace.as_object().cloned().unwrap_or_default();
    let name = namespace.entry("kubernetes.io/metadata.name");
    name.or_insert_with(|| json!("shop"));
    let pod = pod.as_object().cloned().unwrap_or_default();
    items(webhooks)
        .filter(|webhook| {
            selects(&webhook["namespaceSelector"], &namespace)
                && selects(&webhook["objectSelector"], &pod)
        })
        .count()
}

#[test]
fn a_pod_is_injected_once_by_whom_it_or_its_namespace_asks() {
    let enabled = json!({"istio-injection": "enabled"});
    let disabled = json!({"istio-injection": "disabled"});
    let default = json!({"istio.io/rev": "default"});
    let canary = json!({"istio.io/rev": "canary"});
    let both = json!({"istio-injection": "enabled", "istio.io/rev": "canary"});
    let none = json!({});
    let yes = json!({"sidecar.istio.io/inject": "true"});
    let no = json!({"sidecar.istio.io/inject": "false"});
    let yes_by_canary = json!({"sidecar.istio.io/inject": "true", "istio.io/rev": "canary"});
    let no_by_canary = json!({"sidecar.istio.io/inject": "false", "istio.io/rev": "canary"});
    let (default_webhooks, canary_webhooks) = (webhooks(&[]), webhooks(&["revision=canary"]));
    for (namespace, pod, by_default, by_canary) in [
        (&none, &none, 0, 0),
        (&none, &yes, 1, 0),
        (&none, &no, 0, 0),
        (&none, &default, 1, 0),
        (&none, &canary, 0, 1),
        (&none, &yes_by_canary, 0, 1),
        (&none, &no_by_canary, 0, 0),
        (&enabled, &none, 1, 0),
        (&enabled, &yes, 1, 0),
        (&enabled, &no, 0, 0),
        (&disabled, &none, 0, 0),
        (&disabled, &yes, 0, 0),
        (&disabled, &canary, 0, 0),
        (&default, &none, 1, 0),
        (&default, &no, 0, 0),
        (&canary, &none, 0, 1),
        (&canary, &yes, 0, 1),
        (&canary, &no, 0, 0),
        (&both, &none, 1, 0),
    ] {
        let asked_of = [
            asked(&default_webhooks, namespace, pod),
            asked(&canary_webhooks, namespace, pod),
        ];

        assert_eq!(asked_of, [by_default, by_canary], "{namespace} {pod}");
    }
}

#[test]
fn nothing_is_injected_where_the_cluster_or_the_mesh_itself_lives() {
    let webhooks = webhooks(&[]);
    for name in [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "istio-system",
    ] {
        let namespace = json!({
            "kubernetes.io/metadata.name": name,
            "istio-injection": "enabled",
        });

        assert_eq!(asked(&webhooks, &namespace, &json!({})), 0, "{name}");
    }
}

#[test]
fn every_version_of_every_kind_is_validated() {
    let objects = render(&[]);
    let configuration = of_kind(&objects, "ValidatingWebhookConfiguration").next();
    let webhook = &configuration.expect("validation is on")["webhooks"][0];
    let asked = |group: &str, version: &str, resource: &str| {
        items(&webhook["rules"]).any(|rule| {
            texts(&rule["apiGroups"]).contains(&group)
                && texts(&rule["apiVersions"]).contains(&version)
                && texts(&rule["resources"]).contains(&resource)
        })
    };

    for (group, versions, resources) in [
        (
            "networking.istio.io",
            &["v1", "v1beta1", "v1alpha3"][..],
            &[
                "virtualservices",
                "destinationrules",
                "gateways",
                "serviceentries",
                "workloadentries",
                "sidecars",
            ][..],
        ),
        (
            "security.istio.io",
            &["v1", "v1beta1"],
            &[
                "peerauthentications",
                "requestauthentications",
                "authorizationpolicies",
            ],
        ),
        ("policy.meshproxy.io", &["v1alpha1"], &["ratelimitpolicies"]),
    ] {
        for version in versions {
            for resource in resources {
                assert!(
                    asked(group, version, resource),
                    "{resource} of {group}/{version}"
                );
            }
        }
    }
}
