use super::*;
use crate::status::ResourceStatus;
use crate::status::fixture::{TWO_FOR_ONE_HOST, hub, known};

fn resource<'r>(all: &'r [ResourceStatus], name: &str) -> &'r ResourceStatus {
    let found = all.iter().find(|it| it.name.to_string() == name);
    found.unwrap_or_else(|| panic!("{name} in {all:?}"))
}

#[test]
fn before_everything_was_listed_nothing_is_known() {
    let known = Known::new(hub(), "one".to_owned());

    let (proxies, resources) = (known.proxies(), known.resources());

    assert_eq!((proxies.replica.as_str(), proxies.generation), ("one", 0));
    assert_eq!(resources.generation, 0);
    assert!(resources.resources.is_empty() && proxies.proxies.is_empty());
}

#[test]
fn each_resource_says_what_became_of_it() {
    let resources = known(TWO_FOR_ONE_HOST).resources();

    assert_eq!(resources.generation, 1);
    let all = &resources.resources;
    let first = resource(all, "VirtualService/shop/first");
    assert!(first.accepted && first.version.is_some() && !first.is_troubled());
    let second = resource(all, "VirtualService/shop/second");
    let winner = "ignored in the mesh: VirtualService shop/first has this host and goes first";
    assert_eq!(second.conflicts, [format!("spec.hosts[0]: {winner}")]);
    let bad = resource(all, "Gateway/shop/bad");
    assert!(!bad.accepted && bad.version.is_none());
    assert_eq!(bad.reasons, ["spec.servers: <b>must</b> be a list"]);
}

#[test]
fn a_secret_is_counted_and_not_listed() {
    let resources = known(TWO_FOR_ONE_HOST).resources();

    assert_eq!(resources.counts.get("Secret"), Some(&1));
    let all = serde_json::to_string(&resources).expect("it is JSON");
    assert!(
        !all.contains("quiet") && !all.contains("very secret"),
        "{all}"
    );
}

#[test]
fn what_is_in_trouble_can_be_had_alone() {
    let troubled = known(TWO_FOR_ONE_HOST).troubled();

    let names = troubled.resources.iter().map(|it| it.name.to_string());
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["Gateway/shop/bad", "VirtualService/shop/second"]);
}
