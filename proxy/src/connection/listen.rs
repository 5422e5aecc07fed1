//! Who speaks first on a connection of which nobody said what it speaks, and what it is that the client
//! says.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until};

use super::early::{Answered, Early};
use super::first_bytes::{Heard, Until, hear};
use crate::drain::Ticket;
use crate::io::Io;
use crate::listener::detect::{Verdict, detect};
use crate::request::limits::Limits;
use crate::tls::workload::is_tls;

/// How long a client may pause in the middle of what could become a request, before it is taken for
/// another protocol whose server waits for no more. The system repeats a lost segment sooner than that
/// unless the way is long, and whoever is misjudged gets through all the same, but without routes of HTTP.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long nobody may have spoken once the worker wants connections to end.
const TOLD_GRACE: Duration = Duration::from_secs(1);

/// What is asked of the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Whether they are TLS.
    Tls,
    /// What they are.
    Protocol,
}

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The client spoke first, and this; never that more is awaited.
    Client(Verdict),
    /// The server spoke first, or ended the connection.
    Server,
    /// There is no server, and the client waits for it.
    Failed,
    /// The client ended its side and said nothing before.
    End,
    /// The client is gone, or is not waited for any longer.
    Gone,
}

/// One side of a connection, and what was heard of it.
pub(super) struct Ear<'e> {
    pub(super) io: &'e mut Io,
    pub(super) first: &'e mut BytesMut,
    pub(super) ticket: &'e mut Ticket,
}

/// Listens until somebody has spoken, and it is clear what.
pub(super) async fn listen(
    ear: Ear<'_>,
    asks: Asks,
    limits: &Limits,
    early: &mut Option<Early<'_>>,
) -> Found {
    let Ear { io, first, ticket } = ear;
    let idle = early
        .as_ref()
        .map_or(Some(limits.idle_timeout), Early::idle);
    ticket.wait(idle);
    let mut until = Until::Told;
    // Until when what was said may go on; none while nothing was.
    let mut pause = None;
    let mut is_failed = false;
    loop {
        match asks.judge(first) {
            Verdict::More => {}
            verdict => return Found::Client(verdict),
        }
        let is_undecided = pause.is_some() && !is_tls(first);
        tokio::select! {
            biased;
            heard = hear(io, first, ticket, until) => match heard {
                Heard::More => {
                    if pause.is_none() {
                        ticket.wait(Some(limits.head_timeout));
                    }
                    pause = Some(Instant::now() + PAUSE_MAX);
                }
                Heard::End if first.is_empty() => return Found::End,
                Heard::End => return Found::Client(Verdict::Opaque),
                // Its first word may be on its way, or that of the other side.
                Heard::Told => {
                    until = Until::Late;
                    ticket.wait(Some(TOLD_GRACE));
                }
                Heard::Late | Heard::Failed => return Found::Gone,
            },
            () = end_of(pause), if is_undecided => return Found::Client(Verdict::Opaque),
            answered = spoken(early), if !is_failed => match answered {
                Answered::Spoke => return Found::Server,
                Answered::Failed if first.is_empty() => return Found::Failed,
                // HTTP has an answer for it, if that is what it becomes.
                Answered::Failed => is_failed = true,
            },
        }
    }
}

/// Waits for the end of a pause, if there is one.
async fn end_of(pause: Option<Instant>) {
    match pause {
        Some(pause) => sleep_until(pause).await,
        None => std::future::pending().await,
    }
}

/// Waits for the other side, if there is one.
async fn spoken(early: &mut Option<Early<'_>>) -> Answered {
    match early {
        Some(early) => early.answered().await,
        None => std::future::pending().await,
    }
}

// === impl Asks ===

impl Asks {
    fn judge(self, bytes: &[u8]) -> Verdict {
        match (self, detect(bytes)) {
            (Self::Protocol, verdict) | (Self::Tls, verdict @ (Verdict::Tls | Verdict::Opaque)) => {
                verdict
            }
            (Self::Tls, Verdict::Http1 | Verdict::Http2) => Verdict::Opaque,
            // Nothing but TLS begins like it.
            (Self::Tls, Verdict::More) => match bytes.is_empty() || is_tls(bytes) {
                true => Verdict::More,
                false => Verdict::Opaque,
            },
        }
    }
}
