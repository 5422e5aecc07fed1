//! Where each field of a document stands in its text.
//!
//! The only file that names `saphyr_parser`.

use saphyr_parser::{Event, Input, Parser, Span};

use super::DEPTH_MAX;
use crate::decode::path::Segment;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
}

/// Which part of a field a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Its name.
    Key,
    /// Its value.
    Value,
}

/// The places of all fields of one document.
#[derive(Debug)]
pub(crate) struct Places {
    root: Option<Node>,
    /// Characters of each line.
    widths: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    place: Place,
    key: Option<Place>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar { empty: bool },
    Keys(Vec<(String, Node)>),
    Items(Vec<Node>),
}

// === impl Place ===

impl Place {
    /// The first character.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    fn of(span: &Span) -> Self {
        Self {
            line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
            column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
        }
    }

    /// The place, or the nearest one inside `text`: the end of a text counts as the place just
    /// behind its last character, and scanners disagree about what ends a line.
    pub(super) fn within(self, widths: &[u32]) -> Self {
        let lines = u32::try_from(widths.len()).unwrap_or(u32::MAX).max(1);
        let line = self.line.clamp(1, lines);
        let width = widths.get(line as usize - 1).copied().unwrap_or(0);
        let column = if self.line > lines {
            width + 1
        } else {
            self.column
        };
        Self {
            line,
            column: column.clamp(1, width + 1),
        }
    }

    pub(super) fn character(self, text: &str) -> Option<char> {
        text.lines()
            .nth(self.line as usize - 1)?
            .chars()
            .nth(self.column as usize - 1)
    }
}

/// Characters of each line.
pub(super) fn widths(text: &str) -> Vec<u32> {
    let width = |line: &str| u32::try_from(line.chars().count()).unwrap_or(u32::MAX - 1);
    text.lines().map(width).collect()
}

// === impl Places ===

impl Places {
    /// Walks the document that `parse` took. Where the two scanners disagree, fewer places are known.
    pub(crate) fn of(text: &str) -> Self {
        let widths = widths(text);
        let mut events = Parser::new_from_str(text);
        while let Some(Ok((event, span))) = events.next_event() {
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                event => {
                    return Self {
                        root: Node::read(&mut events, event, &span, 0),
                        widths,
                    };
                }
            }
        }
        Self { root: None, widths }
    }

    /// The place of a field, or of its nearest ancestor that exists.
    pub(crate) fn find(&self, path: &[Segment], at: At) -> Place {
        self.exact(path, at).within(&self.widths)
    }

    fn exact(&self, path: &[Segment], at: At) -> Place {
        let Some(mut node) = self.root.as_ref() else {
            return Place::START;
        };
        for segment in path {
            let child = match (segment, &node.content) {
                (Segment::Key(key), Content::Keys(keys)) => keys
                    .iter()
                    .find(|(name, _)| name == key)
                    .map(|(_, node)| node),
                (Segment::Index(index), Content::Items(items)) => items.get(*index),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => return node.key.unwrap_or(node.place),
            }
        }
        match (node.key, at, &node.content) {
            (Some(key), At::Key, _) | (Some(key), At::Value, Content::Scalar { empty: true }) => {
                key
            }
            // A block below its key: the key's line is where a reader looks for it.
            (Some(key), At::Value, Content::Keys(_) | Content::Items(_))
                if key.line < node.place.line =>
            {
                key
            }
            _ => node.place,
        }
    }
}

// === impl Node ===

impl Node {
    /// Reads one node whose first event was taken already; `None` where the text ends or breaks.
    fn read<'t, T: Input>(
        events: &mut Parser<'t, T>,
        first: Event<'t>,
        span: &Span,
        depth: usize,
    ) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let content = match first {
            Event::Scalar(text, ..) => Content::Scalar {
                empty: text.is_empty() || text == "~",
            },
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = events.next_event()?.ok()?;
                    if event == Event::SequenceEnd {
                        break Content::Items(items);
                    }
                    items.push(Self::read(events, event, &span, depth + 1)?);
                }
            }
            Event::MappingStart(..) => {
                let mut keys = Vec::new();
                loop {
                    let (event, key_span) = events.next_event()?.ok()?;
                    if event == Event::MappingEnd {
                        break Content::Keys(keys);
                    }
                    let name = match &event {
                        Event::Scalar(text, ..) => text.clone().into_owned(),
                        _ => String::new(),
                    };
                    Self::read(events, event, &key_span, depth + 1)?;
                    let (event, span) = events.next_event()?.ok()?;
                    let mut node = Self::read(events, event, &span, depth + 1)?;
                    node.key = Some(Place::of(&key_span));
                    keys.push((name, node));
                }
            }
            Event::Alias(_) => Content::Scalar { empty: false },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return None,
        };
        Some(Self {
            place: Place::of(span),
            key: None,
            content,
        })
    }
}
