//! Authorizers outside of the proxy: what they are asked, and what their answers mean.
//!
//! An authorizer is a destination like any other, so that it is resolved, balanced and pooled. Each
//! question has a deadline. Without an answer a request is refused, unless the provider says that it
//! may pass.

mod body;
mod grpc;
mod http;
mod message;

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{self, HeaderName};
use ::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use prometheus::IntCounter;
use rustc_hash::FxHashSet;
use tokio::time::timeout;

use super::policy::{Matched, Policy};
use crate::body::Body;
use crate::inbound::Arrival;
use crate::request::Rejection;
use crate::request::headers::is_hop_by_hop;
use crate::upstream::Outgoing;
use crate::upstream::question::Place;
pub(crate) use body::Included;
pub(crate) use http::{HttpAuthorizer, Names};

/// How long an answer is awaited where nothing is said; Istio's own default.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most headers that an answer may change; one that changes more is no answer.
const CHANGES_MAX: usize = 128;

/// Policies that ask the same authorizer, which is asked once for all of them.
#[derive(Debug)]
pub struct Asked {
    /// Its name.
    pub provider: Arc<str>,
    /// None if nobody is called so, or it is no authorizer: everything is refused then.
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) policies: Box<[Policy]>,
    pub(crate) results: Results,
}

/// Who is asked, and how.
#[derive(Debug)]
pub(crate) struct Authorizer {
    pub(crate) place: Place,
    pub(crate) speaks: Speaks,
    /// Limit of the wait for an answer, with the body that is sent along.
    pub(crate) timeout: Duration,
    /// Whether a request passes without an answer.
    pub(crate) fails_open: bool,
    /// Status of the answer to who does not pass then.
    pub(crate) status_on_error: StatusCode,
    /// How much of the request's body it gets.
    pub(crate) body: Option<Included>,
}

/// What an authorizer speaks.
#[derive(Debug)]
pub(crate) enum Speaks {
    Http(Box<HttpAuthorizer>),
    Grpc,
}

/// Questions by how they went.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    /// The request may pass.
    pub(crate) allowed: IntCounter,
    /// It may not.
    pub(crate) denied: IntCounter,
    /// There was no answer.
    pub(crate) failed: IntCounter,
}

/// What an authorizer says.
#[derive(Debug)]
pub(crate) enum Answer {
    Allowed(Changes),
    Denied(Box<Refusal>),
}

/// What changes of a request that may pass.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Headers of the request.
    pub(crate) request: Vec<Change>,
    /// Headers that the response gets.
    pub(crate) response: Vec<(HeaderName, HeaderValue)>,
}

/// A change of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// How an authorizer refuses.
#[derive(Debug)]
pub struct Refusal {
    /// Who refused.
    pub(crate) provider: Arc<str>,
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// There is no answer that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// Who was asked.
    pub(crate) provider: Arc<str>,
    /// Status of the answer.
    pub(crate) status: StatusCode,
}

/// Why a question has no answer.
#[derive(Debug)]
enum Failure {
    /// Nobody answered, or nothing that decides.
    NoAnswer,
    /// The request's body is longer than what the authorizer takes, and it wants all of it.
    BodyTooLong,
    /// The client broke off.
    BodyFailed,
}

// === impl Refusal ===

impl Refusal {
    /// Adds what the authorizer says besides the status: its headers, and a body that is no text.
    /// Who speaks gRPC gets the headers alone.
    pub(crate) fn add_to(&self, response: &mut Response<Body>, grpc: bool) {
        let own = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
        let mut replaced = FxHashSet::default();
        let headers = self.headers.iter().take(CHANGES_MAX);
        for (name, value) in headers.filter(|(name, _)| !grpc || !own.contains(name)) {
            // Lines of the authorizer take the place of ours, not of one another.
            match replaced.insert(name) {
                true => response.headers_mut().insert(name, value.clone()).is_some(),
                false => response.headers_mut().append(name, value.clone()),
            };
        }
        if !grpc {
            *response.body_mut() = Body::full(self.body.clone());
        }
    }
}

// === impl Asked ===

impl Asked {
    /// Asks about a request that a policy matched, and changes it as the answer says.
    pub(crate) async fn ask(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &mut Outgoing,
        matched: Matched,
    ) -> Result<(), Rejection> {
        let Some(authorizer) = &self.authorizer else {
            return Err(self.undecided(StatusCode::FORBIDDEN, &matched));
        };
        // In a box: few requests wait here.
        let asking = Box::pin(authorizer.exchange(arrival, outgoing));
        let answered = timeout(authorizer.timeout, asking).await;
        let answered = answered.unwrap_or(Err(Failure::NoAnswer));
        authorizer.clear(&mut outgoing.head.headers);
        match answered {
            Ok(Answer::Allowed(changes)) => {
                self.results.allowed.inc();
                apply(changes.request, &mut outgoing.head.headers);
                arrival.answer_headers.borrow_mut().extend(changes.response);
                Ok(())
            }
            Ok(Answer::Denied(refusal)) => {
                self.results.denied.inc();
                let provider = Arc::clone(&self.provider);
                tracing::debug!(%provider, policy = %matched, "denied by authorizer");
                let refusal = Refusal {
                    provider,
                    ..*refusal
                };
                Err(Rejection::DeniedOutside(Box::new(refusal)))
            }
            Err(Failure::NoAnswer) if authorizer.fails_open => {
                self.results.failed.inc();
                Ok(())
            }
            Err(Failure::NoAnswer) => Err(self.undecided(authorizer.status_on_error, &matched)),
            Err(Failure::BodyTooLong) => {
                Err(self.undecided(StatusCode::PAYLOAD_TOO_LARGE, &matched))
            }
            Err(Failure::BodyFailed) => Err(self.undecided(StatusCode::BAD_REQUEST, &matched)),
        }
    }

    fn undecided(&self, status: StatusCode, matched: &Matched) -> Rejection {
        self.results.failed.inc();
        let provider = Arc::clone(&self.provider);
        tracing::debug!(%provider, policy = %matched, %status, "authorizer does not decide");
        Rejection::AuthorizerFailed(Box::new(Undecided { provider, status }))
    }
}

// === impl Authorizer ===

impl Authorizer {
    /// Takes away what only the authorizer may say of a request, as far as it is known beforehand: who
    /// speaks gRPC names in its answer what has to go.
    fn clear(&self, headers: &mut HeaderMap) {
        match &self.speaks {
            Speaks::Http(http) => http.clear(headers),
            Speaks::Grpc => {}
        }
    }

    async fn exchange(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, Failure> {
        let included = match &self.body {
            None => Bytes::new(),
            Some(included) => {
                let taken = included.take(&mut outgoing.body).await?;
                // Who waited for leave to send its body has it by now.
                outgoing.head.headers.remove(header::EXPECT);
                taken
            }
        };
        let (upstream, destinations) = (&arrival.worker.upstream, &arrival.snapshot.destinations);
        let answer = match &self.speaks {
            Speaks::Http(http) => {
                let request = http.question(arrival.downstream, outgoing, included);
                let request = request.ok_or(Failure::NoAnswer)?;
                let bytes_max = ANSWER_BYTES_MAX;
                let asking = self.place.ask(upstream, destinations, request, bytes_max);
                asking.await.and_then(|answer| http.answer(answer))
            }
            Speaks::Grpc => {
                let raw = self.body.as_ref().is_some_and(|it| it.as_bytes);
                let question = grpc::question(arrival.downstream, outgoing, &included, raw);
                let call = grpc::call(&question, self.timeout, ANSWER_BYTES_MAX);
                let frame = self.place.call(upstream, destinations, call).await;
                frame.and_then(|frame| message::decode(&frame).ok())
            }
        };
        // Of too many changes none is left out: what is not done may be what the request must not have.
        let answer = answer.filter(|answer| match answer {
            Answer::Allowed(changes) => changes.request.len() <= CHANGES_MAX,
            Answer::Denied(_) => true,
        });
        answer.ok_or(Failure::NoAnswer)
    }
}

/// Changes headers of a request on its way to the upstream.
fn apply(changes: Vec<Change>, headers: &mut HeaderMap) {
    for change in changes {
        match change {
            Change::Set(name, value) if may_change(&name) => {
                headers.insert(name, value);
            }
            Change::Append(name, value) if may_change(&name) => {
                headers.append(name, value);
            }
            Change::Remove(name) if may_change(&name) => {
                headers.remove(name);
            }
            Change::Set(..) | Change::Append(..) | Change::Remove(_) => {}
        }
    }
}

/// Whether an authorizer may change a header of a request or add one to an answer: none that frames
/// it, says where it goes, or in which this proxy speaks.
fn may_change(name: &HeaderName) -> bool {
    let framing = [
        header::CONTENT_LENGTH,
        header::HOST,
        header::TE,
        header::TRAILER,
    ];
    !is_hop_by_hop(name) && !framing.contains(name) && !name.as_str().starts_with("x-meshproxy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorizer_changes_headers_but_none_that_frames_or_routes() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let mut headers: HeaderMap = [("a", "1"), ("b", "1"), ("host", "h"), ("c", "1")]
            .map(|(n, v)| (name(n), value(v)))
            .into_iter()
            .collect();

        let changes = vec![
            Change::Set(name("a"), value("2")),
            Change::Append(name("b"), value("2")),
            Change::Remove(name("c")),
            Change::Set(name("host"), value("evil")),
            Change::Set(name("transfer-encoding"), value("chunked")),
            Change::Set(name("content-length"), value("0")),
            Change::Set(name("x-meshproxy-error"), value("x")),
        ];
        apply(changes, &mut headers);

        let told: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
            .collect();
        assert_eq!(told, ["a=2", "b=1", "b=2", "host=h"]);
    }
}
