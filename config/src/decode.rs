//! Plain values to typed structs, with every problem at once and in words for people.
//!
//! serde stops at the first error. Here a node that fails is reported, marked as poisoned and from
//! then on treated as absent, and decoding runs again until it succeeds; so each mistake of a
//! document is told once, at its own path, and one mistake does not hide the others. Right
//! documents are decoded in a single pass.

use std::cell::RefCell;
use std::fmt;

use rustc_hash::FxHashSet;
use serde::de::{self, DeserializeOwned};
use serde_json::Value;

mod access;
mod node;
pub(crate) mod path;
pub(crate) mod words;

use crate::problem::Severity;
use crate::yaml::At;
use node::Node;
use path::{Path, Segment};

/// Most problems that are told of one document; what follows is mostly the same mistake again.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// One problem of a document, by path.
#[derive(Debug)]
pub(crate) struct Found {
    /// Whether the document can be used all the same.
    pub(crate) severity: Severity,
    /// Field.
    pub(crate) path: Vec<Segment>,
    /// Which part of the field.
    pub(crate) at: At,
    /// What is wrong, and what would be right.
    pub(crate) message: String,
}

/// What to do with fields that a type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// They are problems.
    Refuse,
    /// They are skipped: the kind has more fields than we read.
    Ignore,
    /// They are skipped and told: whoever wrote them may know more than we do.
    Tell,
}

/// The problems of one document so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: RefCell<Vec<Found>>,
    /// Nodes that are treated as absent, by address: the value tree is not changed while it is read.
    poisoned: RefCell<FxHashSet<*const Value>>,
    /// Fields that are absent only because of a mistake: in their value, or in the spelling of their
    /// name.
    missed: RefCell<Vec<Vec<Segment>>>,
}

/// Decodes `value`, which stands at `path`; `None` if nothing of it is usable.
///
/// All problems go to `report`. A value is returned also when there are errors, without the fields
/// that had them, so that the rest of it can still be checked.
pub(crate) fn decode<T: DeserializeOwned>(
    value: &Value,
    path: &Path<'_>,
    unknown: Unknown,
    report: &Report,
) -> Option<T> {
    // Each failing pass poisons one more node, and the report is bounded.
    while !report.is_full() && !report.is_poisoned(value) {
        let node = Node {
            value,
            path,
            unknown,
            report,
        };
        if let Ok(decoded) = report.attempt(node, |node| T::deserialize(node)) {
            return Some(decoded);
        }
    }
    None
}

/// Why one node cannot be decoded.
#[derive(Debug)]
pub(crate) struct DecodeError {
    message: String,
    /// Already in the report, at a deeper path.
    recorded: bool,
}

// === impl Report ===

impl Report {
    /// Adds an error at the value of a field.
    pub(crate) fn error(&self, path: &Path<'_>, message: impl Into<String>) {
        self.add(Severity::Error, path.segments(), At::Value, message.into());
    }

    /// Adds a warning at the value of a field.
    pub(crate) fn warning(&self, path: &Path<'_>, message: impl Into<String>) {
        self.add(
            Severity::Warning,
            path.segments(),
            At::Value,
            message.into(),
        );
    }

    /// Adds a problem; past the limit only that there are too many is told, once.
    pub(crate) fn add(&self, severity: Severity, path: Vec<Segment>, at: At, message: String) {
        let mut found = self.found.borrow_mut();
        if found.len() < PROBLEMS_MAX {
            found.push(Found {
                severity,
                path,
                at,
                message,
            });
        } else if found.len() == PROBLEMS_MAX {
            let message = format!("too many problems: only the first {PROBLEMS_MAX} are shown");
            found.push(Found {
                severity: Severity::Error,
                path: Vec::new(),
                at,
                message,
            });
        }
    }

    /// Whether nothing more is told of this document.
    pub(crate) fn is_full(&self) -> bool {
        self.found.borrow().len() > PROBLEMS_MAX
    }

    /// How many problems there are.
    pub(crate) fn len(&self) -> usize {
        self.found.borrow().len()
    }

    /// Whether an error was added since there were `from` problems.
    pub(crate) fn has_errors_since(&self, from: usize) -> bool {
        let found = self.found.borrow();
        found
            .iter()
            .skip(from)
            .any(|found| found.severity == Severity::Error)
    }

    /// Whether what is said of `path` may come from a field that was taken as absent: one at or
    /// below `path`, or an item of the list that `path` goes through, whose absence moves the others.
    pub(crate) fn overshadows(&self, path: &[Segment]) -> bool {
        self.missed.borrow().iter().any(|missed| {
            let moved = match missed.as_slice() {
                [list @ .., Segment::Index(_)] => path.starts_with(list),
                _ => false,
            };
            moved || missed.starts_with(path)
        })
    }

    /// All problems.
    pub(crate) fn into_found(self) -> Vec<Found> {
        self.found.into_inner()
    }

    fn is_poisoned(&self, value: &Value) -> bool {
        self.poisoned.borrow().contains(&std::ptr::from_ref(value))
    }

    fn poison(&self, value: &Value) {
        self.poisoned.borrow_mut().insert(std::ptr::from_ref(value));
    }

    /// Reports a field that its type does not have.
    fn unknown_field(&self, path: &Path<'_>, value: &Value, legal: &'static [&'static str]) {
        let Path::Key(parent, name) = path else {
            return;
        };
        self.poison(value);
        if let Some(meant) = words::nearest(name, legal.iter().copied()) {
            self.missed
                .borrow_mut()
                .push(Path::Key(parent, meant).segments());
        }
        let path = path.segments();
        self.add(
            Severity::Error,
            path,
            At::Key,
            words::unknown_field(name, legal),
        );
    }

    /// Tells of a field that is skipped because its type does not have it.
    pub(crate) fn skipped_field(&self, path: &Path<'_>, value: &Value) {
        // Null is how absence is written, and decoding may come by more than once.
        if value.is_null() || self.is_poisoned(value) {
            return;
        }
        self.poison(value);
        self.add(
            Severity::Warning,
            path.segments(),
            At::Key,
            "is not known here and was skipped".to_owned(),
        );
    }

    /// Decodes one node; a failure that no deeper node has told is told here.
    fn attempt<'n, T>(
        &self,
        node: Node<'n, '_>,
        decode: impl FnOnce(Node<'n, '_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let Node { value, path, .. } = node;
        decode(node).map_err(|mut error| {
            if !error.recorded {
                self.poison(value);
                self.missed.borrow_mut().push(path.segments());
                self.error(path, told(&error.message, value));
                error.recorded = true;
            }
            error
        })
    }
}

/// The message, with what stands there if it is a scalar and the message does not say so itself.
fn told(message: &str, value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => message.to_owned(),
        _ if message.contains("got ") || message.starts_with("unknown value") => message.to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            format!("{message}, got {}", words::describe(value))
        }
    }
}

// === impl DecodeError ===

impl DecodeError {
    fn wrong(wanted: &str, value: &Value) -> Self {
        Self::new(format!("must be {wanted}, got {}", words::describe(value)))
    }

    fn new(message: String) -> Self {
        Self {
            message,
            recorded: false,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // What serde says of an untagged enum names our type, which users do not know.
        match message.starts_with("data did not match any variant") {
            true => Self::new("must be a number or a text".to_owned()),
            false => Self::new(message),
        }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("must have the field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("has the field `{field}` in two spellings"))
    }
}

#[cfg(test)]
mod tests;
