//! Asking a rate-limit service: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! The service is a destination like any other, so that it is resolved, balanced and pooled. Each
//! question has a deadline, and what becomes of a request without an answer is declared.

mod standing;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use http_body::Body as _;
use prometheus::IntCounter;
use tokio::time::{Instant, timeout};

use super::message::{self, Descriptor, Verdict};
use crate::body::Body;
use crate::upstream::destination::{DestinationId, Destinations};
use crate::upstream::{Outgoing, Sending, Upstream};
use standing::Change;
pub(crate) use standing::Standing;

const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an answer is awaited where nothing is said.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(20);
/// The domain where none is named.
pub const DOMAIN_DEFAULT: &str = "meshproxy";

/// A service that counts for all proxies.
#[derive(Debug)]
pub struct Service {
    /// `namespace/name` of the policy.
    pub policy: Arc<str>,
    /// Where it is; none if the registry has no such host or port.
    pub destination: Option<DestinationId>,
    /// How it is called.
    pub authority: HeaderValue,
    /// Name of the set of limits that are asked for.
    pub domain: Box<str>,
    /// Limit of the wait for an answer.
    pub timeout: Duration,
    /// Whether requests are refused while it does not answer.
    pub denies: bool,
    /// How its answers went.
    pub(crate) results: Results,
    /// Whether it answers.
    pub(crate) standing: Standing,
}

/// Questions by how they went.
#[derive(Debug, Clone)]
pub struct Results {
    /// The request may pass.
    pub(crate) ok: IntCounter,
    /// It may not.
    pub(crate) over: IntCounter,
    /// There was no answer in time.
    pub(crate) failed: IntCounter,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("the rate-limit service does not answer")]
pub(crate) struct NoAnswer;

// === impl Service ===

impl Service {
    /// Asks whether a request may pass that counts for all `descriptors`.
    ///
    /// # Errors
    ///
    /// If there is no answer in time, or none that decides. One that had none several times in a row
    /// is not asked for a while.
    pub(crate) async fn ask(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        descriptors: &[Descriptor],
    ) -> Result<Verdict, NoAnswer> {
        let verdict = match self.standing.is_asked(Instant::now()) {
            true => {
                let question = message::encode(&self.domain, descriptors);
                let asking = self.exchange(upstream, destinations, question);
                let verdict = timeout(self.timeout, asking).await.ok().flatten();
                self.note(verdict.is_some());
                verdict
            }
            false => None,
        };
        let counter = match &verdict {
            None => &self.results.failed,
            Some(verdict) if verdict.is_over => &self.results.over,
            Some(_) => &self.results.ok,
        };
        counter.inc();
        verdict.ok_or(NoAnswer)
    }

    fn note(&self, answered: bool) {
        let policy = &*self.policy;
        match self.standing.note(answered, Instant::now()) {
            Change::None => {}
            Change::Fails => {
                let requests = if self.denies { "refused" } else { "let pass" };
                tracing::warn!(policy, requests, "rate-limit service does not answer");
            }
            Change::Answers => tracing::info!(policy, "rate-limit service answers again"),
        }
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        question: Bytes,
    ) -> Option<Verdict> {
        let destination = destinations.get(self.destination?)?;
        let mut outgoing = self.call(question);
        let sent = Box::pin(upstream.send_once(destination, None, &mut outgoing));
        let answer = sent.await.ok()?;
        let (head, body) = answer.response.into_parts();
        let (frame, trailers) = read(body).await?;
        let status = trailers.as_ref().unwrap_or(&head.headers).get(&GRPC_STATUS);
        let ok = head.status.is_success() && status.is_some_and(|status| status == "0");
        ok.then(|| message::decode(&frame).ok()).flatten()
    }

    fn call(&self, question: Bytes) -> Outgoing {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(PATH);
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Ok(limit) = HeaderValue::try_from(format!("{}m", self.timeout.as_millis())) {
            headers.insert(GRPC_TIMEOUT, limit);
        }
        let (head, ()) = request.into_parts();
        Outgoing {
            head: Box::new(head),
            rewritten: None,
            authority: self.authority.clone(),
            adds_proto: false,
            made_for: None,
            made_id: None,
            body: Body::full(question),
            spelling: None,
            interim: None,
            upgrade: None,
            token: None,
            sending: Sending::default(),
        }
    }
}

/// Reads a body to its end; none if it breaks off or is too long.
async fn read(mut body: Body) -> Option<(Bytes, Option<HeaderMap>)> {
    let (mut data, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = match frame.ok()?.into_data() {
            Ok(more) if data.len() + more.len() <= ANSWER_BYTES_MAX => {
                data.extend_from_slice(&more);
                continue;
            }
            Ok(_) => return None,
            Err(frame) => frame,
        };
        trailers = frame.into_trailers().ok().or(trailers);
    }
    Some((data.freeze(), trailers))
}
