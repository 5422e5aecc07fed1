//! What one generation takes over from the one before.

use super::*;

#[test]
fn a_plan_that_is_dropped_changes_nothing() {
    let (first, other) = (
        mesh(&[REVIEWS]),
        mesh(&[&REVIEWS.replace("reviews", "ratings")]),
    );
    let mut compiler = compiler();
    let before = compiler.compile(&first);

    let planned = compiler.plan(&other, &Certificates::default());
    assert!(planned.table().listeners[0].hosts.find("ratings").is_some());
    drop(planned);
    let meanwhile = refreshed(&mut compiler);
    drop(compiler.plan(&other, &Certificates::default()));
    let after = compiler.compile(&first);

    let (old, new) = (only_listener(&before), only_listener(&after));
    assert!(Arc::ptr_eq(&host(old, "reviews"), &host(new, "reviews")));
    for later in [&meanwhile, &after] {
        let places = before.destinations.0.iter().zip(&*later.destinations.0);
        let kept = places.filter(|(old, new)| match (old, new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (Some(_), None) | (None, _) => false,
        });
        assert_eq!(kept.count(), 2, "the same objects at the same numbers");
    }
}

#[test]
fn what_a_dropped_plan_compiled_is_numbered_again() {
    let other = mesh(&[&REVIEWS.replace("reviews", "ratings")]);
    let mut compiler = compiler();
    compiler.compile(&mesh(&[REVIEWS]));

    drop(compiler.plan(&other, &Certificates::default()));
    compiler.refresh();
    let compiled = compiler.compile(&other);

    assert_eq!(
        keys(&compiled),
        [
            "outbound|9080||ratings.default.svc.cluster.local",
            "outbound|9090||ratings.default.svc.cluster.local"
        ]
    );
}

#[test]
fn two_servers_of_a_gateway_keep_their_own_routes_for_one_host() {
    let routes = |namespace: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a, namespace: {namespace}}}
spec:
  hosts: [a.example.com]
  gateways: [default/gw]
  http: [{{name: {namespace}, directResponse: {{status: 200}}}}]
"
        )
    };
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 8080, name: http-x, protocol: HTTP}, hosts: [x/a.example.com]}
  - {port: {number: 8081, name: http-y, protocol: HTTP}, hosts: [y/a.example.com]}
";
    let mesh = mesh(&[gateway, &routes("x"), &routes("y")]);
    let mut compiler = compiler();

    let first = compiler.compile(&mesh);
    let second = compiler.compile(&mesh);

    assert_eq!(first.table.listeners.len(), 2);
    for (old, new) in first.table.listeners.iter().zip(&second.table.listeners) {
        let (old, new) = (host(old, "a.example.com"), host(new, "a.example.com"));
        assert!(Arc::ptr_eq(&old, &new), "not compiled again");
    }
}

#[test]
fn addresses_of_names_that_nobody_needs_are_forgotten() {
    let external = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
";
    let (with, without) = (mesh(&[external]), mesh(&[REVIEWS]));
    let key = "outbound|80||api.example.com";
    let mut compiler = compiler();
    compiler.compile(&with);
    compiler.resolved("api.example.com", &[[192, 0, 2, 1].into()]);

    compiler.compile(&without);
    let back_at_once = compiler.compile(&with);
    compiler.compile(&without);
    compiler.compile(&without);
    let back_later = compiler.compile(&with);

    assert_eq!(addrs(&back_at_once, key), ["192.0.2.1:80"]);
    assert!(addrs(&back_later, key).is_empty());
}
