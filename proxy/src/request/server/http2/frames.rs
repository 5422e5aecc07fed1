//! Follows the frames of one direction of a connection (RFC 9113 §4.1) without holding them.
//!
//! Only heads are looked at, and the first bytes of the payloads that say why something ended.
//! Nothing is allocated, and where the reads or writes end makes no difference.

use std::ops::ControlFlow;

/// Length of a frame's head, in bytes.
const HEAD_BYTES: usize = 9;
/// Most bytes of a payload that are looked at.
const PAYLOAD_BYTES: usize = 8;

/// Types of frames (RFC 9113 §6) as they are written.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0x0;
    pub(in super::super) const HEADERS: u8 = 0x1;
    pub(in super::super) const RST_STREAM: u8 = 0x3;
    pub(in super::super) const SETTINGS: u8 = 0x4;
    pub(in super::super) const PING: u8 = 0x6;
    pub(in super::super) const GOAWAY: u8 = 0x7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 0x8;
    pub(in super::super) const CONTINUATION: u8 = 0x9;
}

/// Flags of frames as they are written.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
}

/// What is known of a frame when its head has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) length: u32,
    payload: [u8; PAYLOAD_BYTES],
}

/// Where in the frames of its direction a connection is.
#[derive(Debug)]
pub(super) struct Frames {
    /// The head that comes, and what is wanted of its payload.
    seen: [u8; HEAD_BYTES + PAYLOAD_BYTES],
    have: usize,
    /// Bytes that pass until the next head.
    skip: u32,
}

// === impl Frame ===

impl Frame {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Why a stream or the connection ends: the error code of RST_STREAM or GOAWAY.
    pub(super) fn error_code(&self) -> Option<u32> {
        let [a, b, c, d, e, f, g, h] = self.payload;
        match self.kind {
            kind::RST_STREAM => Some(u32::from_be_bytes([a, b, c, d])),
            kind::GOAWAY => Some(u32::from_be_bytes([e, f, g, h])),
            _ => None,
        }
    }
}

// === impl Frames ===

impl Frames {
    /// Frames that begin after `skip` bytes, such as those of the client's preface.
    pub(super) fn after(skip: usize) -> Self {
        Self {
            seen: [0; HEAD_BYTES + PAYLOAD_BYTES],
            have: 0,
            skip: u32::try_from(skip).unwrap_or(u32::MAX),
        }
    }

    /// Whether no frame has begun that is not complete.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Passes `bytes` on and calls `each` for every frame whose head they complete, until it breaks.
    pub(super) fn follow<B>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Frame) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        loop {
            let skipped = (self.skip as usize).min(bytes.len());
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return ControlFlow::Continue(());
            }
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.seen[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            // What is wanted is known only once the head is there.
            if self.have == self.wanted() {
                let frame = self.frame();
                self.skip = frame.length - (self.have - HEAD_BYTES) as u32;
                self.have = 0;
                each(frame)?;
            }
        }
    }

    /// Bytes to see before the frame is known.
    fn wanted(&self) -> usize {
        if self.have < HEAD_BYTES {
            return HEAD_BYTES;
        }
        let wanted = match self.seen[3] {
            kind::RST_STREAM => 4,
            kind::GOAWAY => 8,
            _ => 0,
        };
        HEAD_BYTES + wanted.min(self.length() as usize)
    }

    fn length(&self) -> u32 {
        let [a, b, c, ..] = self.seen;
        u32::from_be_bytes([0, a, b, c])
    }

    fn frame(&self) -> Frame {
        let [.., kind, flags, s0, s1, s2, s3] = *self
            .seen
            .first_chunk::<HEAD_BYTES>()
            .unwrap_or(&[0; HEAD_BYTES]);
        let mut payload = [0; PAYLOAD_BYTES];
        let seen = &self.seen[HEAD_BYTES..self.have];
        payload[..seen.len()].copy_from_slice(seen);
        Frame {
            kind,
            flags,
            // The highest bit is reserved and has no meaning.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1),
            length: self.length(),
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn followed(frames: &mut Frames, bytes: &[u8]) -> Vec<Frame> {
        let mut seen = Vec::new();
        let whole = frames.follow(bytes, |frame| {
            seen.push(frame);
            ControlFlow::<()>::Continue(())
        });
        assert!(whole.is_continue());
        seen
    }

    #[test]
    fn heads_and_reasons_are_read_and_payloads_are_skipped() {
        let mut bytes = b"PRI".to_vec();
        bytes.extend([0, 0, 3, kind::DATA, flag::PADDED, 0x80, 0, 0, 5, 1, 2, 3]);
        bytes.extend([0, 0, 4, kind::RST_STREAM, 0, 0, 0, 0, 7, 0, 0, 0, 8]);
        bytes.extend([0, 0, 9, kind::GOAWAY, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 9, 0, 0, 0, 11, b'x']);

        let mut frames = Frames::after(3);
        let seen = followed(&mut frames, &bytes);

        assert!(frames.is_between());
        assert_eq!(seen.len(), 3);
        assert_eq!((seen[0].stream, seen[0].length), (5, 3));
        assert!(seen[0].has(flag::PADDED) && !seen[0].has(flag::END_STREAM));
        assert_eq!(seen[0].error_code(), None);
        assert_eq!((seen[1].stream, seen[1].error_code()), (7, Some(8)));
        assert_eq!(seen[2].error_code(), Some(11));
    }

    #[test]
    fn a_frame_too_short_for_its_reason_is_followed_all_the_same() {
        let mut frames = Frames::after(0);
        let seen = followed(&mut frames, &[0, 0, 1, kind::RST_STREAM, 0, 0, 0, 0, 1, 9]);
        assert_eq!(seen.len(), 1);
        assert!(frames.is_between());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_reads_end(
            bytes in proptest::collection::vec(
                prop_oneof![4 => 0_u8..10, 1 => any::<u8>()], 0..2_000),
            ends in proptest::collection::vec(1_usize..40, 1..50),
        ) {
            let (mut whole, mut parts) = (Frames::after(2), Frames::after(2));
            let at_once = followed(&mut whole, &bytes);
            let mut by_parts = Vec::new();
            let (mut rest, mut ends) = (&bytes[..], ends.iter().cycle());
            while !rest.is_empty() {
                let end = (*ends.next().expect("a cycle")).min(rest.len());
                by_parts.extend(followed(&mut parts, &rest[..end]));
                rest = &rest[end..];
            }
            prop_assert_eq!(at_once, by_parts);
            prop_assert_eq!(whole.is_between(), parts.is_between());
        }
    }
}
