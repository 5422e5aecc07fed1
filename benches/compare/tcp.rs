//! Connections that are not HTTP: bytes both ways, as fast as they go, and many that rest.
//!
//! Every connection begins with the greeting of TLS, by which a gateway of meshproxy that lets TLS pass
//! knows its way, and one byte that says which work it is. What follows is the same for all proxies: a
//! pattern without repetition within what is under way, which the other side checks byte by byte.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream as StdTcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_local};

use crate::load::Outcome;

/// Name that the greeting asks for.
pub(crate) const HOST: &str = "upstream.example.com";
/// Connections of [`run`].
const CONNECTIONS: usize = 8;
/// Most connections of [`Resting`].
const RESTING_MAX: usize = 10_000;
/// Descriptors beside those of connections.
const SPARE_FILES: u64 = 512;
/// Descriptors that a program needs for all of them.
const OPEN_FILES: u64 = 2 * RESTING_MAX as u64 + SPARE_FILES;
/// Most bytes of one write or read.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes after which the pattern begins again: a prime, so that no block is met twice at one place.
const PERIOD: usize = 1_048_573;
/// How long a connection may take to come through.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
const BULK: u8 = b'b';
const REST: u8 = b'r';

/// The other side, on a thread of its own until the program ends.
#[derive(Debug)]
pub(crate) struct Service {
    port: u16,
}

/// Connections that rest, until dropped.
#[derive(Debug)]
pub(crate) struct Resting(#[expect(dead_code, reason = "it holds them")] Vec<StdTcpStream>);

// === impl Service ===

impl Service {
    /// Starts the service on `core` and a free port of loopback.
    ///
    /// # Errors
    /// When there is no port, or no such core.
    pub(crate) fn start(core: usize) -> Result<Service> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        listener.set_nonblocking(true).context("listen")?;
        let port = listener.local_addr().context("find the port")?.port();
        let (pinned, is_pinned) = mpsc::channel();
        let serve = move || {
            let result = pin(core);
            let serves = result.is_ok();
            // Fails only if the other side has given up.
            let _ = pinned.send(result);
            if serves && let Err(error) = local(accept(listener)) {
                eprintln!("the TCP service: {error:#}");
            }
        };
        let thread = thread::Builder::new().name("tcp".to_owned());
        thread.spawn(serve).context("start a thread")?;
        is_pinned.recv().context("wait for the thread")??;
        Ok(Service { port })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

async fn accept(listener: TcpListener) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("listen")?;
    let pattern = pattern();
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let pattern = Arc::clone(&pattern);
        spawn_local(async move {
            // Who only looked whether the proxy is there says nothing.
            let _ = Box::pin(answer(stream, &pattern)).await;
        });
    }
}

async fn answer(mut stream: TcpStream, pattern: &[u8]) -> Result<()> {
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut record = [0; 5];
    stream.read_exact(&mut record).await.context("greeting")?;
    let [_, _, _, high, low] = record;
    let mut greeting = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut greeting).await.context("greeting")?;
    let work = stream.read_u8().await.context("the kind of work")?;
    if work == REST {
        stream.write_u8(REST).await.context("answer")?;
        stream.read_u8().await.context("wait for the end")?;
        return Ok(());
    }
    let (read, write) = stream.split();
    let ended = Cell::new(false);
    let check = async {
        let checked = check(read, pattern).await;
        ended.set(true);
        checked
    };
    tokio::try_join!(check, send(write, pattern, || ended.get())).map(drop)
}

/// Sends bytes both ways for `time` and says how many GiB passed.
///
/// # Errors
/// When a connection fails, or other bytes come than were sent.
pub(crate) async fn run(core: usize, port: u16, time: Duration) -> Result<Outcome> {
    let (done, outcome) = oneshot::channel();
    let work = move || {
        // Fails only if the run was given up.
        let _ = done.send(pin(core).and_then(|()| local(clients(port, time))));
    };
    let thread = thread::Builder::new().name("bulk".to_owned());
    thread.spawn(work).context("start a thread")?;
    outcome.await.context("wait for the load")?
}

async fn clients(port: u16, time: Duration) -> Result<Outcome> {
    let (start, pattern) = (Instant::now(), pattern());
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (pattern, greeting) = (Arc::clone(&pattern), greeting(BULK)?);
        clients.spawn_local(async move {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            let mut stream = stream.context("connect")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            stream.write_all(&greeting).await.context("greet")?;
            let (read, write) = stream.split();
            let send = send(write, &pattern, || start.elapsed() >= time);
            let (received, sent) = tokio::try_join!(check(read, &pattern), send)?;
            anyhow::Ok(received + sent)
        });
    }
    let mut bytes = 0;
    while let Some(client) = clients.join_next().await {
        bytes += client.context("a client ended")??;
    }
    Ok(Outcome {
        requests: gib(bytes),
        seconds: start.elapsed().as_secs_f64(),
        p50_p99_us: None,
    })
}

/// Sends the pattern until `ended`, and the end.
async fn send(
    mut to: impl AsyncWrite + Unpin,
    pattern: &[u8],
    ended: impl Fn() -> bool,
) -> Result<u64> {
    let mut sent = 0;
    while !ended() {
        let block = &pattern[sent % PERIOD..][..BLOCK_BYTES];
        sent += to.write(block).await.context("send")?;
    }
    to.shutdown().await.context("end")?;
    Ok(sent as u64)
}

/// Takes the pattern up to its end.
async fn check(mut from: impl AsyncRead + Unpin, pattern: &[u8]) -> Result<u64> {
    let mut buf = vec![0; BLOCK_BYTES];
    let mut received = 0;
    loop {
        let read = from.read(&mut buf).await.context("receive")?;
        if read == 0 {
            return Ok(received as u64);
        }
        let expected = &pattern[received % PERIOD..][..read];
        ensure!(
            buf[..read] == *expected,
            "other bytes came after {received}"
        );
        received += read;
    }
}

/// The pattern, and a block of its beginning again.
fn pattern() -> Arc<[u8]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pattern: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    pattern.extend_from_within(..BLOCK_BYTES);
    pattern.into()
}

/// The beginning of a connection for this kind of work.
fn greeting(work: u8) -> Result<Vec<u8>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose versions of TLS")?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).context("name the server")?;
    let mut session = ClientConnection::new(Arc::new(config), name).context("greet")?;
    let mut greeting = Vec::new();
    session.write_tls(&mut greeting).context("greet")?;
    greeting.push(work);
    Ok(greeting)
}

// === impl Resting ===

impl Resting {
    /// Allows this program, and those that it starts, as many open files as the connections need, as far
    /// as the system lets it, and says how many connections that makes.
    ///
    /// # Errors
    /// When it makes none.
    pub(crate) fn prepare() -> Result<usize> {
        let raised = Rlimit {
            current: Some(OPEN_FILES),
            maximum: Some(OPEN_FILES),
        };
        let limit = getrlimit(Resource::Nofile);
        let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= OPEN_FILES);
        if !enough(limit.current) && setrlimit(Resource::Nofile, raised).is_err() {
            let most = Rlimit {
                current: limit.maximum,
                ..limit
            };
            setrlimit(Resource::Nofile, most).context("raise the limit of open files")?;
        }
        let files = getrlimit(Resource::Nofile).current.unwrap_or(OPEN_FILES);
        let room = files.saturating_sub(SPARE_FILES) / 2;
        ensure!(room > 0, "{files} open files are too few (ulimit -Hn)");
        Ok(usize::try_from(room).map_or(RESTING_MAX, |room| room.min(RESTING_MAX)))
    }

    /// Opens so many connections, each through to the service and back.
    ///
    /// # Errors
    /// When one does not come through.
    pub(crate) fn open(port: u16, count: usize) -> Result<Resting> {
        let greeting = greeting(REST)?;
        let open = |_| {
            let stream = StdTcpStream::connect((Ipv4Addr::LOCALHOST, port));
            let mut stream = stream.context("connect")?;
            let timeout = stream.set_read_timeout(Some(ARRIVAL_TIMEOUT));
            timeout.context("set a limit")?;
            stream.write_all(&greeting).context("greet")?;
            stream.read_exact(&mut [0]).context("wait for the answer")?;
            anyhow::Ok(stream)
        };
        let open: Result<Vec<_>> = (0..count).map(open).collect();
        open.map(Resting)
    }
}

fn pin(core: usize) -> Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "no core has the number {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("pin the thread to core {core}"))
}

fn local<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.context("start a runtime")?.block_on(work)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a run are far below 2^52"
)]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 30) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_sent_and_checked_both_ways() {
        let pattern = pattern();
        let other = {
            let mut other = pattern.to_vec();
            other[7] ^= 1;
            other
        };
        let work = async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (_, write) = tokio::io::split(near);
            let (read, _) = tokio::io::split(far);
            let turns = Cell::new(0);
            let ended = || turns.replace(turns.get() + 1) == 40;
            Ok(tokio::join!(
                check(read, &pattern),
                send(write, &pattern, ended)
            ))
        };

        let (received, sent) = local(work).unwrap();

        assert_eq!(received.unwrap(), sent.unwrap());
        let wrong = local(check(&other[..100], &pattern)).unwrap_err();
        assert!(wrong.to_string().contains("other bytes"), "{wrong:#}");
    }

    #[test]
    fn a_greeting_is_one_record_and_says_the_work() {
        let greeting = greeting(REST).unwrap();
        let len = usize::from(u16::from_be_bytes([greeting[3], greeting[4]]));
        assert_eq!(greeting.len(), 5 + len + 1);
        assert_eq!(greeting.last(), Some(&REST));
    }
}
