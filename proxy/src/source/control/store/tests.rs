use super::*;

const SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service",
    "metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 80}]}}"#;
const OTHER: &str = r#"{"apiVersion": "v1", "kind": "Service",
    "metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 81}]}}"#;
const BROKEN: &str = r#"{"apiVersion": "v1", "kind": "Service",
    "metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 0}]}}"#;

fn told<'t>(name: &'t str, version: &'t str, document: &'t str) -> Told<'t> {
    Told {
        name,
        version,
        document,
    }
}

fn apply(store: &mut Store, told: Told<'_>) -> Applied {
    let applied = store.apply(Share::Resources, std::iter::once(told), &[]);
    applied.expect("few resources")
}

fn ports(store: &Store) -> Vec<String> {
    store
        .resources()
        .iter()
        .map(|it| wire::document(it))
        .collect()
}

#[test]
fn what_cannot_be_used_stays_as_it_was_last_good_and_is_reported() {
    let mut store = Store::default();
    apply(&mut store, told("Service/b/a", "1", SERVICE));
    let good = ports(&store);

    let applied = apply(&mut store, told("Service/b/a", "2", BROKEN));

    assert!(!applied.changed);
    assert_eq!(applied.report.rejected.len(), 1);
    assert_eq!(applied.report.rejected[0].name, "Service/b/a");
    assert_eq!(ports(&store), good);
    let versions = store.versions(Share::Resources);
    assert_eq!(versions, [("Service/b/a".to_owned(), "1".to_owned())]);
    assert_eq!(store.rejected().len(), 1);

    assert!(apply(&mut store, told("Service/b/a", "3", OTHER)).changed);
    assert!(store.rejected().is_empty(), "it is good again");
}

#[test]
fn what_is_told_again_stays_the_same_object() {
    let mut store = Store::default();
    apply(&mut store, told("Service/b/a", "1", SERVICE));
    let before = store.resources();

    let applied = apply(&mut store, told("Service/b/a", "2", SERVICE));

    assert!(!applied.changed);
    assert!(Arc::ptr_eq(&before[0], &store.resources()[0]));
    assert_eq!(store.versions(Share::Resources)[0].1, "2");
}

#[test]
fn a_stream_of_one_type_changes_nothing_of_the_other() {
    let mut store = Store::default();
    let service = || std::iter::once(told("Service/b/a", "1", SERVICE));

    let applied = store.apply(Share::Endpoints, service(), &[]);
    assert_eq!(applied.expect("few").report.rejected.len(), 1);
    assert_eq!(store.len(), 0);

    apply(&mut store, told("Service/b/a", "1", SERVICE));
    let applied = store.apply(Share::Endpoints, std::iter::empty(), &["Service/b/a"]);
    assert!(!applied.expect("few").changed);
    let applied = store.apply(Share::Resources, std::iter::empty(), &["Service/b/a"]);
    assert!(applied.expect("few").changed);
    assert_eq!(store.len(), 0);
}

#[test]
fn the_order_does_not_depend_on_when_they_came() {
    let named = |name: &str| SERVICE.replace("\"a\"", &format!("\"{name}\""));
    let mut orders = Vec::new();
    for names in [["x", "y", "z"], ["z", "x", "y"]] {
        let mut store = Store::default();
        for name in names {
            apply(
                &mut store,
                told(&format!("Service/b/{name}"), "1", &named(name)),
            );
        }
        orders.push(ports(&store));
    }
    assert_eq!(orders[0], orders[1]);
}

#[test]
fn what_never_was_good_is_named_so_that_it_is_told_when_it_is_gone() {
    let mut store = Store::default();
    apply(&mut store, told("Service/b/a", "1", BROKEN));

    let versions = store.versions(Share::Resources);
    assert_eq!(versions, [("Service/b/a".to_owned(), String::new())]);
    assert!(store.versions(Share::Endpoints).is_empty());

    let gone = store.apply(Share::Resources, std::iter::empty(), &["Service/b/a"]);
    assert!(gone.expect("few").report.rejected.is_empty());
    assert!(store.rejected().is_empty());
    assert!(store.versions(Share::Resources).is_empty());
}
