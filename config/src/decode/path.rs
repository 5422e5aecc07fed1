//! Where a field stands in its document: `spec.http[0].route[1].weight`.

use std::fmt::Write as _;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A field of a mapping.
    Key(String),
    /// An item of a list, from 0.
    Index(usize),
}

/// A path as a chain on the stack: decoding a right document allocates nothing for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The whole document.
    Root,
    /// A field of the parent.
    Key(&'p Path<'p>, &'p str),
    /// An item of the parent.
    Index(&'p Path<'p>, usize),
}

// === impl Path ===

impl Path<'_> {
    /// The steps from the root.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Root => Vec::new(),
            Self::Key(parent, key) => {
                let mut segments = parent.segments();
                segments.push(Segment::Key((*key).to_owned()));
                segments
            }
            Self::Index(parent, index) => {
                let mut segments = parent.segments();
                segments.push(Segment::Index(*index));
                segments
            }
        }
    }
}

/// The path in text form; a key that is no plain word is quoted in brackets.
pub(crate) fn text_of(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        let written = match segment {
            Segment::Index(index) => write!(text, "[{index}]"),
            Segment::Key(key) if !is_word(key) => write!(text, "[{key:?}]"),
            Segment::Key(key) if text.is_empty() => write!(text, "{key}"),
            Segment::Key(key) => write!(text, ".{key}"),
        };
        written.expect("a string takes any text");
    }
    text
}

/// The steps of a path in text form. What stands in brackets is an index or else a key, quoted or
/// not, so that keys with dots can be named.
pub(crate) fn segments_of(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((inside, tail)) = rest.strip_prefix('[').and_then(bracketed) {
            segments.push(match inside.parse() {
                Ok(index) => Segment::Index(index),
                Err(_) => Segment::Key(inside.to_owned()),
            });
            rest = tail;
        } else {
            let word = rest.strip_prefix('.').unwrap_or(rest);
            let end = word.find(['.', '[']).unwrap_or(word.len());
            // A bracket that never closes is part of the word.
            let end = if end == 0 { word.len() } else { end };
            segments.push(Segment::Key(word[..end].to_owned()));
            rest = &word[end..];
        }
    }
    segments
}

/// Splits `"a.b"].c` or `0].c` at the closing bracket.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\"]"),
        None => text.split_once(']'),
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_way_to_text_and_back() {
        for text in [
            "",
            "spec",
            "spec.http[0].route[1].weight",
            "metadata.labels[\"a.b/c\"]",
            "items[3]",
        ] {
            assert_eq!(text_of(&segments_of(text)), text);
        }
    }

    #[test]
    fn a_bracket_may_hold_a_key_without_quotes() {
        let segments = segments_of("spec.match[x.y]");

        assert_eq!(segments[2], Segment::Key("x.y".to_owned()));
    }

    #[test]
    fn odd_texts_are_paths_too() {
        for text in ["[", "a[", "..", "a.[0", "[\"x", "]"] {
            assert!(!segments_of(text).is_empty(), "{text}");
        }
    }
}
