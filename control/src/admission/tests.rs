use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prometheus::Registry;
use serde_json::{Value, json};

use super::*;

fn router() -> (Router, Registry) {
    let registry = Registry::new();
    let counters = Counters::new(&registry).expect("the registry is empty");
    (Router::new(Injector::default(), counters), registry)
}

fn review(operation: &str, api_version: &str, kind: &str, object: Value) -> Value {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "namespace": "shop",
            "name": "reviews",
            "operation": operation,
            "userInfo": {"username": "alice"},
            "object": object,
        },
    })
}

fn virtual_service(spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "shop", "managedFields": []},
        "spec": spec,
    })
}

async fn post(router: &Router, path: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
    let request = Request::post(path).body(Full::new(body.into()));
    let response = router.answer(request.expect("a request")).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("it is whole");
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    (status, body)
}

async fn asked(path: &str, review: &Value) -> Value {
    let (router, _) = router();
    let (status, body) = post(&router, path, review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["kind"], "AdmissionReview");
    assert_eq!(body["response"]["uid"], "u-1");
    body["response"].clone()
}

#[tokio::test]
async fn a_wrong_resource_is_refused_in_the_words_of_check_one_line_for_each_mistake() {
    let object = virtual_service(json!({
        "hosts": ["reviews"],
        "http": [{"route": [{"destination": {"host": "reviews"}, "weight": -1}], "timeout": "5"}],
    }));
    let networking = "networking.istio.io/v1";

    let response = asked(
        VALIDATE,
        &review("UPDATE", networking, "VirtualService", object),
    )
    .await;

    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().expect("a text");
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    let about = "VirtualService shop/reviews: spec.http[0]";
    assert!(
        lines[0].starts_with(&format!("{about}.timeout: must be a duration")),
        "{message}"
    );
    assert!(
        lines[1].starts_with(&format!("{about}.route[0].weight: ")),
        "{message}"
    );
}

#[tokio::test]
async fn what_has_no_effect_is_allowed_with_a_warning() {
    let object = virtual_service(json!({
        "hosts": ["reviews"],
        "http": [{
            "route": [{"destination": {"host": "reviews"}}],
            "match": [{"statPrefix": "x"}],
        }],
    }));
    let networking = "networking.istio.io/v1";

    let response = asked(
        VALIDATE,
        &review("CREATE", networking, "VirtualService", object),
    )
    .await;

    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().expect("a text");
    let about = "VirtualService shop/reviews: spec.http[0].match[0].statPrefix: ";
    assert!(warning.starts_with(about), "{warning}");
}

#[tokio::test]
async fn deletions_and_what_is_not_ours_pass_unread() {
    let bad = virtual_service(json!({}));
    let networking = "networking.istio.io/v1";
    for review in [
        review("DELETE", networking, "VirtualService", Value::Null),
        review("CONNECT", networking, "VirtualService", bad.clone()),
        review("CREATE", "apps/v1", "Deployment", bad.clone()),
        review("CREATE", "v1", "Secret", json!({"data": 7})),
    ] {
        let response = asked(VALIDATE, &review).await;

        assert_eq!(response, json!({"uid": "u-1", "allowed": true}), "{review}");
    }
}

#[tokio::test]
async fn a_pod_is_injected_by_a_patch() {
    let pod = json!({
        "metadata": {"generateName": "reviews-", "labels": {"app": "reviews"}},
        "spec": {"containers": [{"name": "reviews", "image": "reviews:1"}]},
    });

    let response = asked(INJECT, &review("CREATE", "v1", "Pod", pod)).await;

    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().expect("a text"));
    let patch: Value = serde_json::from_slice(&patch.expect("base64")).expect("JSON");
    let paths: Vec<&str> = patch
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|operation| operation["path"].as_str())
        .collect();
    assert!(paths.contains(&"/spec/initContainers"), "{paths:?}");
    assert!(
        !paths
            .iter()
            .any(|path| path.starts_with("/spec/containers")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn a_pod_with_a_wrong_annotation_is_refused() {
    let pod = json!({
        "metadata": {"annotations": {"sidecar.istio.io/rewriteAppHTTPProbers": "maybe"}},
        "spec": {"containers": []},
    });

    let response = asked(INJECT, &review("CREATE", "v1", "Pod", pod)).await;

    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().expect("a text");
    assert!(message.contains("must be true or false"), "{message}");
}

#[tokio::test]
async fn pods_that_get_no_proxy_pass_as_they_are() {
    let pod = json!({"spec": {"hostNetwork": true, "containers": []}});

    for review in [
        review("CREATE", "v1", "Pod", pod),
        review("UPDATE", "v1", "Pod", json!({"spec": {"containers": []}})),
        review("CREATE", "v1", "Service", json!({"spec": {}})),
    ] {
        let response = asked(INJECT, &review).await;

        assert_eq!(response, json!({"uid": "u-1", "allowed": true}));
    }
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_a_reason_and_counted() {
    let (router, registry) = router();
    for body in ["", "{}", "[", r#"{"apiVersion": "v1", "kind": "Pod"}"#] {
        for path in [VALIDATE, INJECT] {
            let (status, answer) = post(&router, path, body).await;

            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(answer["response"]["allowed"], false, "{body}");
            assert!(
                answer["response"]["status"]["message"].is_string(),
                "{answer}"
            );
        }
    }
    let families = registry.gather();
    let metrics = families[0].get_metric();
    let counted: f64 = metrics.iter().map(|it| it.get_counter().get_value()).sum();
    assert!((counted - 8.0).abs() < f64::EPSILON, "{counted}");
}

#[tokio::test]
async fn a_review_that_is_too_large_is_not_read_to_its_end() {
    let (router, _) = router();

    let (status, answer) = post(&router, VALIDATE, vec![b' '; REVIEW_BYTES_MAX + 1]).await;

    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer["response"]["allowed"], false);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_send_what_it_began_holds_no_place() {
    let (router, _) = router();
    let silent = || {
        let never = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let request = Request::post(VALIDATE).body(StreamBody::new(never));
        request.expect("a request")
    };
    let held = (0..READING_MAX).map(|_| {
        let router = router.clone();
        tokio::spawn(async move { router.answer(silent()).await.status() })
    });
    let held: Vec<_> = held.collect();
    tokio::time::sleep(Duration::from_millis(1)).await;

    // Who asks meanwhile has his turn in time.
    let (status, _) = post(&router, VALIDATE, "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for held in held {
        let status = held.await.expect("it ends");
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (status, _) = post(&router, VALIDATE, "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[test]
fn what_could_not_be_judged_does_not_pass() {
    let verdict = safely(Webhook::Validate, || panic!("a mistake"));

    assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
}

#[tokio::test]
async fn only_posts_to_the_two_paths_are_answered() {
    let (router, _) = router();

    let (status, _) = post(&router, "/", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let request = Request::get(VALIDATE).body(Full::new(Bytes::new()));
    let response = router.answer(request.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "POST");
}
