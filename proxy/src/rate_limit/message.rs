//! What a rate-limit service is asked and what it answers: the messages `RateLimitRequest` and
//! `RateLimitResponse` of `envoy.service.ratelimit.v3`, as far as they are used here, in the frames
//! of gRPC.

use std::time::Duration;

use bytes::Bytes;

use crate::protobuf::{Fields, Malformed, Message, Value};

/// Fields of `RateLimitRequest`, of its descriptors, and of their entries and limits.
const DOMAIN: u32 = 1;
const DESCRIPTORS: u32 = 2;
const ENTRIES: u32 = 1;
const LIMIT: u32 = 2;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const REQUESTS_PER_UNIT: u32 = 1;
const UNIT: u32 = 2;

/// Fields of `RateLimitResponse`, of its statuses and headers, and of a span of time.
const OVERALL_CODE: u32 = 1;
const STATUSES: u32 = 2;
const HEADERS: u32 = 3;
const CODE: u32 = 1;
const UNTIL_RESET: u32 = 4;
const SECONDS: u32 = 1;
const RAW_VALUE: u32 = 3;

/// `OK` and `OVER_LIMIT`.
const OK: u64 = 1;
const OVER_LIMIT: u64 = 2;

/// Span that a service counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 1 s.
    Second = 1,
    /// 1 min.
    Minute = 2,
    /// 1 h.
    Hour = 3,
    /// 24 h.
    Day = 4,
}

/// One thing to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// What tells it apart from others, in order.
    pub(crate) entries: Vec<(String, String)>,
    /// How many may pass.
    pub(crate) requests: u32,
    /// In which span.
    pub(crate) unit: Unit,
}

/// What a service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the request may not pass.
    pub(crate) is_over: bool,
    /// The first descriptor that is over its limit, and the time until it is not.
    pub(crate) over: Option<(usize, Duration)>,
    /// Headers for the answer to who may not pass.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// The bytes are not a message, or not one that decides.
#[derive(Debug, thiserror::Error)]
#[error("not an answer of a rate-limit service")]
pub(crate) struct NoVerdict;

// === impl Unit ===

impl Unit {
    /// The unit of a span; none if it has no name.
    pub(crate) fn of(per: Duration) -> Option<Self> {
        let units = [Self::Second, Self::Minute, Self::Hour, Self::Day];
        units.into_iter().find(|unit| unit.span() == per)
    }

    /// The span.
    pub(crate) fn span(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

/// A `RateLimitRequest` in its frame.
pub(crate) fn encode(domain: &str, descriptors: &[Descriptor]) -> Bytes {
    let mut message = Message::default();
    message.bytes(DOMAIN, domain);
    for descriptor in descriptors {
        message.message(DESCRIPTORS, &encode_descriptor(descriptor));
    }
    message.framed()
}

fn encode_descriptor(descriptor: &Descriptor) -> Message {
    let mut out = Message::default();
    for (key, value) in &descriptor.entries {
        let mut entry = Message::default();
        entry.bytes(KEY, key);
        entry.bytes(VALUE, value);
        out.message(ENTRIES, &entry);
    }
    let mut limit = Message::default();
    limit.number(REQUESTS_PER_UNIT, descriptor.requests.into());
    limit.number(UNIT, descriptor.unit as u64);
    out.message(LIMIT, &limit);
    out
}

/// Reads a `RateLimitResponse` in its frame.
///
/// # Errors
///
/// If it is none, or does not decide.
pub(crate) fn decode(frame: &[u8]) -> Result<Verdict, NoVerdict> {
    let mut verdict = Verdict::default();
    let (mut code, mut statuses) = (0, 0);
    let mut fields = Fields::of_frame(frame)?;
    while let Some(field) = fields.next()? {
        match field {
            (OVERALL_CODE, Value::Number(number)) => code = number,
            (STATUSES, Value::Bytes(status)) => {
                let over = decode_status(status)?;
                verdict.over = verdict.over.or(over.map(|wait| (statuses, wait)));
                statuses += 1;
            }
            (HEADERS, Value::Bytes(header)) => verdict.headers.push(decode_header(header)?),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    verdict.is_over = match code {
        OK => false,
        OVER_LIMIT => true,
        _ => return Err(NoVerdict),
    };
    Ok(verdict)
}

/// The time until a status that is over its limit is not any more.
fn decode_status(status: &[u8]) -> Result<Option<Duration>, NoVerdict> {
    let (mut is_over, mut reset) = (false, 0);
    let mut fields = Fields::of(status);
    while let Some(field) = fields.next()? {
        match field {
            (CODE, Value::Number(code)) => is_over = code == OVER_LIMIT,
            (UNTIL_RESET, Value::Bytes(span)) => {
                let mut span = Fields::of(span);
                while let Some(field) = span.next()? {
                    if let (SECONDS, Value::Number(seconds)) = field {
                        reset = seconds;
                    }
                }
            }
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    Ok(is_over.then(|| Duration::from_secs(reset)))
}

fn decode_header(header: &[u8]) -> Result<(String, Vec<u8>), NoVerdict> {
    let (mut key, mut value) = (String::new(), Vec::new());
    let mut fields = Fields::of(header);
    while let Some(field) = fields.next()? {
        match field {
            (KEY, Value::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
            (VALUE | RAW_VALUE, Value::Bytes(bytes)) => value = bytes.to_vec(),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    Ok((key, value))
}

impl From<Malformed> for NoVerdict {
    fn from(_: Malformed) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message in its frame.
    fn framed(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, message.len() as u8];
        frame.extend_from_slice(message);
        frame
    }

    #[test]
    fn a_request_is_encoded_as_the_api_has_it() {
        let descriptor = Descriptor {
            entries: vec![("k".to_owned(), "v".to_owned())],
            requests: 300,
            unit: Unit::Minute,
        };

        let frame = encode("d", &[descriptor]);

        let message = [
            &[0x0a, 1, b'd'][..],
            &[0x12, 15],
            &[0x0a, 6, 0x0a, 1, b'k', 0x12, 1, b'v'],
            &[0x12, 5, 0x08, 0xac, 0x02, 0x10, 2],
        ];
        assert_eq!(frame, framed(&message.concat()));
    }

    #[test]
    fn an_answer_tells_which_descriptor_is_over_and_for_how_long() {
        let message = [
            &[0x08, 2][..],
            &[0x12, 2, 0x08, 1],
            &[0x12, 6, 0x08, 2, 0x22, 2, 0x08, 7],
            &[0x1a, 7, 0x0a, 1, b'x', 0x12, 2, b'y', b'z'],
            // A field that is not known here.
            &[0x2a, 1, 0],
        ];

        let verdict = decode(&framed(&message.concat())).expect("an answer");

        assert!(verdict.is_over);
        assert_eq!(verdict.over, Some((1, Duration::from_secs(7))));
        assert_eq!(verdict.headers, [("x".to_owned(), b"yz".to_vec())]);
        assert!(!decode(&framed(&[0x08, 1])).expect("an answer").is_over);
    }

    #[test]
    fn what_does_not_decide_is_no_answer() {
        for message in [&[][..], &[0x08, 0], &[0x08], &[0x12, 9, 1], &[0x0b]] {
            assert!(decode(&framed(message)).is_err(), "{message:?}");
        }
        assert!(decode(&[]).is_err());
        assert!(decode(&[1, 0, 0, 0, 2, 0x08, 1]).is_err(), "compressed");
        assert!(decode(&[0, 0, 0, 0, 3, 0x08, 1]).is_err(), "cut");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
            let _ = decode(&framed(&bytes));
        }
    }
}
