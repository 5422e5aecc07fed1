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

    /// Whether a name is meant, also with `_` for `-` and the other way round: many applications take
    /// one for the other. A `*` alone means no name in particular.
    fn names(&self, name: &HeaderName) -> bool {
        let meant = |text: &str| self.0.match_named(text);
        let name = name.as_str();
        meant(name) || (name.contains('_') && meant(&name.replace('_', "-")))
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
            if self.is_told(name) && may_be_told(name) {
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

    /// Takes away what the authorizer says of a request by headers of its own, so that no client says it
    /// in its place when the authorizer is silent. What the authorizer is told of is its to judge.
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        let names = headers.keys();
        let forged = names.filter(|it| self.to_upstream.names(it) && !self.is_told(it));
        let forged: Vec<HeaderName> = forged.filter(|it| may_change(it)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }

    /// Whether it gets this header of a request: credentials always, as in Envoy.
    fn is_told(&self, name: &HeaderName) -> bool {
        *name == header::AUTHORIZATION || self.request_headers.has(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Names {
        let texts: Vec<String> = texts.iter().map(|it| (*it).to_owned()).collect();
        Names::new(&texts)
    }

    fn left(to_upstream: &[&str], told: &[&str], sent: &[&str]) -> Vec<String> {
        let authorizer = HttpAuthorizer {
            path_prefix: "".into(),
            request_headers: names(told),
            additional: Box::default(),
            to_upstream: names(to_upstream),
            to_downstream: names(&[]),
            to_refused: None,
        };
        let value = HeaderValue::from_static("forged");
        let sent = sent
            .iter()
            .map(|it| (it.parse().expect("a name"), value.clone()));
        let mut headers: HeaderMap = sent.collect();
        authorizer.clear(&mut headers);
        headers.keys().map(|it| it.as_str().to_owned()).collect()
    }

    #[test]
    fn what_an_authorizer_says_no_client_says_in_its_place() {
        let of_authorizer = ["X-User", "x-auth-*"];

        for forged in ["x-user", "X_USER", "x-auth-role", "x_auth_role", "x-auth-"] {
            assert_eq!(left(&of_authorizer, &[], &[forged]), [""; 0], "{forged}");
        }
        assert_eq!(left(&of_authorizer, &[], &["x-users"]), ["x-users"]);
    }

    #[test]
    fn what_the_authorizer_was_told_is_its_to_judge_and_nothing_is_lost_by_a_star() {
        let sent = ["authorization", "cookie"];

        assert_eq!(left(&sent, &["cookie"], &sent), sent);
        assert_eq!(left(&sent, &[], &sent), ["authorization"]);
        assert_eq!(left(&["*"], &[], &["accept"]), ["accept"]);
        assert_eq!(left(&["host"], &[], &["host"]), ["host"], "which routes");
    }
}
