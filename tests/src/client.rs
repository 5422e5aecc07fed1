//! Clients: one connection each, HTTP/1.1 or HTTP/2 by prior knowledge.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::reply::Reply;
use crate::wait::soon;

/// A body to send.
pub type Body = BoxBody<Bytes, std::convert::Infallible>;

/// A keep-alive connection with one request at a time.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<Body>,
    local: SocketAddr,
}

/// A connection with requests side by side; clones share it.
#[derive(Debug, Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Body>,
}

/// No body.
pub fn empty() -> Body {
    Empty::new().boxed()
}

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A request without body for `path` of `host`.
///
/// # Panics
///
/// If they cannot be written in a request.
pub fn get(host: &str, path: &str) -> Request<Body> {
    request(Method::GET, host, path, &[], empty())
}

/// A request in the form of HTTP/1.1.
///
/// # Panics
///
/// If it cannot be written.
pub fn request(
    method: Method,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    builder = builder.header(header::HOST, host);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).expect("a valid request")
}

// === impl Http1 ===

impl Http1 {
    /// Connects to `addr`.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        Self::over(tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"))).await
    }

    /// Connects to `addr`, where perhaps nobody listens.
    ///
    /// # Errors
    ///
    /// If nobody takes the connection.
    pub async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let tcp = soon("a connection", TcpStream::connect(addr)).await?;
        Ok(Self::over(tcp).await)
    }

    /// Connects to `addr` from the address `source` of this machine.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection, or the address is not ours.
    pub async fn connect_from(source: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        // Otherwise whoever listens at the same port of all addresses finds it in use.
        socket.set_reuseaddr(true).expect("an option");
        socket.bind((source, 0).into()).expect("a local address");
        let tcp = soon("a connection", socket.connect(addr)).await;
        Self::over(tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"))).await
    }

    /// Speaks over a connection that somebody else made.
    ///
    /// # Panics
    ///
    /// If it is not connected any more.
    pub async fn over(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).expect("a TCP option");
        let local = tcp.local_addr().expect("a connected socket has an address");
        let (sender, conn) = http1::handshake(TokioIo::new(tcp))
            .await
            .expect("a handshake");
        tokio::spawn(conn);
        Self { sender, local }
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// If the connection fails or is closed.
    pub async fn begin(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon("a connection that is ready", self.sender.ready()).await?;
        soon("the head of an answer", self.sender.send_request(request)).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// If the connection fails or is closed.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Reply> {
        let response = self.begin(request).await?;
        soon("the end of an answer", Reply::of(response)).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    ///
    /// If the connection fails or is closed.
    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        let reply = self.try_send(request).await;
        reply.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// `GET path` of `host`.
    ///
    /// # Panics
    ///
    /// If the connection fails or is closed.
    pub async fn get(&mut self, host: &str, path: &str) -> Reply {
        self.send(get(host, path)).await
    }

    /// `GET path` of `host` with more headers.
    ///
    /// # Panics
    ///
    /// If the connection fails or is closed.
    pub async fn get_with(&mut self, host: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(request(Method::GET, host, path, headers, empty()))
            .await
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until the other side has closed the connection.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn closed(&mut self) {
        crate::wait::eventually(
            "the end of a connection",
            async || self.is_closed(),
            |closed| *closed,
        )
        .await;
    }
}

// === impl Http2 ===

impl Http2 {
    /// Connects to `addr`.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        Self::over(tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"))).await
    }

    /// Speaks over a stream, such as one of TLS.
    ///
    /// # Panics
    ///
    /// If there is no handshake.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await;
        let (sender, conn) = handshake.expect("a handshake");
        tokio::spawn(conn);
        Self { sender }
    }

    /// Whether the connection takes another request, once it is clear.
    ///
    /// # Panics
    ///
    /// If that does not become clear.
    pub async fn is_ready(&mut self) -> bool {
        soon("a connection that is ready", self.sender.ready())
            .await
            .is_ok()
    }

    /// Sends a request and waits for the head of its answer. The host header becomes the authority.
    ///
    /// # Errors
    ///
    /// If the stream fails.
    pub async fn begin(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let request = in_http2(request);
        soon("a connection that is ready", self.sender.ready()).await?;
        soon("the head of an answer", self.sender.send_request(request)).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    ///
    /// If the stream fails.
    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        let response = self.begin(request).await;
        let response = response.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let reply = soon("the end of an answer", Reply::of(response)).await;
        reply.unwrap_or_else(|error| panic!("the answer broke off: {error:?}"))
    }

    /// `GET path` of `host`.
    ///
    /// # Panics
    ///
    /// If the stream fails.
    pub async fn get(&mut self, host: &str, path: &str) -> Reply {
        self.send(get(host, path)).await
    }
}

fn in_http2(request: Request<Body>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    let host = head
        .headers
        .remove(header::HOST)
        .expect("a request for a host");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("http://{}{path}", host.to_str().expect("a host is text"));
    head.uri = uri.parse().expect("a valid target");
    head.version = http::Version::HTTP_2;
    Request::from_parts(head, body)
}
