use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::status::fixture::{TWO_FOR_ONE_HOST, known};

fn request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "127.0.0.1:8080").body(());
    request.expect("a request")
}

async fn answer(request: &Request<()>) -> (StatusCode, String) {
    let dashboard = Dashboard::new(known(TWO_FOR_ONE_HOST));
    let (parts, body) = dashboard.answer(request).await.into_parts();
    let body = body.collect().await.expect("it is whole").to_bytes();
    (parts.status, String::from_utf8(body.into()).expect("text"))
}

#[tokio::test]
async fn the_api_tells_what_is_known() {
    let (status, text) = answer(&request(Method::GET, "/api/resources?trouble")).await;

    assert_eq!(status, StatusCode::OK);
    let told: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(told["replica"], "one");
    assert_eq!(told["resources"][0]["name"], "Gateway/shop/bad");
    assert_eq!(told["resources"][0]["accepted"], false);
    assert_eq!(told["resources"].as_array().map(Vec::len), Some(2));

    let (status, text) = answer(&request(Method::GET, "/api/proxies")).await;
    assert_eq!(status, StatusCode::OK);
    let told: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(told["generation"], 1);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_lets_nothing_else_in() {
    for path in ["/", "/dashboard.js", "/dashboard.css"] {
        let dashboard = Dashboard::new(known(TWO_FOR_ONE_HOST));
        let response = dashboard.answer(&request(Method::GET, path)).await;

        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let policy = &response.headers()[CONTENT_SECURITY_POLICY];
        assert!(
            policy
                .to_str()
                .expect("text")
                .contains("default-src 'none'")
        );
        let body = response.into_body().collect().await.expect("whole");
        let text = String::from_utf8(body.to_bytes().into()).expect("text");
        assert!(!text.contains("//127") && !text.contains("http://") && !text.contains("https://"));
    }
    // What is told becomes text: there is no way from it to markup.
    for markup in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
    ] {
        assert!(!SCRIPT.contains(markup), "{markup}");
    }
}

#[tokio::test]
async fn pages_of_others_and_other_methods_and_paths_are_refused() {
    let mut rebound = request(Method::GET, "/api/resources");
    let host = HeaderValue::from_static("rebound.test");
    rebound.headers_mut().insert("host", host);
    let mut foreign = request(Method::GET, "/api/proxies");
    let site = HeaderValue::from_static("cross-site");
    foreign.headers_mut().insert("sec-fetch-site", site);

    assert_eq!(answer(&rebound).await.0, StatusCode::FORBIDDEN);
    assert_eq!(answer(&foreign).await.0, StatusCode::FORBIDDEN);
    let (status, _) = answer(&request(Method::POST, "/api/resources")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, _) = answer(&request(Method::GET, "/etc/passwd")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
