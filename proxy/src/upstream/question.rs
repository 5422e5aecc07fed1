//! Requests of our own making: to services that the proxy asks about somebody else's.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use std::time::Duration;

use crate::body::Body;
use crate::request::headers::OwnHeaders;
use crate::upstream::destination::{Destination, DestinationId, Destinations};
use crate::upstream::{Outgoing, Sending, Upstream};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Where a service is that is asked, and how it is called.
#[derive(Debug, Clone)]
pub struct Place {
    /// None if the registry has no such host or port.
    pub destination: Option<DestinationId>,
    /// How it is called.
    pub authority: HeaderValue,
}

// === impl Place ===

impl Place {
    /// What is there in this generation.
    pub(crate) fn find<'d>(&self, destinations: &'d Destinations) -> Option<&'d Destination> {
        destinations.get(self.destination?).map(|it| &**it)
    }

    /// The one message with which a method of gRPC answers `question`, which is in its frame already;
    /// none if it fails, or its answer is longer than `bytes_max`.
    ///
    /// # Cancel safety
    ///
    /// Whoever drops it has asked, and does not learn the answer.
    pub(crate) async fn call(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        call: Call<'_>,
    ) -> Option<Bytes> {
        let destination = self.find(destinations)?;
        let mut outgoing = call.outgoing(self.authority.clone());
        let sent = Box::pin(upstream.send_once(destination, None, &mut outgoing));
        let answer = sent.await.ok()?;
        let (head, body) = answer.response.into_parts();
        let (frame, trailers) = read(body, call.answer_bytes_max).await?;
        let status = trailers.as_ref().unwrap_or(&head.headers).get(&GRPC_STATUS);
        let ok = head.status.is_success() && status.is_some_and(|status| status == "0");
        ok.then_some(frame)
    }

    /// The answer to a request of HTTP with its whole body; none if there is none, or its body is
    /// longer than `bytes_max`. The service is called by the request's own host, if it has one.
    ///
    /// # Cancel safety
    ///
    /// As that of `call`.
    pub(crate) async fn ask(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        request: Request<Bytes>,
        bytes_max: usize,
    ) -> Option<Response<Bytes>> {
        let destination = self.find(destinations)?;
        let (head, body) = request.into_parts();
        let authority = head.headers.get(header::HOST).unwrap_or(&self.authority);
        let authority = authority.clone();
        let mut outgoing = Outgoing::of_our_own(head, authority, Body::full(body));
        let sent = Box::pin(upstream.send_once(destination, None, &mut outgoing));
        let answer = sent.await.ok()?;
        let (head, body) = answer.response.into_parts();
        let (body, _) = read(body, bytes_max).await?;
        Some(Response::from_parts(head, body))
    }
}

/// One call of a method of gRPC.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    /// `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// How long whoever asks will wait.
    pub(crate) timeout: Duration,
    /// The message in its frame.
    pub(crate) question: &'c Bytes,
    /// Most bytes of an answer.
    pub(crate) answer_bytes_max: usize,
}

// === impl Call ===

impl Call<'_> {
    fn outgoing(&self, authority: HeaderValue) -> Outgoing {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(self.path);
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Ok(limit) = HeaderValue::try_from(format!("{}m", self.timeout.as_millis())) {
            headers.insert(GRPC_TIMEOUT, limit);
        }
        let (head, ()) = request.into_parts();
        Outgoing::of_our_own(head, authority, Body::full(self.question.clone()))
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// A request that no client sent.
    pub(crate) fn of_our_own(
        head: http::request::Parts,
        authority: HeaderValue,
        body: Body,
    ) -> Self {
        Self {
            head: Box::new(head),
            rewritten: None,
            authority,
            own: OwnHeaders::default(),
            body,
            spelling: None,
            interim: None,
            upgrade: None,
            token: None,
            sending: Sending::default(),
        }
    }
}

/// Reads a body to its end; none if it breaks off or is too long.
async fn read(mut body: Body, bytes_max: usize) -> Option<(Bytes, Option<HeaderMap>)> {
    let (mut data, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = match frame.ok()?.into_data() {
            Ok(more) if data.len() + more.len() <= bytes_max => {
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
