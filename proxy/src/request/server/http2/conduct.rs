//! How a peer behaves: what its frames cost us without giving its requests anything.
//!
//! HTTP/2 lets a client cause work with frames of a few bytes: requests that are reset at once
//! (CVE-2023-44487), acknowledgements, priorities, empty data, and errors for which we have to reset
//! streams (CVE-2025-8671). Each of these has a budget like a leaky bucket. It has room for a burst,
//! leaks with time, and leaks with what the frames may go with: requests, and answers that the peer
//! receives. The figures leave room for what real clients do, such as gRPC's, which send a PING and
//! two WINDOW_UPDATE for a DATA frame while they measure the bandwidth.

use std::ops::ControlFlow;

use tokio::time::Instant;

use super::PREFACE;
use super::frames::{Frame, Frames, flag, kind};
use crate::request::server::http2::HEAD_BYTES_MAX;

/// Most CONTINUATION frames of a header block that do not end it: room for the largest list of
/// headers in frames of the size that everyone may send (RFC 9113 §4.2), and one more.
const CONTINUATIONS_MAX: u32 = 5;
/// Longest DATA frame that may be nothing but padding, in bytes (RFC 9113 §6.1).
const PADDING_BYTES_MAX: u32 = 256;

/// How a peer wore out our patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misconduct {
    /// More of something than its budget.
    Excess(Wear),
    /// A header block of too many frames or bytes.
    EndlessHeaders,
}

/// What costs us work without giving the peer's requests anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wear {
    /// RST_STREAM from the peer: work that was begun in vain.
    Resets,
    /// SETTINGS, which we acknowledge and may have to apply to every stream.
    Settings,
    /// PING, which we answer.
    Pings,
    /// PRIORITY and types that we do not know.
    Ignored,
    /// DATA that may carry nothing and does not end its stream.
    EmptyData,
    /// WINDOW_UPDATE.
    Windows,
    /// RST_STREAM from us for errors of the peer.
    Errors,
}

/// The size of a budget and how it leaks, in points.
struct Budget {
    /// Points of one frame.
    cost: u32,
    /// Points that it holds.
    burst: u32,
    /// Points that it loses each second.
    per_second: u32,
    /// Points that it loses with each block of headers from the peer.
    per_request: u32,
    /// Points that it loses with each frame of an answer to the peer.
    per_answer: u32,
}

/// What of a budget is used.
#[derive(Debug, Clone, Copy)]
struct Level {
    points: u32,
    /// Up to when it has leaked.
    leaked: Instant,
}

/// The conduct of the peer of one connection.
#[derive(Debug)]
pub(super) struct Conduct {
    received: Frames,
    sent: Frames,
    levels: [Level; Wear::ALL.len()],
    /// The header block that is open: its CONTINUATION frames and bytes.
    continuations: u32,
    block_bytes: u32,
    last_stream: u32,
    data_bytes: u64,
    farewell: Option<u32>,
}

// === impl Misconduct ===

impl Misconduct {
    /// The cause as metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::EndlessHeaders => "http2_continuations",
            Self::Excess(Wear::Resets) => "http2_resets",
            Self::Excess(Wear::Settings) => "http2_settings",
            Self::Excess(Wear::Pings) => "http2_pings",
            Self::Excess(Wear::Ignored) => "http2_priorities",
            Self::Excess(Wear::EmptyData) => "http2_empty_data",
            Self::Excess(Wear::Windows) => "http2_window_updates",
            Self::Excess(Wear::Errors) => "http2_stream_errors",
        }
    }
}

// === impl Wear ===

impl Wear {
    const ALL: [Self; 7] = [
        Self::Resets,
        Self::Settings,
        Self::Pings,
        Self::Ignored,
        Self::EmptyData,
        Self::Windows,
        Self::Errors,
    ];

    const fn budget(self) -> Budget {
        let (cost, burst, per_second, per_request, per_answer) = match self {
            // Half of all requests may be cancelled at any rate, and all of them at 100/s.
            Self::Resets => (2, 1_000, 200, 1, 0),
            // One at the start, and changed windows while the bandwidth is measured.
            Self::Settings => (1, 100, 10, 0, 0),
            // gRPC measures with one for each DATA frame that it gets.
            Self::Pings => (1, 100, 10, 0, 1),
            // Browsers send a few with each request.
            Self::Ignored => (1, 200, 20, 10, 0),
            // The HTTP library allows 100 in the life of a connection.
            Self::EmptyData => (1, 50, 5, 0, 0),
            // Two for each DATA frame are usual, for stream and connection.
            Self::Windows => (1, 2_000, 200, 4, 4),
            // Bodies that come after an early answer, streams beyond the limit.
            Self::Errors => (1, 500, 50, 0, 0),
        };
        Budget {
            cost,
            burst,
            per_second,
            per_request,
            per_answer,
        }
    }
}

// === impl Level ===

impl Level {
    /// Adds `frames`; says whether there was room.
    ///
    /// The time is looked at only where there seems to be no room. So a level can leak for time that
    /// it was empty, and a burst be twice what it should be at most.
    fn rise(&mut self, budget: &Budget, now: Instant) -> bool {
        self.points = self.points.saturating_add(budget.cost);
        if self.points <= budget.burst {
            return true;
        }
        let elapsed = now.saturating_duration_since(self.leaked).as_millis();
        let leak = elapsed.saturating_mul(u128::from(budget.per_second)) / 1_000;
        if leak > 0 {
            self.leaked = now;
            self.fall(u32::try_from(leak).unwrap_or(u32::MAX));
        }
        self.points <= budget.burst
    }

    fn fall(&mut self, points: u32) {
        self.points = self.points.saturating_sub(points);
    }
}

// === impl Conduct ===

impl Conduct {
    /// A peer whose preface is still to come.
    pub(super) fn new(now: Instant) -> Self {
        let level = Level {
            points: 0,
            leaked: now,
        };
        Self {
            received: Frames::after(PREFACE.len()),
            sent: Frames::after(0),
            levels: [level; Wear::ALL.len()],
            continuations: 0,
            block_bytes: 0,
            last_stream: 0,
            data_bytes: 0,
            farewell: None,
        }
    }

    /// Judges bytes from the peer; gives the number of frames whose heads they complete.
    ///
    /// # Errors
    ///
    /// At the first frame that is too much.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<u32, Misconduct> {
        let mut frames = 0;
        let mut received = std::mem::replace(&mut self.received, Frames::after(0));
        let flow = received.follow(bytes, |frame| {
            frames += 1;
            match self.judge(frame, now) {
                Ok(()) => ControlFlow::Continue(()),
                Err(misconduct) => ControlFlow::Break(misconduct),
            }
        });
        self.received = received;
        match flow {
            ControlFlow::Continue(()) => Ok(frames),
            ControlFlow::Break(misconduct) => Err(misconduct),
        }
    }

    fn judge(&mut self, frame: Frame, now: Instant) -> Result<(), Misconduct> {
        match frame.kind {
            kind::HEADERS => {
                self.last_stream = self.last_stream.max(frame.stream);
                (self.continuations, self.block_bytes) = (0, 0);
                for (level, wear) in self.levels.iter_mut().zip(Wear::ALL) {
                    level.fall(wear.budget().per_request);
                }
                self.extend_block(frame)
            }
            kind::CONTINUATION => self.extend_block(frame),
            kind::DATA if may_be_empty(frame) => self.wear(Wear::EmptyData, now),
            kind::DATA => Ok(()),
            kind::RST_STREAM => self.wear(Wear::Resets, now),
            kind::SETTINGS => self.wear(Wear::Settings, now),
            kind::PING => self.wear(Wear::Pings, now),
            kind::WINDOW_UPDATE => self.wear(Wear::Windows, now),
            // The connection ends.
            kind::GOAWAY => Ok(()),
            _ => self.wear(Wear::Ignored, now),
        }
    }

    fn extend_block(&mut self, frame: Frame) -> Result<(), Misconduct> {
        let unfinished = frame.kind == kind::CONTINUATION && !frame.has(flag::END_HEADERS);
        self.continuations += u32::from(unfinished);
        self.block_bytes = self.block_bytes.saturating_add(frame.length);
        let fits =
            self.continuations <= CONTINUATIONS_MAX && self.block_bytes as usize <= HEAD_BYTES_MAX;
        fits.then_some(()).ok_or(Misconduct::EndlessHeaders)
    }

    fn wear(&mut self, wear: Wear, now: Instant) -> Result<(), Misconduct> {
        let level = &mut self.levels[wear as usize];
        let has_room = level.rise(&wear.budget(), now);
        has_room.then_some(()).ok_or(Misconduct::Excess(wear))
    }

    /// Takes note of bytes to the peer.
    ///
    /// # Errors
    ///
    /// When streams had to be reset for the peer's errors more often than there is room for.
    pub(super) fn send(&mut self, bytes: &[u8], now: Instant) -> Result<(), Misconduct> {
        let mut result = Ok(());
        let mut sent = std::mem::replace(&mut self.sent, Frames::after(0));
        // Every byte counts for where the frames end, so that the first breach must not stop it.
        let _ = sent.follow(bytes, |frame| {
            result = result.and(self.note(frame, now));
            ControlFlow::<()>::Continue(())
        });
        self.sent = sent;
        result
    }

    fn note(&mut self, frame: Frame, now: Instant) -> Result<(), Misconduct> {
        match frame.kind {
            kind::DATA | kind::HEADERS => {
                if frame.kind == kind::DATA {
                    self.data_bytes += u64::from(frame.length);
                }
                for (level, wear) in self.levels.iter_mut().zip(Wear::ALL) {
                    level.fall(wear.budget().per_answer);
                }
                Ok(())
            }
            kind::RST_STREAM if frame.error_code().is_some_and(is_fault_of_peer) => {
                self.wear(Wear::Errors, now)
            }
            kind::GOAWAY => {
                self.farewell = frame.error_code();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a frame of our own would not come to lie within another.
    pub(super) fn can_send_frame(&self) -> bool {
        self.sent.is_between()
    }

    /// The highest stream that the peer opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Bytes of answers' bodies that were sent.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The error code of the GOAWAY that was sent.
    pub(super) fn farewell(&self) -> Option<u32> {
        self.farewell
    }
}

/// DATA that brings the request no further. Padding counts as nothing, as it need not be read.
fn may_be_empty(frame: Frame) -> bool {
    let is_padding = frame.has(flag::PADDED) && frame.length <= PADDING_BYTES_MAX;
    (frame.length == 0 || is_padding) && !frame.has(flag::END_STREAM)
}

/// The error codes (RFC 9113 §7) of a reset that are about what the peer did.
fn is_fault_of_peer(code: u32) -> bool {
    const PROTOCOL_ERROR: u32 = 0x1;
    const FLOW_CONTROL_ERROR: u32 = 0x3;
    const STREAM_CLOSED: u32 = 0x5;
    const FRAME_SIZE_ERROR: u32 = 0x6;
    const REFUSED_STREAM: u32 = 0x7;
    matches!(
        code,
        PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR | REFUSED_STREAM
    )
}

#[cfg(test)]
mod tests;
