//! An HTTP/2 client that writes frames as a test makes them up (RFC 9113 §4, §6).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::{PATIENCE, soon};

/// Types of frames.
pub mod kind {
    /// Bodies.
    pub const DATA: u8 = 0x0;
    /// Requests, answers and trailers.
    pub const HEADERS: u8 = 0x1;
    /// Advice nobody takes.
    pub const PRIORITY: u8 = 0x2;
    /// The end of a stream.
    pub const RST_STREAM: u8 = 0x3;
    /// What a side wants.
    pub const SETTINGS: u8 = 0x4;
    /// A question for life.
    pub const PING: u8 = 0x6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 0x7;
    /// Room for more.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// More of a block of headers.
    pub const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub mod flag {
    /// Nothing follows on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS or PING that answers one.
    pub const ACK: u8 = 0x1;
    /// Nothing follows of the block of headers.
    pub const END_HEADERS: u8 = 0x4;
}

/// Error codes (RFC 9113 §7).
pub mod code {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 0x1;
    /// The peer broke the rules of flow control.
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    /// The stream is not wanted any more.
    pub const CANCEL: u32 = 0x8;
    /// The peer wears us out.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const INITIAL_WINDOW_SIZE: u16 = 0x4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose frames the test writes.
#[derive(Debug)]
pub struct RawHttp2 {
    tcp: OwnedWriteHalf,
    seen: watch::Receiver<Seen>,
    reading: JoinHandle<()>,
}

/// What came back so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Frames by type.
    pub frames: BTreeMap<u8, usize>,
    /// Error codes of streams that were reset.
    pub resets: BTreeMap<u32, u32>,
    /// First bytes of the answer's head of each stream, in HPACK.
    pub heads: BTreeMap<u32, Vec<u8>>,
    /// Error code of the last GOAWAY.
    pub farewell: Option<u32>,
    /// Nothing more comes.
    pub ended: bool,
}

/// A frame as it is written.
///
/// # Panics
///
/// If the payload is longer than a frame can be.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    assert!(length < 1 << 24, "too long for a frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A whole request without body.
pub fn get(stream: u32, host: &str, path: &str) -> Vec<u8> {
    let flags = flag::END_STREAM | flag::END_HEADERS;
    frame(kind::HEADERS, flags, stream, &block(host, path))
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// The headers of `GET path` of `host` in HPACK (RFC 7541), which uses nothing of the connection.
pub fn block(host: &str, path: &str) -> Vec<u8> {
    // Of the static table: `:method: GET`, `:scheme: http`, then names of `:authority`, `:path`.
    let mut block = vec![0x82, 0x86, 0x01];
    block.extend(string(host));
    block.push(0x04);
    block.extend(string(path));
    block
}

/// A header that is not to be remembered.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0x00], string(name), string(value)].concat()
}

/// A header that goes into the dynamic table.
pub fn indexed(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A string of HPACK without Huffman code (RFC 7541 §5.2).
fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(short) if short < 0x7f => bytes.push(short),
        _ => {
            bytes.push(0x7f);
            let mut rest = text.len() - 0x7f;
            while rest >= 0x80 {
                bytes.push(0x80 | (rest & 0x7f) as u8);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

// === impl RawHttp2 ===

impl RawHttp2 {
    /// Connects to `addr` and says hello with these settings.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
        tcp.set_nodelay(true).expect("a TCP option");
        let (read, tcp) = tcp.into_split();
        let (sees, seen) = watch::channel(Seen::default());
        let reading = tokio::spawn(read_frames(read, sees));
        let mut raw = Self { tcp, seen, reading };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let hello = [PREFACE.to_vec(), frame(kind::SETTINGS, 0, 0, &settings)].concat();
        assert!(raw.send(&hello).await, "the connection ended at once");
        raw
    }

    /// Writes bytes; says whether the connection took them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("room for bytes", self.tcp.write_all(bytes))
            .await
            .is_ok()
    }

    /// Writes what `frames` makes of 0, 1, 2 … up to `most`, until the connection ends; says how
    /// many were taken.
    pub async fn flood(&mut self, most: u32, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
        const AT_ONCE: u32 = 64;
        let mut written = 0;
        while written < most && !self.is_ended() {
            let end = most.min(written + AT_ONCE);
            let bytes: Vec<u8> = (written..end).flat_map(&frames).collect();
            if !self.send(&bytes).await {
                break;
            }
            written = end;
        }
        written
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.seen.borrow().ended
    }

    /// What came back, as soon as `accepts` it.
    ///
    /// # Panics
    ///
    /// If that does not come.
    pub async fn until(&mut self, what: &str, accepts: impl Fn(&Seen) -> bool) -> Seen {
        let seen = soon(what, self.seen.wait_for(|seen| accepts(seen) || seen.ended)).await;
        let seen = seen.expect("the reader ends with an end").clone();
        assert!(accepts(&seen), "{what}: {seen:?}");
        seen
    }

    /// All that came back until the connection ended.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn ended(&mut self) -> Seen {
        self.until("the end of a connection", |seen| seen.ended)
            .await
    }
}

impl Drop for RawHttp2 {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Takes frames apart until the connection ends.
async fn read_frames(mut tcp: OwnedReadHalf, sees: watch::Sender<Seen>) {
    let mut bytes = Vec::new();
    let deadline = tokio::time::Instant::now() + 4 * PATIENCE;
    while let Ok(Ok(1..)) = tokio::time::timeout_at(deadline, tcp.read_buf(&mut bytes)).await {
        let mut at = 0;
        while let Some(&[a, b, c, kind, _, s0, s1, s2, s3]) = bytes[at..].first_chunk::<9>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(payload) = bytes.get(at + 9..at + 9 + length) else {
                break;
            };
            let stream = u32::from_be_bytes([s0, s1, s2, s3]);
            sees.send_modify(|seen| seen.note(kind, stream, payload));
            at += 9 + length;
        }
        bytes.drain(..at);
    }
    sees.send_modify(|seen| seen.ended = true);
}

// === impl Seen ===

impl Seen {
    /// Frames of a type.
    pub fn count(&self, kind: u8) -> usize {
        self.frames.get(&kind).copied().unwrap_or(0)
    }

    fn note(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        *self.frames.entry(kind).or_default() += 1;
        let code = |at: usize| {
            let bytes = payload.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        match kind {
            kind::RST_STREAM => {
                let code = code(0).expect("a reset says why");
                self.resets.insert(stream, code);
            }
            kind::GOAWAY => self.farewell = code(4),
            kind::HEADERS => {
                let head = payload.to_vec();
                self.heads.entry(stream).or_insert(head);
            }
            _ => {}
        }
    }
}
