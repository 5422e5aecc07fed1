//! Bytes both ways between two connections, until both sides have ended.

mod flow;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::drain::Ticket;
use crate::inbound::authz::Denial;
use crate::io::Io;
use crate::tcp::splice::Pipes;
use crate::tcp::watch::Watch;
use crate::upstream::TcpLimits;
use flow::{Fault, Flow};

/// Room for one read: what a connection keeps at most of what its reader does not take, too. Four times
/// as much would save a fifth of the work, and cost each slow reader that much.
const COPY_BYTES: usize = 64 * 1024;

/// What the system keeps unsent of a connection: the room of two pipes, so that one is empty when there is
/// room again. A gibibyte over loopback costs a tenth more CPU than without a bound, a third more with half of
/// it.
const UNSENT_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// What was carried, and how it ended.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Bytes from the near side to the far one.
    pub(crate) up: u64,
    /// Bytes from the far side to the near one.
    pub(crate) down: u64,
    /// Fine if both sides ended in good order.
    pub(crate) ended: Result<(), Broken>,
}

/// Why there was no good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the near side failed")]
    Near(#[source] io::Error),
    #[error("the far side failed")]
    Far(#[source] io::Error),
    /// Neither side said anything for too long.
    #[error("nothing passed for too long")]
    Idle,
    /// It lasted longer than it may.
    #[error("it lasted longer than it may")]
    Aged,
    /// Policies that came meanwhile forbid it.
    #[error("denied from now on: {0}")]
    Refused(Denial),
}

/// What the connections of one worker share that carry bytes.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// Where bytes are for as long as it takes to hand them on: connections that rest have no memory of
    /// their own for it.
    scratch: RefCell<Box<[u8]>>,
    pipes: Pipes,
}

/// What a connection is carried by, and how long.
pub(crate) struct Terms<'t> {
    pub(crate) carrier: &'t Carrier,
    pub(crate) ticket: &'t mut Ticket,
    pub(crate) limits: TcpLimits,
}

/// Both sides of what is carried. Unless it ended in good order both are reset with this: whoever ends a
/// connection before its time drops what carries it.
struct Ends<'e> {
    near: &'e mut Io,
    far: &'e mut Io,
    in_order: bool,
}

/// Carries bytes until both sides have ended, one has failed, or a limit is reached. What was read of
/// either side before, `near_read` and `far_read`, goes first. An end of one side is passed on as one;
/// anything else that ends it is a reset on both, as an orderly end would tell that all was heard: also
/// that this is dropped.
///
/// `refused` ends it, too, once it is ready. `passed` is told how many bytes went up and down since it was told last.
pub(crate) async fn carry(
    (near, near_read): (&mut Io, BytesMut),
    (far, far_read): (&mut Io, BytesMut),
    terms: Terms<'_>,
    refused: impl Future<Output = Denial>,
    mut passed: impl FnMut(u64, u64),
) -> Carried {
    let Terms {
        carrier,
        ticket,
        limits,
    } = terms;
    near.keep_unsent(UNSENT_BYTES_MAX);
    far.keep_unsent(UNSENT_BYTES_MAX);
    let mut up = Flow::new(carrier, near_read);
    let mut down = Flow::new(carrier, far_read);
    let (mut near_watch, mut far_watch) = (Watch::default(), Watch::default());
    let end = limits.age.and_then(|age| Instant::now().checked_add(age));
    wait(ticket, limits.idle, end);
    let mut refused = pin!(refused);
    let mut ends = Ends {
        near,
        far,
        in_order: false,
    };
    let ended = poll_fn(|cx| {
        let Ends { near, far, .. } = &mut ends;
        if let Poll::Ready(denial) = refused.as_mut().poll(cx) {
            return Poll::Ready(Err(Broken::Refused(denial)));
        }
        // Who drains waits for the end; the wait for it is theirs to limit.
        ticket.is_told(cx);
        let (up_before, down_before) = (up.bytes, down.bytes);
        let up_done = up.poll_all(cx, near, far).map_err(Fault::upwards);
        let down_done = down.poll_all(cx, far, near).map_err(Fault::downwards);
        let (went_up, went_down) = (up.bytes - up_before, down.bytes - down_before);
        if went_up + went_down > 0 {
            passed(went_up, went_down);
            wait(ticket, limits.idle, end);
        }
        match (up_done, down_done) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => {
                return Poll::Ready(Err(broken));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }
        if !up.listens()
            && let Poll::Ready(error) = near_watch.poll(cx, near)
        {
            return Poll::Ready(Err(Broken::Near(error)));
        }
        if !down.listens()
            && let Poll::Ready(error) = far_watch.poll(cx, far)
        {
            return Poll::Ready(Err(Broken::Far(error)));
        }
        if !ticket.is_late() {
            return Poll::Pending;
        }
        let is_old = end.is_some_and(|end| end <= Instant::now());
        Poll::Ready(Err(if is_old { Broken::Aged } else { Broken::Idle }))
    })
    .await;
    ends.in_order = ended.is_ok();
    Carried {
        up: up.bytes,
        down: down.bytes,
        ended,
    }
}

/// Begins to wait for the next bytes.
fn wait(ticket: &Ticket, idle: Option<Duration>, end: Option<Instant>) {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let limit = match (idle, left) {
        (Some(idle), Some(left)) => Some(idle.min(left)),
        (limit, None) | (None, limit) => limit,
    };
    ticket.wait(limit);
}

// === impl Ends ===

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if !self.in_order {
            self.near.reset_on_close();
            self.far.reset_on_close();
        }
    }
}

// === impl Carrier ===

impl Default for Carrier {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; COPY_BYTES].into_boxed_slice()),
            pipes: Pipes::default(),
        }
    }
}

#[cfg(test)]
mod tests;
