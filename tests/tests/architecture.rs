//! Invariants of absence that ARCHITECTURE.md promises: what a crate or a file must not name.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
}

/// Every Rust file below `folder` of the workspace.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// Files below `folder` with a line of code that has `text`, from the root of the workspace.
fn files_that_name(folder: &str, text: &str) -> Vec<String> {
    let names = |path: &PathBuf| {
        let source = fs::read_to_string(path).expect("a source file is text");
        let mut code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        code.any(|line| line.contains(text))
    };
    let mut files: Vec<String> = sources(folder)
        .into_iter()
        .filter(names)
        .map(|path| {
            let path = path.strip_prefix(root()).expect("a file of the workspace");
            path.display().to_string()
        })
        .collect();
    files.sort();
    files
}

#[test]
fn only_one_file_names_arc_swap() {
    assert_eq!(
        files_that_name("proxy/src", "arc_swap"),
        ["proxy/src/snapshot.rs"]
    );
    assert!(files_that_name("config/src", "arc_swap").is_empty());
}

#[test]
fn only_one_file_names_serde_yaml() {
    assert_eq!(
        files_that_name("config/src", "serde_yaml"),
        ["config/src/yaml.rs"]
    );
    assert!(files_that_name("proxy/src", "serde_yaml").is_empty());
}

#[test]
fn only_one_file_names_saphyr_parser() {
    assert_eq!(
        files_that_name("config/src", "saphyr_parser"),
        ["config/src/yaml/places.rs"]
    );
}

#[test]
fn config_and_authority_know_no_runtime_and_no_cluster() {
    for package in ["config", "control/authority"] {
        let path = root().join(package).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("a manifest");
        let dependencies = manifest
            .split_once("[dependencies]")
            .and_then(|(_, rest)| rest.split("\n[").next())
            .expect("dependencies");

        for absent in [
            "tokio", "hyper", "http", "kube", "tonic", "proxy", "control",
        ] {
            let named = dependencies
                .lines()
                .any(|line| line.split(['.', ' ', '=']).next() == Some(absent));
            assert!(!named, "{package} depends on {absent}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for folder in [
        "config/src",
        "control/src",
        "control/authority/src",
        "control/system/src",
        "proxy/src",
        "examples/bookinfo/src",
        "tests/src",
    ] {
        for path in sources(folder) {
            let below = path.strip_prefix(root()).expect("a file of the workspace");
            // Tests apart from their module are described by it.
            let below = below.with_extension("");
            let is_inner_test = below
                .components()
                .skip(1)
                .any(|part| part.as_os_str() == "tests");
            let source = fs::read_to_string(&path).expect("a source file is text");
            assert!(
                is_inner_test || source.starts_with("//!"),
                "{} has no module documentation",
                path.display()
            );
        }
    }
}
