//! What is told makes generations.

use std::net::IpAddr;

use super::*;
use crate::event::{Node, Pod, Refused};
use crate::fixture::{index, next, objects};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.1.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}
";
const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-a}, nodeName: n1}
- {addresses: [10.0.0.2]}
";

fn slice_name() -> Name {
    Name::new("EndpointSlice", "default", "web-1")
}

fn service_key() -> ServiceKey {
    ("default".into(), "web".into())
}

fn pod(name: &str, ip: &str, version: &str) -> Pod {
    let labels = [("app", "web"), ("version", version)];
    Pod {
        namespace: "default".into(),
        name: name.into(),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        service_account: "web".to_owned(),
        node: "n2".into(),
        addresses: vec![ip.parse::<IpAddr>().expect("an address")],
    }
}

/// Label `version`, account and locality of each endpoint of the slice.
fn endpoints(generation: &Generation) -> Vec<(Option<String>, Option<String>, String)> {
    let entry = generation.entries.get(&slice_name()).expect("the slice");
    let config::Spec::EndpointSlice(slice) = &entry.resource.spec else {
        panic!("no slice");
    };
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let version = endpoint.labels.as_ref().and_then(|it| it.get("version"));
        let topology: Vec<&str> = endpoint
            .deprecated_topology
            .values()
            .map(String::as_str)
            .collect();
        (
            version.cloned(),
            endpoint.service_account.clone(),
            topology.join("/"),
        )
    });
    endpoints.collect()
}

#[test]
fn nothing_is_published_before_everything_was_listed() {
    let mut index = Index::new(MeshSettings::default());
    index.apply(Event::Applied(objects(SERVICE)));
    assert!(index.next(Instant::now()).is_none());

    index.apply(Event::Synced);

    let (generation, change) = next(&mut index);
    assert!(change.structure);
    assert_eq!((generation.number, generation.entries.len()), (1, 1));
    assert!(index.next(Instant::now()).is_none());
}

#[test]
fn what_is_told_again_in_the_same_words_changes_nothing() {
    let mut index = index(&format!("{SERVICE}---{SLICE}"));
    let (first, _) = next(&mut index);

    index.apply(Event::Everything(objects(&format!("{SERVICE}---{SLICE}"))));

    assert!(index.next(Instant::now()).is_none());
    index.apply(Event::Applied(objects(&SERVICE.replace("80", "81"))));
    let (second, change) = next(&mut index);
    assert!(change.structure && change.touched.is_empty());
    let entry = |generation: &Generation| generation.entries.get(&slice_name()).cloned();
    let (before, after) = (
        entry(&first).expect("there"),
        entry(&second).expect("there"),
    );
    assert!(Arc::ptr_eq(&before.resource, &after.resource));
    assert!(!Arc::ptr_eq(&first.mesh, &second.mesh));
}

#[test]
fn a_change_of_endpoints_leaves_the_mesh_and_says_whose_they_are() {
    let mut index = index(&format!("{SERVICE}---{SLICE}"));
    let (first, _) = next(&mut index);

    index.apply(Event::Applied(objects(
        &SLICE.replace("10.0.0.2", "10.0.0.3"),
    )));

    let (second, change) = next(&mut index);
    assert!(!change.structure);
    let ip = |text: &str| Touched::Address(text.parse().expect("an address"));
    let service = Touched::Service(service_key());
    let touched = [service, ip("10.0.0.2"), ip("10.0.0.3")];
    assert_eq!(change.touched, touched.into_iter().collect());
    assert!(Arc::ptr_eq(&first.mesh, &second.mesh));
    let at = |ip: &str| {
        second
            .served_at
            .get(&ip.parse::<IpAddr>().expect("an address"))
    };
    assert!(at("10.0.0.2").is_none());
    assert_eq!(
        at("10.0.0.3").map(|it| it.to_vec()),
        Some(vec![service_key()])
    );
}

#[test]
fn endpoints_take_over_what_is_known_of_their_pods_and_nodes() {
    let mut index = index(SLICE);
    assert_eq!(endpoints(&next(&mut index).0)[0].0, None);
    let node = |name: &str, zone: &str| {
        Object::Node(Node {
            name: name.into(),
            region: "r".to_owned(),
            zone: zone.to_owned(),
            subzone: String::new(),
        })
    };

    // The first by its name, the second by its address, in any order.
    let by_address = Object::Pod(pod("web-b", "10.0.0.2", "v2"));
    index.apply(Event::Applied(vec![
        by_address,
        node("n1", "z1"),
        node("n2", "z2"),
    ]));
    let by_name = Object::Pod(pod("web-a", "10.9.9.9", "v1"));
    index.apply(Event::Applied(vec![by_name]));

    let (generation, change) = next(&mut index);
    assert!(change.touched.contains(&Touched::Service(service_key())));
    let known = |version: &str, place: &str| {
        (
            Some(version.to_owned()),
            Some("web".to_owned()),
            place.to_owned(),
        )
    };
    assert_eq!(
        endpoints(&generation),
        [known("v1", "r/z1"), known("v2", "r/z2")]
    );
}

/// Versions of the endpoints of the slice by address.
fn versions(generation: &Generation) -> Vec<(String, Option<String>)> {
    let entry = generation.entries.get(&slice_name()).expect("the slice");
    let config::Spec::EndpointSlice(slice) = &entry.resource.spec else {
        panic!("no slice");
    };
    let address = slice.endpoints.iter().map(|it| it.addresses[0].clone());
    let versions = endpoints(generation).into_iter().map(|it| it.0);
    address.zip(versions).collect()
}

#[test]
fn an_endpoint_waits_for_the_pod_that_it_names_where_pods_are_told_of() {
    let mut index = Index::new(MeshSettings::default());
    index.apply(Event::Applied(objects(SLICE)));
    let nothing = Event::Listed {
        kind: "Pod",
        objects: Vec::new(),
    };
    index.apply(nothing);
    index.apply(Event::Synced);

    let (before, _) = next(&mut index);

    let unnamed = ("10.0.0.2".to_owned(), None);
    assert_eq!(versions(&before), std::slice::from_ref(&unnamed));
    let at: IpAddr = "10.0.0.1".parse().expect("an address");
    assert!(before.served_at.get(&at).is_none());

    let pod = Object::Pod(pod("web-a", "10.0.0.1", "v1"));
    index.apply(Event::Applied(vec![pod]));

    let (after, change) = next(&mut index);
    assert!(change.touched.contains(&Touched::Service(service_key())));
    let named = ("10.0.0.1".to_owned(), Some("v1".to_owned()));
    assert_eq!(versions(&after), [named, unnamed]);
}

#[test]
fn an_endpoint_whose_pod_is_gone_stays_as_it_was_until_its_slice_follows() {
    let mut index = index(SLICE);
    let pod = Object::Pod(pod("web-a", "10.0.0.1", "v1"));
    index.apply(Event::Applied(vec![pod]));
    let (before, _) = next(&mut index);
    assert_eq!(endpoints(&before)[0].0.as_deref(), Some("v1"));

    index.apply(Event::Deleted(vec![Name::new("Pod", "default", "web-a")]));
    let (gone, change) = next(&mut index);
    assert_eq!(endpoints(&gone), endpoints(&before));
    assert!(!change.touched.contains(&Touched::Service(service_key())));

    // The slice says first that it ends, and goes on naming it.
    let ends = SLICE.replace(
        "nodeName: n1",
        "nodeName: n1, conditions: {ready: false, terminating: true}",
    );
    index.apply(Event::Applied(objects(&ends)));
    assert_eq!(endpoints(&next(&mut index).0), endpoints(&before));

    // Another pod of this name is another address, of which nothing was told.
    index.apply(Event::Applied(objects(
        &SLICE.replace("10.0.0.1", "10.0.0.9"),
    )));
    let only = ("10.0.0.2".to_owned(), None);
    assert_eq!(versions(&next(&mut index).0), [only]);
}

#[test]
fn a_folder_has_no_pods_to_wait_for() {
    let (generation, _) = next(&mut index(SLICE));

    assert_eq!(endpoints(&generation).len(), 2);
}

#[test]
fn a_pod_that_nobody_names_touches_no_service() {
    let mut index = index(SLICE);
    let named = Object::Pod(pod("web-a", "10.0.0.1", "v1"));
    index.apply(Event::Applied(vec![named]));
    next(&mut index);

    index.apply(Event::Applied(vec![Object::Pod(pod(
        "job", "10.5.5.5", "v1",
    ))]));

    let (_, change) = next(&mut index);
    let only = Touched::Pod(("default".into(), "job".into()));
    assert_eq!(change.touched, [only].into_iter().collect());
}

#[test]
fn an_address_of_two_pods_tells_nothing_of_an_endpoint() {
    let mut index = index(SLICE);
    let pods = [
        pod("web-a", "10.0.0.1", "v1"),
        pod("web-b", "10.0.0.2", "v2"),
        pod("web-c", "10.0.0.2", "v3"),
    ];

    index.apply(Event::Applied(pods.map(Object::Pod).into()));

    assert_eq!(endpoints(&next(&mut index).0)[1].0, None);
    index.apply(Event::Deleted(vec![Name::new("Pod", "default", "web-c")]));
    assert_eq!(endpoints(&next(&mut index).0)[1].0.as_deref(), Some("v2"));
}

#[test]
fn what_is_refused_stays_in_its_last_good_form() {
    let mut index = index(SERVICE);
    let (first, _) = next(&mut index);
    let name = Name::new("Service", "default", "web");

    index.apply(Event::Applied(vec![Object::Refused(Refused {
        name: name.clone(),
        reasons: vec!["wrong".to_owned()],
    })]));

    let (second, change) = next(&mut index);
    assert!(!change.structure && change.touched.is_empty());
    assert_eq!(second.refused.get(&name), Some(&vec!["wrong".to_owned()]));
    assert!(Arc::ptr_eq(&first.mesh, &second.mesh));
    assert!(second.entries.contains_key(&name));
    index.apply(Event::Applied(objects(SERVICE)));
    assert!(next(&mut index).0.refused.is_empty());
}

#[test]
fn when_what_never_had_a_good_form_is_gone_everybody_is_told() {
    let mut index = index(SERVICE);
    let name = Name::new("Service", "default", "other");
    index.apply(Event::Applied(vec![Object::Refused(Refused {
        name: name.clone(),
        reasons: vec!["wrong".to_owned()],
    })]));
    next(&mut index);

    index.apply(Event::Deleted(vec![name]));

    let (generation, change) = next(&mut index);
    assert!(change.structure && generation.refused.is_empty());
}

#[test]
fn what_a_list_does_not_name_is_gone_and_other_kinds_stay() {
    let mut index = index(&format!("{SERVICE}---{SLICE}"));
    index.apply(Event::Applied(vec![Object::Pod(pod(
        "web-a", "10.0.0.1", "v1",
    ))]));
    next(&mut index);

    index.apply(Event::Listed {
        kind: "EndpointSlice",
        objects: Vec::new(),
    });

    let (generation, change) = next(&mut index);
    assert_eq!((generation.entries.len(), generation.pods.len()), (1, 1));
    assert!(generation.slices.is_empty() && generation.served_at.is_empty());
    assert!(!change.structure);
    index.apply(Event::Everything(Vec::new()));
    let (generation, _) = next(&mut index);
    assert!(generation.entries.is_empty() && generation.pods.is_empty());
}

#[test]
fn a_slice_that_moves_to_another_service_is_a_change_of_both() {
    let mut index = index(SLICE);
    next(&mut index);

    let moved = SLICE.replace("service-name: web", "service-name: shop");
    index.apply(Event::Applied(objects(&moved)));

    let (generation, change) = next(&mut index);
    let shop: ServiceKey = ("default".into(), "shop".into());
    for key in [service_key(), shop.clone()] {
        assert!(change.touched.contains(&Touched::Service(key)));
    }
    assert!(generation.slices.get(&service_key()).is_none());
    assert_eq!(generation.slices.get(&shop).map(|it| it.len()), Some(1));
    let at = generation
        .served_at
        .get(&"10.0.0.1".parse::<IpAddr>().expect("an address"));
    assert_eq!(at.map(|it| it.to_vec()), Some(vec![shop]));
}

#[test]
fn an_address_in_two_slices_of_a_service_is_served_until_both_are_gone() {
    let other = SLICE.replace("name: web-1", "name: web-2");
    let mut index = index(&[SERVICE, SLICE, &other].join("---"));
    let at: IpAddr = "10.0.0.2".parse().expect("an address");
    let serving = |index: &mut Index| next(index).0.served_at.get(&at).cloned();
    let key: Arc<[ServiceKey]> = [service_key()].into();
    assert_eq!(serving(&mut index), Some(Arc::clone(&key)));

    let elsewhere = SLICE.replace("10.0.0.", "10.0.1.");
    index.apply(Event::Applied(objects(&elsewhere)));
    assert_eq!(serving(&mut index), Some(key), "the other slice has it");
    let gone = Name::new("EndpointSlice", "default", "web-2");
    index.apply(Event::Deleted(vec![gone]));
    assert_eq!(serving(&mut index), None);
}
