//! One check: connect, ask, judge the answer. On a connection of its own, secured as those of requests
//! are.

use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use config::annotation::Probe;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::check::Check;
use super::grpc;
use super::schedule::Target;
use crate::io::Io;
use crate::telemetry::metrics::TlsMetrics;
use crate::tls::client::Speech;
use crate::upstream::connect::{self, ConnectError, Wanted};

/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest answer of gRPC, in bytes; the message takes seven.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// Flow-control windows of HTTP/2, in bytes: the least that a connection begins with anyway
/// (RFC 9113 §6.9.2), so that nobody can send more than that before it is looked at.
const WINDOW_BYTES: u32 = 65_535;
/// What a server sees as our name.
const USER_AGENT: &str = "meshproxy-health-check";
/// A limit that is noticed later than this was not the endpoint's: our own thread was held up, as by
/// a reload of very many resources. On a machine that is merely busy checks must still fail.
const HELD_UP: Duration = Duration::from_millis(500);

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("exchange")]
    Exchange(#[from] hyper::Error),
    #[error("request")]
    Request(#[from] http::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("not serving")]
    NotServing,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Checks a target once. No result if it was not the endpoint that took too long. Its handshake counts
/// in `tls` like any other.
pub(super) async fn run(target: &Target, tls: &TlsMetrics) -> Option<Result<(), Failure>> {
    let limit = target.check.written.timeout.get();
    let began = Instant::now();
    match timeout(limit, attempt(target, tls)).await {
        Ok(result) => Some(result),
        Err(_) if began.elapsed() > limit + HELD_UP => None,
        Err(_) => Some(Err(Failure::TimedOut(limit))),
    }
}

async fn attempt(target: &Target, tls: &TlsMetrics) -> Result<(), Failure> {
    let check = &target.check;
    let scheme = target.channel.scheme();
    // Nobody called: it is our own question.
    let header = target.proxy_protocol.map(|it| it.header(None));
    let wanted = Wanted {
        addr: &target.addr,
        channel: &target.channel,
        speech: speech(check),
        limit: check.written.timeout.get(),
        probes: None,
        from_own: false,
        header: header.as_deref(),
    };
    let reached = connect::reach(wanted).await;
    tls.reached(&reached);
    let io = reached?.io;
    match &check.written.probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, statuses } => {
            let status = match check.http2 {
                true => get_http2(io, check, scheme, path).await?,
                false => get_http1(io, check, path).await?,
            };
            match statuses.contains(&status.as_u16()) {
                true => Ok(()),
                false => Err(Failure::Status(status)),
            }
        }
        Probe::Grpc { service } => {
            let asked = Asked {
                authority: &check.authority,
                scheme,
                agent: USER_AGENT,
            };
            ask_grpc(io, asked, service).await
        }
    }
}

/// What is spoken. A connection that is only opened is one for requests.
fn speech(check: &Check) -> Speech {
    match (&check.written.probe, check.http2) {
        (Probe::Grpc { .. }, _) | (Probe::Http { .. } | Probe::Tcp, true) => Speech::Http2,
        (Probe::Http { .. } | Probe::Tcp, false) => Speech::Http1,
    }
}

async fn get_http1(io: Io, check: &Check, path: &str) -> Result<StatusCode, Failure> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut send, conn) = builder.handshake(TokioIo::new(io)).await?;
    let request = Request::get(path)
        .header(header::HOST, &check.authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Full::<Bytes>::default())?;
    let response = driven(conn, send.send_request(request)).await?;
    Ok(response.status())
}

async fn get_http2(
    io: Io,
    check: &Check,
    scheme: Scheme,
    path: &str,
) -> Result<StatusCode, Failure> {
    let request = Request::get(uri(&check.authority, scheme, path)?)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::default())?;
    exchange_http2(io, request, async |response| Ok(response.status())).await
}

/// Whom a server of HTTP/2 is asked as, and who asks.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) authority: &'a str,
    pub(crate) scheme: Scheme,
    pub(crate) agent: &'static str,
}

/// Asks a server, on a connection that is for this alone, whether a service of it serves.
pub(crate) async fn ask_grpc(io: Io, asked: Asked<'_>, service: &str) -> Result<(), Failure> {
    let request = Request::post(uri(asked.authority, asked.scheme, grpc::PATH)?)
        .header(header::USER_AGENT, asked.agent)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(grpc::request(service)))?;
    exchange_http2(io, request, async |response| {
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MESSAGE_BYTES_MAX);
        let Ok(body) = body.collect().await else {
            return Err(Failure::NotServing);
        };
        let ok = body
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .is_some_and(|status| status == "0");
        match ok && grpc::is_serving(&body.to_bytes()) {
            true => Ok(()),
            false => Err(Failure::NotServing),
        }
    })
    .await
}

fn uri(authority: &str, scheme: Scheme, path: &str) -> Result<Uri, http::Error> {
    let uri = Uri::builder().scheme(scheme).authority(authority);
    uri.path_and_query(path).build()
}

/// Sends a request on a new connection of HTTP/2, which ends with what `read` makes of the answer.
async fn exchange_http2<T>(
    io: Io,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let tasks = Tasks::default();
    let _ended = EndTasks(tasks.clone());
    let mut builder = http2::Builder::new(tasks);
    builder
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let (mut send, conn) = builder.handshake(TokioIo::new(io)).await?;
    driven(conn, async {
        let response = send.send_request(request).await?;
        read(response).await
    })
    .await
}

/// Does `work` while the connection is driven. When the connection ends first, the work has all it
/// will get.
pub(crate) async fn driven<T>(conn: impl Future, work: impl Future<Output = T>) -> T {
    let (mut conn, mut work) = (pin!(conn), pin!(work));
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = &mut conn => work.await,
    }
}

/// Runs what the HTTP library spawns for a connection.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Ends the tasks of a connection however its check ends: nothing is left of one that hangs.
struct EndTasks(Tasks);

// === impl Tasks ===

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }
}

// === impl EndTasks ===

impl Drop for EndTasks {
    fn drop(&mut self) {
        let tasks = &self.0.0;
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

// === impl Failure ===

impl Failure {
    /// With its causes, in one line.
    pub(super) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(source) = cause {
            text.push_str(": ");
            text.push_str(&source.to_string());
            cause = source.source();
        }
        text
    }
}
