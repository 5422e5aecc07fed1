//! What comes out, in which order, and what is said about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::documents::Document;
use crate::yaml;

/// The outcome of a migration.
#[derive(Debug)]
pub struct Migrated {
    /// Documents in YAML, in the order of those that they come from.
    pub text: String,
    /// What a reader must know.
    pub notes: Vec<Note>,
}

/// Something that a reader must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// File of the document that it is about.
    pub file: Arc<Path>,
    /// Line in which the document begins.
    pub line: u32,
    /// `Kind namespace/name` of the document.
    pub resource: String,
    /// What.
    pub message: String,
    /// Whether something could not be carried over.
    pub is_loss: bool,
}

/// What is to come out.
#[derive(Debug, Default)]
pub(super) struct Plan {
    made: Vec<(usize, Value)>,
    notes: Vec<(usize, String, bool)>,
}

// === impl Migrated ===

impl Migrated {
    /// Whether everything could be carried over.
    pub fn is_complete(&self) -> bool {
        !self.notes.iter().any(|note| note.is_loss)
    }
}

// === impl Plan ===

impl Plan {
    /// Puts a resource where the document `at` stands.
    pub(super) fn make(&mut self, at: usize, resource: Value) {
        self.made.push((at, resource));
    }

    /// Says something about the document `at`.
    pub(super) fn note(&mut self, at: usize, message: impl Into<String>) {
        self.say(at, message.into(), false);
    }

    /// Says what of the document `at` could not be carried over.
    pub(super) fn lose(&mut self, at: usize, message: impl Into<String>) {
        self.say(at, message.into(), true);
    }

    fn say(&mut self, at: usize, message: String, is_loss: bool) {
        let note = (at, message, is_loss);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Everything as text, with what was not retired to the letter.
    pub(super) fn into_migrated(mut self, documents: &[Document]) -> Migrated {
        self.notes.sort_by_key(|(at, ..)| *at);
        let mut text = String::new();
        let mut comments = String::new();
        for (at, document) in documents.iter().enumerate() {
            comments.push_str(&document.comments);
            if document.retired.is_none() {
                push(&mut text, &mut comments, &document.text);
                comments.push_str(&document.trailing);
                continue;
            }
            for (_, message, is_loss) in self.notes.iter().filter(|note| note.0 == at) {
                let word = match is_loss {
                    true => "not carried over",
                    false => "note",
                };
                let about = label(document);
                comments.push_str(&format!("# {word}: {about}: {}\n", one_line(message)));
            }
            for (_, resource) in self.made.iter().filter(|made| made.0 == at) {
                push(&mut text, &mut comments, &yaml::emit(resource));
            }
            comments.push_str(&document.trailing);
        }
        text.push_str(&comments);
        let notes = self.notes.into_iter().filter_map(|(at, message, is_loss)| {
            let document = documents.get(at)?;
            Some(Note {
                file: Arc::clone(&document.file),
                line: document.line,
                resource: label(document),
                message,
                is_loss,
            })
        });
        Migrated {
            notes: notes.collect(),
            text,
        }
    }
}

/// Adds a document, with the comments that wait for one.
fn push(text: &mut String, comments: &mut String, document: &str) {
    // A marker of the document itself, with content beside it, stands alone.
    let is_marked = document.starts_with("---");
    if !text.is_empty() && (!is_marked || !comments.is_empty()) {
        text.push_str("---\n");
    }
    text.push_str(comments);
    comments.clear();
    text.push_str(document);
    if !document.ends_with('\n') {
        text.push('\n');
    }
}

fn label(document: &Document) -> String {
    let Document {
        namespace, name, ..
    } = document;
    one_line(&format!("{} {namespace}/{name}", document.kind()))
}

/// A text of the input must not end the comment that it stands in.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.is_loss {
            true => "not carried over",
            false => "note",
        };
        let (file, line) = (self.file.display(), self.line);
        let about = &self.resource;
        write!(
            f,
            "{file}:{line}: {word}: {about}: {}",
            one_line(&self.message)
        )
    }
}
