//! Documents that are no resources, such as the expectations of a configuration: read as strictly as
//! resources, with every problem at its place.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::decode::path::{Path, Segment, segments_of, text_of};
use crate::decode::{Report, Unknown, decode};
use crate::load::{read_file, split_documents};
use crate::problem::{Problem, Severity};
use crate::yaml::{self, At, Place, Places};

/// A document and where it stands.
#[derive(Debug)]
pub struct Document<T> {
    /// What it holds.
    pub value: T,
    text: Text,
}

/// The text of a document.
#[derive(Debug)]
struct Text {
    file: Arc<FilePath>,
    text: String,
    /// Line of the file in which it begins, from 1.
    line: u32,
}

/// Reads the one document of a file.
///
/// # Errors
///
/// Every problem of it.
pub fn read<T: DeserializeOwned>(path: &FilePath) -> Result<Document<T>, Vec<Problem>> {
    match read_file(path) {
        Ok(text) => parse(path, &text),
        Err(message) => {
            let text = Text {
                file: Arc::from(path),
                text: String::new(),
                line: 1,
            };
            Err(vec![text.problem(Place::START, &[], message)])
        }
    }
}

/// Reads the one document of a text as if it were the file `path`.
///
/// # Errors
///
/// Every problem of it.
pub fn parse<T: DeserializeOwned>(
    path: &FilePath,
    text: &str,
) -> Result<Document<T>, Vec<Problem>> {
    let normal = yaml::normalize(text);
    let documents = split_documents(&normal);
    let text = |text: &str, line| Text {
        file: Arc::from(path),
        text: text.to_owned(),
        line,
    };
    let document = match &*documents {
        [only] => text(only.text, only.line),
        [] => return Err(vec![text("", 1).problem(Place::START, &[], "is empty")]),
        [_, second, ..] => {
            let second = text(second.text, second.line);
            let message = "must be the only document of its file";
            return Err(vec![second.problem(Place::START, &[], message)]);
        }
    };
    let value = yaml::parse(&document.text)
        .map_err(|error| vec![error.problem(&document.file, document.line)])?;
    let report = Report::default();
    let decoded = decode(&value, &Path::Root, Unknown::Refuse, &report);
    let found = report.into_found();
    match decoded.filter(|_| found.is_empty()) {
        Some(value) => Ok(Document {
            value,
            text: document,
        }),
        None => {
            let places = Places::of(&document.text);
            let problems = found.into_iter().map(|found| {
                let place = places.find(&found.path, found.at);
                document.problem(place, &found.path, found.message)
            });
            let mut problems: Vec<Problem> = problems.collect();
            problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(problems)
        }
    }
}

// === impl Document ===

impl<T> Document<T> {
    /// A problem at a field that is there, such as `tests[3].expect`.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let segments = segments_of(path);
        let place = Places::of(&self.text.text).find(&segments, At::Value);
        self.text.problem(place, &segments, message)
    }

    /// The line of a field that is there.
    pub fn line(&self, path: &str) -> u32 {
        self.problem(path, "").line
    }
}

// === impl Text ===

impl Text {
    /// A problem at a place of the document.
    fn problem(&self, place: Place, path: &[Segment], message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            file: Arc::clone(&self.file),
            line: self.line + place.line - 1,
            column: place.column,
            resource: String::new(),
            path: text_of(path),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        names: Vec<String>,
        count: u32,
    }

    fn problems(text: &str) -> Vec<String> {
        let parsed: Result<Document<Sample>, _> = parse(FilePath::new("a.yaml"), text);
        let problems = parsed.expect_err("must be refused");
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn what_is_right_is_read_and_its_fields_have_places() {
        let text = "# a comment\n---\nnames:\n- a\n- b\ncount: 3\n";

        let document: Document<Sample> = parse(FilePath::new("a.yaml"), text).expect("right");

        assert_eq!(document.value.names, ["a", "b"]);
        assert_eq!(document.value.count, 3);
        let problem = document.problem("names[1]", "is wrong").to_string();
        assert_eq!(problem, "a.yaml:5:3: names[1]: is wrong");
        assert_eq!(document.line("count"), 6);
    }

    #[test]
    fn every_problem_is_told_at_its_place() {
        let found = problems("count: many\nname: [a]\n");

        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("a.yaml:1:8: count: must be "),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("a.yaml:2:1: name: unknown field `name`"),
            "{found:?}"
        );
    }

    #[test]
    fn there_must_be_one_document() {
        assert_eq!(problems(""), ["a.yaml:1:1: is empty"]);
        let two = problems("count: 1\n---\ncount: 2\n");
        assert_eq!(two, ["a.yaml:3:1: must be the only document of its file"]);
        assert!(problems("count: [").concat().contains("is not YAML"));
    }
}
