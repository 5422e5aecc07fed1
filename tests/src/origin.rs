//! Origins: servers behind the proxy that answer as a test says and remember what came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::secured::Handshake;

/// A body of an answer; it may break off.
pub type Body = BoxBody<Bytes, Broken>;

/// Makes the body of an answer break off.
#[derive(Debug, thiserror::Error)]
#[error("the test breaks this answer off")]
pub struct Broken;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1_024;
/// Bytes of an answer that the system keeps and has not sent yet.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Most requests that are remembered, the newest ones.
const SEEN_MAX: usize = 256;

/// Requests after which a connection of [`Protocol::ShortHttp2`] is told to end.
pub const SHORT_REQUESTS: usize = 10;

/// Requests at once on a connection of [`Protocol::NarrowHttp2`].
pub const NARROW_STREAMS: u32 = 2;

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// A running origin; ends when dropped, with all its connections.
#[derive(Debug)]
pub struct Origin {
    addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Protocol.
    pub version: Version,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicUsize,
    connections: AtomicUsize,
    seen: Mutex<VecDeque<Seen>>,
    handshakes: Mutex<Vec<Handshake>>,
    /// Handshakes that failed.
    refused: AtomicUsize,
}

/// What an origin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 by prior knowledge alone.
    Http2,
    /// The same, and a connection is told to end after [`SHORT_REQUESTS`] requests, as many servers
    /// do after some thousands.
    ShortHttp2,
    /// HTTP/2 with at most [`NARROW_STREAMS`] requests at once on a connection.
    NarrowHttp2,
}

/// A body of an answer that does not break off.
pub fn body(
    body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
) -> Body {
    body.map_err(|never| match never {}).boxed()
}

/// An answer with a text.
pub fn text(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(self::body(Full::new(body.into())))
}

// === impl Origin ===

impl Origin {
    /// Answers every request with its name, after having read it whole.
    pub async fn named(name: &str) -> Self {
        Self::speaking(Protocol::Http1, name).await
    }

    /// The same in a protocol.
    pub async fn speaking(protocol: Protocol, name: &str) -> Self {
        let handler = naming(name);
        Self::serving(protocol, move |request| handler(request)).await
    }

    /// Answers every request by `handler`.
    pub async fn serving<F>(
        protocol: Protocol,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::serving_at(any, protocol, handler).await
    }

    /// Answers at an address of this machine.
    ///
    /// # Panics
    ///
    /// If it cannot listen there.
    pub async fn serving_at<F>(
        addr: SocketAddr,
        protocol: Protocol,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = listen(addr).expect("a loopback address is free");
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        Self::running(listener, protocol, None, handler)
    }

    /// Answers every request with its name, where somebody else listens for it.
    pub fn on(listener: TcpListener, name: &str) -> Self {
        let handler = naming(name);
        Self::running(listener, Protocol::Http1, None, handler)
    }

    /// Answers every request with its name, behind TLS.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn secured(protocol: Protocol, name: &str, tls: Arc<ServerConfig>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(any).expect("a loopback address is free");
        Self::running(listener, protocol, Some(tls), naming(name))
    }

    fn running(
        listener: TcpListener,
        protocol: Protocol,
        tls: Option<Arc<ServerConfig>>,
        handler: Handler,
    ) -> Self {
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::<State>::default();
        let server = Arc::new(Server {
            protocol,
            tls,
            handler,
            state: Arc::clone(&state),
        });
        let task = tokio::spawn(accept(listener, server));
        Self { addr, state, task }
    }

    /// Handshakes up to now, oldest first.
    pub fn handshakes(&self) -> Vec<Handshake> {
        let handshakes = self.state.handshakes.lock();
        handshakes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Handshakes that failed up to now.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Ends it with all its connections; its address is free afterwards.
    ///
    /// # Panics
    ///
    /// If its task panicked.
    pub async fn end(mut self) {
        self.task.abort();
        let ended = (&mut self.task).await;
        assert!(
            ended.is_err_and(|error| error.is_cancelled()),
            "an origin ends when it is told"
        );
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests up to now.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Connections up to now.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The newest requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self
            .state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.iter().cloned().collect()
    }

    /// The newest request.
    ///
    /// # Panics
    ///
    /// If there was none.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the origin was asked")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Seen ===

impl Seen {
    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.unwrap_or(Ok("")).unwrap_or("(not text)")
    }
}

// === impl State ===

impl State {
    fn note(&self, request: &Request<Incoming>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let uri = request.uri();
        let host = request.headers().get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = uri.authority().map(|authority| authority.as_str());
        let seen = Seen {
            method: request.method().to_string(),
            target: uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            authority: authority.or(host).unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            version: request.version(),
        };
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == SEEN_MAX {
            all.pop_front();
        }
        all.push_back(seen);
    }
}

/// Reads a request whole and answers with a name.
fn naming(name: &str) -> Handler {
    let name = Bytes::from(name.to_owned());
    Arc::new(move |request: Request<Incoming>| {
        let name = name.clone();
        Box::pin(async move {
            // Whether the caller gives up is its own affair.
            let _ = request.into_body().collect().await;
            text(name)
        })
    })
}

/// Listens at `addr`, which a [`crate::Port`] may hold.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    // Otherwise hundreds of answers that nobody reads are more than the system has memory for.
    SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// What an origin serves its connections by.
struct Server {
    protocol: Protocol,
    tls: Option<Arc<ServerConfig>>,
    handler: Handler,
    state: Arc<State>,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                server.state.connections.fetch_add(1, Ordering::Relaxed);
                open.spawn(begin(tcp, Arc::clone(&server)));
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn begin(tcp: TcpStream, server: Arc<Server>) {
    // Without it the kernel holds small answers back.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = &server.tls else {
        return serve(tcp, &server).await;
    };
    let state = &server.state;
    let Ok(tls) = TlsAcceptor::from(Arc::clone(tls)).accept(tcp).await else {
        state.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let handshake = Handshake::of(tls.get_ref().1);
    let handshakes = state.handshakes.lock();
    handshakes
        .unwrap_or_else(PoisonError::into_inner)
        .push(handshake);
    serve(tls, &server).await;
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, server: &Server) {
    let io = TokioIo::new(io);
    let (state, handler) = (Arc::clone(&server.state), Arc::clone(&server.handler));
    let served = Arc::new(Semaphore::new(0));
    let counted = Arc::clone(&served);
    let service = service_fn(move |request| {
        state.note(&request);
        counted.add_permits(1);
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // How a connection ends is for the test to see at its client.
    let _ = match server.protocol {
        Protocol::Http1 => http1::Builder::new().serve_connection(io, service).await,
        Protocol::Http2 => {
            let server = http2::Builder::new(TokioExecutor::new());
            server.serve_connection(io, service).await
        }
        Protocol::NarrowHttp2 => {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(NARROW_STREAMS);
            server.serve_connection(io, service).await
        }
        Protocol::ShortHttp2 => {
            let server = http2::Builder::new(TokioExecutor::new());
            let mut conn = pin!(server.serve_connection(io, service));
            tokio::select! {
                ended = &mut conn => ended,
                _ = served.acquire_many(SHORT_REQUESTS as u32) => {
                    conn.as_mut().graceful_shutdown();
                    conn.await
                }
            }
        }
    };
}
