//! Origins whose answers change while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use http::{HeaderValue, Response, StatusCode};
use tests::Origin;
use tests::origin::{Body, Protocol, text};

/// Stands for an answer that never comes.
const SILENCE: u16 = 0;

/// An origin and the status it answers with.
pub(crate) struct Mood {
    pub(crate) origin: Origin,
    status: Arc<AtomicU16>,
}

// === impl Mood ===

impl Mood {
    /// Answers 200 at first.
    pub(crate) async fn start() -> Self {
        Self::speaking(Protocol::Http1).await
    }

    /// The same in a protocol.
    pub(crate) async fn speaking(protocol: Protocol) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let said = Arc::clone(&status);
        let answer = move |_| {
            let status = said.load(Ordering::Relaxed);
            async move { answer(status).await }
        };
        let origin = Origin::serving(protocol, answer).await;
        Self { origin, status }
    }

    /// Answers with `status` from now on; below 100 it is one of gRPC, in the head of an answer.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Answers no request from now on.
    pub(crate) fn is_silent(&self) {
        self.answers(SILENCE);
    }
}

async fn answer(status: u16) -> Response<Body> {
    if status == SILENCE {
        std::future::pending::<()>().await;
    }
    let mut response = text("");
    match StatusCode::from_u16(status) {
        Ok(status) => *response.status_mut() = status,
        Err(_) => {
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(status));
        }
    }
    response
}
