//! One downstream connection that speaks HTTP/1 (RFC 9112): its requests one after another, each
//! answered before the next is begun, however many the client has sent ahead.
//!
//! Our own rather than the HTTP library's, so that a head goes on as it was written, whatever is
//! ambiguous is refused, interim answers pass, and every wait for the client is bounded. It runs in
//! one task: nothing is handed to another to read a body or to write an answer.

mod answer;
pub(crate) mod body;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod head;
mod tunnel;
mod wire;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Response, Version};

use crate::body::Received;
use crate::drain::Ticket;
use crate::io::Io;
use crate::request::malformed::Malformed;
use crate::request::record::Recorded;
use crate::request::{Arrived, Downstream, Rejection, pipeline};
use crate::worker::Worker;
use answer::{Asked, Sent};
use head::Head;
use wire::{Next, Patience, Wire};

/// Most bytes of a body that are read to no end, so that the connection can go on after an answer
/// that came first.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
/// How long a client is given to take the last answer and end its side: closing while it still sends
/// would reset the connection, and the answer with it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Whether the connection goes on after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// With the next request.
    Next,
    /// Not at all.
    End,
    /// The client may still be sending.
    Linger,
}

/// Serves requests until either side ends the connection. `input` was read to tell the protocol.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    downstream: &Downstream,
    io: Io,
    input: BytesMut,
    ticket: Ticket,
) {
    let wire = Rc::new(Wire::new(io, input, ticket, worker.limits));
    let mut out = Vec::new();
    loop {
        wire.rest();
        let after = match next(&wire).await {
            Next::Head(head) => {
                let exchange = Exchange {
                    worker: &worker,
                    downstream,
                    wire: &wire,
                    out: &mut out,
                };
                match exchange.run(head).await {
                    (after, None) => after,
                    (_, Some(tunnel)) => return tunnel.run(wire).await,
                }
            }
            Next::Malformed(malformed) => {
                refuse(&worker, downstream, &wire, malformed).await;
                After::Linger
            }
            Next::End | Next::Told => After::End,
        };
        match after {
            After::Next => {}
            After::End => {
                wire.expect_end(LINGER);
                return poll_fn(|cx| wire.poll_farewell(cx)).await;
            }
            After::Linger => return linger(&wire).await,
        }
    }
}

/// What comes next. A connection that is told to end looks once more, since the system may hold a
/// request that the runtime has not heard of yet.
async fn next(wire: &Wire) -> Next {
    let next = poll_fn(|cx| wire.poll_next(cx)).await;
    if !matches!(next, Next::Told) {
        return next;
    }
    tokio::task::yield_now().await;
    poll_fn(|cx| wire.poll_next(cx)).await
}

/// Answers what is no request.
async fn refuse(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    wire: &Rc<Wire>,
    malformed: Malformed,
) {
    let response = pipeline::refuse(worker, downstream, malformed);
    let asked = Asked {
        method: Method::GET,
        version: Version::HTTP_11,
        keep_alive: false,
    };
    // Whether the client still hears it is its own affair.
    let _ = answer::send(worker, wire, &mut Vec::new(), &asked, response).await;
}

/// Ends our side and waits, within bounds, until the client has ended its own.
async fn linger(wire: &Wire) {
    wire.expect_end(LINGER);
    poll_fn(|cx| wire.poll_close(cx)).await;
    poll_fn(|cx| wire.poll_silence(cx)).await;
}

/// One request and its answer.
struct Exchange<'c> {
    worker: &'c Rc<Worker>,
    downstream: &'c Downstream,
    wire: &'c Rc<Wire>,
    out: &'c mut Vec<u8>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Answers a request; a tunnel takes the connection over.
    async fn run(mut self, head: Head) -> (After, Option<tunnel::Tunnel>) {
        let body = self.wire.begin(&head);
        let asked = Asked {
            method: head.parts.method.clone(),
            version: head.parts.version,
            keep_alive: head.keep_alive,
        };
        let arrived = Arrived {
            head: head.parts,
            body: body.map(Received::Http1),
            spelling: Some(head.spelling),
            interim: (asked.version == Version::HTTP_11).then(|| Rc::clone(self.wire.interim())),
            upgrade: head.upgrade,
        };
        let answering = pipeline::serve(Rc::clone(self.worker), self.downstream, arrived);
        let Some(response) = self.answer(pin!(answering)).await else {
            return (After::End, None);
        };
        if response.body().is_reset() {
            self.wire.reset();
            return (After::End, None);
        }
        match answer::send(self.worker, self.wire, self.out, &asked, response).await {
            Ok(Sent::Tunnel(response)) => (After::End, tunnel::Tunnel::new(*response)),
            Ok(Sent::Whole { keep_alive }) => (self.after(&asked, keep_alive).await, None),
            Err(answer::Broken) => (After::End, None),
        }
    }

    /// Waits for the answer, and for the client to give up; none if it did.
    async fn answer(
        &mut self,
        mut answering: Pin<&mut impl Future<Output = Response<Recorded>>>,
    ) -> Option<Response<Recorded>> {
        poll_fn(|cx| {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if let Poll::Ready(Err(_)) = self.wire.poll_interim(cx) {
                return Poll::Ready(None);
            }
            match self.wire.poll_patience(cx) {
                Patience::Waits => Poll::Pending,
                Patience::Gone => Poll::Ready(None),
                Patience::Stalled => {
                    // Whoever reads the body learns of it, and the answer says so.
                    self.wire.stall();
                    answering.as_mut().poll(cx).map(Some)
                }
            }
        })
        .await
    }

    /// What remains of the request decides whether there can be another.
    async fn after(&mut self, asked: &Asked, keep_alive: bool) -> After {
        self.wire.finish();
        if self.wire.is_complete() {
            return match (keep_alive, asked.keep_alive) {
                (true, _) => After::Next,
                (false, false) => After::End,
                // The client does not know yet: what it sends meanwhile must not cost it the answer.
                (false, true) => After::Linger,
            };
        }
        if !keep_alive {
            return After::Linger;
        }
        let mut bytes_max = DISCARD_BYTES_MAX;
        self.wire.expect_progress();
        let discarded = poll_fn(|cx| match self.wire.poll_discard(cx, &mut bytes_max) {
            Poll::Pending if self.wire.poll_patience(cx) != Patience::Waits => Poll::Ready(false),
            polled => polled,
        });
        match discarded.await {
            true => After::Next,
            false => After::Linger,
        }
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
