//! The port where the API server comes with its questions: HTTP over TLS, without a certificate of the
//! caller. What is answered is no secret, and changes nothing.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::handler::Handler;
use super::stop::Stop;

/// Connections at once; an API server has one or two.
const CONNECTIONS_MAX: usize = 256;
/// Limit of a handshake, of the head of a request, and of the wait for the next one in HTTP/1.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections last. A caller that holds one without a use has to come again; an API server
/// does not notice.
const AGE_MAX: Duration = Duration::from_secs(600);
/// How long what is under way may go on when a connection is to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Questions at once on one connection.
const STREAMS_MAX: u32 = 128;
/// Most bytes of the headers of a request.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long is waited when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers at a port until it is time to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    router: Handler,
    mut stop: Stop,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.drain() => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let config = Arc::clone(&tls.borrow());
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, config, router, stop).await;
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, config: Arc<ServerConfig>, router: Handler, mut stop: Stop) {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let Ok(Ok(stream)) = timeout(TURN_TIMEOUT, handshake).await else {
        return;
    };
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.answer(request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(TURN_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Whoever asked is gone.
        _ = serving.as_mut() => return,
        () = sleep(AGE_MAX) => {}
        () = stop.drain() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(LAST_WORDS, serving).await;
}
