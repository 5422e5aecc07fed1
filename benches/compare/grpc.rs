//! The gRPC service behind the proxies: one unary method, on a thread of its own.
//!
//! Ready-made servers either answer with no trailers (nginx, nghttpd) or do more per call than the
//! proxies that are measured. This one checks what it gets and answers with constant bytes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// Path of the method.
pub(crate) const PATH: &str = "/bench.Target/Item";

/// What a call sends: not compressed, then the length of the message, then the message.
pub(crate) const CALL: &[u8; 37] = b"\0\0\0\0\x20the message of a call: 32 bytes.";

/// What it gets, in the same form.
pub(crate) const ANSWER: &[u8; 69] =
    b"\0\0\0\0\x40the message of the answer has twice the length: sixty-four bytes";

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Status of a call that went well.
const OK: HeaderValue = HeaderValue::from_static("0");

/// Status of a call that is not [`CALL`].
const INVALID_ARGUMENT: HeaderValue = HeaderValue::from_static("3");

/// Limit of [`check`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The running service. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Service {
    port: u16,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<Result<()>>>,
}

type Answer = Response<WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>>;

// === impl Service ===

impl Service {
    /// Starts the service on `core` and a free port of loopback.
    ///
    /// # Errors
    /// When there is no port, or no such core.
    pub(crate) fn start(core: usize) -> Result<Service> {
        ensure!(core < CpuSet::MAX_CPU, "no core has the number {core}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let port = listener.local_addr().context("find the port")?.port();
        let (stop, stopped) = oneshot::channel();
        let (pinned, is_pinned) = mpsc::channel();
        let serve = move || {
            let mut cores = CpuSet::new();
            cores.set(core);
            let result = sched_setaffinity(None, &cores);
            // Fails only if the other side has given up.
            let _ = pinned.send(result);
            serve(listener, stopped)
        };
        let thread = thread::Builder::new().name("grpc".to_owned()).spawn(serve);
        let service = Service {
            port,
            stop: Some(stop),
            thread: Some(thread.context("start a thread")?),
        };
        let pinned = is_pinned.recv().context("wait for the thread")?;
        pinned.with_context(|| format!("pin the thread to core {core}"))?;
        Ok(service)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = ended {
            eprintln!("the gRPC service: {error:#}");
        }
    }
}

// === the service ===

fn serve(listener: TcpListener, stopped: oneshot::Receiver<Infallible>) -> Result<()> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.context("start a runtime")?.block_on(async {
        tokio::select! {
            result = accept(listener) => result,
            _ = stopped => Ok(()),
        }
    })
}

/// Accepts until an error. Connections end with the runtime.
async fn accept(listener: TcpListener) -> Result<()> {
    listener.set_nonblocking(true).context("listen")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("listen")?;
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        spawn_local(async {
            let mut builder = server::conn::http2::Builder::new(LocalExecutor);
            builder.max_concurrent_streams(1000);
            let connection = builder.serve_connection(TokioIo::new(stream), service_fn(answer));
            // A proxy that is killed at the end of its run breaks its connections.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = request.into_parts();
    let te = head.headers.get(header::TE);
    let called = head.method == Method::POST
        && head.uri.path() == PATH
        && head.headers.get(header::CONTENT_TYPE) == Some(&CONTENT_TYPE)
        && te.is_some_and(|te| te == "trailers")
        && body.collect().await?.to_bytes() == CALL[..];
    let (message, status) = match called {
        true => (Bytes::from_static(ANSWER), OK),
        false => (Bytes::new(), INVALID_ARGUMENT),
    };
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, status)]);
    let body = Full::new(message).with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, CONTENT_TYPE);
    Ok(response)
}

const GRPC_STATUS: header::HeaderName = header::HeaderName::from_static("grpc-status");

/// Runs the tasks of a connection on the thread of the service.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

// === a look at it ===

/// Makes one call through `port` and looks at all of its answer, the trailers included. h2load does
/// not.
///
/// # Errors
/// When it is not the answer of the service, or takes too long.
pub(crate) async fn check(port: u16) -> Result<()> {
    let call = tokio::time::timeout(CHECK_TIMEOUT, call(port, CALL));
    let (status, body, trailers) = call.await.context("wait for the answer")??;
    ensure!(status == StatusCode::OK, "status {status}");
    ensure!(
        body == ANSWER[..],
        "not the answer of the service: {body:?}"
    );
    let grpc_status = trailers.get(GRPC_STATUS);
    ensure!(
        grpc_status == Some(&OK),
        "grpc-status is not 0 in the trailers {trailers:?}"
    );
    Ok(())
}

async fn call(port: u16, message: &'static [u8]) -> Result<(StatusCode, Bytes, HeaderMap)> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let builder = client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let request = Request::post(format!("http://127.0.0.1:{port}{PATH}"))
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from_static(message)))?;
    let exchange = async {
        let response = client.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        anyhow::Ok((status, body.to_bytes(), trailers))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(anyhow!("the connection ended early: {ended:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_have_the_lengths_that_they_begin_with() {
        for message in [&CALL[..], ANSWER] {
            let (prefix, rest) = message.split_at(5);
            assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(rest.len()).unwrap()]);
        }
    }

    #[tokio::test]
    async fn a_call_is_answered_with_a_message_and_a_status_in_the_trailers() {
        let service = Service::start(0).unwrap();
        check(service.port()).await.unwrap();
    }

    #[tokio::test]
    async fn another_call_gets_an_error() {
        let service = Service::start(0).unwrap();

        let (status, body, trailers) = call(service.port(), b"\0\0\0\0\x01x").await.unwrap();

        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        assert_eq!(trailers.get(GRPC_STATUS), Some(&INVALID_ARGUMENT));
    }

    #[test]
    fn a_core_that_does_not_exist_is_an_error() {
        assert!(Service::start(1000).is_err());
        assert!(Service::start(usize::MAX).is_err());
    }
}
