//! One HTTP/1.1 exchange on one upstream connection (RFC 9112).
//!
//! The exchange runs inside the request's own task: no channel, no second task, and the connection
//! knows exactly whether a byte was sent or received, which is what safe retries rest on. A request
//! body is sent while the answer is awaited and, if the answer comes first, while it is read.

mod decode;
mod encode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod keep_alive;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio_util::io::poll_read_buf;

use crate::body::Body;
use crate::io::Io;
use crate::message::chunked::{ChunkError, Decoded};
use crate::message::interim::Interim;
use crate::message::line::LineAt;
use crate::request::limits::Limits;
use crate::telemetry::metrics::Proved;
use crate::upstream::Answer;
use crate::upstream::connect::{Fresh, Open};
use crate::upstream::pool::Home;
use decode::BodyDecoder;
pub use decode::HeadError;
use encode::Sender;
pub(crate) use encode::{BodyFraming, RequestHead, encode_head};
pub(crate) use keep_alive::KeepAlive;

/// First read of an answer: a head and a small body fit.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Reads of a long answer.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Interim (1xx) answers before the final one.
const INTERIM_RESPONSES_MAX: u32 = 16;

/// A connection between two exchanges, or in one.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    opened: Instant,
    /// Bytes read and not yet used; without memory while the connection is idle.
    buf: BytesMut,
    /// Memory for reading heads.
    places: Vec<LineAt>,
    /// Requests sent on it.
    requests: u32,
    /// Interim (1xx) answers of the exchange under way.
    interim: u32,
    /// Whether the last read took all the room there was.
    filled: bool,
    /// Whom the upstream proved to be.
    peer: Option<Rc<Proved>>,
    _open: Open,
}

/// Why an exchange has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection failed while the request was being sent or the answer awaited.
    #[error("exchange with upstream")]
    Io {
        /// Whether no byte of the request can have reached the upstream.
        unsent: bool,
        /// What the socket said.
        source: io::Error,
    },
    /// The connection failed when a part of an answer had come.
    #[error("rest of the head of upstream")]
    Cut(#[source] io::Error),
    /// The upstream closed the connection without a complete head.
    #[error("upstream closed the connection before its answer")]
    Closed {
        /// Whether a part of an answer had come.
        answered: bool,
    },
    /// The answer is not HTTP/1.1 as we can pass it on.
    #[error("answer of upstream")]
    Head(#[source] HeadError),
    /// The request's body failed: the downstream's fault.
    #[error("body of downstream")]
    Downstream(#[source] Box<crate::body::BodyError>),
}

/// Why an upstream's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection failed.
    #[error("connection to upstream")]
    Io(#[source] io::Error),
    /// The connection ended before the body did.
    #[error("upstream closed the connection within its answer")]
    Truncated,
    /// The chunked coding is broken.
    #[error("chunked coding of upstream")]
    Chunked(#[source] ChunkError),
}

/// An upstream connection that speaks another protocol from now on.
#[derive(Debug)]
pub struct Switched {
    conn: Box<Connection>,
    /// What it speaks; none behind a CONNECT.
    pub(crate) protocol: Option<HeaderValue>,
}

/// The rest of an answer that did not come whole with its head.
#[derive(Debug)]
pub struct ResponseBody {
    /// None once the connection went home or failed.
    reading: Option<Reading>,
    size: SizeHint,
}

#[derive(Debug)]
struct Reading {
    conn: Box<Connection>,
    decoder: BodyDecoder,
    /// What remains of the request.
    sender: Option<Sender>,
    reusable: bool,
    home: Rc<Home>,
}

/// What one exchange needs beside its connection.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a Method,
    /// The encoded head; kept by the caller so that its memory is used again.
    pub(crate) head: &'a [u8],
    /// Body framing of the request.
    pub(crate) chunked: bool,
    /// Taken as a whole; empty where there is none.
    pub(crate) body: &'a mut Body,
    /// Whether the body waits for the upstream's leave.
    pub(crate) expects_continue: bool,
    /// The protocol that was asked for.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Where interim answers go.
    pub(crate) interim: Option<&'a Interim>,
    /// Limits of the answer's head.
    pub(crate) limits: &'a Limits,
    /// Where the connection goes when both sides are done with it.
    pub(crate) home: Rc<Home>,
}

// === impl Connection ===

impl Connection {
    /// In a box, because it goes from the pool to a request and back again and again.
    pub(crate) fn new(fresh: Fresh) -> Box<Self> {
        let Fresh { io, open, peer } = fresh;
        Box::new(Self {
            io,
            opened: Instant::now(),
            buf: BytesMut::new(),
            places: Vec::new(),
            requests: 0,
            interim: 0,
            filled: false,
            peer,
            _open: open,
        })
    }

    /// Whom the upstream proved to be.
    pub(crate) fn peer(&self) -> Option<Rc<Proved>> {
        self.peer.clone()
    }

    /// Requests sent on it.
    pub(crate) fn requests(&self) -> u32 {
        self.requests
    }

    /// Time since it was opened.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// Whether the connection, idle, is of no more use: closed by the peer or out of step.
    pub(crate) fn is_stale(&mut self) -> bool {
        !self.buf.is_empty() || self.io.has_unexpected_input()
    }

    /// The same as the socket has it at this moment, for a system call.
    pub(crate) fn is_closed(&mut self) -> bool {
        !self.buf.is_empty() || self.io.has_unexpected_input_now()
    }

    /// Sends a request and reads the head of the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection; it is never reused half-way.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        exchange: Exchange<'_>,
    ) -> Result<Box<Answer>, ExchangeError> {
        self.requests += 1;
        self.interim = 0;
        let waits = exchange.expects_continue;
        let mut sender = Sender::new(exchange.head, exchange.body, exchange.chunked, waits);
        let mut failed = None;
        let asked = Asked {
            head: exchange.head,
            method: exchange.method,
            upgrade: exchange.upgrade,
            interim: exchange.interim,
            limits: exchange.limits,
        };
        let received = poll_fn(|cx| self.poll_head(cx, &mut sender, &mut failed, &asked)).await?;
        // Only now is the rest of the head's memory the caller's again.
        let sender = sender.into_rest();
        Ok(self.into_response(received, sender, exchange.home))
    }

    /// Sends what can be sent, then reads until the head of the final answer is there.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        sender: &mut Sender,
        failed: &mut Option<ExchangeError>,
        asked: &Asked<'_>,
    ) -> Poll<Result<decode::Head, ExchangeError>> {
        match sender.poll_send(cx, &mut self.io, asked.head) {
            Poll::Ready(Err(error @ ExchangeError::Io { .. })) => {
                // Not the end: the upstream may have answered and closed early, and if not, the
                // read will say so.
                let unsent = sender.is_unsent() && self.io.tells_what_was_sent();
                *failed = Some(error.or_unsent(unsent));
                sender.abandon();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            let interim = match ready!(self.poll_read_head(cx, asked)) {
                Ok(head) if asked.is_interim(&head) => head,
                Ok(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                    let switched = asked.is_switched(&head);
                    let unasked = ExchangeError::Head(HeadError::Switch);
                    return Poll::Ready(switched.then_some(head).ok_or(unasked));
                }
                Ok(head) => return Poll::Ready(Ok(head)),
                Err(error) => {
                    // A part of an answer tells more than that the request could not be sent to
                    // its end.
                    let failed = failed.take().filter(|_| error.is_silent_end());
                    return Poll::Ready(Err(failed.unwrap_or(error)));
                }
            };
            self.interim += 1;
            if self.interim > INTERIM_RESPONSES_MAX {
                return Poll::Ready(Err(ExchangeError::Head(HeadError::Interim)));
            }
            if interim.status == StatusCode::CONTINUE {
                sender.go_on();
                // The next poll sends; nobody else would ask for it.
                cx.waker().wake_by_ref();
            } else if let Some(waiting) = asked.interim {
                waiting.push(interim.status, &interim.headers);
            }
        }
    }

    fn poll_read_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Asked<'_>,
    ) -> Poll<Result<decode::Head, ExchangeError>> {
        loop {
            if !self.buf.is_empty() {
                let head = decode::head(&mut self.buf, &mut self.places, asked);
                match head.map_err(ExchangeError::Head)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None if self.buf.len() >= asked.limits.head_bytes_max => {
                        return Poll::Ready(Err(ExchangeError::Head(HeadError::TooLarge)));
                    }
                    None => {}
                }
            }
            let answered = self.interim > 0 || !self.buf.is_empty();
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(ExchangeError::Closed { answered })),
                Ok(_) => {}
                Err(error) if is_cut(&error) => {
                    return Poll::Ready(Err(ExchangeError::Closed { answered }));
                }
                Err(source) => {
                    return Poll::Ready(Err(match answered {
                        true => ExchangeError::Cut(source),
                        false => ExchangeError::Io {
                            unsent: false,
                            source,
                        },
                    }));
                }
            }
        }
    }

    /// Reads into the buffer; 0 is the end of the stream. A read that fills the room makes the next
    /// one larger.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = if self.filled {
            READ_BYTES_MAX
        } else {
            READ_BYTES_MIN
        };
        if self.buf.capacity() - self.buf.len() < room / 4 {
            self.buf.reserve(room);
        }
        let spare = self.buf.capacity() - self.buf.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buf));
        self.filled = matches!(read, Ok(count) if count == spare);
        Poll::Ready(read)
    }

    /// Turns a head into a response; an answer that came whole sends the connection home at once.
    fn into_response(
        mut self: Box<Self>,
        head: decode::Head,
        sender: Option<Sender>,
        home: Rc<Home>,
    ) -> Box<Answer> {
        let decode::Head {
            status,
            headers,
            keep_alive,
            said,
            mut decoder,
            spelling,
            switched_to,
        } = head;
        let kept = said.is_none_or(|said| home.heed(said));
        let reusable =
            keep_alive && kept && sender.as_ref().is_none_or(|sender| !sender.is_abandoned());
        let peer = self.peer();
        let body = match decoder.take_whole(&mut self.buf) {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => Body::Tunnel(Box::new(Switched {
                conn: self,
                protocol: switched_to,
            })),
            Some(bytes) if sender.is_none() => {
                if reusable {
                    home.take_back(self);
                }
                Body::full(bytes)
            }
            whole => {
                if let Some(bytes) = whole {
                    decoder.give_back(bytes);
                }
                let size = decoder.size_hint();
                let reading = Reading {
                    conn: self,
                    decoder,
                    sender,
                    reusable,
                    home,
                };
                Body::Http1(Box::new(ResponseBody {
                    reading: Some(reading),
                    size,
                }))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let mut answer = Answer::new(response, Some(spelling));
        answer.peer = peer;
        answer
    }

    /// Drops the memory that a connection has no use for while it rests.
    pub(crate) fn rest(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
            self.places = Vec::new();
        }
    }
}

/// What of a request decides how its answer is read.
struct Asked<'a> {
    /// As encoded.
    head: &'a [u8],
    method: &'a Method,
    upgrade: Option<&'a HeaderValue>,
    interim: Option<&'a Interim>,
    limits: &'a Limits,
}

// === impl Asked ===

impl Asked<'_> {
    fn is_interim(&self, head: &decode::Head) -> bool {
        head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether the upstream switches to what was asked for (RFC 9110 §7.8).
    fn is_switched(&self, head: &decode::Head) -> bool {
        let same = |asked: &HeaderValue, protocol: &HeaderValue| {
            asked.as_bytes().eq_ignore_ascii_case(protocol.as_bytes())
        };
        match (self.upgrade, &head.switched_to) {
            (Some(asked), Some(protocol)) => same(asked, protocol),
            _ => false,
        }
    }
}

// === impl Switched ===

impl Switched {
    /// A connection through which a client talks.
    pub(crate) fn connected(conn: Box<Connection>) -> Self {
        Self {
            conn,
            protocol: None,
        }
    }

    /// The socket, what was read from it, and what counts it as open.
    pub(crate) fn into_parts(self) -> (Io, BytesMut, Open) {
        let Connection {
            io,
            buf,
            _open: open,
            ..
        } = *self.conn;
        (io, buf, open)
    }
}

// === impl ExchangeError ===

impl ExchangeError {
    fn or_unsent(self, unsent: bool) -> Self {
        match self {
            Self::Io { source, .. } => Self::Io { unsent, source },
            other => other,
        }
    }

    /// Whether the connection ended before any byte of an answer.
    pub(crate) fn is_silent_end(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Closed { answered: false } => true,
            Self::Cut(_) | Self::Closed { answered: true } => false,
            Self::Head(_) | Self::Downstream(_) => false,
        }
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    /// The next part of the body; errors end it.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        if let Some(sender) = &mut reading.sender {
            match sender.poll_send(cx, &mut reading.conn.io, &[]) {
                Poll::Ready(Ok(())) => reading.sender = None,
                // The upstream has answered already: what it does not read is not our error.
                Poll::Ready(Err(_)) => {
                    reading.sender = None;
                    reading.reusable = false;
                }
                Poll::Pending => {}
            }
        }
        let frame = ready!(reading.poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !reading.decoder.is_done() => {}
            Some(Ok(_)) | None => self.finish(),
            Some(Err(_)) => self.reading = None,
        }
        Poll::Ready(frame)
    }

    /// The body is complete: the connection goes home if the request is, too.
    fn finish(&mut self) {
        if let Some(reading) = self.reading.take()
            && reading.reusable
            && reading.sender.is_none()
        {
            reading.home.take_back(reading.conn);
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.size
    }
}

// === impl Reading ===

impl Reading {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        loop {
            match self.decoder.decode(&mut self.conn.buf) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.conn.poll_read(cx)) {
                Ok(0) if self.decoder.ends_with_stream() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(ReadError::Truncated))),
                Ok(_) => {}
                // Where TLS ends without its farewell, somebody on the way may have cut it off: this is
                // not the end even of a body that ends with its stream.
                Err(error) if is_cut(&error) => {
                    return Poll::Ready(Some(Err(ReadError::Truncated)));
                }
                Err(error) => return Poll::Ready(Some(Err(ReadError::Io(error)))),
            }
        }
    }
}

/// Whether TLS ended without its farewell (RFC 8446 §6.1); nothing else reports an end like this.
fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
