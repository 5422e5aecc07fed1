//! Protocol buffers and the frames of gRPC, as far as services are asked by them.
//!
//! Written by hand because it is a few messages of a few fields, and the encoding is a number and a
//! length before each field. Reading checks every length against what is there.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes before a message of gRPC: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;
/// Wire types: a number, and bytes of a given length.
const VARINT: u32 = 0;
const BYTES: u32 = 2;

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of protocol buffers")]
pub(crate) struct Malformed;

/// A message in the making.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

/// The fields of a message that are left.
#[derive(Debug)]
pub(crate) struct Fields<'m>(&'m [u8]);

/// Messages in frames of gRPC as they come, bit by bit.
#[derive(Debug)]
pub(crate) struct Frames {
    read: BytesMut,
    bytes_max: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'m> {
    /// Of a number.
    Number(u64),
    /// Of a text, of bytes, or of a message.
    Bytes(&'m [u8]),
    /// Of a fixed size, which no field has that is used.
    Fixed,
}

// === impl Message ===

impl Message {
    /// Adds a field that is a number.
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field << 3 | VARINT));
        self.varint(value);
    }

    /// Adds a field that is a text or bytes.
    pub(crate) fn bytes(&mut self, field: u32, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.varint(u64::from(field << 3 | BYTES));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a field that is a text, unless it is empty, which is what its absence means.
    pub(crate) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text);
        }
    }

    /// Adds a field that is a message.
    pub(crate) fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Adds an entry of a map from text to text, which is a message of both.
    pub(crate) fn entry(&mut self, field: u32, key: &str, value: &str) {
        let mut entry = Self::default();
        entry.text(1, key);
        entry.text(2, value);
        self.message(field, &entry);
    }

    /// The message in a frame of gRPC.
    pub(crate) fn framed(self) -> Bytes {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + self.0.len());
        frame.push(0);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&self.0);
        frame.into()
    }

    /// Seven bits at a time, the lowest first; the eighth says that there are more.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

// === impl Value ===

impl<'m> Value<'m> {
    /// The text.
    pub(crate) fn text(self) -> Result<&'m str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// The fields of the message.
    pub(crate) fn fields(self) -> Result<Fields<'m>, Malformed> {
        self.bytes().map(Fields::of)
    }

    fn bytes(self) -> Result<&'m [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(Malformed),
        }
    }
}

// === impl Frames ===

impl Frames {
    /// For messages of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            read: BytesMut::new(),
            bytes_max,
        }
    }

    /// Takes in what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
    }

    /// The next message that is whole.
    ///
    /// # Errors
    ///
    /// It is compressed, which nobody asked for, or larger than it may be.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some((head, _)) = self.read.split_at_checked(FRAME_HEAD_BYTES) else {
            return Ok(None);
        };
        let length = length(head);
        if head[0] != 0 || length > self.bytes_max {
            return Err(Malformed);
        }
        if self.read.len() - FRAME_HEAD_BYTES < length {
            return Ok(None);
        }
        self.read.advance(FRAME_HEAD_BYTES);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}

/// What the head of a frame says of the length of its message.
fn length(head: &[u8]) -> usize {
    let bytes = head[1..].iter();
    bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

// === impl Fields ===

impl<'m> Fields<'m> {
    /// The fields of a message without a frame.
    pub(crate) fn of(message: &'m [u8]) -> Self {
        Self(message)
    }

    /// The fields of the only message in a frame of gRPC that is not compressed.
    pub(crate) fn of_frame(frame: &'m [u8]) -> Result<Self, Malformed> {
        let (head, message) = frame.split_at_checked(FRAME_HEAD_BYTES).ok_or(Malformed)?;
        match head[0] == 0 && message.len() == length(head) {
            true => Ok(Self(message)),
            false => Err(Malformed),
        }
    }

    /// The next field: its number and its value.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'m>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok(Some((field, value)))
    }

    fn take(&mut self, count: usize) -> Result<&'m [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a stream of frames is cut, the same messages come out.
        #[test]
        fn messages_come_out_whole_however_they_are_cut(
            texts in proptest::collection::vec(".{0,40}", 0..6),
            cuts in proptest::collection::vec(1_usize..20, 1..40),
        ) {
            let sent: Vec<Bytes> = texts.iter().map(|text| {
                let mut message = Message::default();
                message.text(1, text);
                message.framed()
            }).collect();
            let stream = sent.concat();
            let mut frames = Frames::new(1_024);
            let (mut rest, mut received) = (&stream[..], Vec::new());

            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                frames.push(now);
                while let Some(message) = frames.next().expect("well formed") {
                    received.push(message);
                }
                rest = later;
                if rest.is_empty() { break; }
            }

            let sent: Vec<Bytes> = sent.iter().map(|it| it.slice(FRAME_HEAD_BYTES..)).collect();
            prop_assert_eq!(received, sent);
        }
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused_by_its_head() {
        for head in [[0, 0, 0, 4, 1], [1, 0, 0, 0, 1]] {
            let mut frames = Frames::new(1_024);
            frames.push(&head);
            assert_eq!(frames.next(), Err(Malformed));
        }
    }
}
