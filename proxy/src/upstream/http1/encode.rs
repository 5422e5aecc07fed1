//! Writing a request: its head, and the framing of its body.

use std::cell::Cell;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header;
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body as _;
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep};

use crate::body::Body;
use crate::io::Io;
use crate::message::chunked::may_trail;
use crate::message::spelling::{Line, Spelling};
use crate::request::headers::{
    OwnHeaders, Proto, X_FORWARDED_CLIENT_CERT, X_FORWARDED_FOR, passes,
};
use crate::upstream::http1::ExchangeError;

/// Parts of a body up to this size are copied behind the head or chunk line and go out in one write.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// How long a client that asked to is kept from sending its body: not every server gives leave, and
/// who waits must not wait for ever (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What the head of a request is made of.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    /// Path and query, `*`, or an authority for CONNECT.
    pub(crate) target: &'a str,
    pub(crate) authority: &'a [u8],
    pub(crate) headers: &'a HeaderMap,
    /// How they were written, if they came by HTTP/1.
    pub(crate) spelling: Option<&'a Spelling>,
    /// The protocol to switch to.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Headers of our own.
    pub(crate) own: &'a OwnHeaders,
    /// `x-envoy-attempt-count`, from 1.
    pub(crate) attempt: u32,
    /// How the end of the body is told.
    pub(crate) body: BodyFraming,
    /// Whether the connection is to be closed after the answer.
    pub(crate) close: bool,
}

/// How the end of a request's body is told (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// There is none.
    Empty,
    /// By `content-length`, which is among the headers.
    Length,
    /// By chunks.
    Chunked,
}

/// Sends head and body; holds what the socket did not take.
#[derive(Debug)]
pub(super) struct Sender {
    /// Bytes of the head that went out, while the head is the caller's.
    head_sent: usize,
    head_len: usize,
    any_sent: bool,
    /// Copied bytes that go first.
    first: BytesMut,
    /// A part of the body that was not copied.
    second: Bytes,
    /// Bytes behind the part: the end of a chunk.
    third: &'static [u8],
    body: Body,
    chunked: bool,
    state: State,
    /// Ends the wait for the upstream's leave; there only while it lasts.
    leave: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The head goes out; the body waits for the upstream's leave.
    Head,
    /// The body has more.
    Body,
    /// All is in the buffers.
    Flush,
    Done,
    /// The upstream takes no more; its answer came first.
    Abandoned,
}

/// Writes a head into `out`.
pub(crate) fn encode_head(out: &mut Vec<u8>, head: &RequestHead<'_>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    encode_headers(out, head);
    encode_own(out, head.own, head.attempt);
    match head.body {
        BodyFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        BodyFraming::Empty if expects_content(head) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        BodyFraming::Empty | BodyFraming::Length => {}
    }
    if let Some(protocol) = head.upgrade {
        out.extend_from_slice(b"connection: Upgrade\r\n");
        encode_line(out, b"upgrade", protocol);
    } else if head.close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the headers that pass, with the authority where the host stood.
fn encode_headers(out: &mut Vec<u8>, head: &RequestHead<'_>) {
    let host_written = Cell::new(false);
    let start = out.len();
    let write = |out: &mut Vec<u8>, line: Line<'_>| {
        if *line.name == header::HOST {
            host_written.set(true);
            out.extend_from_slice(line.spelled);
            out.extend_from_slice(b": ");
            out.extend_from_slice(head.authority);
            out.extend_from_slice(b"\r\n");
        } else if passes(line.name, line.value) {
            encode_line(out, line.spelled, line.value);
        }
    };
    let plain = Spelling::default();
    let spelling = head.spelling.unwrap_or(&plain);
    spelling.lines(head.headers, out, write, |out| {
        out.truncate(start);
        host_written.set(false);
    });
    if !host_written.get() {
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(head.authority);
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether servers expect a length even where there is nothing (RFC 9110 §8.6).
fn expects_content(head: &RequestHead<'_>) -> bool {
    matches!(
        *head.method,
        Method::POST | Method::PUT | Method::PATCH | Method::OPTIONS
    ) && !head.headers.contains_key(header::CONTENT_LENGTH)
}

fn encode_own(out: &mut Vec<u8>, own: &OwnHeaders, attempt: u32) {
    if let Some(caller) = &own.forwarded_for {
        encode_line(out, X_FORWARDED_FOR.as_str().as_bytes(), caller);
    }
    if let Some(client) = &own.client_cert {
        encode_line(out, X_FORWARDED_CLIENT_CERT.as_str().as_bytes(), client);
    }
    match own.proto {
        None => {}
        Some(Proto::Http) => out.extend_from_slice(b"x-forwarded-proto: http\r\n"),
        Some(Proto::Https) => out.extend_from_slice(b"x-forwarded-proto: https\r\n"),
    }
    if let Some(id) = &own.id {
        out.extend_from_slice(b"x-request-id: ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    }
    match attempt {
        1 => out.extend_from_slice(b"x-envoy-attempt-count: 1\r\n"),
        more => out.extend_from_slice(format!("x-envoy-attempt-count: {more}\r\n").as_bytes()),
    }
}

fn encode_line(out: &mut Vec<u8>, name: &[u8], value: &HeaderValue) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

// === impl Sender ===

impl Sender {
    /// Takes the body out of `body` unless there is none.
    pub(super) fn new(head: &[u8], body: &mut Body, chunked: bool, waits: bool) -> Self {
        let state = match (body.is_end_stream(), waits) {
            (true, _) => State::Flush,
            (false, true) => State::Head,
            (false, false) => State::Body,
        };
        let body = match state {
            State::Flush => Body::Empty,
            _ => std::mem::take(body),
        };
        Self {
            head_sent: 0,
            head_len: head.len(),
            any_sent: false,
            first: BytesMut::new(),
            second: Bytes::new(),
            third: b"",
            body,
            chunked,
            state,
            leave: (state == State::Head).then(|| Box::pin(sleep(CONTINUE_WAIT))),
        }
    }

    /// The upstream wants the body.
    pub(super) fn go_on(&mut self) {
        if self.state == State::Head {
            self.state = State::Body;
            self.leave = None;
        }
    }

    /// Whether no byte went out.
    pub(super) fn is_unsent(&self) -> bool {
        !self.any_sent
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.state == State::Abandoned
    }

    /// Gives up on the rest of the request.
    pub(super) fn abandon(&mut self) {
        self.state = State::Abandoned;
        self.body = Body::Empty;
    }

    /// What must still be sent after the answer came, if anything. Only complete heads get here:
    /// an answer to half a head ends the request.
    pub(super) fn into_rest(mut self) -> Option<Self> {
        if self.head_sent < self.head_len && self.state != State::Done {
            self.abandon();
        }
        (self.state != State::Done).then_some(self)
    }

    /// Sends until all is sent or the socket or the body has to be waited for.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        head: &[u8],
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            match self.state {
                State::Done | State::Abandoned => return Poll::Ready(Ok(())),
                State::Head => {
                    ready!(self.poll_write(cx, io, head))?;
                    if let Some(leave) = &mut self.leave {
                        ready!(leave.as_mut().poll(cx));
                    }
                    self.go_on();
                }
                State::Body if self.is_drained() => match self.poll_fill(cx, head)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // The head does not wait for the body.
                        ready!(self.poll_write(cx, io, head))?;
                        return Poll::Pending;
                    }
                },
                State::Body | State::Flush => {
                    ready!(self.poll_write(cx, io, head))?;
                    if self.state == State::Flush {
                        self.state = State::Done;
                    }
                }
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.first.is_empty() && self.second.is_empty() && self.third.is_empty()
    }

    /// Takes the next part of the body into the buffers.
    fn poll_fill(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Result<Poll<()>, ExchangeError> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame,
        };
        let Some(frame) = frame else {
            if self.chunked {
                self.first.extend_from_slice(b"0\r\n\r\n");
            }
            self.state = State::Flush;
            return Ok(Poll::Ready(()));
        };
        let frame = frame.map_err(|error| ExchangeError::Downstream(Box::new(error)))?;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.fill_data(data, head),
            Err(frame) => self.fill_trailers(frame.into_trailers().unwrap_or_default()),
        }
        if self.state == State::Body && !self.chunked && self.body.is_end_stream() {
            self.state = State::Flush;
        }
        Ok(Poll::Ready(()))
    }

    fn fill_data(&mut self, data: Bytes, head: &[u8]) {
        // A small body goes out together with what is left of the head.
        let head_rest = &head[self.head_sent.min(head.len())..];
        if !head_rest.is_empty() {
            self.first.extend_from_slice(head_rest);
            self.head_sent = self.head_len;
        }
        if self.chunked {
            self.first
                .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        if data.len() <= COPIED_BYTES_MAX {
            self.first.extend_from_slice(&data);
            if self.chunked {
                self.first.extend_from_slice(b"\r\n");
            }
        } else {
            self.second = data;
            self.third = if self.chunked { b"\r\n" } else { b"" };
        }
    }

    /// Trailers end a chunked body; with a known length there is no place for them.
    fn fill_trailers(&mut self, trailers: HeaderMap) {
        if self.chunked {
            self.first.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
                self.first.extend_from_slice(name.as_str().as_bytes());
                self.first.extend_from_slice(b": ");
                self.first.extend_from_slice(value.as_bytes());
                self.first.extend_from_slice(b"\r\n");
            }
            self.first.extend_from_slice(b"\r\n");
        }
        self.state = State::Flush;
    }

    /// Writes the buffers out, down to the socket: TLS takes more than it has sent.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        head: &[u8],
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            let head_rest = &head[self.head_sent.min(head.len())..];
            if head_rest.is_empty() && self.is_drained() {
                let flushed = ready!(Pin::new(&mut *io).poll_flush(cx));
                return Poll::Ready(flushed.map_err(|source| ExchangeError::Io {
                    unsent: false,
                    source,
                }));
            }
            let written = if self.is_drained() {
                ready!(Pin::new(&mut *io).poll_write(cx, head_rest))
            } else {
                let slices = [head_rest, &*self.first, &*self.second, self.third].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))
            };
            match written {
                Ok(0) => {
                    let source = io::Error::from(io::ErrorKind::WriteZero);
                    return Poll::Ready(Err(ExchangeError::Io {
                        unsent: false,
                        source,
                    }));
                }
                Ok(count) => self.advance(count, head_rest.len()),
                Err(source) => {
                    return Poll::Ready(Err(ExchangeError::Io {
                        unsent: false,
                        source,
                    }));
                }
            }
        }
    }

    fn advance(&mut self, mut count: usize, head_rest: usize) {
        self.any_sent = true;
        let step = count.min(head_rest);
        self.head_sent += step;
        count -= step;
        let step = count.min(self.first.len());
        self.first.advance(step);
        count -= step;
        let step = count.min(self.second.len());
        self.second.advance(step);
        count -= step;
        self.third = &self.third[count.min(self.third.len())..];
    }
}
