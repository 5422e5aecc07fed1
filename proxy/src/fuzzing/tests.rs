//! What fuzzers found worth keeping is tried again by every run of the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name of text")
    };
    entries.map(name).collect()
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = names_in(&corpus().join("../fuzz_targets"));
    let programs = programs.iter().filter_map(|name| name.strip_suffix(".rs"));

    assert_eq!(names_in(&corpus()), targets);
    assert_eq!(
        programs.map(str::to_owned).collect::<BTreeSet<_>>(),
        targets
    );
}

#[test]
fn the_corpus_of_every_target_holds() {
    for (name, target) in TARGETS {
        let folder = corpus().join(name);
        let files = names_in(&folder);
        assert!(!files.is_empty(), "{name}");
        for file in files {
            let bytes = fs::read(folder.join(&file)).expect("a file");
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "{name}/{file}");
        }
    }
}
