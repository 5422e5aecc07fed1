//! Authorizers that are asked by HTTP: they get the head of the request, and their status decides.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use rustc_hash::FxHashSet;

use super::{Answer, Change, Changes, Refusal, may_change};
use crate::inbound::authz::pattern::Patterns;
use crate::request::Downstream;
use crate::request::headers::{X_FORWARDED_FOR, is_hop_by_hop};
use crate::upstream::Outgoing;

/// Which headers an authorizer gets, and which of its answer count.
#[derive(Debug)]
pub(crate) struct HttpAuthorizer {
    /// Stands before the path of the request.
    pub(crate) path_prefix: Box<str>,
    /// Headers of the request that it gets.
    pub(crate) request_headers: Names,
    /// Headers that it gets besides.
    pub(crate) additional: Box<[(HeaderName, HeaderValue)]>,
    /// Headers of its answer that the upstream gets.
    pub(crate) to_upstream: Names,
    /// Headers of its answer that the client gets with the response.
    pub(crate) to_downstream: Names,
    /// Headers of its answer that the client gets with the refusal; none stands for all of them.
    pub(crate) to_refused: Option<Names>,
}

/// Names of headers, some as `PREFIX*` or `*SUFFIX`.
#[derive(Debug)]
pub(crate) struct Names(Patterns);

// === impl Names ===

impl Names {
    /// Compiles names in any case.
    pub(crate) fn new(names: &[String]) -> Self {
        let lower: Vec<String> = names.iter().map(|it| it.to_ascii_lowercase()).collect();
        Self(Patterns::new(lower.iter().map(String::as_str)))
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.0.match_one(name.as_str())
    }
}

// === impl HttpAuthorizer ===

impl HttpAuthorizer {
    /// What is asked about a request; none if its path cannot stand behind the prefix.
    pub(super) fn question(
        &self,
        downstream: &Downstream,
        outgoing: &Outgoing,
        body: Bytes,
    ) -> Option<Request<Bytes>> {
        let target = outgoing.target();
        let uri: Uri = match &*self.path_prefix {
            "" => target.parse().ok()?,
            prefix => format!("{}{target}", prefix.trim_end_matches('/'))
                .parse()
                .ok()?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.head.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for (name, value) in &outgoing.head.headers {
            if self.request_headers.has(name) && may_be_told(name) {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in &self.additional {
            headers.insert(name, value.clone());
        }
        headers.insert(header::HOST, outgoing.authority.clone());
        if let Some(peer) = downstream.peer_text()
            && !headers.contains_key(&X_FORWARDED_FOR)
        {
            headers.insert(X_FORWARDED_FOR.clone(), peer.clone());
        }
        let length = HeaderValue::from(request.body().len());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length);
        Some(request)
    }

    /// What an answer means: 200 lets the request pass, an error of the authorizer itself is none,
    /// and with anything else it refuses.
    pub(super) fn answer(&self, answer: Response<Bytes>) -> Option<Answer> {
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::OK => Some(Answer::Allowed(self.changes(&head.headers))),
            status if status.is_server_error() || status.is_informational() => None,
            status => Some(Answer::Denied(Box::new(Refusal {
                provider: "".into(),
                status,
                headers: self.refusal_headers(&head.headers),
                body,
            }))),
        }
    }

    fn changes(&self, headers: &HeaderMap) -> Changes {
        let mut changes = Changes::default();
        let mut seen = FxHashSet::default();
        for (name, value) in headers {
            let (name, value) = (name.clone(), value.clone());
            if self.to_downstream.has(&name) && may_change(&name) {
                changes.response.push((name.clone(), value.clone()));
            }
            if self.to_upstream.has(&name) {
                // The first line takes the place of what the client sent, further ones follow it.
                changes.request.push(match seen.insert(name.clone()) {
                    true => Change::Set(name, value),
                    false => Change::Append(name, value),
                });
            }
        }
        changes
    }

    fn refusal_headers(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let always = [header::WWW_AUTHENTICATE, header::LOCATION];
        let counts = |name: &HeaderName| match &self.to_refused {
            None => true,
            Some(names) => always.contains(name) || names.has(name),
        };
        let headers = headers.iter();
        let wanted = headers.filter(|(name, _)| counts(name) && may_change(name));
        wanted
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Whether a header may go to the authorizer: not what concerns the connection or frames the body,
/// which the question has its own of.
fn may_be_told(name: &HeaderName) -> bool {
    let own = [
        header::CONTENT_LENGTH,
        header::HOST,
        header::TE,
        header::EXPECT,
    ];
    !is_hop_by_hop(name) && !own.contains(name)
}
