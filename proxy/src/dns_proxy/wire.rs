//! Messages that pass through: the few bytes of them that we look at or change.

#[cfg(test)]
mod tests;

/// Bytes before the question.
const HEADER_BYTES: usize = 12;
/// Where a header says how many questions and records follow.
const COUNTS: usize = 4;
/// In the third byte: there is more than fits.
const TRUNCATED: u8 = 0x02;
/// Type and class behind the name of a question.
const TYPE_AND_CLASS_BYTES: usize = 4;
/// Bits of the first byte of a label that say that it is none, but a pointer or something unknown.
const NO_LABEL: u8 = 0xc0;
/// The codes of answers that we look for (RFC 1035 §4.1.1).
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<[u8; 2]> {
    message.first_chunk().copied()
}

/// Gives a message another id.
pub(super) fn set_id(message: &mut [u8], id: [u8; 2]) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id;
    }
}

/// Whether `reply` answers `query`: the same id, and word for word the same question, but for upper
/// and lower case, which servers need not keep.
pub(super) fn answers(reply: &[u8], query: &[u8]) -> bool {
    let is_reply = reply.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let (Some(asked), Some(answered)) = (question(query), question(reply)) else {
        return false;
    };
    is_reply && id(reply) == id(query) && asked.eq_ignore_ascii_case(answered)
}

/// Whether a server says that it cannot say, so that another is worth asking.
pub(super) fn is_failure(reply: &[u8]) -> bool {
    let code = reply.get(3).map(|flags| flags & 0x0f);
    matches!(code, Some(SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED))
}

/// Turns "there is no such name" into "it has nothing of the kind".
pub(super) fn forgive_unknown_name(reply: &mut [u8]) {
    if let Some(flags) = reply.get_mut(3)
        && *flags & 0x0f == NAME_ERROR
    {
        *flags &= 0xf0;
    }
}

/// The answer without its records, which says that there are more than the client has room for.
pub(super) fn cut(reply: &[u8]) -> Vec<u8> {
    let mut cut = reply.get(..COUNTS).unwrap_or_default().to_vec();
    if let Some(flags) = cut.get_mut(2) {
        *flags |= TRUNCATED;
    }
    cut.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    cut.extend_from_slice(question(reply).unwrap_or_default());
    cut
}

/// The only question of a message: its name, type and class. None if there is not exactly one, or
/// if its name is not written out.
fn question(message: &[u8]) -> Option<&[u8]> {
    let count = message.get(4..6)?;
    if count != [0, 1] {
        return None;
    }
    let mut at = HEADER_BYTES;
    loop {
        let length = *message.get(at)?;
        at += 1;
        match length {
            0 => break,
            length if length & NO_LABEL != 0 => return None,
            length => at += usize::from(length),
        }
    }
    message.get(HEADER_BYTES..at + TYPE_AND_CLASS_BYTES)
}
