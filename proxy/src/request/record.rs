//! What is written down of one request: counted and logged once, when its answer is complete or the
//! caller is gone.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use crate::body::{Body, BodyError};
use crate::drain::{Ending, UnderWay};
use crate::inbound::Admission;
use crate::inbound::standing::Standing;
use crate::message::spelling::Spelling;
use crate::request::explain::{Account, Explanation, Millis};
use crate::request::log::LogFields;
use crate::request::malformed::Malformed;
use crate::request::reply::{self, is_grpc};
use crate::request::retry::Refusal;
use crate::request::timeout::{Deadline, Expired, Upload};
use crate::request::{Downstream, Rejection};
use crate::table::rules::Rule;
use crate::telemetry::flags::Flags;
use crate::telemetry::labels::TrafficId;
use crate::telemetry::metrics::{Outcome, Proved, RequestProtocol, Sample};
use crate::upstream::Hold;
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::http1::Switched;
use crate::worker::Worker;

/// The record of one request.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    started: Instant,
    /// Counts it as under way; none where there is no connection.
    _under_way: Option<UnderWay>,
    /// Labels of the traffic in metrics, but who called.
    pub(crate) traffic: TrafficId,
    /// Who called, if that was proved.
    caller: Option<Rc<Proved>>,
    /// Why the answer is not simply the upstream's.
    pub(crate) flags: Flags,
    /// None until there is an answer.
    status: Option<StatusCode>,
    grpc: bool,
    /// There is to be no answer.
    reset: bool,
    /// The answer has no body, whatever its headers say.
    head: bool,
    grpc_status: Option<u16>,
    /// The request's body on its way; none if there is none.
    pub(crate) upload: Option<Rc<Upload>>,
    response_bytes: u64,
    /// Only if the caller may know what becomes of the request, and asks.
    pub(crate) account: Option<Rc<Account>>,
    /// Only with an access log, or if the caller asks.
    pub(crate) log: Option<Box<LogFields>>,
    /// What the request occupies at its upstream.
    pub(crate) hold: Option<Hold>,
    /// The end of its time, if it has one.
    pub(crate) deadline: Option<Deadline>,
    /// By what a tunnel stays open; none where nobody asks who may in.
    pub(crate) standing: Option<Box<Standing>>,
    /// How an HTTP/1 answer was written.
    pub(crate) spelling: Option<Spelling>,
}

/// The answer's body on its way down, with the record that it completes.
#[derive(Debug)]
pub(crate) struct Recorded {
    body: Body,
    /// Length of the whole body, if it is known.
    length: Option<u64>,
    record: Box<Record>,
}

/// Why an answer ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordedError {
    /// The upstream failed within its answer.
    #[error(transparent)]
    Body(BodyError),
    /// The route's time was over.
    #[error("upstream request timeout")]
    TimedOut,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(
        worker: Rc<Worker>,
        downstream: &Downstream,
        head: &http::request::Parts,
        log: Option<Box<LogFields>>,
    ) -> Self {
        let mut record = Self::unreadable(worker, downstream, log);
        record.grpc = is_grpc(&head.headers);
        record.head = head.method == Method::HEAD;
        record
    }

    /// The rule that was found.
    pub(crate) fn rule(&mut self, rule: &Rule) {
        if let Some(log) = &mut self.log {
            log.rule(rule);
        }
    }

    /// The answer comes from the proxy itself, as a rule asks.
    pub(crate) fn answered_by(&mut self, detail: &'static str) {
        if let Some(log) = &mut self.log {
            log.answered_by(detail);
        }
    }

    /// The log shows nothing that the admission holds for secret.
    pub(crate) fn conceal(&mut self, admission: &Admission) {
        if let Some(log) = &mut self.log {
            log.conceal(admission);
        }
    }

    /// The record of a request that could not be read.
    pub(crate) fn unreadable(
        worker: Rc<Worker>,
        downstream: &Downstream,
        log: Option<Box<LogFields>>,
    ) -> Self {
        Self {
            worker,
            started: Instant::now(),
            _under_way: downstream.ending.as_ref().map(Ending::begin_request),
            traffic: TrafficId::UNKNOWN,
            caller: downstream.proved.clone(),
            flags: Flags::default(),
            status: None,
            grpc: false,
            reset: false,
            head: false,
            grpc_status: None,
            upload: None,
            response_bytes: 0,
            account: None,
            log,
            hold: None,
            deadline: None,
            standing: None,
            spelling: None,
        }
    }

    /// Counts a request that is refused for its form, size or pace.
    pub(crate) fn malformed(&self, malformed: Malformed) {
        self.worker.count_rejection(malformed.detail());
    }

    /// Attaches the record to the answer that completes it.
    pub(crate) fn complete_with(
        mut self: Box<Self>,
        mut response: http::Response<Body>,
    ) -> http::Response<Recorded> {
        self.reset = matches!(response.body(), Body::Reset);
        self.status = (!self.reset).then_some(response.status());
        if let (Some(account), Some(log)) = (&self.account, &self.log) {
            let explanation = Explanation {
                status: response.status().as_u16(),
                flags: self.flags,
                elapsed: Millis(self.started.elapsed()),
                ..log.explanation()
            };
            let explanation = account.add_to(explanation);
            explanation.add_to(response.headers_mut());
        }
        if self.grpc {
            self.see_grpc_status(response.headers());
        }
        response.map(|body| Recorded {
            length: body.size_hint().exact(),
            body,
            record: self,
        })
    }

    /// Whether the caller speaks gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// Who answered, if that was proved.
    pub(crate) fn answered_from(&mut self, peer: Option<&Proved>) {
        let Some(peer) = peer else { return };
        let metrics = self.worker.metrics.metrics();
        self.traffic = peer.label(self.traffic, metrics);
        if let Some(log) = &mut self.log {
            log.answered_from(&peer.id);
        }
    }

    /// What was tried.
    pub(crate) fn attempted(
        &mut self,
        destination: &Destination,
        member: Option<&Member>,
        attempts: u32,
        refusal: Option<Refusal>,
    ) {
        if let Some(refusal) = refusal {
            self.flags |= refusal.flags();
        }
        if let Some(log) = &mut self.log {
            log.upstream(destination, member, attempts, self.started.elapsed());
            log.refused(refusal);
        }
    }

    fn see_grpc_status(&mut self, headers: &HeaderMap) {
        let status = headers
            .get("grpc-status")
            .and_then(|status| status.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    fn finish(&mut self) {
        // Every request gets an answer of some kind, unless nobody waits for it any more.
        if self.status.is_none() && !self.reset {
            self.flags |= Flags::DC;
        }
        let sample = Sample {
            duration: self.started.elapsed(),
            request_bytes: self.upload.as_ref().map_or(0, |upload| upload.bytes.get()),
            response_bytes: self.response_bytes,
        };
        let outcome = Outcome {
            code: self.status.map_or(0, |status| status.as_u16()),
            flags: self.flags,
            protocol: if self.grpc {
                RequestProtocol::Grpc
            } else {
                RequestProtocol::Http
            },
            grpc_status: self.grpc_status,
        };
        let metrics = &self.worker.metrics;
        let traffic = match &self.caller {
            Some(caller) => caller.label(self.traffic, metrics.metrics()),
            None => self.traffic,
        };
        metrics.record(traffic, outcome, sample);
        if let Some(log) = &self.log {
            self.worker.log(&log.entry(outcome, sample));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish();
    }
}

// === impl Recorded ===

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = RecordedError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RecordedError>>> {
        let this = self.get_mut();
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let passed = this.record.response_bytes.wrapping_add(1);
                let deadline = this.record.deadline.as_mut();
                let expired = deadline.map_or(Poll::Pending, |it| it.poll_expired(cx, passed));
                return match expired {
                    Poll::Ready(expired) => this.time_out(expired),
                    Poll::Pending => Poll::Pending,
                };
            }
        };
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => this.record.response_bytes += data.len() as u64,
                (None, Some(trailers)) if this.record.grpc => this.record.see_grpc_status(trailers),
                (None, _) => {}
            },
            Some(Err(error)) => {
                let (flag, detail) = reply::broken(error);
                this.record.flags |= flag;
                if let Some(log) = &mut this.record.log {
                    log.broke_off(detail, error);
                }
                this.body = Body::Empty;
            }
            None => this.body = Body::Empty,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RecordedError::Body)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Recorded {
    /// How the head of the answer was written, if it came by HTTP/1.
    pub(crate) fn take_spelling(&mut self) -> Option<Spelling> {
        self.record.spelling.take()
    }

    /// Whether the answer opens a tunnel.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.body, Body::Tunnel(_))
    }

    /// Whether there is no answer, but a reset.
    pub(crate) fn is_reset(&self) -> bool {
        self.record.reset
    }

    /// The protocol that the upstream switched to.
    pub(crate) fn switched_to(&self) -> Option<&HeaderValue> {
        match &self.body {
            Body::Tunnel(switched) => switched.protocol.as_ref(),
            _ => None,
        }
    }

    /// The upstream's end of a tunnel.
    pub(crate) fn take_tunnel(&mut self) -> Option<Box<Switched>> {
        match std::mem::take(&mut self.body) {
            Body::Tunnel(switched) => Some(switched),
            body => {
                self.body = body;
                None
            }
        }
    }

    /// What a tunnel goes on by when policies change, and where to learn that they did.
    pub(crate) fn take_standing(&mut self) -> (Rc<Worker>, Option<Box<Standing>>) {
        (Rc::clone(&self.record.worker), self.record.standing.take())
    }

    /// Notes that policies ended a tunnel.
    pub(crate) fn refused_later(&mut self) {
        self.record.flags |= Flags::UAEX;
        if let Some(log) = &mut self.record.log {
            log.answered_by("rbac_access_denied");
        }
    }

    /// Notes what went through a tunnel, up and down.
    pub(crate) fn tunnelled(&mut self, up: u64, down: u64) {
        let upload = self.record.upload.get_or_insert_default();
        upload.bytes.set(upload.bytes.get() + up);
        self.record.response_bytes += down;
    }

    fn time_out(&mut self, expired: Expired) -> Poll<Option<Result<Frame<Bytes>, RecordedError>>> {
        let rejection = Rejection::from(expired);
        self.record.flags |= rejection.flags();
        if let Some(log) = &mut self.record.log {
            log.answered_by(reply::detail(&rejection));
        }
        self.body = Body::Empty;
        self.record.deadline = None;
        Poll::Ready(Some(Err(RecordedError::TimedOut)))
    }
}

impl Drop for Recorded {
    /// An answer that is dropped before its end was not wanted any more: the caller is gone.
    fn drop(&mut self) {
        let bodiless = self.record.head
            || matches!(
                self.record.status,
                Some(
                    StatusCode::SWITCHING_PROTOCOLS
                        | StatusCode::NO_CONTENT
                        | StatusCode::NOT_MODIFIED
                )
            );
        let complete = self.body.is_end_stream() || self.length == Some(self.record.response_bytes);
        if !bodiless && !complete {
            self.record.flags |= Flags::DC;
        }
    }
}
