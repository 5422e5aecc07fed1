//! The HTTP/1.1 server in front of a service: sockets, limits, and the end of both.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Body, Failure, Service, json};

/// Largest request body, in bytes: the sign-in form is the only one.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// How long a client may take to send the head of a request; also the longest idle time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most connections at a time. Only the proxy beside the service connects, so this is plenty.
const CONNECTIONS_MAX: usize = 1024;

/// Serves `service` on `listener` until the future is dropped, counting requests in `served`.
///
/// # Cancel safety
///
/// Dropping the future closes the listener and every connection.
pub(crate) async fn serve(listener: TcpListener, service: Service, served: Arc<AtomicU64>) {
    let service = Arc::new(service);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(exchange(stream, Arc::clone(&service), Arc::clone(&served)));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers the requests of one connection.
async fn exchange(stream: TcpStream, service: Arc<Service>, served: Arc<AtomicU64>) {
    // Answers are written in one piece: waiting for more would only cost time.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |req: Request<Incoming>| {
        let service = Arc::clone(&service);
        served.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Infallible>(receive(&service, req).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    // The proxy may close whenever it likes; there is nobody to tell.
    let _ = connection.await;
}

/// Reads the body, then lets the service answer.
async fn receive(service: &Service, req: Request<Incoming>) -> Response<Body> {
    let (parts, body) = req.into_parts();
    match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => {
            let req = Request::from_parts(parts, body.to_bytes());
            service.answer(req).await
        }
        Err(_) => json(
            StatusCode::PAYLOAD_TOO_LARGE,
            &Failure {
                error: "the request is too large",
                reason: None,
            },
        ),
    }
}
