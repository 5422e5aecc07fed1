use super::*;
use crate::source::kubernetes::kind::KINDS;
use config::resource::Spec;
use proptest::prelude::*;
use serde_json::json;

fn read(kind: &str, value: Value) -> Read {
    let kind = KINDS.iter().find(|it| it.name == kind);
    object(kind.expect("a kind that is watched"), value)
}

fn kept(kind: &str, value: Value) -> Object {
    match read(kind, value) {
        Read::Object(object) => object,
        Read::NotOurs(name) => panic!("{name} is not ours"),
    }
}

#[test]
fn of_a_pod_there_is_what_endpoints_need() {
    let pod = kept(
        "Pod",
        json!({
            "metadata": {"name": "a-1", "namespace": "shop", "labels": {"app": "a"}, "uid": "1"},
            "spec": {"serviceAccountName": "a", "nodeName": "n", "containers": [{"name": "a"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "no address"}]},
        }),
    );

    let Object::Pod(pod) = pod else {
        panic!("a pod: {pod:?}");
    };
    assert_eq!(
        (&*pod.namespace, &*pod.name, &*pod.node),
        ("shop", "a-1", "n")
    );
    assert_eq!(pod.service_account, "a");
    assert_eq!(pod.labels["app"], "a");
    let addresses = ["10.0.0.1", "fd00::1"].map(|it| it.parse::<IpAddr>().expect("an address"));
    assert_eq!(pod.addresses, addresses);
}

#[test]
fn a_pod_that_was_not_started_has_no_address_and_no_node() {
    let pod = kept("Pod", json!({"metadata": {"name": "a", "namespace": "b"}}));

    let expected = Pod {
        namespace: "b".into(),
        name: "a".into(),
        ..Pod::default()
    };
    assert!(matches!(pod, Object::Pod(pod) if pod == expected));
}

#[test]
fn a_node_says_where_it_is() {
    let node = kept(
        "Node",
        json!({"metadata": {"name": "n", "labels": {
            "topology.kubernetes.io/region": "r",
            "topology.kubernetes.io/zone": "z",
            "topology.istio.io/subzone": "s",
        }}}),
    );

    let expected = Node {
        name: "n".into(),
        region: "r".to_owned(),
        zone: "z".to_owned(),
        subzone: "s".to_owned(),
    };
    assert!(matches!(node, Object::Node(node) if node == expected));
}

fn secret(kind: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": {"name": "s", "namespace": "shop", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "all of it once more",
            "kept": "yes",
        }},
    })
}

#[test]
fn of_a_secret_there_is_only_what_gateways_use() {
    let data =
        json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca-key.pem": "Yw==", "password": "ZA=="});
    let secret = kept("Secret", secret("kubernetes.io/tls", &data));

    let Object::Resource(resource) = secret else {
        panic!("a resource: {secret:?}");
    };
    let Spec::Secret(content) = &resource.spec else {
        panic!("a secret: {resource}");
    };
    assert_eq!(
        content.data.names().collect::<Vec<_>>(),
        ["tls.crt", "tls.key"]
    );
    assert_eq!(
        resource.meta.annotations.keys().collect::<Vec<_>>(),
        ["kept"]
    );
}

#[test]
fn secrets_without_certificates_are_not_ours() {
    let password = json!({"password": "YQ=="});
    let certificate = json!({"tls.crt": "YQ=="});

    for secret in [
        secret("Opaque", &password),
        secret("Opaque", &Value::Null),
        secret("kubernetes.io/service-account-token", &certificate),
    ] {
        assert!(matches!(read("Secret", secret), Read::NotOurs(_)));
    }
}

#[test]
fn a_secret_beyond_all_measure_is_refused() {
    let data = json!({"cert": "A".repeat(SECRET_CHARS_MAX + 1)});
    let refused = kept("Secret", secret("Opaque", &data));

    assert!(
        matches!(&refused, Object::Refused(it) if it.reasons[0].contains("262145 characters")),
        "{refused:?}"
    );
}

#[test]
fn the_settings_of_the_mesh_are_in_the_one_config_map() {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "trustDomain: shop.example"},
    });

    let Object::Resource(resource) = kept("MeshConfig", map) else {
        panic!("a resource");
    };
    assert_eq!(
        Name::of(&resource),
        Name::new("MeshConfig", "istio-system", "istio")
    );
}

#[test]
fn a_field_that_a_newer_definition_has_stops_nothing() {
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "Gateway",
        "metadata": {"name": "g", "namespace": "shop", "managedFields": [{"manager": "kubectl"}]},
        "spec": {
            "selector": {"a": "b"}, "futureField": 1,
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
        "status": {"conditions": []},
    });

    assert!(matches!(kept("Gateway", gateway), Object::Resource(_)));
}

#[test]
fn a_node_is_in_no_namespace() {
    let value = json!({"metadata": {"name": "n", "namespace": "shop"}});
    let kind = KINDS.iter().find(|it| it.name == "Node");

    let called = name(kind.expect("a kind that is watched"), &value);

    assert_eq!(kept("Node", value).name(), called);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z.]{0,8}".prop_map(Value::from),
    ];
    let field = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("status"),
        Just("data"),
        Just("type"),
        Just("name"),
        Just("namespace"),
        Just("labels"),
        Just("annotations"),
        Just("podIPs"),
        Just("ip"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever an API server sends, it is read or refused, under its own name.
    #[test]
    fn any_object_is_read_or_refused(value in any_json(), kind in 0..KINDS.len()) {
        let kind = &KINDS[kind];
        let expected = name(kind, &value);
        match object(kind, value) {
            Read::Object(object) => {
                prop_assert_eq!(object.name(), expected);
                if let Object::Refused(refused) = object {
                    prop_assert!(!refused.reasons.is_empty());
                }
            }
            Read::NotOurs(name) => prop_assert_eq!(name, expected),
        }
    }
}
