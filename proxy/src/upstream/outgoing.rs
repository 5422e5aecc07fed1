//! A request on its way up: what its attempts share, and how it is written for an upstream.

use std::rc::Rc;

use http::header::HeaderValue;
use http::uri::Scheme;
use http::{Method, Request, Uri, Version, header};

use crate::body::Body;
use crate::body::replay::Recording;
use crate::inbound::jwt::Token;
use crate::message::interim::Interim;
use crate::message::spelling::Spelling;
use crate::request::headers::OwnHeaders;
use crate::upstream::http2;

/// A request on its way up: what every attempt of it shares.
#[derive(Debug)]
pub struct Outgoing {
    /// Method, target, headers and version as they came, edited.
    pub head: Box<http::request::Parts>,
    /// Path and query that take the place of the original ones.
    pub rewritten: Option<String>,
    /// Authority towards the upstream.
    pub authority: HeaderValue,
    /// Headers that are to be added.
    pub(crate) own: OwnHeaders,
    /// Taken by the attempt that sends it.
    pub body: Body,
    /// How an HTTP/1 head was written.
    pub(crate) spelling: Option<Spelling>,
    /// Where interim answers go, if the client can take any.
    pub(crate) interim: Option<Rc<Interim>>,
    /// The protocol that the client wants to switch to, if we carry it.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The token that proves who it is from, if one was asked for and found valid.
    pub(crate) token: Option<Box<Token>>,
    /// What one attempt leaves to the next.
    pub(crate) sending: Sending,
}

/// What one attempt leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// The body again, if there is one that can be needed again.
    pub(crate) recording: Option<Recording>,
    /// Whether the last attempt met a connection that had been closed while it rested: the next one
    /// opens a connection of its own.
    pub(crate) wants_fresh: bool,
}

// === impl Outgoing ===

impl Outgoing {
    /// Whether its connection may go on as one that is not HTTP.
    pub(crate) fn may_open_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.head.method == Method::CONNECT
    }

    /// What stands in the request line.
    pub fn target(&self) -> &str {
        match (&self.rewritten, self.head.uri.path_and_query()) {
            (Some(rewritten), _) => rewritten,
            (None, Some(original)) => original.as_str(),
            (None, None) => "/",
        }
    }

    /// Puts the headers that we add among the others, where rules can change them and the log finds
    /// them. Otherwise they are written out at the end, which is cheaper.
    pub(crate) fn settle_headers(&mut self) {
        self.own.settle(&mut self.head.headers);
    }

    /// Whether the client waits for the upstream's leave to send its body (RFC 9110 §10.1.1).
    pub(super) fn expects_continue(&self) -> bool {
        let expected = self.head.headers.get(header::EXPECT);
        expected.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }

    /// The request in the terms of HTTP/2, for a connection in the scheme of this one; takes the body
    /// along.
    pub(super) fn take_as_http2(&mut self, attempt: u32, scheme: Scheme) -> Request<Body> {
        self.settle_headers();
        let mut request = Request::new(std::mem::take(&mut self.body));
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.authority.as_bytes())
            .path_and_query(self.target())
            .build();
        *request.uri_mut() = uri.unwrap_or_else(|_| self.head.uri.clone());
        *request.headers_mut() = http2::headers::of_attempt(&self.head.headers, attempt);
        request
    }
}
