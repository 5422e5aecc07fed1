//! Bodies of a gibibyte, in both directions and every framing, in constant memory.

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use tests::body::{Large, drain};
use tests::client::{get, request};
use tests::origin::{Protocol, body};
use tests::yaml::{self, Service};
use tests::{Edge, Origin};
use tokio::time::timeout;

const HOST: &str = "large.test";
const RULES: &str = "  - route: [{destination: {host: large.test}}]";
const GIBIBYTE: usize = 1024 * 1024 * 1024;
/// What a transfer may add to the proxy's memory: far less than a body, far more than its buffers.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// For one direction, on a machine that has much else to do.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(180);

/// How a body says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Announced,
    Open,
}

/// Sends a gibibyte to whoever gets something, and tells all others how many bytes came. The head of
/// its answer comes at once, so that the wait for the bytes is that for a body.
async fn origin(protocol: Protocol, length: Length) -> Origin {
    Origin::serving(protocol, move |request| async move {
        match request.method() {
            &Method::GET => Response::new(body(gibibyte(length))),
            _ => Response::new(body(count(request))),
        }
    })
    .await
}

fn gibibyte(length: Length) -> Large {
    match length {
        Length::Announced => Large::new(GIBIBYTE).announced(),
        Length::Open => Large::new(GIBIBYTE),
    }
}

fn count(request: Request<Incoming>) -> BoxBody<Bytes, Infallible> {
    let announced = request.headers().get("content-length").cloned();
    let (mut sender, answer) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        let came = drain(request.into_body()).await;
        let text = format!("{:?} of {announced:?}", came.ok());
        // Who asked may have left.
        let _ = sender.send_data(text.into()).await;
    });
    answer.boxed()
}

async fn pass(protocol: Protocol, name: &str, length: Length) {
    let origin = origin(protocol, length).await;
    let service = Service::new(HOST).protocol(name).at(origin.addr());
    let edge = Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await;
    let before = edge.proxy.resident_bytes();

    let down = answer(&edge, protocol, get(HOST, "/")).await;
    let announced = down.headers().get("content-length").is_some();
    assert_eq!(announced, length == Length::Announced);
    let came = timeout(TRANSFER_TIMEOUT, drain(down.into_body())).await;
    let came = came.expect("a download in time").expect("a whole body");
    assert_eq!(came, GIBIBYTE);

    let post = request(Method::POST, HOST, "/", &[], gibibyte(length).boxed());
    let up = answer(&edge, protocol, post).await;
    let told = timeout(TRANSFER_TIMEOUT, up.into_body().collect()).await;
    let told = told.expect("an upload in time").expect("a whole body");
    let announced = match length {
        Length::Announced => format!("Some(\"{GIBIBYTE}\")"),
        Length::Open => "None".to_owned(),
    };
    let expected = format!("Some({GIBIBYTE}) of {announced}");
    assert_eq!(told.to_bytes(), expected);

    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    eprintln!("{name}, {length:?}: {growth} bytes more at the most");
    assert!(
        growth < GROWTH_BYTES_MAX,
        "{name}, {length:?}: {growth} bytes"
    );
}

async fn answer(
    edge: &Edge,
    protocol: Protocol,
    request: Request<tests::client::Body>,
) -> Response<Incoming> {
    let answer = match protocol {
        Protocol::Http1 => edge.http1().await.begin(request).await,
        Protocol::Http2 | Protocol::ShortHttp2 | Protocol::NarrowHttp2 => {
            edge.http2().await.begin(request).await
        }
    };
    answer.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_in_chunks_passes_without_being_held() {
    pass(Protocol::Http1, "HTTP", Length::Open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_of_known_length_passes_without_being_held() {
    pass(Protocol::Http1, "HTTP", Length::Announced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_over_http2_passes_without_being_held() {
    pass(Protocol::Http2, "HTTP2", Length::Open).await;
}
