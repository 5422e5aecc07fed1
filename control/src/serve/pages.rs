//! Health, metrics, and what people look at: HTTP without TLS. Nothing here changes anything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::body::Body;

use super::handler::{Handler, Response};
use super::places::Places;
use super::stop::Stop;
use crate::dashboard::Dashboard;
use crate::status::known::Known;

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Of them from one address, so that whoever takes many does not keep out who asks for our health.
const CONNECTIONS_EACH_MAX: usize = 32;
/// Limit of the head of a request, and of the wait for the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lasts: an answer that nobody takes takes a place.
const AGE_MAX: Duration = Duration::from_secs(60);
/// Most bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long is waited when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests of HTTP/1 at a port until it is time to stop.
pub(crate) async fn serve(listener: TcpListener, pages: Handler, mut stop: Stop) {
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.drain() => return,
        };
        let Ok((stream, addr)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = places.take(addr.ip()) else {
            continue;
        };
        let pages = pages.clone();
        let service = service_fn(move |request| {
            let pages = pages.clone();
            async move { Ok::<_, std::convert::Infallible>(pages.answer(request).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // Whoever asked is gone, or asks again.
            let _ = tokio::time::timeout(AGE_MAX, serving).await;
            drop(place);
        });
    }
}

/// `GET /metrics`.
pub(crate) fn metrics(registry: Registry) -> Handler {
    Handler::new(move |request| {
        let is_metrics = request.uri().path() == "/metrics";
        let answer = match (request.method(), is_metrics) {
            (&Method::GET, true) => exposition(&registry),
            (_, true) => text(StatusCode::METHOD_NOT_ALLOWED, ""),
            (_, false) => text(StatusCode::NOT_FOUND, ""),
        };
        async move { answer }
    })
}

/// `GET /healthz` and `GET /readyz`; all else is for `more`.
pub(crate) fn health(
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
    more: Handler,
) -> Handler {
    Handler::new(move |request| {
        let answer = match request.uri().path() {
            "/healthz" => Some(text(StatusCode::OK, "ok\n")),
            "/readyz" => Some(match is_ready() {
                true => text(StatusCode::OK, "ready\n"),
                false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            }),
            _ => None,
        };
        let more = more.clone();
        async move {
            match answer {
                Some(answer) => answer,
                None => more.answer(request).await,
            }
        }
    })
}

/// What is known, for people and for programs.
pub(crate) fn dashboard(known: Arc<Known>) -> Handler {
    let dashboard = Dashboard::new(known);
    Handler::new(move |request| {
        let dashboard = dashboard.clone();
        async move { dashboard.answer(&request).await.map(Body::new) }
    })
}

fn exposition(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(body) => text(StatusCode::OK, body),
        Err(error) => {
            tracing::error!(%error, "cannot write metrics");
            text(StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }
}

/// An answer of text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;

    /// A connection from an address of this host.
    async fn connect(last: u8, to: std::net::SocketAddr) -> tokio::net::TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = Ipv4Addr::new(127, 0, 0, last);
        socket.bind((from, 0).into()).expect("an address");
        socket.connect(to).await.expect("connected")
    }

    async fn is_closed(stream: &mut tokio::net::TcpStream) -> bool {
        let read = timeout(Duration::from_millis(200), stream.read_u8()).await;
        read.is_ok()
    }

    #[tokio::test]
    async fn one_address_cannot_take_the_connections_of_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let (_stopping, stop) = Stop::new();
        let pages = Handler::new(|_| async { text(StatusCode::OK, "ok") });
        let serving = tokio::spawn(serve(listener, pages, stop));

        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_EACH_MAX {
            held.push(connect(1, to).await);
        }

        assert!(is_closed(&mut connect(1, to).await).await);
        assert!(!is_closed(&mut connect(2, to).await).await);
        drop(held);
        serving.abort();
    }
}
