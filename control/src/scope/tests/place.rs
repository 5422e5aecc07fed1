//! Where workloads are.

use std::collections::BTreeMap;

use super::*;
use crate::event::{Event, Node, Object, Pod};
use crate::fixture::{index, next};

/// Something else than pods and nodes.
const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
";

/// The pod of the proxy, on `node`.
fn pod(node: &str, labels: &[(&str, &str)]) -> Object {
    let labels = labels.iter();
    let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Object::Pod(Pod {
        namespace: "default".into(),
        name: "web-1".into(),
        labels: labels.collect::<BTreeMap<_, _>>(),
        node: node.into(),
        ..Pod::default()
    })
}

fn node(name: &str, [region, zone, subzone]: [&str; 3]) -> Object {
    Object::Node(Node {
        name: name.into(),
        region: region.to_owned(),
        zone: zone.to_owned(),
        subzone: subzone.to_owned(),
    })
}

/// What a proxy needs where there are these.
fn scope_of(objects: Vec<Object>) -> Scope {
    let mut index = index(MESH);
    index.apply(Event::Applied(objects));
    scope(&next(&mut index).0, &proxy("default", &[]), [])
}

#[test]
fn a_workload_is_where_its_node_is_unless_its_pod_says_otherwise() {
    let said = ("istio-locality", "south.s1.rack-3");
    for (parts, labels, expected) in [
        (["north", "n1", "rack-7"], &[][..], Some("north/n1/rack-7")),
        (["north", "n1", ""], &[], Some("north/n1")),
        (["north", "", ""], &[], Some("north")),
        (["", "n1", ""], &[], Some("/n1")),
        (["", "", ""], &[], None),
        (["north", "n1", ""], &[said], Some("south/s1/rack-3")),
    ] {
        let scope = scope_of(vec![pod("a", labels), node("a", parts)]);

        assert_eq!(scope.locality.as_deref(), expected, "{parts:?} {labels:?}");
    }
}

#[test]
fn a_workload_whose_pod_or_node_is_not_known_yet_waits_for_them() {
    let elsewhere = node("b", ["north", "n1", ""]);
    let without_pod = scope_of(vec![elsewhere.clone()]);
    let without_node = scope_of(vec![pod("a", &[]), elsewhere]);

    assert_eq!(
        (&without_pod.locality, &without_node.locality),
        (&None, &None)
    );
    let own = Touched::Pod(("default".into(), "web-1".into()));
    assert!(without_pod.depends_on.contains(&own));
    assert!(without_node.depends_on.contains(&Touched::Node("a".into())));
}

#[test]
fn a_node_that_comes_or_says_something_else_is_news_to_those_on_it() {
    let mut index = index(MESH);
    index.apply(Event::Applied(vec![pod("a", &[])]));
    next(&mut index);

    for parts in [["north", "n1", ""], ["north", "n2", ""]] {
        index.apply(Event::Applied(vec![node("a", parts)]));
        let (_, change) = next(&mut index);
        assert!(!change.structure);
        assert!(change.touched.contains(&Touched::Node("a".into())));
    }
    index.apply(Event::Applied(vec![node("a", ["north", "n2", ""])]));
    assert!(
        index.next(tokio::time::Instant::now()).is_none(),
        "it is the same"
    );
}
