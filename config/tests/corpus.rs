//! Every document of `testdata`: valid ones load, invalid ones are told exactly as beside them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Loaded, Severity};

/// Files of a folder of `testdata` that hold documents, in the order of their names.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension != "txt"));
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    files
}

/// Loads a file under its plain name, so that problems do not depend on where the project lies.
fn load(path: &Path) -> Loaded {
    let name = path.file_name().unwrap().to_str().unwrap();
    config::load::parse(name, &fs::read_to_string(path).unwrap(), "default")
}

fn told(loaded: &Loaded) -> String {
    loaded
        .problems
        .iter()
        .fold(String::new(), |mut text, problem| {
            writeln!(text, "{problem}").unwrap();
            text
        })
}

#[test]
fn valid_files_load_without_a_problem() {
    for path in files("valid") {
        let loaded = load(&path);

        assert_eq!(told(&loaded), "", "{}", path.display());
        assert!(!loaded.resources.is_empty(), "{}", path.display());
    }
}

#[test]
fn invalid_files_are_told_exactly() {
    let mut different = Vec::new();
    for path in files("invalid") {
        let loaded = load(&path);

        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        assert!(loaded.has_errors(), "{}", path.display());
        if told(&loaded) != expected {
            different.push(format!("== {}\n{}", path.display(), told(&loaded)));
        }
    }

    assert!(
        different.is_empty(),
        "not as in the .txt file:\n{}",
        different.join("\n")
    );
}

#[test]
fn resources_with_errors_are_left_out_and_those_with_warnings_are_not() {
    for path in files("invalid") {
        let loaded = load(&path);

        let wrong: Vec<&str> = loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .filter(|problem| !problem.message.contains("already defined"))
            .map(|problem| problem.resource.as_str())
            .collect();
        for resource in &loaded.resources {
            assert!(
                !wrong.contains(&resource.to_string().as_str()),
                "{resource} of {path:?}"
            );
        }
    }
}
