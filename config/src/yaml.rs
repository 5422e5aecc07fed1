//! YAML text to plain values, and the place of each field in the text.
//!
//! The only file that names `serde_yaml` and `saphyr_parser`: the first is archived upstream, and
//! either can be replaced here. Values are parsed without places, because nearly every document is
//! right; only a document with a problem is walked a second time to find where the problem stands.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use saphyr_parser::{Event, Input, Parser, Span};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::decode::path::Segment;

/// Deepest nesting of a document; the deepest field of any kind lies at about 12.
pub(crate) const DEPTH_MAX: usize = 64;

/// How many times larger than its text a document may become through aliases.
const EXPANSION_MAX: usize = 8;

/// Expansion that is always allowed, in bytes, so that short documents may use aliases freely.
const EXPANSION_FREE_BYTES: usize = 64 * 1024;

/// Why a document is not YAML that we take; the place is relative to the document.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// What is wrong.
    pub(crate) message: String,
    /// Where.
    pub(crate) place: Place,
}

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

/// Parses one document. An empty one is null.
pub(crate) fn parse(text: &str) -> Result<Value, SyntaxError> {
    let state = State {
        left: Cell::new(
            text.len()
                .saturating_mul(EXPANSION_MAX)
                .max(EXPANSION_FREE_BYTES),
        ),
        refusal: RefCell::default(),
    };
    if let Some(place) = too_many_brackets(text) {
        return Err(SyntaxError {
            message: too_deep(),
            place,
        });
    }
    let seed = NodeSeed {
        state: &state,
        depth: 0,
    };
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| {
            let place = error.location().map_or(Place::START, |location| Place {
                line: u32::try_from(location.line()).unwrap_or(u32::MAX),
                column: u32::try_from(location.column()).unwrap_or(u32::MAX),
            });
            let place = place.within(&widths(text));
            let message = state
                .refusal
                .take()
                .unwrap_or_else(|| explain(&error.to_string(), place.character(text)));
            SyntaxError { message, place }
        })
}

/// The scanner's time grows with the square of open flow brackets, so that a megabyte of `[` would
/// occupy it for minutes. More openings than legal in a row, with nothing else between, is refused
/// before; openings with content between cost the writer more text for each level.
fn too_many_brackets(text: &str) -> Option<Place> {
    let mut place = Place::START;
    let mut open = 0;
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{'));
    if brackets.take(DEPTH_MAX + 1).count() <= DEPTH_MAX {
        return None;
    }
    for character in text.chars() {
        match character {
            '[' | '{' => open += 1,
            ']' | '}' => open = 0,
            _ => {}
        }
        if open > DEPTH_MAX * 16 {
            return Some(place);
        }
        if character == '\n' {
            place = Place {
                line: place.line + 1,
                column: 1,
            };
        } else {
            place.column += 1;
        }
    }
    None
}

fn too_deep() -> String {
    format!("is nested deeper than {DEPTH_MAX} levels")
}

/// Our words for what the scanner says, without its places: they are relative to the document.
fn explain(error: &str, character: Option<char>) -> String {
    let said = error.split(" at line ").next().unwrap_or(error);
    let said = said.split(" at position ").next().unwrap_or(said);
    let hint = match said {
        _ if character == Some('\t') => "a tab cannot stand here: YAML indents with spaces",
        "mapping values are not allowed in this context" => {
            "a `key: value` cannot stand here: check the indentation, and quote text that holds `: `"
        }
        "did not find expected key" => {
            "expected another `key: value` of the mapping here: check the indentation and the quotes"
        }
        "could not find expected ':'" => "expected `:` after a key",
        "did not find expected '-' indicator" => {
            "expected another `- ` item of the list here: check the indentation"
        }
        "unknown anchor" => "an alias names an anchor that does not exist",
        _ => return format!("is not YAML: {said}"),
    };
    format!("is not YAML: {hint}")
}

/// What all nodes of one document share.
struct State {
    /// Bytes that the document may still become.
    left: Cell<usize>,
    /// Our own reason for refusing, if it was not the scanner's.
    refusal: RefCell<Option<String>>,
}

struct NodeSeed<'s> {
    state: &'s State,
    depth: usize,
}

struct KeySeed<'s> {
    state: &'s State,
    seen: &'s Map<String, Value>,
}

// === impl State ===

impl State {
    fn refuse<E: de::Error>(&self, message: String) -> E {
        let error = E::custom(&message);
        *self.refusal.borrow_mut() = Some(message);
        error
    }

    fn spend<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        match self.left.get().checked_sub(bytes + 1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(self.refuse(format!(
                "aliases expand the document to more than {EXPANSION_MAX} times its size"
            ))),
        }
    }
}

// === impl NodeSeed ===

impl NodeSeed<'_> {
    fn child<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.state.refuse(too_deep()));
        }
        Ok(Self {
            state: self.state,
            depth: self.depth + 1,
        })
    }

    fn float<E: de::Error>(&self, float: f64) -> Result<Value, E> {
        match Number::from_f64(float) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(self
                .state
                .refuse(format!("must be a finite number, got {float}"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.state.spend(0).map(|()| Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        self.state.spend(0).map(|()| Value::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        self.state.spend(0).map(|()| Value::from(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        self.state.spend(0).map(|()| Value::from(number))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        self.float(number as f64)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        self.float(number as f64)
    }

    fn visit_f64<E: de::Error>(self, float: f64) -> Result<Value, E> {
        self.state.spend(0)?;
        self.float(float)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.state.spend(text.len()).map(|()| Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.state.spend(0)?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.child()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.state.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(KeySeed {
            state: self.state,
            seen: &map,
        })? {
            let value = access.next_value_seed(self.child()?)?;
            map.insert(key, value);
        }
        if let Some(merged) = map.shift_remove("<<") {
            merge(&mut map, merged).map_err(|message| self.state.refuse(message))?;
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self
            .state
            .refuse("YAML tags have no meaning here".to_owned()))
    }
}

/// `<<: *anchor`, as kubectl takes it: the mapping's own keys win, then the earlier sources.
fn merge(map: &mut Map<String, Value>, merged: Value) -> Result<(), String> {
    let sources = match merged {
        Value::Array(sources) => sources,
        other => vec![other],
    };
    for source in sources {
        let Value::Object(source) = source else {
            return Err("`<<` must be a mapping or a list of mappings".to_owned());
        };
        for (key, value) in source {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

// === impl KeySeed ===

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = deserializer.deserialize_any(NodeSeed {
            state: self.state,
            depth: DEPTH_MAX,
        })?;
        let key = match key {
            Value::String(key) => key,
            Value::Bool(_) | Value::Number(_) => key.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(self.state.refuse("a key must be a text".to_owned()));
            }
        };
        if self.seen.contains_key(&key) {
            return Err(self
                .state
                .refuse(format!("`{key}` is written twice in one mapping")));
        }
        Ok(key)
    }
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
    fn within(self, widths: &[u32]) -> Self {
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

    fn character(self, text: &str) -> Option<char> {
        text.lines()
            .nth(self.line as usize - 1)?
            .chars()
            .nth(self.column as usize - 1)
    }
}

fn widths(text: &str) -> Vec<u32> {
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

/// The text as the rest of this crate counts its lines: no byte-order mark, no lone carriage return.
pub(crate) fn normalize(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bytes = text.as_bytes();
    let lone = |(at, byte): (usize, &u8)| *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    if !text.contains('\r') || !bytes.iter().enumerate().any(lone) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}
