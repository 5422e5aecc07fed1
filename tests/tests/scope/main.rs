//! A proxy that was told what it needs makes of it what it would make of everything: meshes at random,
//! given to the compiler of the data plane whole and in the part that the control plane chooses.

mod digest;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Resource;
use config::load::parse;
use config::mesh::{Mesh, MeshSettings, Viewer};
use config::wire::{Demand, Name};
use control::event::{Event, Object};
use control::index::{Generation, Index};
use control::scope::{Proxy, Scope, scope};
use proptest::prelude::*;
use proxy::table::compile::{Compiler, Perspective};
use proxy::telemetry::labels::Identity;
use proxy::telemetry::metrics::Metrics;
use tokio::time::Instant;

use digest::Compiled;

/// Hosts that are asked for; some are nobody's.
const HOSTS: [&str; 12] = [
    "a",
    "b",
    "a.default",
    "b.shop",
    "c.shop.svc",
    "a.default.svc.cluster.local",
    "b.shop.svc.cluster.local",
    "c.shop.svc.cluster.local",
    "one.example.com",
    "two.example.com",
    "deep.one.example.com",
    "elsewhere.org",
];
/// Addresses that connections go to, at the ports of services and others.
const ADDRESSES: [&str; 6] = [
    "10.1.0.1:80",
    "10.1.0.2:9000",
    "10.1.0.3:80",
    "10.0.0.1:9000",
    "10.9.0.7:443",
    "192.0.2.1:9000",
];

/// The resources of documents, those left out that are no good.
fn resources(documents: &[String]) -> Vec<Arc<Resource>> {
    let loaded = documents
        .iter()
        .map(|text| parse("mesh.yaml", text, "default"));
    loaded
        .filter(|loaded| !loaded.has_errors())
        .flat_map(|loaded| loaded.resources)
        .collect()
}

/// An index that was told of resources, and its first generation.
fn index(resources: &[Arc<Resource>]) -> (Index, Arc<Generation>) {
    let mut index = Index::new(MeshSettings::default());
    let objects = resources.iter().cloned().map(Object::Resource);
    index.apply(Event::Everything(objects.collect()));
    index.apply(Event::Synced);
    let (generation, _) = index.next(Instant::now()).expect("the first");
    (index, generation)
}

fn generation(resources: &[Arc<Resource>]) -> Arc<Generation> {
    index(resources).1
}

/// What a proxy is told by a scope, its endpoints aside: names and versions, and answers.
fn told(generation: &Generation, scope: &Scope) -> (BTreeMap<String, String>, Vec<String>) {
    let entries = scope.resources.iter().filter_map(|name| {
        let entry = generation.entries.get(name)?;
        Some((name.to_string(), entry.version.to_string()))
    });
    let mut others: Vec<String> = scope.services.iter().map(|it| format!("{it:?}")).collect();
    others.extend(scope.found.iter().map(|it| format!("{it:?}")));
    others.sort_unstable();
    (entries.collect(), others)
}

/// Everything that a generation has.
fn all(generation: &Generation) -> Vec<Arc<Resource>> {
    let entries = generation.entries.values();
    entries.map(|entry| Arc::clone(&entry.resource)).collect()
}

/// What a scope has of a generation.
fn part(generation: &Generation, scope: &Scope) -> Vec<Arc<Resource>> {
    let names = scope.resources.iter().chain(scope.slices(generation));
    let entries = names.filter_map(|name| generation.entries.get(name));
    entries.map(|entry| Arc::clone(&entry.resource)).collect()
}

fn viewer(namespace: &str, app: &str) -> Viewer {
    Viewer {
        namespace: namespace.to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
    }
}

fn proxy(viewer: &Viewer) -> Proxy {
    Proxy {
        viewer: viewer.clone(),
        name: "proxy".into(),
        account: Some("proxy".into()),
    }
}

fn compile(resources: &[Arc<Resource>], viewer: &Viewer, captures: bool) -> Compiled {
    let perspective = Perspective {
        viewer: viewer.clone(),
        identity: Identity::unknown(),
        cluster: "Kubernetes".to_owned(),
        locality: None,
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        principal: "unknown".to_owned(),
        captures,
    };
    let metrics = Metrics::new(Identity::unknown(), 10_000);
    let mesh = Mesh::new(resources, MeshSettings::default());
    Compiled::new(Compiler::new(perspective, metrics).compile(&mesh))
}

fn demand(text: &str) -> Demand {
    text.parse().expect("a demand")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_host_that_was_asked_for_leads_where_it_would_if_everything_were_known(
        documents in random::mesh(),
        namespace in prop_oneof![Just("default"), Just("shop")],
        asked in proptest::sample::subsequence(HOSTS.to_vec(), 1..4),
    ) {
        let generation = generation(&resources(&documents));
        let viewer = viewer(namespace, "web");
        let demands: Vec<Demand> = asked.iter().map(|it| demand(&format!("host:{it}"))).collect();

        let scope = scope(&generation, &proxy(&viewer), &demands);

        let whole = compile(&all(&generation), &viewer, false);
        let part = compile(&part(&generation, &scope), &viewer, false);
        for host in asked {
            prop_assert_eq!(part.host(host), whole.host(host), "{} of {:?}", host, scope);
        }
        // Whatever else is known by its exact name is complete, too.
        for host in part.exact_hosts() {
            prop_assert_eq!(part.host(&host), whole.host(&host), "{} of {:?}", host, scope);
        }
    }

    #[test]
    fn an_address_that_was_asked_for_leads_where_it_would_if_everything_were_known(
        documents in random::mesh(),
        address in proptest::sample::select(ADDRESSES.to_vec()),
    ) {
        let generation = generation(&resources(&documents));
        let viewer = viewer("default", "web");
        let demand = demand(&format!("address:{address}"));

        let scope = scope(&generation, &proxy(&viewer), [&demand]);

        let whole = compile(&all(&generation), &viewer, true);
        let part = compile(&part(&generation, &scope), &viewer, true);
        let address = address.parse().expect("an address");
        prop_assert_eq!(part.opaque_at(address), whole.opaque_at(address), "{:?}", scope);
    }

    #[test]
    fn whoever_is_not_woken_by_a_change_needs_what_he_needed(
        documents in random::mesh(),
        others in random::mesh(),
        changed in any::<proptest::sample::Index>(),
        is_gone in any::<bool>(),
        (namespace, app) in prop_oneof![
            Just(("default", "web")), Just(("shop", "web")), Just(("shop", "edge"))
        ],
        asked in proptest::sample::subsequence(HOSTS.to_vec(), 0..3),
    ) {
        let others = resources(&others);
        prop_assume!(!others.is_empty());
        let changed = Arc::clone(&others[changed.index(others.len())]);
        let (mut index, before) = index(&resources(&documents));
        let proxy = proxy(&viewer(namespace, app));
        let demands: Vec<Demand> = asked.iter().map(|it| demand(&format!("host:{it}"))).collect();
        let had = scope(&before, &proxy, &demands);

        index.apply(match is_gone {
            true => Event::Deleted(vec![Name::of(&changed)]),
            false => Event::Applied(vec![Object::Resource(changed)]),
        });

        if let Some((after, change)) = index.next(Instant::now()) {
            let is_woken = change.everybody || !change.touched.is_disjoint(&had.depends_on);
            let has = scope(&after, &proxy, &demands);
            prop_assert!(
                is_woken || told(&before, &had) == told(&after, &has),
                "{:?}: {:?}, then {:?}", change, had, has
            );
        }
    }

    #[test]
    fn a_gateway_needs_to_ask_for_nothing(documents in random::mesh()) {
        let generation = generation(&resources(&documents));
        let viewer = viewer("shop", "edge");

        let scope = scope(&generation, &proxy(&viewer), []);

        let whole = compile(&all(&generation), &viewer, false);
        let part = compile(&part(&generation, &scope), &viewer, false);
        prop_assert_eq!(part.gateways(), whole.gateways(), "{:?}", scope);
    }
}
