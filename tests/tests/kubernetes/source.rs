//! What is told of an API server.

use std::net::IpAddr;

use config::resource::Spec;
use config::wire::Name;
use control::event::Object;
use control::source::kubernetes::Settings;
use tests::{Cluster, Gate, eventually};

use crate::definitions::virtual_services;
use crate::mirror::Mirror;

/// A service of `namespace` with one port.
fn service(namespace: &str, name: &str, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: {port}}}]
"
    )
}

/// A route of `namespace` whose only rule goes to `destination`.
fn route(namespace: &str, name: &str, destination: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}]
  http: [{{route: [{{destination: {{host: {destination}}}}}]}}]
"
    )
}

#[tokio::test]
async fn what_is_there_is_listed_and_what_changes_is_followed() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("follow").await;
    kubectl.apply(&service(&namespace, "a", 80)).await;
    let mirror = Mirror::of(&cluster.admin()).await;
    let [a, b] = ["a", "b"].map(|name| Name::new("Service", &namespace, name));

    mirror.synced().await;
    assert!(matches!(mirror.now(&a), Some(Object::Resource(_))));

    kubectl.apply(&service(&namespace, "b", 81)).await;
    mirror.resource(&b, |_| true).await;
    kubectl.apply(&service(&namespace, "b", 82)).await;
    let is_82 = |spec: &Spec| matches!(spec, Spec::Service(it) if it.spec.ports[0].port == 82);
    let seen = mirror.resource(&b, |it| is_82(&it.spec)).await;
    assert!(seen.meta.annotations.is_empty(), "{:?}", seen.meta);

    kubectl
        .done(&["delete", "service", "-n", &namespace, "a"], "")
        .await;
    mirror.gone(&a).await;
    assert!(mirror.now(&b).is_some());
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_empty_until_it_is() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("late").await;
    let mirror = Mirror::of(&cluster.admin()).await;
    let name = Name::new("VirtualService", &namespace, "a");
    // Without it nobody would ever be ready in a cluster without the definitions.
    mirror.synced().await;

    kubectl.apply(&virtual_services(&["v1", "v1beta1"])).await;
    let wait = ["wait", "--for=condition=Established", "--all", "crd"];
    kubectl.done(&wait, "").await;
    kubectl.apply(&route(&namespace, "a", "b")).await;
    mirror.resource(&name, |_| true).await;

    // Objects go with their definition.
    let definition = "virtualservices.networking.istio.io";
    kubectl.done(&["delete", "crd", definition], "").await;
    mirror.gone(&name).await;

    // A cluster of old serves another version.
    kubectl.apply(&virtual_services(&["v1alpha3"])).await;
    kubectl.done(&wait, "").await;
    let old = route(&namespace, "a", "c").replace("istio.io/v1", "istio.io/v1alpha3");
    kubectl.apply(&old).await;
    mirror.resource(&name, |_| true).await;
}

#[tokio::test]
async fn a_watch_whose_history_is_gone_lists_again_and_nothing_vanishes_meanwhile() {
    let mut cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("expired").await;
    let [stays, goes, comes] =
        ["stays", "goes", "comes"].map(|name| Name::new("Service", &namespace, name));
    for name in [&stays, &goes] {
        kubectl.apply(&service(&namespace, &name.name, 80)).await;
    }
    let gate = Gate::before(cluster.api_addr()).await;
    let mirror = Mirror::of(&cluster.admin_at(gate.addr())).await;
    mirror.synced().await;
    mirror.resource(&goes, |_| true).await;
    mirror.guard(&stays);
    let lists = mirror.lists("Service");

    // Away from the API server while what happened there is forgotten.
    gate.shut();
    kubectl
        .done(&["delete", "service", "-n", &namespace, "goes"], "")
        .await;
    kubectl.apply(&service(&namespace, "comes", 80)).await;
    cluster.compact().await;
    // It knows history from its own memory, too.
    cluster.kill_api();
    cluster.start_api().await;
    gate.open();

    mirror.gone(&goes).await;
    mirror.resource(&comes, |_| true).await;
    assert!(mirror.expired("Service") > 0, "the watch did not expire");
    assert!(mirror.lists("Service") > lists, "it was not listed again");
    assert_eq!(mirror.losses(), 0, "{stays} was gone for a while");
}

#[tokio::test]
async fn a_watch_that_was_cut_off_goes_on_where_it_was() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("resumed").await;
    let [before, meanwhile] =
        ["before", "meanwhile"].map(|name| Name::new("Service", &namespace, name));
    let gate = Gate::before(cluster.api_addr()).await;
    kubectl.apply(&service(&namespace, "before", 80)).await;
    let mirror = Mirror::of(&cluster.admin_at(gate.addr())).await;
    mirror.synced().await;
    let lists = mirror.lists("Service");

    gate.shut();
    kubectl.apply(&service(&namespace, "meanwhile", 80)).await;
    kubectl
        .done(&["delete", "service", "-n", &namespace, "before"], "")
        .await;
    gate.open();

    mirror.resource(&meanwhile, |_| true).await;
    mirror.gone(&before).await;
    assert_eq!(
        mirror.lists("Service"),
        lists,
        "everything was listed again"
    );
}

#[tokio::test]
async fn a_bad_object_is_told_with_its_reasons_and_stops_nothing() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("bad").await;
    kubectl.apply(&virtual_services(&["v1"])).await;
    let wait = ["wait", "--for=condition=Established", "--all", "crd"];
    kubectl.done(&wait, "").await;
    let mirror = Mirror::of(&cluster.admin()).await;
    let [bad, good] = ["bad", "good"].map(|name| Name::new("VirtualService", &namespace, name));

    let typo = route(&namespace, "bad", "a").replace("hosts: [bad]", "hosts: {bad: 1}");
    kubectl.apply(&typo).await;
    kubectl.apply(&route(&namespace, "good", "a")).await;

    mirror.resource(&good, |_| true).await;
    let is_refused = |object: &Option<Object>| match object {
        Some(Object::Refused(it)) => it.reasons.iter().any(|it| it.starts_with("spec.hosts")),
        Some(Object::Resource(_) | Object::Pod(_) | Object::Node(_)) | None => false,
    };
    mirror.object(&bad, is_refused).await;
    kubectl.apply(&route(&namespace, "bad", "a")).await;
    mirror.resource(&bad, |_| true).await;
}

#[tokio::test]
async fn pods_and_nodes_are_told_as_far_as_endpoints_need_them() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("pods").await;
    let node = format!("node-{namespace}");
    kubectl
        .apply(&format!(
            "
apiVersion: v1
kind: Node
metadata:
  name: {node}
  labels: {{topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: {namespace}, labels: {{app: a, version: v1}}}}
spec:
  nodeName: {node}
  containers: [{{name: a, image: a}}]
"
        ))
        .await;
    let mirror = Mirror::of(&cluster.admin()).await;
    let name = Name::new("Pod", &namespace, "a");

    let status =
        r#"{"status": {"phase": "Running", "podIPs": [{"ip": "10.1.2.3"}], "podIP": "10.1.2.3"}}"#;
    let patch = [
        "patch",
        "pod",
        "-n",
        &namespace,
        "a",
        "--subresource=status",
        "--type=merge",
    ];
    kubectl
        .done(&[&patch[..], &["-p", status]].concat(), "")
        .await;

    let expected: IpAddr = [10, 1, 2, 3].into();
    let is_running = |object: &Option<Object>| {
        matches!(object, Some(Object::Pod(pod)) if pod.addresses == [expected]
            && pod.labels["version"] == "v1"
            && pod.service_account == "default"
            && *pod.node == *node)
    };
    mirror.object(&name, is_running).await;
    let is_placed = |object: &Option<Object>| matches!(object, Some(Object::Node(node)) if node.region == "r" && node.zone == "z");
    mirror
        .object(&Name::new("Node", "", &node), is_placed)
        .await;

    // A pod that has ended gives its address to another.
    let ended = r#"{"status": {"phase": "Succeeded"}}"#;
    kubectl
        .done(&[&patch[..], &["-p", ended]].concat(), "")
        .await;
    mirror.gone(&name).await;
}

#[tokio::test]
async fn of_secrets_only_those_that_gateways_may_name_are_told() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("secrets").await;
    let secret = |name: &str, entries: &str| {
        format!(
            "
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
stringData: {{{entries}}}
---"
        )
    };
    let all = [
        secret("password", "password: a"),
        secret("authority", "ca-key.pem: a, ca-cert.pem: a"),
        secret("gateway", "tls.crt: a, tls.key: a, note: a"),
    ];
    kubectl.apply(&all.concat()).await;
    let mirror = Mirror::of(&cluster.admin()).await;
    let name = |name: &str| Name::new("Secret", &namespace, name);

    let seen = mirror.resource(&name("gateway"), |_| true).await;
    let Spec::Secret(content) = &seen.spec else {
        panic!("{seen} is no secret");
    };
    let entries: Vec<&str> = content.data.names().collect();
    assert_eq!(entries, ["tls.crt", "tls.key"]);
    mirror.synced().await;
    assert!(mirror.now(&name("password")).is_none());
    assert!(mirror.now(&name("authority")).is_none());
}

#[tokio::test]
async fn secrets_of_some_namespaces_are_all_that_need_be_readable() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let [one, two, other] = [
        cluster.namespace("secrets-one").await,
        cluster.namespace("secrets-two").await,
        cluster.namespace("secrets-other").await,
    ];
    for namespace in [&one, &two, &other] {
        let create = ["create", "secret", "generic", "a", "-n", namespace];
        kubectl
            .done(&[&create[..], &["--from-literal=cert=a"]].concat(), "")
            .await;
    }
    let settings = Settings {
        secret_namespaces: vec![one.clone(), two.clone()],
        ..Settings::default()
    };
    let mirror = Mirror::with(&cluster.admin(), settings).await;
    let name = |namespace: &str| Name::new("Secret", namespace, "a");

    mirror.synced().await;
    assert!(mirror.now(&name(&one)).is_some());
    assert!(mirror.now(&name(&two)).is_some());
    assert!(mirror.now(&name(&other)).is_none());

    kubectl
        .done(&["delete", "secret", "-n", &one, "a"], "")
        .await;
    mirror.gone(&name(&one)).await;
    assert!(mirror.now(&name(&two)).is_some());
}

#[tokio::test]
async fn the_settings_of_the_mesh_count_in_the_root_namespace_only() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let (root, other) = (
        cluster.namespace("root").await,
        cluster.namespace("other").await,
    );
    let map = |namespace: &str| {
        format!(
            "
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: {namespace}}}
data: {{mesh: 'trustDomain: shop.example'}}
---"
        )
    };
    kubectl.apply(&[map(&root), map(&other)].concat()).await;
    let settings = Settings {
        root_namespace: root.clone(),
        ..Settings::default()
    };
    let mirror = Mirror::with(&cluster.admin(), settings).await;

    mirror
        .resource(&Name::new("MeshConfig", &root, "istio"), |_| true)
        .await;
    assert!(
        mirror
            .now(&Name::new("MeshConfig", &other, "istio"))
            .is_none()
    );
}

#[tokio::test]
async fn whoever_may_not_list_is_never_ready_and_is_told_why() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("rights").await;
    let kubeconfig = cluster.account_kubeconfig(&namespace, "default").await;
    let mirror = Mirror::of(&kubeconfig).await;

    let forbidden = async || mirror.failures("Secret", "forbidden");
    eventually("a refusal", forbidden, |failures| *failures > 0).await;
    assert!(!mirror.is_synced());
}

#[tokio::test]
async fn a_server_that_cannot_stream_lists_is_read_page_by_page() {
    let cluster = Cluster::start_with(&["--feature-gates=WatchList=false"]).await;
    let kubectl = cluster.kubectl();
    let namespace = cluster.namespace("pages").await;
    // More than one page.
    let last = 600;
    let services: String = (0..=last)
        .map(|index| format!("{}---", service(&namespace, &format!("s{index}"), 80)))
        .collect();
    kubectl.done(&["create", "-f", "-"], &services).await;
    let mirror = Mirror::of(&cluster.admin()).await;

    mirror.synced().await;
    let listed = |index| mirror.now(&Name::new("Service", &namespace, &format!("s{index}")));
    let missing: Vec<u32> = (0..=last)
        .filter(|index| listed(*index).is_none())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");

    kubectl
        .done(&["delete", "service", "-n", &namespace, "s7"], "")
        .await;
    mirror.gone(&Name::new("Service", &namespace, "s7")).await;
}
