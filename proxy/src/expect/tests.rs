//! What expectations say of decisions, and files of tests that cannot be used.

mod beside;

use std::fs;

use tempfile::TempDir;

use super::*;

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: old
    match: [{uri: {exact: /old}}]
    headers: {response: {set: {x-moved: 'yes'}}}
    redirect: {uri: /new, redirectCode: 302}
  - name: nowhere
    match: [{uri: {exact: /nowhere}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - name: jason
    match: [{headers: {end-user: {exact: jason}}}]
    rewrite: {uri: /v2/}
    headers: {request: {set: {x-a: a}, remove: [end-user]}, response: {remove: [server]}}
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 500ms}
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /reviews}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 192.0.2.1, labels: {version: v1}}
  - {address: 192.0.2.2, labels: {version: v2}}
";
const JASON: &str = "{url: 'reviews:9080/reviews/1', headers: {end-user: jason}}";
const SPLIT: &str = "{url: 'reviews:9080/reviews/1'}";
const OLD: &str = "{url: 'reviews:9080/old'}";

/// The report of a file of tests beside [`MESH`].
fn of_file(text: &str) -> (TempDir, Report) {
    of_file_beside(MESH, text)
}

fn of_file_beside(mesh: &str, text: &str) -> (TempDir, Report) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::write(folder.path().join("mesh.yaml"), mesh).expect("written");
    let file = folder.path().join("tests.yaml");
    fs::write(&file, text).expect("written");
    let report = report(&[file]);
    (folder, report)
}

/// `field: expected E, got G` of each expectation that `request` does not meet.
fn differing(request: &str, expect: &str) -> Vec<String> {
    differing_beside(MESH, request, expect)
}

fn differing_beside(mesh: &str, request: &str, expect: &str) -> Vec<String> {
    let text = format!(
        "config: [mesh.yaml]\ntests:\n- {{name: one, request: {request}, expect: {expect}}}\n"
    );
    let (_folder, report) = of_file_beside(mesh, &text);
    assert_eq!(report.problems, [], "{text}");
    let differences = report.tests[0].differences.iter();
    differences
        .map(|it| format!("{}: expected {}, got {}", it.field, it.expected, it.got))
        .collect()
}

#[test]
fn what_is_as_expected_differs_in_nothing() {
    for (request, expect) in [
        (
            JASON,
            "{destination: reviews, subset: v2, rule: jason, virtualService: reviews}",
        ),
        (
            JASON,
            "{destination: reviews.default.svc.cluster.local, split: {v2: 1}}",
        ),
        (
            JASON,
            "{path: /v2/reviews/1, host: 'reviews:9080', requestHeaders: {x-a: a}}",
        ),
        (
            JASON,
            "{withoutRequestHeaders: [end-user], withoutResponseHeaders: [server]}",
        ),
        (JASON, "{timeout: 2s, retries: 3, perTryTimeout: 500ms}"),
        (
            SPLIT,
            "{split: {v1: 90, v2: 10}, timeout: none, retries: 2}",
        ),
        (SPLIT, "{split: {v1: 9, v2: 1, v3: 0}, perTryTimeout: none}"),
        (OLD, "{status: 302, location: 'http://reviews:9080/new'}"),
        (OLD, "{responseHeaders: {x-moved: 'yes'}, rule: old}"),
        (
            "{url: 'reviews:9080/nowhere'}",
            "{status: 503, error: cluster_not_found}",
        ),
        (
            "{url: 'reviews:9080/else'}",
            "{status: 404, error: route_not_found}",
        ),
        (
            "{url: 'reviews:9081/'}",
            "{status: 404, error: unknown_host}",
        ),
    ] {
        assert_eq!(differing(request, expect), [""; 0], "{request} {expect}");
    }
}

#[test]
fn what_is_not_as_expected_is_told_with_what_it_is() {
    for (request, expect, told) in [
        (JASON, "{subset: v1}", "subset: expected v1, got v2"),
        (SPLIT, "{subset: v1}", "subset: expected v1, got v1 or v2"),
        (OLD, "{subset: v1}", "subset: expected v1, got 302 redirect"),
        (
            SPLIT,
            "{split: {v1: 89, v2: 11}}",
            "split: expected v1: 89, v2: 11, got v1: 90, v2: 10",
        ),
        (
            SPLIT,
            "{split: {v1: 90}}",
            "split: expected v1: 90, got v1: 90, v2: 10",
        ),
        (
            SPLIT,
            "{status: 200}",
            "status: expected 200, got forwarded",
        ),
        (SPLIT, "{rule: jason}", "rule: expected jason, got default"),
        (
            JASON,
            "{destination: ratings}",
            "destination: expected ratings, got reviews.default.svc.cluster.local",
        ),
        (JASON, "{timeout: 3s}", "timeout: expected 3s, got 2s"),
        (JASON, "{timeout: none}", "timeout: expected none, got 2s"),
        (
            JASON,
            "{requestHeaders: {x-b: b}}",
            "requestHeaders.x-b: expected b, got absent",
        ),
        (
            JASON,
            "{withoutRequestHeaders: [x-a]}",
            "withoutRequestHeaders.x-a: expected absent, got a",
        ),
        (
            JASON,
            "{withoutResponseHeaders: [via]}",
            "withoutResponseHeaders.via: expected absent, got as the upstream sends it",
        ),
        (
            "{url: 'reviews:9080/else'}",
            "{subset: v1}",
            "subset: expected v1, got 404 route_not_found",
        ),
    ] {
        assert_eq!(differing(request, expect), [told], "{request} {expect}");
    }
}

#[test]
fn a_file_with_mistakes_is_told_all_of_them_at_their_places() {
    let text = "\
config: [mesh.yaml]
tests:
- name: one
  request: {url: 'ftp://a', methode: GET}
  expect: {subset: v1}
- name: two
  request: {url: a, headers: {'a b': c}}
  expect: {timeout: soon}
";
    let (folder, report) = of_file(text);

    let prefix = format!("{}/", folder.path().display());
    let told: Vec<String> = report
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect();
    let begins = [
        "tests.yaml:4:18: tests[0].request.url: must be such as \"http://reviews:9080/path\"",
        "tests.yaml:4:29: tests[0].request.methode: unknown field `methode`, did you mean",
        "tests.yaml:7:30: tests[1].request.headers: must be the name of a header, got \"a b\"",
        "tests.yaml:8:21: tests[1].expect.timeout: must be a duration such as \"2s\", or \"none\"",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}");
    }
}

#[test]
fn paths_are_brought_to_normal_form_as_far_as_the_file_says() {
    for (how, status) in [("base", 404), ("merge-slashes", 302)] {
        let text = format!(
            "config: [mesh.yaml]\npathNormalization: {how}\ntests:\n\
             - {{name: a, request: {{url: 'reviews:9080//old'}}, expect: {{status: {status}}}}}\n"
        );
        let (_folder, report) = of_file(&text);

        assert_eq!(report.problems, []);
        assert_eq!(report.tests[0].differences, [], "{how}");
    }
}

#[test]
fn a_test_that_asks_or_expects_nothing_is_a_mistake() {
    let (_folder, report) = of_file("tests:\n- {request: {url: b}}\n- {name: b}\n");

    let told: Vec<String> = report
        .problems
        .iter()
        .map(|it| it.message.clone())
        .collect();
    assert_eq!(
        told,
        [
            "must have `config` with at least one file or folder",
            "must have a `name`",
            "must `expect` something",
            "must have a `request` with a `url`",
            "must `expect` something",
        ]
    );
}

#[test]
fn a_configuration_with_errors_fails_its_tests() {
    let text = "config: [none.yaml]\ntests:\n- {name: a, request: {url: b}, expect: {status: 1}}\n";
    let (_folder, report) = of_file(text);

    assert_eq!(report.tests.len(), 0);
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].message.contains("does not exist"));
}
