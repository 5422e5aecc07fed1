//! Sending an answer: its head as the upstream spelled it, its body framed for the client.

use std::cell::Cell;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::{Body as _, Frame};

use super::wire::{Patience, Wire};
use crate::message::chunked::may_trail;
use crate::message::spelling::{Line, Spelling};
use crate::request::headers::is_hop_by_hop;
use crate::request::record::{Recorded, RecordedError};
use crate::worker::Worker;

/// Parts of a body up to this size are copied behind the head and go out in one write.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Size from which copied parts are written before more is gathered.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// What of a request decides how its answer is written.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// How sending went.
pub(super) enum Sent {
    /// The answer is with the client.
    Whole { keep_alive: bool },
    /// The head is; both sides now talk without us.
    Tunnel(Box<Response<Recorded>>),
}

/// The answer is not whole: the client is gone, or what was to be sent broke off.
#[derive(Debug)]
pub(super) struct Broken;

/// How a client learns where a body ends (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none.
    Bodiless,
    /// By its length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// What the client gets.
struct Sender<'s> {
    wire: &'s Wire,
    out: &'s mut Vec<u8>,
    framing: Framing,
}

/// Sends `response` to who asked.
pub(super) async fn send(
    worker: &Worker,
    wire: &Wire,
    out: &mut Vec<u8>,
    asked: &Asked,
    mut response: Response<Recorded>,
) -> Result<Sent, Broken> {
    let framing = Framing::of(&response, asked);
    // An answer of our own to HEAD says what GET would get (RFC 9110 §9.3.2); an upstream's says it
    // or does not.
    let unsent = response
        .body()
        .size_hint()
        .exact()
        .filter(|length| *length > 0);
    let told = poll_fn(|cx| Poll::Ready(wire.is_told(cx))).await;
    // Interim answers that came together with this one go first.
    if wire.has_interim() {
        wire.expect_progress();
        let interim = poll_fn(|cx| wire.poll_interim(cx)).await;
        interim.map_err(|_| Broken)?;
    }
    let keep_alive =
        asked.keep_alive && !told && framing != Framing::Close && !wire.awaits_continue();
    let tunnel = response.body().is_tunnel();
    out.clear();
    let spelling = response.body_mut().take_spelling();
    let head = HeadWriter {
        response: &response,
        spelling: spelling.as_ref(),
        framing,
        unsent: unsent.filter(|_| asked.method == Method::HEAD),
        version: asked.version,
        connection: match (tunnel, keep_alive, asked.version) {
            (true, _, _) => Connection::Tunnel,
            (false, false, _) => Connection::Close,
            (false, true, Version::HTTP_10) => Connection::KeepAlive,
            (false, true, _) => Connection::Unsaid,
        },
    };
    head.write(out, worker);
    let mut sender = Sender { wire, out, framing };
    if tunnel {
        sender.flush(&[]).await?;
        return Ok(Sent::Tunnel(Box::new(response)));
    }
    let whole = match framing {
        Framing::Bodiless => sender.flush(&[]).await,
        Framing::Length(_) | Framing::Chunked | Framing::Close => {
            sender.body(response.body_mut()).await
        }
    };
    if whole.is_err() && framing == Framing::Close {
        wire.reset();
    }
    whole.map(|()| Sent::Whole { keep_alive })
}

// === impl Framing ===

impl Framing {
    fn of(response: &Response<Recorded>, asked: &Asked) -> Self {
        let status = response.status();
        let bodiless = asked.method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || (asked.method == Method::CONNECT && status.is_success());
        if bodiless {
            return Self::Bodiless;
        }
        // What is known of the body is what its upstream announced, and spares a search.
        let known = response.body().size_hint().exact();
        let announced = || {
            let value = response.headers().get(header::CONTENT_LENGTH)?;
            value.to_str().ok()?.parse().ok()
        };
        match known.or_else(announced) {
            Some(length) => Self::Length(length),
            None if asked.version == Version::HTTP_10 => Self::Close,
            None => Self::Chunked,
        }
    }
}

/// What an answer says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Unsaid,
    Close,
    /// HTTP/1.0 closes unless told otherwise.
    KeepAlive,
    Tunnel,
}

/// What the head of an answer is made of.
struct HeadWriter<'h> {
    response: &'h Response<Recorded>,
    spelling: Option<&'h Spelling>,
    framing: Framing,
    /// Length of a body that is not sent, if it is to be told.
    unsent: Option<u64>,
    version: Version,
    connection: Connection,
}

// === impl HeadWriter ===

impl HeadWriter<'_> {
    fn write(&self, out: &mut Vec<u8>, worker: &Worker) {
        let status = self.response.status();
        let headers = self.response.headers();
        self.status_line(out, status);
        let start = out.len();
        let (dated, announced) = (Cell::new(false), Cell::new(false));
        let write = |out: &mut Vec<u8>, line: Line<'_>| {
            match *line.name {
                header::DATE => dated.set(true),
                // One line is enough, and nothing says nothing.
                header::CONTENT_LENGTH if announced.get() || line.value.is_empty() => return,
                header::CONTENT_LENGTH => announced.set(true),
                _ => {}
            }
            if self.passes(line.name, status) {
                write_line(out, line.spelled, line.value.as_bytes());
            }
        };
        let plain = Spelling::default();
        let spelling = self.spelling.unwrap_or(&plain);
        // What was written is undone with all that is known of it.
        spelling.lines(headers, out, write, |out| {
            out.truncate(start);
            dated.set(false);
            announced.set(false);
        });
        if !dated.get() && !status.is_informational() {
            worker.clock.write_date(out);
        }
        self.framing_line(out, announced.get());
        out.extend_from_slice(match self.connection {
            Connection::Unsaid => b"",
            Connection::Close => b"connection: close\r\n",
            Connection::KeepAlive => b"connection: keep-alive\r\n",
            Connection::Tunnel => b"",
        });
        if self.connection == Connection::Tunnel
            && let Some(protocol) = self.response.body().switched_to()
        {
            out.extend_from_slice(b"connection: Upgrade\r\n");
            write_line(out, b"upgrade", protocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    fn status_line(&self, out: &mut Vec<u8>, status: StatusCode) {
        // Some who ask in the old version take no other for an answer.
        out.extend_from_slice(match self.version {
            Version::HTTP_10 => b"HTTP/1.0 ",
            _ => b"HTTP/1.1 ",
        });
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        let spelled = self.spelling.map_or(&b""[..], Spelling::reason);
        match spelled {
            b"" => out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
            spelled => out.extend_from_slice(spelled),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a line of the answer goes to the client; the proxy says itself what concerns the
    /// connection, and what has no body has no length (RFC 9110 §8.6).
    fn passes(&self, name: &HeaderName, status: StatusCode) -> bool {
        if *name == header::CONTENT_LENGTH {
            return !status.is_informational()
                && status != StatusCode::NO_CONTENT
                && self.connection != Connection::Tunnel;
        }
        !is_hop_by_hop(name)
    }

    fn framing_line(&self, out: &mut Vec<u8>, announced: bool) {
        let length = match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Bodiless => self.unsent,
            Framing::Chunked | Framing::Close => None,
        };
        match (self.framing, length) {
            (_, Some(length)) if !announced => {
                let mut digits = String::new();
                let _ = write!(digits, "{length}");
                write_line(out, b"content-length", digits.as_bytes());
            }
            (Framing::Chunked, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (Framing::Length(_) | Framing::Bodiless | Framing::Close, _) => {}
        }
    }
}

fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

// === impl Sender ===

/// What there is to do for a body.
enum Step {
    Frame(Frame<Bytes>),
    End,
    /// Nothing comes right now: what was gathered can go out.
    Flush,
    /// The client gave up, or the body broke off.
    Broken,
}

impl Sender<'_> {
    /// Sends the body behind the head that waits in `out`.
    async fn body(&mut self, body: &mut Recorded) -> Result<(), Broken> {
        loop {
            match self.step(body).await {
                Step::Flush => self.flush(&[]).await?,
                Step::Frame(frame) => match frame.into_data() {
                    Ok(data) => {
                        self.data(data).await?;
                        // The last part goes out with the end, without another look.
                        if body.is_end_stream() || self.framing == Framing::Length(0) {
                            return self.end(&HeaderMap::new()).await;
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return self.end(&trailers).await;
                    }
                },
                Step::End => return self.end(&HeaderMap::new()).await,
                Step::Broken => {
                    // What came before the break is the client's.
                    self.flush(&[]).await?;
                    return Err(Broken);
                }
            }
        }
    }

    async fn step(&mut self, body: &mut Recorded) -> Step {
        poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Step::Frame(frame)),
            Poll::Ready(Some(Err(RecordedError::Body(_) | RecordedError::TimedOut))) => {
                Poll::Ready(Step::Broken)
            }
            Poll::Ready(None) => Poll::Ready(Step::End),
            Poll::Pending if !self.out.is_empty() => Poll::Ready(Step::Flush),
            Poll::Pending => match self.wire.poll_patience(cx) {
                Patience::Waits => Poll::Pending,
                Patience::Gone | Patience::Stalled => Poll::Ready(Step::Broken),
            },
        })
        .await
    }

    /// Frames a part of the body; small ones wait for company.
    async fn data(&mut self, data: Bytes) -> Result<(), Broken> {
        if data.is_empty() {
            return Ok(());
        }
        let tail: &[u8] = match &mut self.framing {
            Framing::Length(missing) => {
                // An answer longer than it said would run into the next one.
                *missing = missing.checked_sub(data.len() as u64).ok_or(Broken)?;
                b""
            }
            Framing::Chunked => {
                self.out
                    .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                b"\r\n"
            }
            Framing::Close | Framing::Bodiless => b"",
        };
        if data.len() > COPIED_BYTES_MAX {
            return self.flush(&[&data, tail]).await;
        }
        self.out.extend_from_slice(&data);
        self.out.extend_from_slice(tail);
        match self.out.len() >= GATHERED_BYTES_MAX {
            true => self.flush(&[]).await,
            false => Ok(()),
        }
    }

    async fn end(&mut self, trailers: &HeaderMap) -> Result<(), Broken> {
        match self.framing {
            Framing::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
                    write_line(self.out, name.as_str().as_bytes(), value.as_bytes());
                }
                self.out.extend_from_slice(b"\r\n");
            }
            // The client would wait for the rest for ever.
            Framing::Length(missing) if missing > 0 => {
                self.flush(&[]).await?;
                return Err(Broken);
            }
            Framing::Length(_) | Framing::Close | Framing::Bodiless => {}
        }
        self.flush(&[]).await
    }

    /// Writes what was gathered, and `more` behind it.
    async fn flush(&mut self, more: &[&[u8]]) -> Result<(), Broken> {
        self.wire.expect_progress();
        let first = more.first().copied().unwrap_or_default();
        let second = more.get(1).copied().unwrap_or_default();
        let mut parts = [&**self.out, first, second];
        let written = poll_fn(|cx| {
            while let Some(first) = parts.iter().position(|part| !part.is_empty()) {
                let slices = parts.map(IoSlice::new);
                let alone = parts[first + 1..].iter().all(|part| part.is_empty());
                let last = if alone { first + 1 } else { slices.len() };
                match self.wire.poll_write(cx, &slices[first..last]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                    Poll::Ready(Ok(count)) => {
                        self.wire.expect_progress();
                        advance(&mut parts, count);
                    }
                }
            }
            self.wire.poll_flush(cx).map_err(|_| Broken)
        });
        written.await?;
        self.out.clear();
        self.wire.expect_nothing();
        Ok(())
    }
}

fn advance(parts: &mut [&[u8]; 3], mut count: usize) {
    for part in parts {
        let step = count.min(part.len());
        part.advance(step);
        count -= step;
    }
}
