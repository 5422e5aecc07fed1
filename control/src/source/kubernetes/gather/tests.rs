use super::*;
use crate::source::kubernetes::kind::KINDS;
use kube::runtime::watcher::Event as Step;
use serde_json::json;

fn gather(kind: &str) -> Gather {
    let kind = KINDS.iter().find(|it| it.name == kind);
    Gather::all(kind.expect("a kind that is watched"), "istio-system")
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    })
}

/// Events as text: `+a +b`, `-a`, `=a`.
fn told(events: &[Event]) -> Vec<String> {
    let line = |sign: &str, names: Vec<Name>| {
        let names = names.iter().map(|name| format!("{sign}{}", name.name));
        names.collect::<Vec<_>>().join(" ")
    };
    let names = |objects: &[Object]| objects.iter().map(Object::name).collect();
    let event = |event: &Event| match event {
        Event::Applied(objects) => line("+", names(objects)),
        Event::Deleted(gone) => line("-", gone.clone()),
        Event::Listed { objects, .. } => format!("list {}", line("=", names(objects))),
        Event::Everything(_) | Event::Synced => "other".to_owned(),
    };
    events.iter().map(event).collect()
}

#[test]
fn what_changes_together_is_told_together_and_in_order() {
    let mut gather = gather("Service");

    for step in [
        Step::Apply(service("a")),
        Step::Apply(service("b")),
        Step::Delete(service("a")),
        Step::Delete(service("b")),
        Step::Apply(service("b")),
    ] {
        assert_eq!(gather.take(step), Progress::Object);
    }

    assert_eq!(told(&gather.events()), ["+a +b", "-a -b", "+b"]);
    assert!(gather.events().is_empty());
}

#[test]
fn nothing_of_a_list_is_told_before_all_of_it_is_there() {
    let mut gather = gather("Service");

    assert_eq!(gather.take(Step::Init), Progress::Began);
    gather.take(Step::InitApply(service("a")));
    gather.take(Step::InitApply(service("b")));
    assert!(gather.events().is_empty());

    assert_eq!(gather.take(Step::InitDone), Progress::Listed);
    assert_eq!(told(&gather.events()), ["list =a =b"]);
}

#[test]
fn a_list_that_was_cut_off_leaves_nothing_to_the_next_one() {
    let mut gather = gather("Service");
    gather.take(Step::Init);
    gather.take(Step::InitApply(service("gone")));

    assert_eq!(gather.take(Step::Init), Progress::BeganAnew);
    gather.take(Step::InitApply(service("a")));
    gather.take(Step::InitDone);

    assert_eq!(told(&gather.events()), ["list =a"]);
    assert_eq!(gather.take(Step::Init), Progress::Began);
}

#[test]
fn an_object_that_cannot_be_used_is_among_the_others_with_reasons() {
    let mut gather = gather("VirtualService");
    let rule = |name: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        })
    };
    gather.take(Step::Init);
    gather.take(Step::InitApply(rule("bad", json!({"hosts": 7}))));
    gather.take(Step::InitApply(rule(
        "good",
        json!({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}),
    )));
    gather.take(Step::InitDone);

    let events = gather.events();

    let [Event::Listed { objects, .. }] = events.as_slice() else {
        panic!("one list: {events:?}");
    };
    assert!(
        matches!(&objects[0], Object::Refused(it) if it.reasons[0].starts_with("spec.hosts: ")),
        "{objects:?}"
    );
    assert!(matches!(&objects[1], Object::Resource(_)), "{objects:?}");
}

#[test]
fn a_secret_that_stops_being_of_use_is_gone() {
    let mut gather = gather("Secret");
    let secret = |data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "a", "namespace": "default"}, "data": data,
        })
    };
    gather.take(Step::Apply(secret(json!({"cert": "YQ==", "key": "YQ=="}))));
    gather.take(Step::Apply(secret(json!({"password": "YQ=="}))));

    assert_eq!(told(&gather.events()), ["+a", "-a"]);
}

#[test]
fn a_kind_that_is_not_there_is_an_empty_list() {
    let mut gather = gather("Service");
    gather.take(Step::Init);
    gather.take(Step::InitApply(service("a")));

    gather.nothing();

    assert_eq!(told(&gather.events()), ["list "]);
}

#[test]
fn a_list_of_one_namespace_takes_nothing_from_the_others() {
    let kind = KINDS.iter().find(|it| it.name == "Service");
    let mut gather = Gather::part(kind.expect("a kind that is watched"), "istio-system");
    let list = |gather: &mut Gather, names: &[&str]| {
        gather.take(Step::Init);
        for name in names {
            gather.take(Step::InitApply(service(name)));
        }
        gather.take(Step::InitDone);
        told(&gather.events())
    };

    assert_eq!(list(&mut gather, &["a", "b"]), ["+a +b"]);
    gather.take(Step::Apply(service("c")));
    gather.take(Step::Delete(service("a")));
    assert_eq!(told(&gather.events()), ["+c", "-a"]);
    // What vanished while nobody was watching goes.
    assert_eq!(list(&mut gather, &["b"]), ["-c", "+b"]);
    assert_eq!(list(&mut gather, &[]), ["-b"]);
}

#[test]
fn the_authority_of_the_mesh_is_no_secret_of_a_gateway() {
    let mut gather = gather("Secret");
    let secret = |namespace: &str, name: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"tls.crt": "YQ==", "tls.key": "YQ=="}})
    };

    gather.take(Step::Init);
    gather.take(Step::InitApply(secret("istio-system", "cacerts")));
    gather.take(Step::InitApply(secret("istio-system", "edge")));
    gather.take(Step::InitDone);
    assert_eq!(told(&gather.events()), ["list =edge"]);

    gather.take(Step::Apply(secret("istio-system", "cacerts")));
    gather.take(Step::Apply(secret("istio-system", "meshcontrol-ca")));
    assert_eq!(told(&gather.events()), ["-cacerts -meshcontrol-ca"]);
    gather.take(Step::Apply(secret("shop", "cacerts")));
    assert_eq!(told(&gather.events()), ["+cacerts"]);
}
