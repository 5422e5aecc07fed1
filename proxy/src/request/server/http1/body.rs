//! The body of a request as it is read: by the connection's own task, or by that of an upstream which
//! sends it on.

use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::wire::Wire;
use crate::request::malformed::Malformed;

/// The body of the request that a connection is in.
#[derive(Debug)]
pub struct ClientBody {
    /// The connection may be over while another task still holds the body.
    wire: Weak<Wire>,
    request: u64,
    over: bool,
    length: Option<u64>,
}

/// Why the body of a request ended early.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It breaks the rules.
    #[error(transparent)]
    Malformed(Malformed),
    /// The client went away.
    #[error("client closed the connection within its request")]
    Ended,
    /// The connection failed.
    #[error("connection to client")]
    Io(#[source] io::Error),
    /// The request was answered without it.
    #[error("request was answered already")]
    Answered,
}

// === impl ClientBody ===

impl ClientBody {
    /// The body of the request that `wire` has just begun, of `length` if the client said it.
    pub(super) fn new(wire: &Rc<Wire>, length: Option<u64>) -> Self {
        Self {
            wire: Rc::downgrade(wire),
            request: wire.request.get(),
            over: false,
            length,
        }
    }

    /// The next part.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let wire = match self.wire.upgrade() {
            Some(wire) if wire.request.get() == self.request => wire,
            Some(_) | None => return Poll::Ready(Some(Err(ClientError::Answered))),
        };
        let inner = &mut *wire.inner.borrow_mut();
        if std::mem::take(&mut inner.expects_continue) {
            wire.interim.push(StatusCode::CONTINUE, &HeaderMap::new());
            // The connection's task sends it; it may not be this one.
            if let Some(server) = inner.server.take() {
                server.wake();
            }
        }
        match inner.poll_frame(cx) {
            Poll::Ready(frame) => {
                // What is not asked for is not waited for: a slow upstream is not the client's fault.
                if inner.reader.0.take().is_some() {
                    inner.ticket.wait(None);
                }
                let goes_on = matches!(&frame, Some(Ok(frame)) if frame.is_data());
                self.over = !goes_on || inner.is_complete();
                Poll::Ready(frame)
            }
            Poll::Pending => {
                match &inner.reader.0 {
                    Some(reader) if reader.will_wake(cx.waker()) => {}
                    Some(_) => inner.reader.0 = Some(cx.waker().clone()),
                    None => {
                        inner.reader.0 = Some(cx.waker().clone());
                        inner.ticket.wait(Some(wire.limits.stall_timeout));
                    }
                }
                Poll::Pending
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.over
    }

    /// Its whole length, if the client said it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}
