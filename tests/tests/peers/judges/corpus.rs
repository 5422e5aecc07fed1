//! Messages that two parsers could read differently, and what must become of each.
//!
//! Each is one request under test, followed on the same connection by [`AFTER`]. Whoever finds another
//! end of the first request than the proxy did finds another second one.

mod chunks;
mod codings;
mod heads;
mod lengths;
mod lines;
mod pipelines;
mod targets;

use std::fmt;

/// What follows the request under test; it ends the connection.
pub(super) const AFTER: &str =
    "GET /after HTTP/1.1\r\nHost: judge.test\r\nConnection: close\r\n\r\n";
/// A request that nobody may see, for the bodies of others.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: judge.test\r\n\r\n";

/// Bytes to send, and what must become of them.
#[derive(Debug)]
pub(super) struct Message {
    /// What is special about it.
    pub(super) name: String,
    /// All that the client sends.
    pub(super) bytes: Vec<u8>,
    /// What must become of it.
    pub(super) expected: Expected,
}

/// What must become of a message.
#[derive(Debug)]
pub(super) enum Expected {
    /// One of these statuses; nothing of it reaches an upstream.
    Refused(&'static [u16]),
    /// No upstream takes it as a whole request. It breaks off where the fault is, which may be after
    /// the proxy began to send it on, so that there may be no status.
    Broken,
    /// Refused, or sent on in a form that all read alike.
    Alike,
    /// The same, or sent on as it is although some judge refuses it: not wrong, but uncommon.
    Tolerated,
    /// All read exactly these.
    Understood(Vec<Whole>),
}

/// A request as a judge or we understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    /// Method.
    pub(super) method: String,
    /// Target.
    pub(super) target: String,
    /// Bytes of the body, one character each.
    pub(super) body: String,
}

/// Plainly wrong.
const BAD: Expected = Expected::Refused(&[400]);
/// A transfer coding that is wrong or that nobody knows.
const BAD_CODING: Expected = Expected::Refused(&[400, 501]);

/// All messages.
pub(super) fn all() -> Vec<Message> {
    let mut all = Vec::new();
    all.extend(lengths::messages());
    all.extend(codings::messages());
    all.extend(chunks::messages());
    all.extend(lines::messages());
    all.extend(heads::messages());
    all.extend(targets::messages());
    all.extend(pipelines::messages());
    all
}

/// `POST /framed` with `lines`, each with its end, and `body`.
fn framed(lines: impl AsRef<[u8]>, body: impl AsRef<[u8]>, expected: Expected) -> Message {
    let head = b"POST /framed HTTP/1.1\r\nHost: judge.test\r\n";
    let bytes = [head, lines.as_ref(), b"\r\n", body.as_ref()].concat();
    message(lines, bytes, expected)
}

/// `GET /line` with `lines`, each with its end, and no body.
fn headed(lines: impl AsRef<[u8]>, expected: Expected) -> Message {
    let head = b"GET /line HTTP/1.1\r\nHost: judge.test\r\n";
    let bytes = [head, lines.as_ref(), b"\r\n"].concat();
    message(lines, bytes, expected)
}

/// `bytes` and [`AFTER`].
fn message(name: impl AsRef<[u8]>, mut bytes: Vec<u8>, expected: Expected) -> Message {
    bytes.extend_from_slice(AFTER.as_bytes());
    let name = name.as_ref();
    let name = &name[..name.len().min(60)];
    Message {
        name: name.escape_ascii().to_string(),
        bytes,
        expected,
    }
}

/// That the request under test arrives with `body`, and [`AFTER`] after it.
fn understood(method: &str, target: &str, body: &str) -> Expected {
    Expected::Understood(vec![Whole::new(method, target, body), Whole::after()])
}

// === impl Whole ===

impl Whole {
    /// What [`AFTER`] is.
    pub(super) fn after() -> Self {
        Self::new("GET", "/after", "")
    }

    fn new(method: &str, target: &str, body: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            body: body.to_owned(),
        }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            target,
            body,
        } = self;
        write!(f, "{method} {target:?} {body:?}")
    }
}
