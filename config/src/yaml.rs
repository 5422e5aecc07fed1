//! YAML text to plain values, and the place of each field in the text.
//!
//! The only file that names `serde_yaml`, which is archived upstream, so that it can be replaced
//! here. Values are parsed without places, because nearly every document is right; only a document
//! with a problem is walked a second time, by `places`, to find where the problem stands.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::problem::{Problem, Severity};

mod emit;
mod places;

pub(crate) use emit::emit;
use places::widths;
pub(crate) use places::{At, Place, Places};

/// Deepest nesting of a document; the deepest field of any kind lies at about 12.
pub(crate) const DEPTH_MAX: usize = 64;

/// How many times larger than its text a document may become through aliases.
const EXPANSION_MAX: usize = 8;

/// Expansion that is always allowed, in bytes, so that short documents may use aliases freely.
const EXPANSION_FREE_BYTES: usize = 64 * 1024;

const KEY_IS_TEXT: &str = "a key must be a text";

/// Why a document is not YAML that we take; the place is relative to the document.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// What is wrong.
    pub(crate) message: String,
    /// Where.
    pub(crate) place: Place,
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
        seen: None,
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
        "did not find expected ',' or ']'" => {
            "expected `,` or `]` here: the list that `[` opened goes on"
        }
        "did not find expected ',' or '}'" => {
            "expected `,` or `}` here: the mapping that `{` opened goes on"
        }
        "found unexpected end of stream" => "the document ends within quotes",
        "recursion limit exceeded" => "nested too deep",
        "deserializing from YAML containing more than one document is not supported" => {
            "the value ended before this: check the indentation and the quotes"
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
    /// Of a key: the keys before it in the same mapping.
    seen: Option<&'s Map<String, Value>>,
}

struct KeySeed<'s> {
    state: &'s State,
    seen: &'s Map<String, Value>,
}

// === impl SyntaxError ===

impl SyntaxError {
    /// The problem of a document that begins in a line of a file, from 1.
    pub(crate) fn problem(self, file: &Arc<Path>, line: u32) -> Problem {
        Problem {
            severity: Severity::Error,
            file: Arc::clone(file),
            line: line + self.place.line - 1,
            column: self.place.column,
            resource: String::new(),
            path: String::new(),
            message: self.message,
        }
    }
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
        if self.seen.is_some() {
            return Err(self.state.refuse(KEY_IS_TEXT.to_owned()));
        }
        if self.depth >= DEPTH_MAX {
            return Err(self.state.refuse(too_deep()));
        }
        Ok(Self {
            state: self.state,
            depth: self.depth + 1,
            seen: None,
        })
    }

    /// Takes a scalar. A key is checked here, while the scanner still knows where it stands.
    fn scalar<E: de::Error>(&self, value: Value) -> Result<Value, E> {
        self.state.spend(value.as_str().map_or(0, str::len))?;
        let Some(seen) = self.seen else {
            return Ok(value);
        };
        let key = match value {
            Value::String(key) => key,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(self.state.refuse(KEY_IS_TEXT.to_owned()));
            }
        };
        if seen.contains_key(&key) {
            return Err(self
                .state
                .refuse(format!("`{key}` is written twice in one mapping")));
        }
        Ok(Value::String(key))
    }

    fn float<E: de::Error>(&self, float: f64) -> Result<Value, E> {
        match Number::from_f64(float) {
            Some(number) => self.scalar(Value::Number(number)),
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
        self.scalar(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        self.scalar(Value::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        self.scalar(Value::from(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        self.scalar(Value::from(number))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        self.float(number as f64)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        self.float(number as f64)
    }

    fn visit_f64<E: de::Error>(self, float: f64) -> Result<Value, E> {
        self.float(float)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.scalar(Value::from(text))
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
        let seed = NodeSeed {
            state: self.state,
            depth: DEPTH_MAX,
            seen: Some(self.seen),
        };
        match deserializer.deserialize_any(seed)? {
            Value::String(key) => Ok(key),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(self.state.refuse(KEY_IS_TEXT.to_owned())),
        }
    }
}

/// The text as the rest of this crate counts its lines: no byte-order mark at its beginning, and not the
/// second of files that were joined, no lone carriage return.
pub(crate) fn normalize(text: &str) -> Cow<'_, str> {
    let text = text.trim_start_matches('\u{feff}');
    let bytes = text.as_bytes();
    let lone = |(at, byte): (usize, &u8)| *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    if !text.contains('\r') || !bytes.iter().enumerate().any(lone) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}

#[cfg(test)]
mod tests;
