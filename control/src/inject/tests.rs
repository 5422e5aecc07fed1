use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Reading the template takes longer than all else.
static DEFAULT: LazyLock<Injector> = LazyLock::new(Injector::default);

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "reviews-v1-6d5f8c-",
            "labels": {"app": "reviews", "version": "v1", "pod-template-hash": "6d5f8c"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "reviews-v1-6d5f8c", "controller": true}],
        },
        "spec": {
            "initContainers": [{"name": "migrate", "image": "migrate:1"}],
            "containers": [{
                "name": "reviews",
                "image": "reviews:1",
                "ports": [{"name": "http", "containerPort": 9080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "timeoutSeconds": 2},
                "livenessProbe": {"exec": {"command": ["true"]}},
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

fn annotated(annotations: Value) -> Value {
    let mut pod = pod();
    pod["metadata"]["annotations"] = annotations;
    pod
}

fn asked() -> Namespace {
    Namespace {
        name: "shop".to_owned(),
        labels: None,
    }
}

fn with(settings: Settings) -> Injector {
    Injector {
        settings,
        ..DEFAULT.clone()
    }
}

fn injected_by(injector: &Injector, pod: &Value) -> Value {
    match injector.inject(pod, &asked(), None) {
        Ok(Outcome::Injected(injected)) => injected,
        other => panic!("{other:?}"),
    }
}

fn injected(pod: &Value) -> Value {
    injected_by(&DEFAULT, pod)
}

fn refused(annotations: Value) -> String {
    let outcome = DEFAULT.inject(&annotated(annotations), &asked(), None);
    outcome.expect_err("the annotation is wrong").to_string()
}

fn names<'p>(pod: &'p Value, list: &str) -> Vec<&'p str> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items.filter_map(|item| item["name"].as_str()).collect()
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let lists = ["initContainers", "containers"];
    let mut all = lists
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    all.find(|it| it["name"] == name)
        .expect("there is one of this name")
}

fn variable<'p>(pod: &'p Value, container_name: &str, name: &str) -> Option<&'p str> {
    let variables = container(pod, container_name)["env"].as_array()?;
    let found = variables.iter().find(|it| it["name"] == name)?;
    found["value"].as_str()
}

#[test]
fn a_native_sidecar_starts_before_all_other_containers_but_what_leads_traffic_to_it() {
    let pod = injected(&pod());

    assert_eq!(names(&pod, "initContainers"), [INIT, PROXY, "migrate"]);
    assert_eq!(names(&pod, "containers"), ["reviews"]);
    assert_eq!(container(&pod, PROXY)["restartPolicy"], "Always");
    assert!(container(&pod, PROXY)["startupProbe"].is_object());
    assert!(container(&pod, PROXY).get("lifecycle").is_none());
}

#[test]
fn where_there_are_no_native_sidecars_traffic_is_captured_after_the_own_init_containers() {
    let old = Settings {
        kubernetes_version: Some("v1.28.3".to_owned()),
        ..Settings::default()
    };
    let pod = injected_by(&with(old), &pod());

    assert_eq!(names(&pod, "initContainers"), ["migrate", INIT]);
    assert_eq!(names(&pod, "containers"), [PROXY, "reviews"]);
    let proxy = container(&pod, PROXY);
    assert!(proxy.get("restartPolicy").is_none());
    let wait = &proxy["lifecycle"]["postStart"]["exec"]["command"];
    assert_eq!(wait[3], "http://127.0.0.1:15021/healthz/ready");
}

#[test]
fn containers_that_shall_not_wait_stand_before_the_proxy() {
    let pod = injected(&annotated(json!({
        "sidecar.istio.io/nativeSidecar": "false",
        "proxy.istio.io/config": "holdApplicationUntilProxyStarts: false",
    })));

    assert_eq!(names(&pod, "containers"), ["reviews", PROXY]);
    assert!(container(&pod, PROXY).get("lifecycle").is_none());
}

#[test]
fn the_proxy_has_no_rights_and_only_the_init_container_may_change_the_network() {
    let pod = injected(&pod());

    let rights = &container(&pod, PROXY)["securityContext"];
    assert_eq!(rights["runAsNonRoot"], true);
    assert_eq!(rights["runAsUser"], 1337);
    assert_eq!(rights["allowPrivilegeEscalation"], false);
    assert_eq!(rights["readOnlyRootFilesystem"], true);
    assert_eq!(rights["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(rights["seccompProfile"]["type"], "RuntimeDefault");
    let rights = &container(&pod, INIT)["securityContext"];
    let capabilities = json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]});
    assert_eq!(rights["capabilities"], capabilities);
    assert_eq!(rights["privileged"], false);
}

#[test]
fn who_the_proxy_is_and_whom_it_believes_comes_with_it() {
    let pod = injected(&pod());

    assert_eq!(variable(&pod, PROXY, "MESHPROXY_NAME"), Some("reviews-v1"));
    // Its token is bound to the pod, whose name is not known yet.
    let variables = container(&pod, PROXY)["env"].as_array().expect("a list");
    let name = variables.iter().find(|it| it["name"] == "MESHPROXY_POD");
    let from = &name.expect("it is set")["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(from, "metadata.name");
    let labels = variable(&pod, PROXY, "MESHPROXY_LABELS").expect("it is set");
    assert!(labels.contains("app=reviews,version=v1"), "{labels}");
    let control = variable(&pod, PROXY, "MESHPROXY_CONTROL");
    assert_eq!(control, Some("https://meshcontrol.istio-system.svc:15012"));
    assert_eq!(
        names(&pod, "volumes"),
        ["data", "istio-token", "istiod-ca-cert", "meshproxy-state"]
    );
    let token = &pod["spec"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "istio-ca");
    assert_eq!(token["expirationSeconds"], 43_200);
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["security.istio.io/tlsMode"], "istio");
    assert_eq!(labels["service.istio.io/canonical-name"], "reviews");
    assert_eq!(labels["service.istio.io/canonical-revision"], "v1");
}

#[test]
fn what_is_not_set_leaves_nothing_behind() {
    let pod = injected(&pod());

    assert!(!pod.to_string().contains("${"), "{pod}");
    assert!(container(&pod, PROXY).get("imagePullPolicy").is_none());
    assert_eq!(variable(&pod, PROXY, "MESHPROXY_WORKERS"), None);
    let limits = &container(&pod, PROXY)["resources"]["limits"];
    assert_eq!(limits, &json!({"memory": "256Mi"}));
    let env = container(&pod, INIT)["env"].as_array().expect("a list");
    assert!(env.is_empty(), "{env:?}");
}

#[test]
fn numbers_stay_numbers_but_in_variables() {
    let pod = injected(&annotated(json!({
        "status.sidecar.istio.io/port": "16021",
        "proxy.istio.io/config": "concurrency: 3",
    })));

    let proxy = container(&pod, PROXY);
    assert_eq!(proxy["readinessProbe"]["httpGet"]["port"], 16_021);
    assert_eq!(variable(&pod, PROXY, "MESHPROXY_WORKERS"), Some("3"));
    let health = variable(&pod, PROXY, "MESHPROXY_HEALTH_ADDR");
    assert_eq!(health, Some("0.0.0.0:16021"));
    let except = variable(&pod, INIT, "ISTIO_LOCAL_EXCLUDE_PORTS");
    assert_eq!(except, Some("16021"));
}

#[test]
fn probes_are_led_to_the_proxy_which_is_told_what_they_were() {
    let pod = injected(&pod());

    let app = container(&pod, "reviews");
    let led = json!({"timeoutSeconds": 2, "httpGet": {"path": "/app-health/reviews/readyz", "port": 15_021}});
    assert_eq!(app["readinessProbe"], led);
    assert_eq!(app["livenessProbe"], json!({"exec": {"command": ["true"]}}));
    let told = variable(&pod, PROXY, "MESHPROXY_APP_PROBES").expect("it is told");
    let told: Value = serde_json::from_str(told).expect("it is JSON");
    let was = json!({"/app-health/reviews/readyz": {
        "httpGet": {"path": "/ready", "port": 9080}, "timeoutSeconds": 2,
    }});
    assert_eq!(told, was);
}

#[test]
fn every_kind_of_probe_and_hook_is_led_but_programs_and_ports_that_nobody_has() {
    let mut pod = pod();
    pod["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 9080}});
    pod["spec"]["containers"][0]["startupProbe"] = json!({"grpc": {"port": 9090, "service": "s"}});
    pod["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"httpGet": {"path": "/stop", "port": "http", "scheme": "HTTPS"}}});
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] = json!("absent");

    let pod = injected(&pod);

    let told = variable(&pod, PROXY, "MESHPROXY_APP_PROBES").expect("it is told");
    let told: Value = serde_json::from_str(told).expect("it is JSON");
    let was = json!({
        "/app-health/reviews/livez": {"tcpSocket": {"port": 9080}},
        "/app-health/reviews/startupz": {"grpc": {"port": 9090, "service": "s"}},
        "/app-lifecycle/reviews/prestopz":
            {"httpGet": {"path": "/stop", "port": 9080, "scheme": "HTTPS"}},
    });
    assert_eq!(told, was);
    let app = container(&pod, "reviews");
    assert_eq!(app["readinessProbe"]["httpGet"]["port"], "absent");
    let hook = &app["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["path"], "/app-lifecycle/reviews/prestopz");
}

#[test]
fn probes_stay_where_the_pod_says_so() {
    let pod = injected(&annotated(
        json!({"sidecar.istio.io/rewriteAppHTTPProbers": "false"}),
    ));

    let probe = &container(&pod, "reviews")["readinessProbe"]["httpGet"];
    assert_eq!(probe, &json!({"path": "/ready", "port": "http"}));
    assert_eq!(variable(&pod, PROXY, "MESHPROXY_APP_PROBES"), None);
}

#[test]
fn a_proxy_that_would_outlive_a_job_ends_with_it_where_it_can_see_the_end() {
    let mut job = annotated(json!({"sidecar.istio.io/nativeSidecar": "false"}));
    job["spec"]["restartPolicy"] = json!("Never");
    let blind = injected(&job);
    assert_eq!(variable(&blind, PROXY, "MESHPROXY_EXIT_WITH_APP"), None);

    job["spec"]["shareProcessNamespace"] = json!(true);
    let seeing = injected(&job);
    let ends = variable(&seeing, PROXY, "MESHPROXY_EXIT_WITH_APP");
    assert_eq!(ends, Some("true"));
    job["metadata"]["annotations"] = json!({});
    let native = injected(&job);
    assert_eq!(variable(&native, PROXY, "MESHPROXY_EXIT_WITH_APP"), None);
}

#[test]
fn annotations_say_what_is_captured() {
    let pod = injected(&annotated(json!({
        "traffic.sidecar.istio.io/includeInboundPorts": "",
        "traffic.sidecar.istio.io/excludeInboundPorts": "9090, 9091",
        "traffic.sidecar.istio.io/includeOutboundPorts": "15443",
        "traffic.sidecar.istio.io/excludeOutboundPorts": "3306",
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "*",
        "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.0.0.0/8,fd00::/8",
        "traffic.sidecar.istio.io/excludeInterfaces": "eth1",
        "traffic.sidecar.istio.io/kubevirtInterfaces": "k6t-eth0",
        "proxy.istio.io/config": "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}",
    })));

    for (name, value) in [
        ("ISTIO_INBOUND_PORTS", ""),
        ("ISTIO_LOCAL_EXCLUDE_PORTS", "9090,9091"),
        ("ISTIO_OUTBOUND_PORTS", "15443"),
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "3306"),
        ("ISTIO_SERVICE_CIDR", "*"),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", "10.0.0.0/8,fd00::/8"),
        ("ISTIO_EXCLUDE_INTERFACES", "eth1"),
        ("KUBE_VIRT_INTERFACES", "k6t-eth0"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
    ] {
        assert_eq!(variable(&pod, INIT, name), Some(value), "{name}");
    }
    let dns = variable(&pod, PROXY, "MESHPROXY_DNS");
    assert_eq!(dns, Some("127.0.0.1:15053,[::1]:15053"));
}

#[test]
fn annotations_say_what_the_proxy_is_and_takes() {
    let pod = injected(&annotated(json!({
        "sidecar.istio.io/proxyImage": "registry.example/proxy:2",
        "sidecar.istio.io/proxyCPU": "100m",
        "sidecar.istio.io/proxyMemoryLimit": "1Gi",
        "sidecar.istio.io/logLevel": "http:debug,misc:warning",
        "readiness.status.sidecar.istio.io/periodSeconds": "7",
        "proxy.istio.io/config":
            "drainDuration: 20s\nterminationDrainDuration: 90s\nproxyMetadata:\n  A: b\n  EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'false'\n  MINIMUM_DRAIN_DURATION: 2s\n",
    })));

    let proxy = container(&pod, PROXY);
    assert_eq!(proxy["image"], "registry.example/proxy:2");
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}});
    assert_eq!(proxy["resources"], resources);
    assert_eq!(proxy["readinessProbe"]["periodSeconds"], 7);
    for (name, value) in [
        ("MESHPROXY_LOG", "debug"),
        ("MESHPROXY_DRAIN_TIMEOUT", "90s"),
        ("MESHPROXY_MINIMUM_DRAIN", "2s"),
        ("MESHPROXY_EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "false"),
        ("A", "b"),
    ] {
        assert_eq!(variable(&pod, PROXY, name), Some(value), "{name}");
    }
}

#[test]
fn an_annotation_that_says_something_wrong_is_refused_with_its_name() {
    for (annotations, told) in [
        (
            json!({"traffic.sidecar.istio.io/excludeInboundPorts": "80,http"}),
            "must be ports",
        ),
        (
            json!({"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0/8"}),
            "must be networks",
        ),
        (
            json!({"sidecar.istio.io/rewriteAppHTTPProbers": "maybe"}),
            "must be true or false",
        ),
        (
            json!({"sidecar.istio.io/interceptionMode": "TPROXY"}),
            "must be REDIRECT",
        ),
        (
            json!({"status.sidecar.istio.io/port": "70000"}),
            "must be a whole number",
        ),
        (
            json!({"proxy.istio.io/config": "drainDuration: soon"}),
            "drainDuration: must be such as",
        ),
        (json!({"proxy.istio.io/config": "- a"}), "must be a mapping"),
    ] {
        let name = annotations
            .as_object()
            .and_then(|it| it.keys().next().cloned());
        let name = name.expect("there is one");

        let message = refused(annotations);

        assert!(
            message.starts_with(&format!("metadata.annotations[\"{name}\"]: ")),
            "{message}"
        );
        assert!(message.contains(told), "{message}");
    }
}

#[test]
fn prometheus_is_led_to_the_proxy_unless_the_pod_has_metrics_of_its_own() {
    let plain = injected(&pod());
    let annotations = &plain["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], "15090");
    assert_eq!(annotations["prometheus.io/scrape"], "true");

    let own = injected(&annotated(json!({"prometheus.io/port": "9102"})));
    let annotations = &own["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], "9102");
    assert!(annotations.get("prometheus.io/scrape").is_none());
}

#[test]
fn what_a_pod_says_of_the_proxy_wins_over_the_template() {
    let mut pod = pod();
    let own = json!({
        "name": PROXY,
        "image": "auto",
        "env": [{"name": "MESHPROXY_LOG", "value": "debug"}],
        "resources": {"limits": {"memory": "2Gi"}},
    });
    pod["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(own);
    pod["metadata"]["labels"]["service.istio.io/canonical-name"] = json!("own");

    let pod = injected(&pod);

    assert_eq!(names(&pod, "containers"), ["reviews"]);
    let proxy = container(&pod, PROXY);
    let image = format!("meshproxy:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(proxy["image"], image);
    assert_eq!(proxy["resources"]["limits"]["memory"], "2Gi");
    assert_eq!(proxy["resources"]["requests"]["cpu"], "50m");
    assert_eq!(variable(&pod, PROXY, "MESHPROXY_LOG"), Some("debug"));
    assert!(variable(&pod, PROXY, "MESHPROXY_CONTROL").is_some());
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["service.istio.io/canonical-name"], "own");
}

#[test]
fn the_status_says_what_was_added() {
    let settings = Settings {
        image_pull_secrets: vec!["pull".to_owned()],
        ..Settings::default()
    };
    let pod = injected_by(&with(settings), &pod());

    let status = pod["metadata"]["annotations"][STATUS].as_str();
    let status: Value = serde_json::from_str(status.expect("it is there")).expect("it is JSON");
    assert_eq!(status["initContainers"], json!([INIT, PROXY]));
    assert_eq!(status["imagePullSecrets"], json!(["pull"]));
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
}

#[test]
fn a_template_with_a_name_that_is_not_known_is_refused_with_its_line() {
    let text = "spec:\n  containers:\n  - name: istio-proxy\n    image: ${IMAGES}\n";

    let problems = Template::parse(Path::new("t.yaml"), text).expect_err("it is not known");

    assert_eq!(
        problems[0].to_string(),
        "t.yaml:4:1: `${IMAGES}` is not known"
    );
}

#[test]
fn a_template_without_the_proxy_is_refused() {
    let problems = Template::parse(Path::new("t.yaml"), "spec: {}").expect_err("there is none");

    assert!(problems[0].message.contains(PROXY), "{}", problems[0]);
}

#[test]
fn the_template_of_the_chart_is_the_one_that_is_compiled_in() {
    assert!(Template::default().fill(&values::Values::default())["spec"].is_object());
}

/// Pods of all shapes: with and without what injection looks at.
fn pods() -> impl Strategy<Value = Value> {
    let text = || prop::sample::select(vec!["a", "b", "istio-proxy", "x-1"]);
    let probe = prop::option::of(prop::sample::select(vec![
        json!({"httpGet": {"port": 80}}),
        json!({"httpGet": {"port": "web", "path": "/x"}}),
        json!({"tcpSocket": {"port": 81}, "periodSeconds": 1}),
        json!({"grpc": {"port": 82}}),
        json!({"exec": {"command": []}}),
        json!(7),
    ]));
    let container = (text(), probe, any::<bool>()).prop_map(|(name, probe, ports)| {
        let mut container = json!({"name": name, "image": "auto"});
        if let Some(probe) = probe {
            container["livenessProbe"] = probe;
        }
        if ports {
            container["ports"] = json!([{"name": "web", "containerPort": 8080}]);
        }
        container
    });
    let containers = || prop::collection::vec(container.clone(), 0..4);
    let labels = prop::collection::btree_map(text(), text(), 0..3);
    let native = prop::option::of(any::<bool>());
    (containers(), containers(), labels, native).prop_map(|(init, containers, labels, native)| {
        let mut annotations = BTreeMap::new();
        if let Some(native) = native {
            annotations.insert("sidecar.istio.io/nativeSidecar", native.to_string());
        }
        json!({
            "metadata": {"name": "p", "labels": labels, "annotations": annotations},
            "spec": {"initContainers": init, "containers": containers, "nodeName": "n"},
        })
    })
}

proptest! {
    #[test]
    fn injecting_twice_is_injecting_once(pod in pods()) {
        let once = injected(&pod);

        let twice = DEFAULT.inject(&once, &asked(), None);

        prop_assert_eq!(twice, Ok(Outcome::Skipped(Skip::Injected)));
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is(pod in pods()) {
        let after = injected(&pod);

        prop_assert_eq!(&after["spec"]["nodeName"], "n");
        for (label, value) in pod["metadata"]["labels"].as_object().expect("a mapping") {
            prop_assert_eq!(&after["metadata"]["labels"][label], value);
        }
        // All but the proxy and the probes of the others.
        let others = |pod: &Value| -> Vec<Value> {
            let lists = ["initContainers", "containers"];
            let all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
            all.filter(|it| it["name"] != PROXY && it["name"] != INIT)
                .map(|it| json!([it["name"], it["image"], it["ports"]]))
                .collect()
        };
        prop_assert_eq!(others(&after), others(&pod));
    }

    #[test]
    fn any_object_is_injected_or_refused(pod in any_value()) {
        let _ = DEFAULT.inject(&pod, &asked(), None);
    }
}

/// Values of no use as a pod.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "containers",
        "initContainers",
        "name",
        "labels",
        "annotations",
        "livenessProbe",
        "lifecycle",
        "httpGet",
        "port",
        "volumes",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}
