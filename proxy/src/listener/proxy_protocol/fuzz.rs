//! What fuzzing looks at: headers, however they are cut.

use super::header::{Addresses, Fault, Next, next};

/// What bytes say that come in pieces of at most `piece` bytes: the addresses, and how many of the
/// bytes are the header's; none if it is not complete.
fn read(bytes: &[u8], piece: usize) -> Result<Option<(Option<Addresses>, usize)>, Fault> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let most = match next(&bytes[..at])? {
            Next::Done(addresses) => return Ok(Some((addresses, at))),
            Next::Bytes(most) => most.min(piece),
            Next::Line(most) => {
                let there = &rest[..rest.len().min(most).min(piece)];
                let end = there.iter().position(|it| *it == b'\n');
                end.map_or(there.len(), |end| end + 1)
            }
        };
        let taken = most.min(rest.len());
        if taken == 0 {
            return Ok(None);
        }
        at += taken;
    }
}

/// Reads a header byte by byte and as a whole.
///
/// # Panics
///
/// If that makes a difference, or more than a header can have is taken.
pub(crate) fn run(bytes: &[u8]) {
    let whole = read(bytes, usize::MAX);
    assert_eq!(read(bytes, 1), whole, "cut into bytes");
    assert_eq!(read(bytes, 7), whole, "cut into sevens");
    if let Ok(Some((_, taken))) = whole {
        assert!(taken <= 16 + 4_096, "{taken} bytes were taken");
    }
}
