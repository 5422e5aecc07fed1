//! Clients that keep asking while something happens to the proxy, and count what they lose: fresh and
//! kept connections, HTTP/2, long answers, and tunnels.
//!
//! They are strict: whatever is not a whole and right answer is lost, also a connection that is closed
//! while a request is on its way. Where to connect is asked anew for each connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Http2, get};
use crate::origin::{Origin, Protocol, body, text};
use crate::reply::Reply;
use crate::script::{Peer, Script};
use crate::wait::soon;
use crate::yaml::{self, Service};

/// The host of requests.
const HOST: &str = "app.test";
/// The host of tunnels.
const CHAT: &str = "chat.test";
/// A piece of a long answer.
const PIECE: &[u8] = &[b'x'; 8 * 1024];
/// Pieces of a long answer.
const PIECES: usize = 8;
/// Pause before each of them.
const PAUSE: Duration = Duration::from_millis(20);
/// Messages through a tunnel before its client ends it.
const MESSAGES: usize = 12;
/// Clients of each kind.
const CLIENTS: usize = 3;
/// Losses that are told one by one.
const TOLD_MAX: usize = 20;

/// What is behind the proxy.
#[derive(Debug)]
pub struct Upstreams {
    app: Origin,
    chat: Script,
}

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    tally: Mutex<Tally>,
}

/// What clients got, and what they lost.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whole answers, by kind of client.
    pub whole: BTreeMap<&'static str, usize>,
    /// What was no whole answer, in words.
    pub lost: Vec<String>,
}

type Loss = Box<dyn std::error::Error + Send + Sync>;

// === impl Upstreams ===

impl Upstreams {
    /// Starts what the clients ask for.
    pub async fn start() -> Self {
        Self {
            app: Origin::serving(Protocol::Http1, answer).await,
            chat: Script::start(echo).await,
        }
    }

    /// The documents by which a gateway leads there.
    pub fn documents(&self) -> Vec<String> {
        let rule = |host| format!("  - route: [{{destination: {{host: {host}}}}}]");
        vec![
            Service::new(HOST).at(self.app.addr()).to_string(),
            yaml::routes(HOST, &rule(HOST)),
            Service::new(CHAT).at(self.chat.addr()).to_string(),
            yaml::routes(CHAT, &rule(CHAT)),
        ]
    }
}

async fn answer(request: Request<Incoming>) -> http::Response<crate::origin::Body> {
    if request.uri().path() != "/long" {
        return text("short");
    }
    let (mut sender, long) = Channel::<Bytes, std::convert::Infallible>::new(1);
    tokio::spawn(async move {
        for _ in 0..PIECES {
            sleep(PAUSE).await;
            if sender.send_data(Bytes::from_static(PIECE)).await.is_err() {
                return;
            }
        }
    });
    http::Response::new(body(long))
}

/// Switches the protocol, then sends back what it hears in pieces of four bytes.
async fn echo(mut peer: Peer) {
    peer.hear_head().await;
    peer.say(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )
    .await;
    loop {
        let heard = peer.hear(4).await;
        if heard.is_empty() {
            return peer.say("bye!").await;
        }
        peer.say(&heard).await;
    }
}

// === impl Load ===

impl Load {
    /// Starts clients of every kind that connect to whatever `pick` says.
    pub fn start(pick: impl Fn() -> SocketAddr + Clone + Send + Sync + 'static) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            shared: Arc::default(),
        };
        for _ in 0..CLIENTS {
            load.repeat("fresh", pick.clone(), fresh);
            load.repeat("kept", pick.clone(), kept);
            load.repeat("long", pick.clone(), long);
            load.repeat("tunnel", pick.clone(), tunnel);
            load.repeat("http2", pick.clone(), http2);
        }
        load
    }

    /// Ends all clients after what they are in.
    ///
    /// # Panics
    ///
    /// If they do not end, or panicked.
    pub async fn end(mut self) -> Tally {
        self.shared.over.store(true, Relaxed);
        while let Some(ended) = soon("the end of a client", self.tasks.join_next()).await {
            ended.expect("clients do not panic");
        }
        std::mem::take(&mut *self.shared.tally())
    }

    fn repeat<F>(
        &mut self,
        kind: &'static str,
        pick: impl Fn() -> SocketAddr + Send + Sync + 'static,
        client: impl Fn(SocketAddr, Counting) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), Loss>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            while !shared.over.load(Relaxed) {
                let counting = Counting {
                    kind,
                    shared: Arc::clone(&shared),
                };
                let addr = pick();
                if let Err(loss) = soon(kind, client(addr, counting)).await {
                    shared
                        .tally()
                        .lost
                        .push(format!("{kind} at {addr}: {loss:?}"));
                }
            }
        });
    }
}

// === impl Shared ===

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tally ===

impl Tally {
    /// Nothing is lost, and every kind of client got something.
    ///
    /// # Panics
    ///
    /// If it is not so.
    pub fn assert_whole(&self) {
        let told: Vec<&String> = self.lost.iter().take(TOLD_MAX).collect();
        assert!(
            self.lost.is_empty(),
            "{} lost, such as {told:#?}; whole: {:?}",
            self.lost.len(),
            self.whole
        );
        assert_eq!(self.whole.len(), 5, "{:?}", self.whole);
    }
}

/// Counts what one client got.
struct Counting {
    kind: &'static str,
    shared: Arc<Shared>,
}

// === impl Counting ===

impl Counting {
    fn whole(&self) {
        *self.shared.tally().whole.entry(self.kind).or_default() += 1;
    }

    fn is_over(&self) -> bool {
        self.shared.over.load(Relaxed)
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(addr).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// One request on a connection of its own.
async fn fresh(addr: SocketAddr, counting: Counting) -> Result<(), Loss> {
    let mut tcp = connect(addr).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    whole(&answer, "short")?;
    counting.whole();
    Ok(())
}

fn whole(answer: &str, end: &str) -> Result<(), Loss> {
    match answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(end) {
        true => Ok(()),
        false => Err(format!("not whole: {answer:?}").into()),
    }
}

/// Requests one after another on a connection, until an answer says that it ends.
async fn kept(addr: SocketAddr, counting: Counting) -> Result<(), Loss> {
    let mut tcp = connect(addr).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    while !counting.is_over() {
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        while !answer.ends_with(b"\r\n\r\nshort") {
            if tcp.read_buf(&mut answer).await? == 0 {
                let heard = String::from_utf8_lossy(&answer).into_owned();
                return Err(format!("closed after {heard:?}").into());
            }
        }
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        counting.whole();
        if answer.contains("\r\nconnection: close\r\n") {
            break;
        }
    }
    Ok(())
}

/// An answer that takes a while.
async fn long(addr: SocketAddr, counting: Counting) -> Result<(), Loss> {
    let mut tcp = connect(addr).await?;
    let request = format!("GET /long HTTP/1.0\r\nhost: {HOST}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let body = end.map(|end| &answer[end + 4..]).unwrap_or_default();
    if body.len() != PIECES * PIECE.len() || body.iter().any(|byte| *byte != b'x') {
        return Err(format!("{} bytes of a long answer", body.len()).into());
    }
    counting.whole();
    Ok(())
}

/// Messages through a tunnel, to its end.
async fn tunnel(addr: SocketAddr, counting: Counting) -> Result<(), Loss> {
    let mut tcp = connect(addr).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {CHAT}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await? == 0 {
            return Err("closed before it switched".into());
        }
    }
    let mut heard = [0; 4];
    for _ in 0..MESSAGES {
        tcp.write_all(b"ping").await?;
        tcp.read_exact(&mut heard).await?;
        if heard != *b"ping" {
            return Err(format!("another message: {heard:?}").into());
        }
        sleep(PAUSE).await;
    }
    tcp.shutdown().await?;
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await?;
    if rest != "bye!" {
        return Err(format!("another end: {rest:?}").into());
    }
    counting.whole();
    Ok(())
}

/// Requests one after another on a connection of HTTP/2, until it is told to end.
async fn http2(addr: SocketAddr, counting: Counting) -> Result<(), Loss> {
    let mut client = Http2::over(connect(addr).await?).await;
    while !counting.is_over() {
        if !client.is_ready().await {
            return Ok(());
        }
        let response = match client.begin(get(HOST, "/")).await {
            Err(error) if is_sent_elsewhere(&error) => return Ok(()),
            response => response?,
        };
        let reply = Reply::of(response).await?;
        if reply.brief() != (200, "short") {
            return Err(format!("another answer: {reply:?}").into());
        }
        counting.whole();
    }
    Ok(())
}

/// Whether a request was not taken because the connection ends in good order: the server says which
/// was the last that it takes, and the client may send what came later to another. What the client
/// had not begun to send by then it calls cancelled, and closed where it had not even asked for a place.
fn is_sent_elsewhere(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let cause = source.and_then(|source| source.downcast_ref::<h2::Error>());
    let is_told =
        cause.is_some_and(|it| it.is_go_away() && it.reason() == Some(h2::Reason::NO_ERROR));
    is_told || error.is_canceled() || error.is_closed()
}
