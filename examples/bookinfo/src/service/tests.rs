//! The services against each other, over real sockets, with a plain forwarder by `Host` in the
//! place of the proxies.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::workload::WORKLOADS;

use super::neighbour::{END_USER, Http};
use super::*;

/// Which version of reviews answers, if any, and whether ratings do.
#[derive(Clone, Copy)]
struct Town {
    reviews: &'static str,
    ratings: bool,
}

/// Headers that the services sent, with the host they sent them to.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(String, HeaderMap)>>>);

/// productpage whose calls end at services of `town`.
async fn productpage(town: Town) -> (Service, Sent) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let egress = listener.local_addr().unwrap();
    let sent = Sent::default();
    let log = sent.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let log = log.clone();
            let forward = service_fn(move |req| answer(town, egress, log.clone(), req));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), forward),
            );
        }
    });
    (named("productpage-v1", egress), sent)
}

/// Answers as the service that `Host` names.
async fn answer(
    town: Town,
    egress: SocketAddr,
    sent: Sent,
    req: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let host = req.headers()[HOST].to_str().unwrap().to_owned();
    let headers = req.headers().clone();
    sent.0.lock().unwrap().push((host.clone(), headers));
    let workload = match host.as_str() {
        "details:9080" => "details-v1",
        "reviews:9080" if !town.reviews.is_empty() => town.reviews,
        "ratings:9080" if town.ratings => "ratings-v1",
        _ => {
            let mut rsp = json(StatusCode::SERVICE_UNAVAILABLE, &Value::Null);
            let cause = HeaderValue::from_static("no healthy endpoint");
            rsp.headers_mut().insert("x-meshproxy-error", cause);
            return Ok(rsp);
        }
    };
    let (parts, _) = req.into_parts();
    let req = Request::from_parts(parts, Bytes::new());
    Ok(Box::pin(named(workload, egress).answer(req)).await)
}

fn named(name: &str, egress: SocketAddr) -> Service {
    let workload = WORKLOADS.iter().find(|it| it.name == name).unwrap();
    let instance = Instance {
        workload,
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 7)),
    };
    let neighbours = Neighbours::new(egress, Http::new());
    Service::new(instance, neighbours, "routes.yaml")
}

async fn text(rsp: Response<Body>) -> String {
    use http_body_util::BodyExt;
    let body = rsp.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

const V2: Town = Town {
    reviews: "reviews-v2",
    ratings: true,
};

#[tokio::test]
async fn each_version_of_reviews_has_its_own_stars() {
    for (reviews, color) in [
        ("reviews-v1", Value::Null),
        ("reviews-v2", Value::from("black")),
        ("reviews-v3", Value::from("red")),
    ] {
        let (page, sent) = productpage(Town { reviews, ..V2 }).await;

        let rsp = page.answer(get("/api/v1/products/0/reviews")).await;
        let answer: Value = serde_json::from_str(&text(rsp).await).unwrap();

        assert_eq!(answer["podname"], reviews);
        for review in answer["reviews"].as_array().unwrap() {
            assert_eq!(review["rating"]["color"], color, "{answer}");
        }
        let asked = sent.0.lock().unwrap();
        let ratings = asked.iter().filter(|(host, _)| host == "ratings:9080");
        assert_eq!(ratings.count(), usize::from(!color.is_null()), "{reviews}");
    }
}

#[tokio::test]
async fn without_ratings_the_texts_stay_and_say_so() {
    let (page, _) = productpage(Town {
        ratings: false,
        ..V2
    })
    .await;

    let html = text(page.answer(get("/productpage")).await).await;

    assert!(html.contains("A. Dromio"));
    assert_eq!(html.matches(reviews::RATINGS_UNAVAILABLE).count(), 2);
}

#[tokio::test]
async fn without_reviews_the_page_stays_and_gives_the_reason() {
    let town = Town {
        reviews: "",
        ratings: true,
    };
    let (page, _) = productpage(town).await;

    let html = text(page.answer(get("/productpage")).await).await;
    let api = page.answer(get("/api/v1/products/0/reviews")).await;

    assert!(html.contains(crate::page::REVIEWS_UNAVAILABLE));
    assert!(html.contains("The Loopback Press"));
    assert_eq!(api.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_proxys_reason_reaches_the_reader() {
    let (page, _) = productpage(Town {
        ratings: false,
        ..V2
    })
    .await;

    let rsp = page.answer(get("/api/v1/products/0/ratings")).await;

    let answer: Value = serde_json::from_str(&text(rsp).await).unwrap();
    assert_eq!(
        answer["reason"],
        "ratings answered 503 (no healthy endpoint)"
    );
}

#[tokio::test]
async fn user_and_trace_go_all_the_way_to_ratings() {
    let (page, sent) = productpage(V2).await;
    let mut req = get("/productpage");
    let headers = req.headers_mut();
    headers.insert(COOKIE, HeaderValue::from_static("a=b; user=jason"));
    headers.insert(END_USER, HeaderValue::from_static("somebody-else"));
    for name in ["x-request-id", "traceparent", "b3", "x-b3-traceid"] {
        headers.insert(name, HeaderValue::from_static("7"));
    }
    headers.insert("authorization", HeaderValue::from_static("secret"));

    page.answer(req).await;

    let sent = sent.0.lock().unwrap();
    let hosts: Vec<_> = sent.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(sent.len(), 3, "{hosts:?}");
    for (host, headers) in sent.iter() {
        assert_eq!(headers[END_USER], "jason", "{host}");
        for name in ["x-request-id", "traceparent", "b3", "x-b3-traceid"] {
            assert_eq!(headers[name], "7", "{name} to {host}");
        }
        assert!(!headers.contains_key("authorization"), "{host}");
    }
}

#[tokio::test]
async fn signing_in_sets_a_cookie_and_signing_out_removes_it() {
    let (page, _) = productpage(V2).await;
    let post = |path: &str, form: &'static str| {
        let req = Request::post(path).body(Bytes::from_static(form.as_bytes()));
        page.answer(req.unwrap())
    };

    let signed_in = post("/login", "username=mia%40example").await;
    assert_eq!(signed_in.status(), StatusCode::SEE_OTHER);
    assert_eq!(signed_in.headers()[LOCATION], "/productpage");
    let cookie = signed_in.headers()[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("user=mia@example; Path=/; HttpOnly"),
        "{cookie}"
    );

    let signed_out = post("/logout", "").await;
    let cookie = signed_out.headers()[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("user=; ") && cookie.ends_with("Max-Age=0"),
        "{cookie}"
    );
}

#[tokio::test]
async fn names_that_could_carry_anything_else_are_refused() {
    let (page, _) = productpage(V2).await;

    for form in [
        "",
        "username=",
        "username=a%20b",
        "username=a;b",
        "user=jason",
    ] {
        let req = Request::post("/login").body(Bytes::from(form)).unwrap();
        let rsp = page.answer(req).await;
        assert_eq!(rsp.status(), StatusCode::BAD_REQUEST, "{form}");
        assert!(!rsp.headers().contains_key(SET_COOKIE), "{form}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (page, _) = productpage(V2).await;

    assert_eq!(
        page.answer(get("/nowhere")).await.status(),
        StatusCode::NOT_FOUND
    );
    let mut req = get("/productpage");
    *req.method_mut() = Method::DELETE;
    let rsp = page.answer(req).await;
    assert_eq!(rsp.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_service_that_never_answers_costs_the_timeout_and_no_more() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let neighbours = Neighbours::new(silent.local_addr().unwrap(), Http::new());

    let answer: anyhow::Result<Value> = neighbours
        .get("reviews", "/", &HeaderMap::new(), Duration::from_millis(50))
        .await;

    let error = answer.unwrap_err().to_string();
    assert_eq!(error, "no answer within 50 ms");
}
