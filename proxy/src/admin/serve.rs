//! The HTTP/1.1 server under the three addresses. Small on purpose: no bodies are read, answers are
//! made at once (but for probes of the application), and a client can hold up nobody else for long.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::shares::Shares;
use crate::admin::{AdminState, Lifecycle, pages};

/// Connections at a time, per server; more wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Limit for the head of a request, and for the next one on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Age at which a connection is asked to end, so that a client that does not read its answer does
/// not hold its place for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// Time to finish the answer under way after that.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which mostly means that files are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers the requests to one of the servers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page {
    /// What is known by itself.
    AtOnce(fn(&AdminState, &Request<Incoming>) -> Response<Full<Bytes>>),
    /// Health, where the application may have to be asked.
    Health,
}

/// Serves until another process does so, and then finishes what it has begun.
pub(super) async fn serve(listener: TcpListener, (page, state): (Page, Arc<AdminState>)) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shares = Shares::default();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place.expect("never closed"), listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = replaced(&state) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((tcp, peer)) => {
                let Some(share) = shares.enter(peer.ip()) else {
                    tracing::debug!(%peer, "connection closed: its peer has too many");
                    continue;
                };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let asked_at = tcp.local_addr().map(|addr| addr.ip()).ok();
                    connection(tcp, page, state, asked_at).await;
                    drop((place, share));
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until another process has the listener.
async fn replaced(state: &AdminState) {
    let mut lifecycle = state.lifecycle.clone();
    let is_replaced = |lifecycle: &Lifecycle| *lifecycle == Lifecycle::Replaced;
    if lifecycle.wait_for(is_replaced).await.is_err() {
        // Nobody can say so any more.
        std::future::pending::<()>().await;
    }
}

/// Serves a connection; `asked_at` is the address of ours that it came to, if it has one.
async fn connection(
    io: impl AsyncRead + AsyncWrite + Unpin,
    page: Page,
    state: Arc<AdminState>,
    asked_at: Option<IpAddr>,
) {
    let answering = Arc::clone(&state);
    let service = service_fn(move |request| {
        let state = Arc::clone(&answering);
        async move {
            Ok::<_, Infallible>(match page {
                Page::AtOnce(page) => page(&state, &request),
                Page::Health => pages::health(&state, &request, asked_at).await,
            })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let over = async {
        tokio::select! {
            () = sleep(CONNECTION_AGE_MAX) => {}
            () = replaced(&state) => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = over => {
            connection.as_mut().graceful_shutdown();
            timeout(FINISH_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to a control server failed");
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;
    use crate::admin::tests::fixture::state;

    fn large(_: &AdminState, _: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; 1 << 20])));
        *response.status_mut() = StatusCode::OK;
        response
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_let_go() {
        let start = Instant::now();
        let (mut client, server) = tokio::io::duplex(1024);
        let served = tokio::spawn(connection(
            server,
            Page::AtOnce(large),
            Arc::new(state().0),
            None,
        ));

        let read = client.read(&mut [0; 1]).await.expect("closed");

        assert_eq!(read, 0);
        assert_eq!(start.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
        served.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go() {
        let start = Instant::now();
        let (mut client, server) = tokio::io::duplex(1024);
        let served = tokio::spawn(connection(
            server,
            Page::AtOnce(large),
            Arc::new(state().0),
            None,
        ));

        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .expect("sent");
        served.await.expect("no panic");

        let most = CONNECTION_AGE_MAX + FINISH_TIMEOUT;
        assert_eq!(start.elapsed().as_secs(), most.as_secs());
    }
}
