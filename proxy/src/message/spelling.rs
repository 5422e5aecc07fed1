//! How the names of a message's headers were written, and in which order the lines came.
//!
//! A header map has names in lower case and keeps lines of one name together. Names are equal in any
//! case, but programs exist that think otherwise, so that from HTTP/1 to HTTP/1 a message goes on as
//! it came: only what was changed on the way is written differently.

use std::ops::Range;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// Names as written, in the order of the lines; only of lines that entered the header map.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spelling {
    head: Bytes,
    names: Vec<Place>,
    /// What stands behind the status of an answer.
    reason: Place,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    at: u32,
    len: u32,
}

/// One line to write.
pub(crate) struct Line<'a> {
    /// The name as it is to be written.
    pub(crate) spelled: &'a [u8],
    pub(crate) name: &'a HeaderName,
    pub(crate) value: &'a HeaderValue,
}

// === impl Spelling ===

impl Spelling {
    /// For a head with about `lines` lines.
    pub(crate) fn new(head: Bytes, lines: usize) -> Self {
        Self {
            head,
            names: Vec::with_capacity(lines),
            reason: Place::default(),
        }
    }

    /// Notes the name of the next line.
    pub(crate) fn push(&mut self, name: Range<usize>) {
        self.names.push(Place::of(&name));
    }

    /// Notes the reason phrase.
    pub(crate) fn reason_at(&mut self, reason: Range<usize>) {
        self.reason = Place::of(&reason);
    }

    /// The reason phrase; empty if there was none.
    pub(crate) fn reason(&self) -> &[u8] {
        self.reason.in_head(&self.head)
    }

    /// Hands every line of `headers` to `write`: those that came first, in their order and spelling,
    /// then those that were added. `start` undoes what was written, which happens once at most, when
    /// the order of the map is not that of the lines.
    pub(crate) fn lines<W>(
        &self,
        headers: &HeaderMap,
        writer: &mut W,
        write: impl Fn(&mut W, Line<'_>),
        undo: impl FnOnce(&mut W),
    ) {
        let mut names = self.names.iter().map(|place| place.in_head(&self.head));
        let mut in_order = true;
        for (name, value) in headers {
            let spelled = match names.next() {
                Some(spelled) if is_spelling(spelled, name) => spelled,
                Some(_) => {
                    in_order = false;
                    break;
                }
                None => name.as_str().as_bytes(),
            };
            let line = Line {
                spelled,
                name,
                value,
            };
            write(writer, line);
        }
        if !in_order {
            undo(writer);
            self.lines_out_of_order(headers, writer, write);
        }
    }

    /// The same where lines of one name stood apart, or some were removed.
    fn lines_out_of_order<W>(
        &self,
        headers: &HeaderMap,
        writer: &mut W,
        write: impl Fn(&mut W, Line<'_>),
    ) {
        // How many lines of a name were written.
        let mut written: Vec<(&HeaderName, usize)> = Vec::with_capacity(headers.keys_len());
        for spelled in self.names.iter().map(|place| place.in_head(&self.head)) {
            let Some(name) = headers.keys().find(|name| is_spelling(spelled, name)) else {
                continue;
            };
            let count = match written.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => count,
                None => &mut written.push_mut((name, 0)).1,
            };
            if let Some(value) = headers.get_all(name).iter().nth(*count) {
                *count += 1;
                let line = Line {
                    spelled,
                    name,
                    value,
                };
                write(writer, line);
            }
        }
        for name in headers.keys() {
            let known = written.iter().find(|(known, _)| *known == name);
            let count = known.map_or(0, |(_, count)| *count);
            for value in headers.get_all(name).iter().skip(count) {
                let spelled = name.as_str().as_bytes();
                let line = Line {
                    spelled,
                    name,
                    value,
                };
                write(writer, line);
            }
        }
    }
}

/// Whether `spelled` is `name` in some case.
fn is_spelling(spelled: &[u8], name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    if spelled.len() != name.len() {
        return false;
    }
    let same = |at: usize, len: usize| {
        let (mut one, mut other) = ([0; 8], [0; 8]);
        one[..len].copy_from_slice(&spelled[at..at + len]);
        other[..len].copy_from_slice(&name[at..at + len]);
        same_letters(u64::from_ne_bytes(one), u64::from_ne_bytes(other))
    };
    let len = name.len();
    if len < 8 {
        return same(0, len);
    }
    // The last eight may overlap those before.
    (0..len / 8).all(|word| same(word * 8, 8)) && same(len - 8, 8)
}

/// Whether eight characters are equal but for the case of letters; those of `lower` are in lower
/// case. A letter's case is one bit, which no other character may differ by.
fn same_letters(spelled: u64, lower: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let ascii = lower & (ONES * 0x7f);
    let from_a = ascii + ONES * (0x80 - b'a' as u64);
    let beyond_z = ascii + ONES * (0x7f - b'z' as u64);
    let letters = from_a & !beyond_z & !lower & (ONES * 0x80);
    (spelled ^ lower) & !(letters >> 2) == 0
}

// === impl Place ===

impl Place {
    /// No head is longer than what 32 bits can tell.
    fn of(range: &Range<usize>) -> Self {
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            at: short(range.start),
            len: short(range.len()),
        }
    }

    fn in_head(self, head: &[u8]) -> &[u8] {
        let at = self.at as usize;
        head.get(at..at + self.len as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
