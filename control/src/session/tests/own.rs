//! What a proxy is told of itself.

use super::*;
use crate::event::{Event, Node, Object, Pod};
use crate::fixture::{index, next};

/// A mesh in which the proxy's pod is in this zone.
fn placed(zone: &str) -> Arc<Generation> {
    let mut index = index(MESH);
    let pod = Pod {
        namespace: "default".into(),
        name: "web-1".into(),
        node: "a".into(),
        ..Pod::default()
    };
    let node = Node {
        name: "a".into(),
        region: "north".into(),
        zone: zone.to_owned(),
        ..Node::default()
    };
    index.apply(Event::Applied(vec![Object::Pod(pod), Object::Node(node)]));
    next(&mut index).0
}

fn table(zone: &str, has: &[(&str, &str)]) -> Table {
    let mut table = Table::new(MESH);
    table.generation = placed(zone);
    table.subscribe(WORKLOAD, has);
    for type_url in [RESOURCES, ENDPOINTS] {
        table.subscribe(type_url, &[]);
    }
    table
}

#[test]
fn a_proxy_hears_where_it_is_before_anything_else_and_again_when_that_changed() {
    let mut table = table("n1", &[]);

    assert_eq!(table.settle(), ["+own", ENDPOINTS, RESOURCES]);
    table.session.renew();
    assert!(table.settle().is_empty());
    table.generation = placed("n2");
    table.session.renew();
    let told = table.tell().expect("news");
    assert_eq!(told.resources[0].version, "north/n2");
    assert!(table.told().is_empty(), "one at a time");
}

#[test]
fn a_proxy_that_knows_where_it_is_hears_nothing_of_it_nor_that_its_pod_is_not_known_any_longer() {
    let mut table = table("n1", &[("own", "north/n1")]);
    assert_eq!(table.settle(), [ENDPOINTS, RESOURCES]);

    table.renew(MESH);

    assert!(table.settle().is_empty());
}

#[test]
fn a_proxy_that_does_not_ask_where_it_is_is_not_told() {
    let mut table = Table::new(MESH);
    table.generation = placed("n1");
    for type_url in [RESOURCES, ENDPOINTS] {
        table.subscribe(type_url, &[]);
    }

    assert_eq!(table.settle(), [ENDPOINTS, RESOURCES]);
}
