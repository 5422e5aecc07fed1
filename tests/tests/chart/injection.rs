//! What the chart hands the injector, as the injector reads it.

use std::path::Path;

use control::inject::{Injector, Namespace, Outcome, Settings, Template};
use serde_json::{Value, json};
use tests::chart::{NAMESPACE, VARIANTS, items, named, render};

/// The injector with what the chart renders.
fn injector(settings: &[&str]) -> Injector {
    let objects = render(settings);
    let data = &named(&objects, "ConfigMap", "meshcontrol-injection")["data"];
    let text = |key: &str| data[key].as_str().expect("an entry");
    let settings = Settings::parse(Path::new("values.yaml"), text("values.yaml"));
    let template = Template::parse(Path::new("template.yaml"), text("template.yaml"));
    Injector {
        settings: settings.expect("the injector reads its settings"),
        template: template.expect("the injector reads its template"),
    }
}

fn inject(injector: &Injector) -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let namespace = Namespace {
        name: "shop".to_owned(),
        labels: None,
    };
    match injector.inject(&pod, &namespace, None) {
        Ok(Outcome::Injected(pod)) => pod,
        other => panic!("the pod is injected: {other:?}"),
    }
}

#[test]
fn the_injector_reads_template_and_settings_of_the_chart() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        let data = &named(&objects, "ConfigMap", "meshcontrol-injection")["data"];
        let text = |name: &str| data[name].as_str().expect("a text").to_owned();

        let template = Template::parse(Path::new("template.yaml"), &text("template.yaml"));
        template.unwrap_or_else(|problems| panic!("{what}: {problems:?}"));
        let settings = Settings::parse(Path::new("values.yaml"), &text("values.yaml"));
        let settings = settings.unwrap_or_else(|problems| panic!("{what}: {problems:?}"));
        assert!(
            settings.control.starts_with("https://meshcontrol."),
            "{what}"
        );
    }
}

#[test]
fn the_defaults_of_chart_and_injector_are_the_same() {
    let injector = injector(&[]);

    let mut expected = Settings {
        image_pull_policy: Some("IfNotPresent".to_owned()),
        ..Settings::default()
    };
    expected.excluded_namespaces.push(NAMESPACE.to_owned());
    assert_eq!(injector.settings, expected);
    assert_eq!(injector.template, Template::default());
}

#[test]
fn values_of_the_chart_reach_the_pods() {
    let injector = injector(&[
        "image.registry=registry.example/mesh",
        "image.tag=1.2.3",
        "image.pullPolicy=Always",
        "image.pullSecrets[0].name=pull",
        "meshConfig.trustDomain=shop.test",
        "cluster=east",
        "revision=canary",
        "sidecar.resources.limits.memory=1Gi",
        "sidecar.resources.limits.cpu=2",
        "sidecar.accessLog=json",
        "sidecar.log=debug",
        "sidecar.dns=true",
        "sidecar.nativeSidecars=never",
    ]);

    let pod = inject(&injector);

    let spec = &pod["spec"];
    let container = |list: &str, name: &str| {
        let mut containers = items(&spec[list]);
        let found = containers.find(|container| container["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} among {list}"))
            .clone()
    };
    let (init, proxy) = (
        container("initContainers", "meshproxy-init"),
        container("containers", "istio-proxy"),
    );
    assert_eq!(init["image"], "registry.example/mesh/meshproxy-init:1.2.3");
    assert_eq!(proxy["image"], "registry.example/mesh/meshproxy:1.2.3");
    assert_eq!(proxy["imagePullPolicy"], "Always");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(
        proxy["resources"]["limits"],
        json!({"cpu": "2", "memory": "1Gi"})
    );
    assert_eq!(pod["metadata"]["annotations"]["istio.io/rev"], "canary");
    let variable = |name: &str| {
        let mut variables = items(&proxy["env"]);
        let found = variables.find(|variable| variable["name"] == name);
        found.map(|variable| variable["value"].clone())
    };
    for (name, value) in [
        (
            "MESHPROXY_CONTROL",
            "https://meshcontrol.istio-system.svc:15012",
        ),
        ("MESHPROXY_TRUST_DOMAIN", "shop.test"),
        ("MESHPROXY_CLUSTER", "east"),
        ("MESHPROXY_LOG", "debug"),
        ("MESHPROXY_ACCESS_LOG", "json"),
    ] {
        assert_eq!(variable(name), Some(json!(value)), "{name}");
    }
    assert!(variable("MESHPROXY_DNS").is_some());
}

#[test]
fn a_template_of_the_operator_takes_the_place_of_the_charts() {
    let template = "sidecar.template=spec: {containers: [{name: istio-proxy\\, image: mine}]}";

    let pod = inject(&injector(&[template]));

    assert_eq!(pod["spec"]["containers"][0]["name"], "web");
    assert!(items(&pod["spec"]["initContainers"]).any(|it| it["image"] == "mine"));
}
