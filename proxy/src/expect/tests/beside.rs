//! Expectations of faults, mirrors, rate limits and endpoints.

use super::{differing_beside, of_file};

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop
  annotations: {meshproxy.io/fault-reset: '5%; rules=faulty'}
spec:
  hosts: [shop]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
    route: [{destination: {host: shop}}]
  - name: faulty
    match: [{uri: {prefix: /faulty}}]
    fault:
      delay: {percentage: {value: 40}, fixedDelay: 5s}
      abort: {percentage: {value: 0.5}, httpStatus: 500}
    route: [{destination: {host: shop}}]
  - name: mirrored
    match: [{uri: {prefix: /mirrored}}]
    mirrors:
    - {destination: {host: shop, subset: v2}}
    - {destination: {host: shadow}, percentage: {value: 2.5}}
    route: [{destination: {host: shop, subset: v2}}]
  - route: [{destination: {host: shop}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  trafficPolicy:
    loadBalancer:
      consistentHash: {httpHeaderName: x-user}
      localityLbSetting: {enabled: true, distribute: [{from: eu/*, to: {eu/*: 100}}]}
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: fair}
spec:
  targetRefs: [{group: networking.istio.io, kind: VirtualService, name: shop}]
  limits:
  - {name: accounts, requests: 1, per: 1s, key: [source.principal]}
  - {name: testers, requests: 1, per: 1s, match: [{headers: {x-test: {}}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.default.svc.cluster.local, shadow.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 192.0.2.1, locality: eu/a}
  - {address: 192.0.2.2, locality: us/a, labels: {version: v2}}
";

fn request(path: &str, more: &str) -> String {
    format!("{{url: 'shop{path}', {more}}}")
}

#[test]
fn what_is_as_expected_differs_in_nothing() {
    for (path, more, expect) in [
        (
            "/faulty",
            "",
            "{fault: {delay: 5s, delayPercent: 40, abort: 500, abortPercent: 0.5, resetPercent: 5}}",
        ),
        (
            "/faulty",
            "",
            "{fault: {slowBodyPercent: 0, scope: request}}",
        ),
        (
            "/",
            "",
            "{fault: {delay: none, delayPercent: 0, abortPercent: 0}, mirrors: {}}",
        ),
        ("/broken", "", "{status: 503, error: fault_filter_abort}"),
        (
            "/mirrored",
            "",
            "{mirrors: {v2: 100, shadow: 2.5}, subset: v2}",
        ),
        ("/mirrored", "", "{endpoint: '192.0.2.2:80'}"),
        ("/", "", "{rateLimits: [accounts]}"),
        (
            "/",
            "headers: {x-test: a}",
            "{rateLimits: [default/fair/accounts, fair/testers]}",
        ),
        ("/", "from: {locality: eu/b}", "{endpoint: '192.0.2.1:80'}"),
    ] {
        let request = request(path, more);
        let differing = differing_beside(MESH, &request, expect);
        assert_eq!(differing, [""; 0], "{request} {expect}");
    }
}

#[test]
fn a_key_leads_to_the_same_endpoint_each_time() {
    let to = |user: &str, number: u8| {
        let request = request("/", &format!("headers: {{x-user: '{user}'}}"));
        let expect = format!("{{endpoint: '192.0.2.{number}:80'}}");
        differing_beside(MESH, &request, &expect).is_empty()
    };

    let users: Vec<String> = (0..8).map(|user| user.to_string()).collect();
    for user in &users {
        assert!(to(user, 1) != to(user, 2), "{user}");
        assert_eq!(to(user, 1), to(user, 1), "{user}");
    }
    for number in [1, 2] {
        assert!(users.iter().any(|user| to(user, number)), "{number}");
    }
}

#[test]
fn what_is_not_as_expected_is_told_with_what_it_is() {
    for (path, expect, told) in [
        (
            "/faulty",
            "{fault: {delay: 4s}}",
            "fault.delay: expected 4s, got 5s",
        ),
        (
            "/faulty",
            "{fault: {delayPercent: 41}}",
            "fault.delayPercent: expected 41, got 40",
        ),
        (
            "/",
            "{fault: {abort: 500}}",
            "fault.abort: expected 500, got none",
        ),
        (
            "/",
            "{fault: {abortPercent: 1}}",
            "fault.abortPercent: expected 1, got 0",
        ),
        (
            "/faulty",
            "{fault: {scope: attempt}}",
            "fault.scope: expected attempt, got request",
        ),
        (
            "/mirrored",
            "{mirrors: {v2: 100}}",
            "mirrors: expected v2: 100, got v2: 100, shadow.default.svc.cluster.local: 2.5",
        ),
        (
            "/",
            "{mirrors: {v2: 100}}",
            "mirrors: expected v2: 100, got none",
        ),
        (
            "/",
            "{rateLimits: []}",
            "rateLimits: expected none, got default/fair/accounts",
        ),
        (
            "/",
            "{rateLimits: [accounts, testers]}",
            "rateLimits: expected accounts, testers, got default/fair/accounts",
        ),
        (
            "/",
            "{endpoint: '192.0.2.1:80'}",
            "endpoint: expected 192.0.2.1:80, got one that is drawn",
        ),
    ] {
        let differing = differing_beside(MESH, &request(path, ""), expect);
        assert_eq!(differing, [told], "{path} {expect}");
    }
}

#[test]
fn mistakes_are_told_at_their_places() {
    let text = "\
config: [mesh.yaml]
tests:
- name: one
  request: {url: a, from: {locality: /b}}
  expect: {fault: {delays: 1s, delay: soon}, mirrors: {v1: all}}
- name: two
  request: {url: a}
  expect: {fault: {}}
";
    let (folder, report) = of_file(text);

    let prefix = format!("{}/", folder.path().display());
    let problems = report.problems.iter();
    let told: Vec<String> = problems
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect();
    let begins = [
        "tests.yaml:4:38: tests[0].request.from.locality: must be region, region/zone",
        "tests.yaml:5:20: tests[0].expect.fault.delays: unknown field `delays`, did you mean",
        "tests.yaml:5:39: tests[0].expect.fault.delay: must be a duration such as \"2s\"",
        "tests.yaml:5:60: tests[0].expect.mirrors.v1: ",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}");
    }
}
