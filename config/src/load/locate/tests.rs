use std::path::{Path, PathBuf};

use super::super::parse_and_analyze;
use super::*;
use crate::analyze::analyze;
use crate::load::Loaded;
use crate::mesh::{Mesh, MeshSettings};
use crate::problem::Severity;

/// A rule whose destination nobody serves.
const LOST: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec:
  hosts: [NAME.com]
  http:
  - route:
    - destination: {host: nowhere.com}
";

fn rules(names: &[&str]) -> String {
    let rules: Vec<String> = names
        .iter()
        .map(|name| LOST.replace("NAME", name))
        .collect();
    rules.join("---\n")
}

fn findings(loaded: &Loaded) -> Vec<(Arc<Resource>, Finding)> {
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    analyze(&mesh, &loaded.resources)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// File name, line and column of each problem.
fn places(problems: &[Problem]) -> Vec<(String, u32, u32)> {
    let place = |problem: &Problem| {
        let file = problem.file.file_name().unwrap().to_string_lossy();
        (file.into_owned(), problem.line, problem.column)
    };
    problems.iter().map(place).collect()
}

fn place(file: &str, line: u32, column: u32) -> (String, u32, u32) {
    (file.to_owned(), line, column)
}

#[test]
fn findings_stand_where_their_field_is_written_in_the_order_of_files() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "b.yaml", &rules(&["x"]));
    write(folder.path(), "a.yaml", &rules(&["y", "z"]));
    let mut loader = Loader::new("default");
    let loaded = loader.load(&[folder.path().to_owned()]);

    let problems = loader.locate(findings(&loaded));

    assert_eq!(
        places(&problems),
        [
            place("a.yaml", 8, 27),
            place("a.yaml", 17, 27),
            place("b.yaml", 8, 27)
        ]
    );
    let Problem {
        severity,
        resource,
        path,
        message,
        ..
    } = &problems[1];
    assert_eq!(*severity, Severity::Warning);
    assert_eq!(resource, "VirtualService default/z");
    assert_eq!(path, "spec.http[0].route[0].destination.host");
    assert!(message.contains("nowhere.com"), "{message}");
}

#[test]
fn nothing_is_read_again_for_places_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.yaml", &rules(&["x", "y"]));
    let mut loader = Loader::new("default");
    let loaded = loader.load(std::slice::from_ref(&path));
    let first = loader.locate(findings(&loaded));

    std::fs::remove_file(path).unwrap();
    let again = loader.locate(findings(&loaded));

    assert_eq!(places(&first), places(&again));
}

#[test]
fn known_places_move_with_their_document() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [write(folder.path(), "a.yaml", &rules(&["x"]))];
    let mut loader = Loader::new("default");
    let loaded = loader.load(&paths);
    let before = loader.locate(findings(&loaded));

    write(
        folder.path(),
        "a.yaml",
        &format!("# one\n---\n{}", rules(&["x"])),
    );
    let loaded = loader.load(&paths);
    std::fs::remove_file(&paths[0]).unwrap();
    let after = loader.locate(findings(&loaded));

    assert_eq!(places(&before), [place("a.yaml", 8, 27)]);
    assert_eq!(places(&after), [place("a.yaml", 10, 27)]);
}

#[test]
fn a_changed_document_is_looked_through_again() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [write(folder.path(), "a.yaml", &rules(&["x"]))];
    let mut loader = Loader::new("default");
    let loaded = loader.load(&paths);
    loader.locate(findings(&loaded));

    let longer = rules(&["x"]).replace("  - route:", "  - name: n\n    route:");
    write(folder.path(), "a.yaml", &longer);
    let loaded = loader.load(&paths);

    assert_eq!(
        places(&loader.locate(findings(&loaded))),
        [place("a.yaml", 9, 27)]
    );
}

#[test]
fn a_document_that_changed_since_it_was_loaded_is_named_by_its_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [write(folder.path(), "a.yaml", &rules(&["x", "y"]))];
    let mut loader = Loader::new("default");
    let loaded = loader.load(&paths);

    write(folder.path(), "a.yaml", &rules(&["x", "other"]));

    assert_eq!(
        places(&loader.locate(findings(&loaded))),
        [place("a.yaml", 8, 27), place("a.yaml", 10, 1)]
    );
}

#[test]
fn an_item_of_a_list_is_named_with_its_path_in_the_document() {
    let item = |name: &str| {
        format!(
            "- metadata: {{name: {name}}}\n  spec:\n    hosts: [{name}.com]\n    \
             http: [{{route: [{{destination: {{host: nowhere.com}}}}]}}]\n"
        )
    };
    let list = "apiVersion: networking.istio.io/v1\nkind: VirtualServiceList\nitems:\n";
    let text = format!("{list}{}{}", item("x"), item("y"));

    let loaded = parse_and_analyze("a.yaml", &text, "default");

    let found: Vec<_> = loaded
        .problems
        .iter()
        .map(|problem| (problem.line, problem.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (7, "items[0].spec.http[0].route[0].destination.host"),
            (11, "items[1].spec.http[0].route[0].destination.host"),
        ]
    );
}

#[test]
fn findings_about_resources_from_elsewhere_keep_the_line_of_the_resource() {
    let loaded = super::super::parse("elsewhere.yaml", &rules(&["x", "y"]), "default");
    let mut loader = Loader::new("default");

    assert_eq!(
        places(&loader.locate(findings(&loaded))),
        [
            place("elsewhere.yaml", 1, 1),
            place("elsewhere.yaml", 10, 1)
        ]
    );
    assert_eq!(loader.locate(Vec::new()), []);
}

#[test]
fn a_text_with_an_error_is_not_analyzed() {
    let text = rules(&["x", "y"]).replacen("hosts: [x.com]", "hosts: 5", 1);

    let loaded = parse_and_analyze("a.yaml", &text, "default");

    assert!(loaded.has_errors());
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
    assert_eq!(
        parse_and_analyze("a.yaml", &rules(&["x"]), "default")
            .problems
            .len(),
        1
    );
}
