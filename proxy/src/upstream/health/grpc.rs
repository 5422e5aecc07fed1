//! The two messages of `grpc.health.v1.Health/Check`, in their framing of gRPC.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Where a server is asked.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;
/// Compression flag and length before a message.
const PREFIX_BYTES: usize = 5;
/// Most bytes of a number of 64 bits.
const VARINT_BYTES_MAX: u32 = 10;
/// Both messages have one field, with this number.
const FIELD: u64 = 1;
const TYPE_VARINT: u64 = 0;
const TYPE_BYTES: u64 = 2;

/// `HealthCheckRequest` for a service; an empty name is the default and not written.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        put_varint(&mut message, FIELD << 3 | TYPE_BYTES);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    framed.freeze()
}

/// Whether a framed `HealthCheckResponse` says `SERVING`.
pub(super) fn is_serving(framed: &[u8]) -> bool {
    let Some((prefix, message)) = framed.split_at_checked(PREFIX_BYTES) else {
        return false;
    };
    let [compressed, length @ ..] = prefix else {
        return false;
    };
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    *compressed == 0 && length == message.len() && status(message) == Some(SERVING)
}

/// The field `status`; `None` if the message is broken. Fields that a later version may add are
/// skipped.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            TYPE_VARINT => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == FIELD {
                    status = value;
                }
            }
            TYPE_BYTES => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..VARINT_BYTES_MAX {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_service() {
        assert_eq!(request(""), [0, 0, 0, 0, 0][..]);
        assert_eq!(
            request("a.B"),
            [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B'][..]
        );

        let long = "s".repeat(200);
        assert_eq!(request(&long)[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn only_serving_passes() {
        for (framed, serving) in [
            (&[0, 0, 0, 0, 2, 0x08, 1][..], true),
            (&[0, 0, 0, 0, 2, 0x08, 2], false),
            (&[0, 0, 0, 0, 0], false),
            (&[], false),
            (&[0, 0, 0], false),
            // Longer than it says, compressed, cut off.
            (&[0, 0, 0, 0, 1, 0x08, 1], false),
            (&[1, 0, 0, 0, 2, 0x08, 1], false),
            (&[0, 0, 0, 0, 1, 0x08], false),
            // Behind a field of a later version.
            (&[0, 0, 0, 0, 5, 0x12, 1, b'x', 0x08, 1], true),
            (&[0, 0, 0, 0, 3, 0x12, 9, b'x'], false),
            // A number that does not end.
            (
                &[
                    0, 0, 0, 0, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                    0xff,
                ],
                false,
            ),
        ] {
            assert_eq!(is_serving(framed), serving, "{framed:?}");
        }
    }
}
