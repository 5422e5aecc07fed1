//! The resources of all files, each name once.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::document::Item;
use super::{DocumentEntry, FileEntry, Loaded, split};
use crate::decode::path::{Segment, text_of};
use crate::problem::{Problem, Severity};
use crate::resource::Resource;
use crate::yaml::{self, At, Places};

/// What was collected so far.
#[derive(Default)]
pub(super) struct Set {
    pub(super) problems: Vec<Problem>,
    resources: Vec<Arc<Resource>>,
    /// The document that defined a name first: its file and line.
    names: FxHashMap<ByName, (Arc<Path>, u32)>,
}

/// A resource as its kind, namespace and name, which are not copied.
struct ByName(Arc<Resource>);

/// A problem of a file as a whole.
pub(super) fn whole_file(path: &Path, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: Arc::from(path),
        line: 1,
        column: 1,
        resource: String::new(),
        path: String::new(),
        message,
    }
}

// === impl Set ===

impl Set {
    /// Adds what a file holds; `text` gives the file's text again, if a place in it is needed.
    pub(super) fn add<'t>(&mut self, entry: &FileEntry, text: impl Fn() -> Option<Cow<'t, str>>) {
        if entry.documents.is_empty() {
            self.problems
                .push(whole_file(&entry.file, "has no documents".to_owned()));
        }
        for (index, document) in entry.documents.iter().enumerate() {
            let from = self.problems.len();
            let problems = document.parsed.problems.iter().map(|problem| {
                let line = problem.line + document.line - 1;
                Problem {
                    line,
                    ..problem.clone()
                }
            });
            self.problems.extend(problems);
            for item in &document.parsed.items {
                match self.names.entry(ByName(Arc::clone(&item.resource))) {
                    Entry::Vacant(vacant) => {
                        let line = line_of(document, item);
                        vacant.insert((Arc::clone(&entry.file), line));
                        self.resources.push(Arc::clone(&item.resource));
                    }
                    Entry::Occupied(occupied) => {
                        let (file, line) = occupied.get();
                        let first = format!("{}:{line}", file.display());
                        let file = &entry.file;
                        let mut problem = duplicate(item, file, &first);
                        let text = text();
                        let place = text.and_then(|text| name_place(&text, index, &item.prefix));
                        (problem.line, problem.column) = place.unwrap_or((document.line, 1));
                        self.problems.push(problem);
                    }
                }
            }
            if self.problems.len() > from + 1 {
                self.problems[from..].sort_by_key(|problem| (problem.line, problem.column));
            }
        }
    }

    pub(super) fn into_loaded(self, files: Vec<PathBuf>) -> Loaded {
        Loaded {
            resources: self.resources,
            problems: self.problems,
            files,
        }
    }
}

/// Where a resource stands now; its own `source` may be from before its document moved.
fn line_of(document: &DocumentEntry, item: &Item) -> u32 {
    document.line + item.line_within
}

fn duplicate(item: &Item, file: &Arc<Path>, first: &str) -> Problem {
    let mut path = item.prefix.clone();
    path.extend([
        Segment::Key("metadata".to_owned()),
        Segment::Key("name".to_owned()),
    ]);
    Problem {
        severity: Severity::Error,
        file: Arc::clone(file),
        line: 1,
        column: 1,
        resource: item.resource.to_string(),
        path: text_of(&path),
        message: format!("{} is already defined at {first}", item.resource),
    }
}

/// The place of a resource's name; it is not kept for all resources because it is rarely needed.
fn name_place(text: &str, index: usize, prefix: &[Segment]) -> Option<(u32, u32)> {
    let text = yaml::normalize(text);
    let document = split::documents(&text).into_iter().nth(index)?;
    let mut path = prefix.to_vec();
    path.extend([
        Segment::Key("metadata".to_owned()),
        Segment::Key("name".to_owned()),
    ]);
    let place = Places::of(document.text).find(&path, At::Value);
    Some((document.line + place.line - 1, place.column))
}

// === impl ByName ===

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        a.meta.name == b.meta.name && a.meta.namespace == b.meta.namespace && a.kind() == b.kind()
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.meta.name.hash(state);
        self.0.meta.namespace.hash(state);
        self.0.kind().hash(state);
    }
}
