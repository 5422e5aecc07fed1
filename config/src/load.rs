//! Files and folders to resources: all of them, or every reason why not.
//!
//! A loader remembers each document by a hash of its text. A reload parses only documents that
//! changed and hands out the very same `Arc` for all others, so that what is compiled from them
//! can be kept by comparing pointers.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

mod document;
mod files;
mod kind;
mod locate;
mod mesh_config;
mod metadata;
mod set;
mod split;

use crate::analyze::analyze;
use crate::mesh::{Mesh, MeshSettings};
use crate::problem::{Problem, Severity};
use crate::resource::{Resource, Source};
use crate::yaml;
use document::{Item, Origin, Parsed};
pub(crate) use files::read as read_file;
use files::{Listed, Stamp, Unusable};
use locate::{Remembered, Waiting};
use set::{Set, whole_file};
pub(crate) use split::documents as split_documents;

/// Loads the same paths again and again, parsing only what changed.
#[derive(Debug)]
pub struct Loader {
    default_namespace: String,
    /// Keyed anew in every process, so that no file can be made to collide with another.
    hasher: RandomState,
    /// By the path's text: hashing a path walks its components.
    known: FxHashMap<OsString, FileEntry>,
}

/// What the paths hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Resources without errors, in the order of files and of documents.
    pub resources: Vec<Arc<Resource>>,
    /// All problems, in the order of files and of places.
    pub problems: Vec<Problem>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Loads one text as if it were the file `name`.
pub fn parse(name: &str, text: &str, default_namespace: &str) -> Loaded {
    load_text(&Loader::new(default_namespace), name, text).0
}

/// Loads one text as if it were the file `name`, and says too what is wrong between its resources.
///
/// That is only asked if none has an error: with one left out, others would be said to name what
/// does not exist. The mesh has default settings.
pub fn parse_and_analyze(name: &str, text: &str, default_namespace: &str) -> Loaded {
    let loader = Loader::new(default_namespace);
    let (mut loaded, mut entry) = load_text(&loader, name, text);
    if !loaded.has_errors() {
        let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
        let mut waiting = Waiting::new(analyze(&mesh, &loaded.resources));
        let found = waiting.within(&mut entry, &loader.hasher, || Some(Cow::Borrowed(text)));
        loaded.problems.extend(found);
        let place = |problem: &Problem| (problem.line, problem.column);
        loaded.problems.sort_by_key(place);
    }
    loaded
}

/// Reads one document that was received under a name. What is not known in it is skipped; that is
/// among the problems, as warnings.
pub(crate) fn receive(name: &str, value: &serde_json::Value) -> Loaded {
    let file: Arc<Path> = Arc::from(Path::new(name));
    let origin = Origin {
        file: &file,
        line: 1,
        default_namespace: "default",
    };
    let Parsed { items, problems } = document::read(value, origin);
    Loaded {
        resources: items.into_iter().map(|item| item.resource).collect(),
        problems,
        files: Vec::new(),
    }
}

/// Reads one object that somebody wants to write, as strictly as a document of a file.
///
/// Fields by which a server knows objects are read past; places in the problems are those of no text.
pub fn object(value: &serde_json::Value, default_namespace: &str) -> Loaded {
    let file: Arc<Path> = Arc::from(Path::new(""));
    let origin = Origin {
        file: &file,
        line: 1,
        default_namespace,
    };
    let Parsed { items, problems } = document::judge(value, origin);
    Loaded {
        resources: items.into_iter().map(|item| item.resource).collect(),
        problems,
        files: Vec::new(),
    }
}

fn load_text(loader: &Loader, name: &str, text: &str) -> (Loaded, FileEntry) {
    let path = PathBuf::from(name);
    let entry = loader.entry(&Arc::from(path.as_path()), text, None);
    let mut set = Set::default();
    set.add(&entry, || Some(Cow::Borrowed(text)));
    (set.into_loaded(vec![path]), entry)
}

/// One file as it was last read.
#[derive(Debug)]
struct FileEntry {
    file: Arc<Path>,
    /// Its place among the files that were loaded.
    rank: usize,
    /// `None` if the file must be read again in any case.
    stamp: Option<Stamp>,
    /// Length of its text.
    bytes: usize,
    documents: Vec<DocumentEntry>,
}

#[derive(Debug, Clone)]
struct DocumentEntry {
    hash: u64,
    line: u32,
    parsed: Arc<Parsed>,
    /// Places in the document that were asked for.
    places: Remembered,
}

// === impl Loader ===

impl Loader {
    /// A loader that has read nothing; `default_namespace` is that of documents that name none.
    pub fn new(default_namespace: &str) -> Self {
        Self {
            default_namespace: default_namespace.to_owned(),
            hasher: RandomState::new(),
            known: FxHashMap::default(),
        }
    }

    /// Loads files and folders. What cannot be read is among the problems.
    pub fn load(&mut self, paths: &[PathBuf]) -> Loaded {
        let mut set = Set::default();
        let mut listed = Vec::new();
        let mut unusable = Vec::new();
        for path in paths {
            files::expand(path, &mut listed, &mut unusable);
        }
        for Unusable { path, message } in unusable {
            set.problems.push(whole_file(&path, message));
        }
        // The same file may be named twice, by itself and by its folder.
        let mut known = FxHashMap::default();
        let mut files = Vec::with_capacity(listed.len());
        for Listed { path, stamp } in listed {
            if known.contains_key(path.as_os_str()) {
                continue;
            }
            match self.refresh(&path, stamp) {
                Ok(mut entry) => {
                    entry.rank = files.len();
                    set.add(&entry, || files::read(&path).ok().map(Cow::Owned));
                    known.insert(path.clone().into_os_string(), entry);
                }
                Err(message) => set.problems.push(whole_file(&path, message)),
            }
            files.push(path);
        }
        self.known = known;
        set.into_loaded(files)
    }

    /// The length of a file's text when it was loaded last; 0 if it was not among the files then.
    pub fn bytes(&self, file: &Path) -> usize {
        self.known.get(file.as_os_str()).map_or(0, |it| it.bytes)
    }

    /// The file as it is now, with as much as possible of what was known of it.
    fn refresh(&mut self, path: &Path, stamp: Option<Stamp>) -> Result<FileEntry, String> {
        let known = match self.known.remove(path.as_os_str()) {
            Some(known) if stamp.is_some() && known.stamp == stamp => return Ok(known),
            known => known,
        };
        // The stamp is older than the text: a change in between is seen the next time.
        let text = files::read(path)?;
        let file = known
            .as_ref()
            .map_or_else(|| Arc::from(path), |known| Arc::clone(&known.file));
        let mut entry = self.entry(&file, &text, known);
        entry.stamp = stamp;
        Ok(entry)
    }

    fn entry(&self, file: &Arc<Path>, text: &str, known: Option<FileEntry>) -> FileEntry {
        let text = yaml::normalize(text);
        let known = known.map_or_else(Vec::new, |known| known.documents);
        let mut by_hash: Option<FxHashMap<u64, &DocumentEntry>> = None;
        let documents = split::documents(&text)
            .into_iter()
            .enumerate()
            .map(|(index, document)| {
                let hash = self.hasher.hash_one(document.text);
                // Most documents keep their number; the index is only built when one does not.
                let same = known
                    .get(index)
                    .filter(|known| known.hash == hash)
                    .or_else(|| {
                        let by_hash = by_hash.get_or_insert_with(|| {
                            known.iter().map(|known| (known.hash, known)).collect()
                        });
                        by_hash.get(&hash).copied()
                    });
                let origin = Origin {
                    file,
                    line: document.line,
                    default_namespace: &self.default_namespace,
                };
                let (parsed, places) = match same {
                    Some(same) => (same.moved_to(document.line), same.places.clone()),
                    None => {
                        let parsed = document::parse(document.text, origin);
                        (Arc::new(parsed), Remembered::default())
                    }
                };
                DocumentEntry {
                    hash,
                    line: document.line,
                    parsed,
                    places,
                }
            });
        let documents = documents.collect();
        FileEntry {
            file: Arc::clone(file),
            rank: 0,
            stamp: None,
            bytes: text.len(),
            documents,
        }
    }
}

// === impl DocumentEntry ===

impl DocumentEntry {
    /// What the document holds when it begins at `line`.
    ///
    /// A resource without problems keeps its `Arc` although its `source.line` is then the line at
    /// which it was first seen: a comment added at the top of a file of 10 000 documents must not
    /// make all of them new for whoever compares pointers. One with problems is shown to people with
    /// its line, so it is copied.
    fn moved_to(&self, line: u32) -> Arc<Parsed> {
        if line == self.line || self.parsed.problems.is_empty() {
            return Arc::clone(&self.parsed);
        }
        let items = self
            .parsed
            .items
            .iter()
            .map(|item| match item.has_problems {
                false => item.clone(),
                true => {
                    let mut resource = Resource::clone(&item.resource);
                    resource.source = Source {
                        line: line + item.line_within,
                        ..resource.source
                    };
                    Item {
                        resource: Arc::new(resource),
                        ..item.clone()
                    }
                }
            });
        Arc::new(Parsed {
            items: items.collect(),
            problems: self.parsed.problems.clone(),
        })
    }
}

// === impl Loaded ===

impl Loaded {
    /// Whether any problem is an error: from files, nothing is used then.
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests;
