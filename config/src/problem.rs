//! What is wrong with a document, with the place where it is wrong.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

/// One problem of one document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// Whether the document can be used all the same.
    pub severity: Severity,
    /// File that holds the document.
    pub file: Arc<Path>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// `Kind namespace/name`, as far as it is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Field path, such as `spec.http[0].route[1].weight`; empty for the whole document.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What validation says of one resource; the loader adds the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether the resource can be used all the same.
    pub severity: Severity,
    /// Field path from the resource, such as `spec.http[0].route`; a key that holds dots stands in
    /// brackets, such as `metadata.annotations["a.b/c"]`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Whether a document can be used in spite of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is not used.
    Error,
    /// The document is used; something in it is deprecated or has no effect.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}
