//! Documents of any kind as plain values, for who changes some of them and passes on the others.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde_json::Value;

use crate::load::split_documents;
use crate::problem::Problem;
use crate::yaml;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// As it was written, comments within and all.
    pub text: String,
}

/// Reads the documents of a text as if it were the file `path`. Empty ones are left out.
///
/// # Errors
///
/// Each document that is no YAML.
pub fn read(path: &FilePath, text: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let file: Arc<FilePath> = Arc::from(path);
    let normal = yaml::normalize(text);
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for document in split_documents(&normal) {
        match yaml::parse(document.text) {
            Ok(Value::Null) => {}
            Ok(value) => documents.push(Document {
                value,
                text: document.text.to_owned(),
            }),
            Err(error) => problems.push(error.problem(&file, document.line)),
        }
    }
    match problems.is_empty() {
        true => Ok(documents),
        false => Err(problems),
    }
}

/// One document as YAML, without a marker before it.
pub fn print(value: &Value) -> String {
    yaml::emit(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_any_kind_are_read_and_printed_alike() {
        let text = "kind: A\nlist:\n- 1\n- two\n---\n# nothing\n---\nkind: B\n";

        let documents = read(FilePath::new("f.yaml"), text).expect("it is YAML");

        let printed: Vec<String> = documents.iter().map(|it| print(&it.value)).collect();
        assert_eq!(printed, ["kind: A\nlist:\n- 1\n- two\n", "kind: B\n"]);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        let problems = read(FilePath::new("f.yaml"), "a: 1\n---\nb: [\n").expect_err("it is none");

        assert_eq!(problems.len(), 1);
        assert!(problems[0].line >= 3, "{}", problems[0]);
    }
}
