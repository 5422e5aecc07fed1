//! The examples that people start from.

use std::path::Path;

use tests::binary::run;

#[tokio::test]
async fn every_scenario_of_bookinfo_passes_the_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo/scenarios");
    let files = std::fs::read_dir(&folder).expect("the example has scenarios");
    let mut checked = 0;
    for file in files {
        let path = file.expect("a readable folder").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let output = run(&["check".as_ref(), path.as_os_str()]).await;

        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", path.display());
        checked += 1;
    }
    assert!(checked >= 6, "{checked} scenarios");
}

#[tokio::test]
async fn the_tests_of_bookinfo_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo/tests");
    let mut tested = 0;
    for file in std::fs::read_dir(&folder).expect("the example has tests") {
        let path = file.expect("a readable folder").path();
        // What the tests are about.
        if path.ends_with("services.yaml") {
            continue;
        }
        let output = run(&["test".as_ref(), path.as_os_str()]).await;

        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", path.display());
        tested += 1;
    }
    assert!(tested >= 5, "{tested} files of tests");
}

/// The first block of YAML in the README that begins like this.
fn of_readme(begin: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(path).expect("the README is beside the packages");
    let mut blocks = text.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.starts_with(begin));
    let (block, _) = block.and_then(|it| it.split_once("```")).expect(begin);
    block.to_owned()
}

#[tokio::test]
async fn the_tests_that_the_readme_shows_pass_for_the_configuration_that_it_shows() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a temporary file can be written");
        path
    };
    write("edge.yaml", of_readme("apiVersion:"));
    let tests = write("tests.yaml", of_readme("config:"));

    let output = run(&["test".as_ref(), tests.as_os_str()]).await;

    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
}
