//! What pods of the chart may do to their nodes.

use serde_json::{Value, json};

use tests::chart::{VARIANTS, items, of_kind, render};

/// The pods of all deployments and tests, with the names of these.
fn pods(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let templates = of_kind(objects, "Deployment").map(|deployment| {
        let pod = &deployment["spec"]["template"];
        (&deployment["metadata"]["name"], pod)
    });
    let alone = of_kind(objects, "Pod").map(|pod| (&pod["metadata"]["name"], pod));
    templates.chain(alone).collect()
}

#[test]
fn no_pod_has_more_than_the_restricted_standard_allows() {
    for (what, settings) in VARIANTS {
        for (name, pod) in pods(&render(settings)) {
            let spec = &pod["spec"];
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{what}: {name}");
            assert_eq!(security["runAsUser"], 1337, "{what}: {name}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{what}: {name}"
            );
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(spec[host], Value::Null, "{what}: {name}");
            }
            for container in items(&spec["containers"]) {
                assert_eq!(
                    container["securityContext"],
                    json!({
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    }),
                    "{what}: {name}"
                );
            }
            for volume in items(&spec["volumes"]) {
                assert_eq!(volume["hostPath"], Value::Null, "{what}: {name}");
            }
        }
    }
}

#[test]
fn every_container_says_what_it_needs_and_has_a_limit_of_memory() {
    for (what, settings) in VARIANTS {
        for (name, pod) in pods(&render(settings)) {
            for container in items(&pod["spec"]["containers"]) {
                let resources = &container["resources"];
                for (kind, resource) in [
                    ("requests", "cpu"),
                    ("requests", "memory"),
                    ("limits", "memory"),
                ] {
                    assert!(
                        resources[kind][resource].is_string(),
                        "{what}: {name} has no {resource} in {kind}"
                    );
                }
            }
        }
    }
}

#[test]
fn only_the_control_plane_has_a_token_for_the_api_server() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        for (name, pod) in pods(&objects) {
            assert_eq!(
                pod["spec"]["automountServiceAccountToken"],
                name == "meshcontrol",
                "{what}: {name}"
            );
        }
        for account in of_kind(&objects, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{what}");
        }
    }
}

#[test]
fn no_pod_of_the_mesh_itself_is_injected() {
    for (what, settings) in VARIANTS {
        for (name, pod) in pods(&render(settings)) {
            let labels = &pod["metadata"]["labels"];
            assert_eq!(labels["sidecar.istio.io/inject"], "false", "{what}: {name}");
        }
    }
}
