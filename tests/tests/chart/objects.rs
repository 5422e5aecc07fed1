//! Which objects there are, and how they refer to each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use tests::chart::{NAMESPACE, VARIANTS, items, named, of_kind, render, texts};

/// Kinds that belong to no namespace.
const OF_THE_CLUSTER: [&str; 4] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

#[test]
fn two_releases_in_different_namespaces_share_no_object() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        let mut seen = BTreeSet::new();
        for object in &objects {
            let kind = object["kind"].as_str().expect("an object has a kind");
            let name = object["metadata"]["name"].as_str().expect("and a name");
            let namespace = object["metadata"]["namespace"].as_str();
            assert_eq!(
                namespace.is_none(),
                OF_THE_CLUSTER.contains(&kind),
                "{what}: {kind} {name}"
            );
            if namespace.is_none() {
                assert!(name.ends_with(NAMESPACE), "{what}: {kind} {name}");
            }
            assert!(seen.insert((kind, namespace, name)), "{kind} {name} twice");
        }
    }
}

#[test]
fn services_lead_to_ports_and_pods_that_are_there() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        for service in of_kind(&objects, "Service") {
            let name = &service["metadata"]["name"];
            let selector = service["spec"]["selector"].as_object().expect("a selector");
            let pod = of_kind(&objects, "Deployment")
                .map(|deployment| &deployment["spec"]["template"])
                .find(|pod| {
                    let labels = &pod["metadata"]["labels"];
                    selector.iter().all(|(key, value)| labels[key] == *value)
                });
            let pod = pod.unwrap_or_else(|| panic!("{what}: nobody is behind {name}"));
            let open: Vec<&Value> = items(&pod["spec"]["containers"][0]["ports"]).collect();
            for port in items(&service["spec"]["ports"]) {
                let target = &port["targetPort"];
                let is_target =
                    |open: &&Value| open["name"] == *target || open["containerPort"] == *target;
                assert!(open.iter().any(is_target), "{what}: {name} to {target}");
            }
        }
    }
}

#[test]
fn optional_parts_are_there_only_if_asked_for() {
    for (setting, kind, name) in [
        ("control.istiodAlias=true", "Service", "istiod"),
        ("gateway.enabled=true", "Deployment", "istio-ingressgateway"),
        ("gateway.enabled=true", "Service", "istio-ingressgateway"),
        (
            "gateway.enabled=true",
            "ServiceAccount",
            "istio-ingressgateway-service-account",
        ),
        (
            "gateway.enabled=true",
            "HorizontalPodAutoscaler",
            "istio-ingressgateway",
        ),
        (
            "monitoring.serviceMonitor=true",
            "ServiceMonitor",
            "meshcontrol",
        ),
        ("monitoring.podMonitor=true", "PodMonitor", "meshproxy"),
    ] {
        named(&render(&[setting]), kind, name);

        let plain = render(&[]);
        let mut others = of_kind(&plain, kind);
        assert!(
            others.all(|object| object["metadata"]["name"] != name),
            "{kind} {name} without {setting}"
        );
    }
}

#[test]
fn replicas_of_a_gateway_are_left_to_its_autoscaler() {
    let scaled = render(&["gateway.enabled=true"]);
    let fixed = render(&[
        "gateway.enabled=true",
        "gateway.autoscaling.enabled=false",
        "gateway.replicas=3",
    ]);

    let replicas = |objects: &[Value]| {
        named(objects, "Deployment", "istio-ingressgateway")["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(&scaled), Value::Null);
    assert_eq!(replicas(&fixed), 3);
    assert_eq!(of_kind(&fixed, "HorizontalPodAutoscaler").count(), 0);
}

#[test]
fn mesh_config_is_what_the_proxy_reads_with_this_namespace_as_root() {
    let settings = [
        "meshConfig.trustDomain=shop.test",
        "meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY",
    ];
    let objects = render(&settings);

    let config_map = named(&objects, "ConfigMap", "istio");
    let text = config_map["data"]["mesh"].as_str().expect("a text");
    let mesh: Value = config::strict::parse(Path::new("mesh"), text)
        .expect("it is YAML")
        .value;
    assert_eq!(
        mesh,
        serde_json::json!({
            "trustDomain": "shop.test",
            "rootNamespace": NAMESPACE,
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        })
    );
    let control = &named(&objects, "Deployment", "meshcontrol")["spec"]["template"]["spec"];
    let flags = texts(&control["containers"][0]["args"]);
    assert!(flags.contains(&"--trust-domain=shop.test"), "{flags:?}");
}

#[test]
fn every_image_is_a_target_of_the_dockerfile_with_the_version_of_the_programs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).expect("there is a Dockerfile");
    let targets: BTreeSet<&str> = dockerfile
        .lines()
        .filter(|line| line.starts_with("FROM base AS "))
        .filter_map(|line| line.split(' ').nth(3))
        .collect();
    let objects = render(&[
        "gateway.enabled=true",
        "image.registry=registry.example/mesh/",
    ]);

    let images: BTreeSet<&str> = of_kind(&objects, "Deployment")
        .flat_map(|deployment| items(&deployment["spec"]["template"]["spec"]["containers"]))
        .filter_map(|container| container["image"].as_str())
        .collect();

    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        images,
        ["meshcontrol", "meshproxy"]
            .map(|name| format!("registry.example/mesh/{name}:{version}"))
            .iter()
            .map(String::as_str)
            .collect()
    );
    let expected = ["bookinfo", "meshcontrol", "meshproxy", "meshproxy-init"];
    assert_eq!(targets, BTreeSet::from(expected));
}
