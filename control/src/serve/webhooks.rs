//! The port where the API server comes with its questions: HTTP over TLS, without a certificate of the
//! caller. What is answered is no secret, and changes nothing.
//!
//! Any pod may come as well, so none may keep the API server out: each address has its share of
//! connections and of questions at once, and a connection that asks nothing ends soon.
//!
//! When it is time to stop, API servers go on coming until they have learned of it: so long they are
//! answered as before.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustc_hash::FxHashMap;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::handler::{Handler, Request, Response};
use super::pages::text;
use super::places::{Place, Places};
use super::stop::{LINGER, Stop};

/// Connections at once; an API server has one or two.
const CONNECTIONS_MAX: usize = 256;
/// Of them from one address.
const CONNECTIONS_EACH_MAX: usize = 16;
/// Questions that are answered at once from one address; others wait. It is a part of those that are
/// read at once.
const QUESTIONS_EACH_MAX: usize = 8;
/// How long they wait; API servers do for 10 s if not told otherwise.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of the handshake and the first request, of the head of a request, and of the wait for the
/// next one in HTTP/1.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be without a question.
const IDLE_MAX: Duration = Duration::from_secs(30);
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

/// Who asks how much at once, by address.
#[derive(Debug, Default)]
struct Shares(Mutex<FxHashMap<IpAddr, Weak<Semaphore>>>);

/// What each connection of the port needs.
#[derive(Clone)]
struct Asked {
    router: Handler,
    /// Questions of its address.
    share: Arc<Semaphore>,
    /// How many questions of the connection are under way.
    under_way: Arc<watch::Sender<usize>>,
}

/// A question that is under way, until dropped.
struct UnderWay(Arc<watch::Sender<usize>>);

/// Answers at a port until it is time to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    router: Handler,
    mut stop: Stop,
) {
    let (ending, ends) = Stop::new();
    let mut lingered = pin!(async move {
        stop.drain().await;
        sleep(LINGER).await;
    });
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
    let shares = Shares::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = lingered.as_mut() => break,
        };
        let Ok((stream, addr)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = places.take(addr.ip()) else {
            continue;
        };
        let config = Arc::clone(&tls.borrow());
        let asked = Asked {
            router: router.clone(),
            share: shares.of(addr.ip()),
            under_way: Arc::default(),
        };
        connections.spawn(connection(stream, config, asked, ends.clone(), place));
    }
    drop(listener);
    ending.send_replace(true);
    while connections.join_next().await.is_some() {}
}

// === impl Shares ===

impl Shares {
    /// That of an address, as long as it has connections.
    fn of(&self, from: IpAddr) -> Arc<Semaphore> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| share.strong_count() > 0);
        let share = shares.entry(from.to_canonical()).or_default();
        share.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(QUESTIONS_EACH_MAX));
            *share = Arc::downgrade(&new);
            new
        })
    }
}

// === impl Asked ===

impl Asked {
    async fn answer(self, request: Request) -> Response {
        let _under_way = UnderWay::begin(self.under_way);
        match timeout(QUESTION_TIMEOUT, self.share.acquire()).await {
            Ok(Ok(_share)) => self.router.answer(request).await,
            Ok(Err(_)) | Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "too many questions\n"),
        }
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn begin(of: Arc<watch::Sender<usize>>) -> Self {
        of.send_modify(|questions| *questions += 1);
        Self(of)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0
            .send_modify(|questions| *questions = questions.saturating_sub(1));
    }
}

async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    asked: Asked,
    mut stop: Stop,
    _place: Place,
) {
    let first_until = Instant::now() + TURN_TIMEOUT;
    let handshake = TlsAcceptor::from(config).accept(stream);
    let Ok(Ok(stream)) = timeout_at(first_until, handshake).await else {
        return;
    };
    let idle = idle(asked.under_way.subscribe(), first_until);
    let service = service_fn(move |request| {
        let answer = asked.clone().answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
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
        () = idle => {}
        () = sleep(AGE_MAX) => {}
        () = stop.drain() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(LAST_WORDS, serving).await;
}

/// Ends when nothing was asked for too long, or not in time for the first time.
async fn idle(mut under_way: watch::Receiver<usize>, first_until: Instant) {
    let mut until = first_until;
    loop {
        let asked = timeout_at(until, under_way.changed()).await;
        if !matches!(asked, Ok(Ok(()))) {
            return;
        }
        let answered = under_way.wait_for(|questions| *questions == 0).await;
        if answered.is_err() {
            return;
        }
        until = Instant::now() + IDLE_MAX;
    }
}

#[cfg(test)]
mod tests;
