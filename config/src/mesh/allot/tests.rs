use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::mesh::fixture::{mesh, viewer};

/// A claim for each host, the first the oldest.
fn claims(hosts: &[String]) -> Vec<Claim<'_>> {
    let mut claims = Vec::new();
    for (age, host) in (0..).zip(hosts) {
        claims.push(Claim {
            created: Some((age, 0)),
            namespace: "default",
            host,
        });
    }
    claims
}

fn slots_of(claims: &[Claim<'_>], slots: u16) -> BTreeMap<String, u16> {
    let placed = places(claims.to_vec(), slots);
    let by_host = placed
        .into_iter()
        .map(|(claim, slot)| (claim.host.to_owned(), slot));
    by_host.collect()
}

fn entry(name: &str, more: &str, spec: &str) -> String {
    format!(
        "kind: ServiceEntry\nmetadata: {{name: {name}{more}}}\n\
         spec: {{hosts: [{name}.test], ports: [{{number: 80, name: tcp, protocol: TCP}}], {spec}}}"
    )
}

fn allotted(yaml: &str) -> Vec<Option<Allotted>> {
    let mesh = mesh(yaml);
    mesh.services().map(|it| mesh.allotted(it)).collect()
}

#[test]
fn the_number_of_addresses_is_a_prime_that_fits() {
    let is_prime = (2..=256).all(|divisor| !SLOTS.is_multiple_of(divisor));

    assert!(is_prime);
    assert!(u32::from(SLOTS) <= 256 * u32::from(LAST_PARTS));
}

#[test]
fn first_and_last_address_are_within_their_networks() {
    for (slot, v4, v6) in [
        (0, "240.240.0.1", "2001:2::1"),
        (253, "240.240.0.254", "2001:2::fe"),
        (254, "240.240.1.1", "2001:2::1:1"),
        (SLOTS - 1, "240.240.255.241", "2001:2::ff:f1"),
    ] {
        let allotted = Allotted::at(slot);

        assert_eq!(allotted.v4.to_string(), v4);
        assert_eq!(allotted.v6.to_string(), v6);
    }
}

#[test]
fn addresses_stay_what_they_are_from_version_to_version() {
    let yaml = entry("db", "", "resolution: DNS");

    let v4 = allotted(&yaml)[0].map(|it| it.v4.to_string());

    assert_eq!(v4.as_deref(), Some("240.240.195.21"));
}

#[test]
fn only_hosts_that_nothing_else_tells_apart_get_an_address() {
    let switch = |place: &str, value: &str| {
        let key = "networking.istio.io/enable-autoallocate-ip";
        entry(
            "db",
            &format!(", {place}: {{{key}: '{value}'}}"),
            "resolution: DNS",
        )
    };
    for (yaml, expected) in [
        (entry("db", "", "resolution: DNS"), true),
        (entry("db", "", "resolution: STATIC"), true),
        (entry("db", "", "resolution: NONE"), false),
        (
            entry("db", "", "resolution: STATIC, addresses: [10.0.0.1]"),
            false,
        ),
        (switch("labels", "false"), false),
        (switch("annotations", "FALSE"), false),
        (switch("labels", "true"), true),
        (
            "kind: Service\nmetadata: {name: db}\nspec: {ports: [{port: 80}]}".to_owned(),
            false,
        ),
        (
            "kind: ServiceEntry\nmetadata: {name: db}\n\
             spec: {hosts: ['*.test'], resolution: STATIC}"
                .to_owned(),
            false,
        ),
    ] {
        assert_eq!(allotted(&yaml)[0].is_some(), expected, "{yaml}");
    }
}

#[test]
fn a_host_has_an_address_in_each_namespace_and_one_for_all_who_see_it() {
    let host = |name: &str, namespace: &str, more: &str| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [db.test], resolution: DNS, {more}\
             ports: [{{number: 80, name: tcp, protocol: TCP}}]}}"
        )
    };
    let yaml = [
        host("a", "one", ""),
        host("b", "one", "exportTo: ['.'], "),
        host("c", "two", ""),
    ];
    let mesh = mesh(&yaml.join("\n---\n"));

    let of = |namespace: &str| {
        let services = mesh.services().filter(|it| it.namespace == namespace);
        let addresses: Vec<_> = services
            .map(|it| mesh.allotted(it).expect("it needs one").v4)
            .collect();
        addresses
    };

    assert_eq!(of("one").len(), 2);
    assert_eq!(of("one")[0], of("one")[1]);
    assert_ne!(of("one")[0], of("two")[0]);
    assert!(mesh.service(&viewer("one", &[]), "db.test").is_some());
}

#[test]
fn a_service_with_addresses_has_no_other_because_one_without_has_its_name() {
    let bare = entry("shop", "", "resolution: STATIC, exportTo: [a]");
    let own = entry(
        "shop",
        "",
        "resolution: STATIC, addresses: [10.0.0.9], exportTo: [b]",
    );
    let own = own.replace("name: shop}", "name: own}");

    let allotted = allotted(&format!("{bare}\n---\n{own}"));

    assert_eq!(allotted.len(), 2);
    assert_eq!(allotted.iter().flatten().count(), 1);
}

#[test]
fn all_slots_are_given_before_a_host_gets_none() {
    let hosts: Vec<String> = (0..40).map(|number| format!("h{number}")).collect();

    let placed = slots_of(&claims(&hosts), 31);

    assert_eq!(placed.len(), 31);
    assert_eq!(placed.values().collect::<BTreeSet<_>>().len(), 31);
    assert!((0..31).all(|age| placed.contains_key(&format!("h{age}"))));
}

/// Few slots, so that many hosts want the same.
const FEW: u16 = 61;

fn hosts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set("[a-z]{1,6}", 1..60)
        .prop_map(|hosts| hosts.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn no_two_hosts_have_the_same_address_and_the_order_of_reading_is_all_the_same(
        hosts in hosts(),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut claims = claims(&hosts);
        let placed = slots_of(&claims, FEW);
        claims.rotate_left(turn.index(hosts.len()));

        prop_assert_eq!(placed.len(), hosts.len());
        prop_assert_eq!(placed.values().collect::<BTreeSet<_>>().len(), hosts.len());
        prop_assert!(placed.values().all(|slot| *slot < FEW));
        prop_assert_eq!(slots_of(&claims, FEW), placed);
    }

    #[test]
    fn whoever_comes_or_goes_moves_nobody_who_is_older(
        hosts in hosts(),
        which in any::<prop::sample::Index>(),
    ) {
        let all = claims(&hosts);
        let at = which.index(hosts.len());
        let mut without = all.clone();
        without.remove(at);

        let (with, without) = (slots_of(&all, FEW), slots_of(&without, FEW));

        for older in &hosts[..at] {
            prop_assert_eq!(with[older], without[older]);
        }
    }

    #[test]
    fn whoever_goes_moves_only_those_whom_others_were_in_the_way_of(
        hosts in hosts(),
        which in any::<prop::sample::Index>(),
    ) {
        let all = claims(&hosts);
        let at = which.index(hosts.len());
        let mut rest = all.clone();
        rest.remove(at);

        let (with, without) = (slots_of(&all, FEW), slots_of(&rest, FEW));

        for claim in rest {
            let wanted = claim.way(FEW).next();
            if wanted == Some(with[claim.host]) {
                prop_assert_eq!(wanted, Some(without[claim.host]));
            }
        }
    }
}
