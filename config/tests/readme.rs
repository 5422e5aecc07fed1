//! The YAML that the README shows is valid, so that what a reader copies works.

use std::path::Path;

/// The `yaml` blocks of the README that are whole documents, not parts of one.
fn documents() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&path).expect("the README is beside the packages");
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    blocks
        .map(|(block, _)| block.to_owned())
        .filter(|block| block.starts_with("apiVersion:"))
        .collect()
}

#[test]
fn documents_of_the_readme_load_without_a_problem() {
    let documents = documents();

    assert!(!documents.is_empty());
    for document in documents {
        let loaded = config::load::parse_and_analyze("README.md", &document, "default");

        assert_eq!(loaded.problems, []);
        assert!(!loaded.resources.is_empty());
    }
}
