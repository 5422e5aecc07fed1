//! The socket of one downstream connection, shared by the connection's loop and the body of the
//! request that it is in: both run on the worker's thread, never at once.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Frame;
use tokio::io::AsyncWrite as _;
use tokio_util::io::poll_read_buf;

use super::body::{ClientBody, ClientError};
use super::head::{self, Coding, Head};
use crate::drain::Ticket;
use crate::io::Io;
use crate::message::chunked::Decoded;
use crate::message::interim::Interim;
use crate::message::line::LineAt;
use crate::request::limits::Limits;
use crate::request::malformed::Malformed;

/// Room for a read; a request and a small body fit.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Room for a read after one that filled its room.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that are read ahead of the request under way.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// A client that ends its side this soon after its request has only said that it has no other one: it
/// still reads. One that ends it later has given up. The two look alike on the wire.
const HALF_CLOSE_WINDOW: Duration = Duration::from_millis(250);
/// How long a client that ended its side at once is answered, if it has not given up either.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);

/// One downstream connection's socket and what was read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(super) inner: RefCell<Inner>,
    pub(super) limits: Limits,
    /// Interim answers that wait to be sent.
    pub(super) interim: Rc<Interim>,
    /// Bytes of an interim answer that the socket did not take yet.
    interim_rest: RefCell<Bytes>,
    /// The request whose body may be read, counted from 1.
    pub(super) request: Cell<u64>,
}

#[derive(Debug)]
pub(super) struct Inner {
    io: Io,
    pub(super) ticket: Ticket,
    /// Read and not yet used.
    input: BytesMut,
    /// Memory for reading heads.
    places: Vec<LineAt>,
    /// What remains of the request's body.
    coding: Coding,
    /// Whether the last read took all the room there was.
    filled: bool,
    /// Whether the client has ended its side.
    ended: bool,
    /// Whether the end is to be a reset.
    reset: bool,
    /// Whether `input` begins with a head that was not whole when it had so many bytes.
    seen: usize,
    /// When the request was complete, as far as a body is concerned.
    complete: Instant,
    pub(super) expects_continue: bool,
    /// Why the body can no longer be read.
    failed: Option<Malformed>,
    /// The task that reads the body, if it waits.
    pub(super) reader: Reader,
    /// The connection's task, if another one reads the body.
    pub(super) server: Option<Waker>,
}

/// Who waits for more of a body; is told, too, when there is no connection any more.
#[derive(Debug, Default)]
pub(super) struct Reader(pub(super) Option<Waker>);

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(reader) = self.0.take() {
            reader.wake();
        }
    }
}

/// What comes next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A request.
    Head(Head),
    /// Something else.
    Malformed(Malformed),
    /// Nothing: closed, or idle for too long.
    End,
    /// Nothing for a while, and the connection is to end.
    Told,
}

/// How a client behaves while it is to wait for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It waits, or it sends its body.
    Waits,
    /// It is gone, or takes it that we are.
    Gone,
    /// Its body paused too long.
    Stalled,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(io: Io, input: BytesMut, ticket: Ticket, limits: Limits) -> Self {
        Self {
            inner: RefCell::new(Inner {
                io,
                ticket,
                input,
                places: Vec::new(),
                coding: Coding::Length(0),
                filled: false,
                ended: false,
                reset: false,
                seen: 0,
                complete: Instant::now(),
                expects_continue: false,
                failed: None,
                reader: Reader::default(),
                server: None,
            }),
            limits,
            interim: Rc::default(),
            interim_rest: RefCell::default(),
            request: Cell::new(0),
        }
    }

    pub(super) fn interim(&self) -> &Rc<Interim> {
        &self.interim
    }

    /// The next head. A connection that rests between two requests has no buffer.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let inner = &mut *self.inner.borrow_mut();
        let leaves = inner.ticket.leaves(cx);
        loop {
            if inner.may_have_head(self.limits.head_bytes_max) {
                match head::parse(&mut inner.input, &mut inner.places, &self.limits) {
                    Ok(Some(head)) => {
                        inner.seen = 0;
                        return Poll::Ready(Next::Head(head));
                    }
                    Ok(None) => inner.seen = inner.input.len(),
                    Err(malformed) => return Poll::Ready(Next::Malformed(malformed)),
                }
            }
            match inner.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                // The wait for the rest of a head begins with its first byte.
                Poll::Ready(Ok(count)) if count == inner.input.len() => {
                    inner.ticket.wait(Some(self.limits.head_timeout));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if !inner.ticket.is_late() => {
                    return match leaves && inner.input.is_empty() {
                        true => Poll::Ready(Next::Told),
                        false => Poll::Pending,
                    };
                }
                Poll::Pending if inner.input.is_empty() => return Poll::Ready(Next::End),
                Poll::Pending => return Poll::Ready(Next::Malformed(Malformed::HeadTimeout)),
            }
        }
    }

    /// Begins the wait for the next request.
    pub(super) fn rest(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.ticket.wait(Some(match inner.input.is_empty() {
            true => self.limits.idle_timeout,
            false => self.limits.head_timeout,
        }));
    }

    /// The body of the request that has just begun; none if it has none.
    pub(super) fn begin(self: &Rc<Self>, head: &Head) -> Option<ClientBody> {
        let inner = &mut *self.inner.borrow_mut();
        self.request.set(self.request.get() + 1);
        inner.coding = head.coding;
        inner.failed = None;
        inner.complete = Instant::now();
        // Who has sent a part of the body does not wait for leave to do so.
        inner.expects_continue = head.expects_continue && inner.input.is_empty();
        // The client is waited for once somebody asks for its body.
        inner.ticket.wait(None);
        if inner.is_complete() {
            return None;
        }
        let length = match head.coding {
            Coding::Length(length) => Some(length),
            Coding::Chunked(_) => None,
        };
        Some(ClientBody::new(self, length))
    }

    /// Whether the connection is to end after the request it is in.
    pub(super) fn is_told(&self, cx: &mut Context<'_>) -> bool {
        self.inner.borrow_mut().ticket.is_told(cx)
    }

    /// Whether nothing remains of the request's body.
    pub(super) fn is_complete(&self) -> bool {
        self.inner.borrow().is_complete()
    }

    /// Whether the client was never told to send the body it announced.
    pub(super) fn awaits_continue(&self) -> bool {
        self.inner.borrow().expects_continue
    }

    /// Ends the body's right to read, so that what remains can be discarded.
    pub(super) fn finish(&self) {
        self.request.set(self.request.get() + 1);
        let reader = self.inner.borrow_mut().reader.0.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether interim answers wait.
    pub(super) fn has_interim(&self) -> bool {
        !self.interim.is_empty() || !self.interim_rest.borrow().is_empty()
    }

    /// Sends interim answers that wait, as far as the socket takes them.
    pub(super) fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = &mut *self.interim_rest.borrow_mut();
        loop {
            if rest.is_empty() {
                if self.interim.is_empty() {
                    return self.poll_flush(cx);
                }
                *rest = Bytes::from(self.interim.take());
            }
            let written = ready!(self.poll_write(cx, &[IoSlice::new(rest)]))?;
            rest.advance(written);
        }
    }

    /// Writes to the client; 0 bytes are an error.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        let io = Pin::new(&mut inner.io);
        let written = match slices {
            [slice] => io.poll_write(cx, slice),
            slices => io.poll_write_vectored(cx, slices),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending if inner.ticket.is_late() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what the stream itself holds back, as TLS does.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        match Pin::new(&mut inner.io).poll_flush(cx) {
            Poll::Pending if inner.ticket.is_late() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            polled => polled,
        }
    }

    /// Says that nothing more comes, where a close alone would not.
    pub(super) fn poll_farewell(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        match inner.io.says_end() && !inner.reset && !inner.ticket.is_late() {
            true => Pin::new(&mut inner.io).poll_shutdown(cx).map(|_| ()),
            false => Poll::Ready(()),
        }
    }

    /// Begins the wait for a client that has to take what is sent.
    pub(super) fn expect_progress(&self) {
        let inner = self.inner.borrow();
        inner.ticket.wait(Some(self.limits.stall_timeout));
    }

    /// Ends the wait for the client: it is the upstream's turn, unless more of the body is awaited.
    pub(super) fn expect_nothing(&self) {
        let inner = self.inner.borrow();
        if inner.reader.0.is_none() && !inner.ended {
            inner.ticket.wait(None);
        }
    }

    /// Watches a client that is to wait for its answer.
    pub(super) fn poll_patience(&self, cx: &mut Context<'_>) -> Patience {
        let inner = &mut *self.inner.borrow_mut();
        inner.ticket.is_told(cx);
        let late = inner.ticket.is_late();
        if !inner.is_complete() {
            match &inner.server {
                Some(server) if server.will_wake(cx.waker()) => {}
                _ => inner.server = Some(cx.waker().clone()),
            }
            return match late {
                true => Patience::Stalled,
                false => Patience::Waits,
            };
        }
        while !inner.ended && inner.input.len() < AHEAD_BYTES_MAX {
            match inner.poll_fill(cx) {
                Poll::Pending => return Patience::Waits,
                Poll::Ready(Err(_)) => return Patience::Gone,
                Poll::Ready(Ok(0)) if inner.complete.elapsed() > HALF_CLOSE_WINDOW => {
                    return Patience::Gone;
                }
                Poll::Ready(Ok(0)) => inner.ticket.wait(Some(HALF_CLOSE_GRACE)),
                Poll::Ready(Ok(_)) => {}
            }
        }
        match inner.ended && late {
            true => Patience::Gone,
            false => Patience::Waits,
        }
    }

    /// Lets the body fail, and who reads it know.
    pub(super) fn stall(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.failed = Some(Malformed::BodyTimeout);
        if let Some(reader) = inner.reader.0.take() {
            reader.wake();
        }
    }

    /// Reads what remains of the body and forgets it; false if that is more than `bytes_max` or
    /// cannot be read.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>, bytes_max: &mut usize) -> Poll<bool> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            match ready!(inner.poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => {
                    let len = frame.data_ref().map_or(0, Bytes::len);
                    match bytes_max.checked_sub(len) {
                        Some(left) => *bytes_max = left,
                        None => return Poll::Ready(false),
                    }
                }
            }
        }
    }

    /// Whether the client has sent, or ended its side, without being asked; for the wait at the end
    /// of a connection. What it sends is forgotten.
    pub(super) fn poll_silence(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            inner.input.clear();
            match inner.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if inner.ticket.is_late() => {
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Begins the wait for the end of the connection.
    pub(super) fn expect_end(&self, limit: Duration) {
        self.inner.borrow().ticket.wait(Some(limit));
    }

    /// Ends our side of the connection.
    pub(super) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        match inner.ticket.is_late() {
            true => Poll::Ready(()),
            false => Pin::new(&mut inner.io).poll_shutdown(cx).map(|_| ()),
        }
    }

    /// Makes the end of the connection a reset, where an ordinary end would look like that of a body.
    pub(super) fn reset(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.reset = true;
        inner.io.reset_on_close();
    }

    /// Takes the socket and what was read from it, for a tunnel.
    pub(super) fn into_parts(self) -> (Io, BytesMut, Ticket) {
        let inner = self.inner.into_inner();
        (inner.io, inner.input, inner.ticket)
    }
}

// === impl Inner ===

impl Inner {
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.coding, Coding::Length(0))
    }

    /// Whether it is worth to read the head in `input`: it is new, twice as long as when it was read
    /// last, too long, or seems to end. So a head that comes byte by byte is not read from its
    /// beginning with every byte.
    fn may_have_head(&self, bytes_max: usize) -> bool {
        let (len, seen) = (self.input.len(), self.seen);
        if len == 0 || seen == 0 {
            return len > 0;
        }
        let new = &self.input[seen.saturating_sub(3).min(len)..];
        let ends = |lines: &[u8]| new.windows(lines.len()).any(|it| it == lines);
        len >= bytes_max || len >= 2 * seen || ends(b"\n\r\n") || ends(b"\n\n")
    }

    /// Reads into the buffer; 0 is the end of the stream. Memory is taken once there is something to
    /// read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.input.is_empty() {
            match self.io.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.input = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        let room = match self.filled {
            true => READ_BYTES_MAX,
            false => READ_BYTES_MIN,
        };
        if self.input.capacity() - self.input.len() < room / 4 {
            self.input.reserve(room);
        }
        let spare = self.input.capacity() - self.input.len();
        let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input) else {
            // TLS cannot tell before the read that there is nothing.
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            return Poll::Pending;
        };
        self.filled = matches!(read, Ok(count) if count == spare);
        self.ended = matches!(read, Ok(0));
        Poll::Ready(read)
    }

    /// The next part of the body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        loop {
            if let Some(failed) = self.failed {
                return Poll::Ready(Some(Err(ClientError::Malformed(failed))));
            }
            match self.decode() {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(malformed) => {
                    self.failed = Some(malformed);
                    continue;
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Some(Err(ClientError::Ended))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(ClientError::Io(error)))),
            }
        }
    }

    fn decode(&mut self) -> Result<Decoded, Malformed> {
        let decoded = match &mut self.coding {
            Coding::Length(0) => return Ok(Decoded::End),
            Coding::Length(_) if self.input.is_empty() => return Ok(Decoded::More),
            Coding::Length(missing) => {
                let data = crate::message::chunked::take_up_to(&mut self.input, missing);
                Decoded::Data(data)
            }
            Coding::Chunked(chunked) => {
                let decoded = chunked.decode(&mut self.input)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    self.coding = Coding::Length(0);
                }
                decoded
            }
        };
        if self.is_complete() {
            self.completed();
        }
        Ok(decoded)
    }

    /// The request is whole: from now on it is the upstream's turn.
    fn completed(&mut self) {
        self.complete = Instant::now();
        self.ticket.wait(None);
        self.reader.0 = None;
        if let Some(server) = self.server.take() {
            server.wake();
        }
    }
}
