//! From a rule's locality settings to who is asked as endpoints fail and come back.

use super::*;

use crate::bootstrap::Locality;
use crate::upstream::balance::Wish;
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::health::Ailment;

const SHOP: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.3.1, locality: asia/a/1}
  - {address: 10.0.2.1, locality: eu/a/1}
  - {address: 10.0.1.1, locality: us/b/1}
  - {address: 10.0.0.1, locality: us/a/1}
  - {address: 10.0.0.2, locality: us/a/1}
";

const FAILOVER: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1}
    loadBalancer: {localityLbSetting: {failover: [{from: us, to: asia}]}}
";

fn shop() -> Arc<Destination> {
    let perspective = Perspective {
        locality: Some(Locality {
            region: "us".into(),
            zone: "a".into(),
            subzone: "1".into(),
        }),
        ..perspective()
    };
    let metrics = Metrics::new(Identity::unknown(), 100);
    let compiled = Compiler::new(perspective, metrics).compile(&mesh(&[SHOP, FAILOVER]));
    let mut destinations = compiled.destinations.iter();
    Arc::clone(destinations.next().expect("the service has a port"))
}

fn host(member: &Member) -> String {
    let addr = member.endpoint.addr.to_string();
    addr.trim_end_matches(":80").to_owned()
}

/// The endpoints that get requests, while those of `out` are taken out.
fn asked(shop: &Destination, out: &[&str]) -> BTreeSet<String> {
    for member in shop.members() {
        match out.contains(&&*host(member)) {
            true => member.endpoint.health.set(Ailment::Ejected),
            false => member.endpoint.health.clear(Ailment::Ejected),
        };
    }
    shop.live.changed();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut pick = || shop.balancer.pick(&shop.live, &mut rng, &Wish::default());
    (0..200).filter_map(|_| pick().map(host)).collect()
}

#[test]
fn the_local_zone_is_asked_until_it_is_unhealthy_then_the_declared_order_and_back() {
    let shop = shop();
    let near = ["10.0.0.1", "10.0.0.2"];
    let zone = [near[0], near[1], "10.0.1.1"];
    let far = [near[0], near[1], "10.0.1.1", "10.0.3.1"];
    let all = [near[0], near[1], "10.0.1.1", "10.0.3.1", "10.0.2.1"];
    let asked = |out: &[&str]| asked(&shop, out);
    let of = |hosts: &[&str]| hosts.iter().map(|it| (*it).to_owned()).collect();

    assert_eq!(asked(&[]), of(&near), "the own zone");
    assert_eq!(asked(&near), of(&["10.0.1.1"]), "the own region");
    assert_eq!(
        asked(&zone),
        of(&["10.0.3.1"]),
        "the region to fail over to"
    );
    assert_eq!(asked(&far), of(&["10.0.2.1"]), "what is left");
    assert_eq!(asked(&all), BTreeSet::new());
    assert_eq!(asked(&zone), of(&["10.0.3.1"]));
    assert_eq!(
        asked(&near[..1]),
        of(&["10.0.0.2", "10.0.1.1"]),
        "half of it spills over"
    );
    assert_eq!(asked(&[]), of(&near), "and back");
}

#[test]
fn a_proxy_that_hears_later_where_it_is_prefers_what_is_near_of_the_same_endpoints() {
    let mesh = mesh(&[SHOP, FAILOVER]);
    let metrics = Metrics::new(Identity::unknown(), 100);
    let mut compiler = Compiler::new(perspective(), metrics);
    let here = Some(Locality::from_parts("us/a/1"));
    let shop = |compiled: &Compiled| {
        let mut destinations = compiled.destinations.iter();
        Arc::clone(destinations.next().expect("the service has a port"))
    };
    let before = shop(&compiler.compile(&mesh));
    assert_eq!(asked(&before, &[]).len(), 5);

    assert!(compiler.move_to(here.clone()));
    let after = shop(&compiler.compile(&mesh));

    let near = ["10.0.0.1", "10.0.0.2"].map(str::to_owned);
    assert_eq!(asked(&after, &[]), near.into());
    let ids = |shop: &Destination| -> BTreeSet<_> {
        let members = shop.members().iter();
        members.map(|it| Arc::as_ptr(&it.endpoint)).collect()
    };
    assert_eq!(ids(&before), ids(&after));
    assert!(!compiler.move_to(here), "no news");
    assert!(Arc::ptr_eq(&after, &shop(&compiler.compile(&mesh))));
}
