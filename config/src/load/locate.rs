//! Where findings about resources stand: file, line and column.
//!
//! Places are not kept for all resources, because a finding is rare. They are looked up in the text
//! when a finding names them, and remembered with the document until it changes.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::document::Item;
use super::split::{self, Document};
use super::{FileEntry, Loader, files};
use crate::decode::path::{segments_of, text_of};
use crate::problem::{Finding, Problem};
use crate::resource::Resource;
use crate::yaml::{self, At, Place, Places};

/// Places within a document by path, with lines that count from the document's first.
pub(super) type Remembered = FxHashMap<String, Place>;

/// Findings whose resource was not met yet, by the resource's address. They keep it alive, so that
/// no other resource can have the address.
pub(super) struct Waiting(FxHashMap<usize, Vec<(Arc<Resource>, Finding)>>);

/// A finding about a resource of the file at hand.
struct Met {
    /// Number of the document in the file.
    document: usize,
    /// Lines between the document's first and the resource's first.
    line_within: u32,
    resource: Arc<Resource>,
    /// Path from the document.
    path: String,
    finding: Finding,
}

/// The documents of a file as it is now, of which only those are used that are as they were.
struct Texts<'t> {
    documents: &'t [Document<'t>],
    hasher: &'t RandomState,
    /// The document that was walked last, by its number.
    walked: Option<(usize, Places)>,
}

// === impl Loader ===

impl Loader {
    /// The place of each finding of an analysis of what was loaded last, in the order of files and
    /// of places.
    ///
    /// A file is only read again if a path in it is asked for the first time since its document
    /// changed; if the document is another by then, its first line stands for the place. Findings
    /// about resources that are not from here come last, at the line that the resource names.
    pub fn locate(&mut self, findings: Vec<(Arc<Resource>, Finding)>) -> Vec<Problem> {
        if findings.is_empty() {
            return Vec::new();
        }
        let mut waiting = Waiting::new(findings);
        let mut entries: Vec<&mut FileEntry> = self.known.values_mut().collect();
        entries.sort_unstable_by_key(|entry| entry.rank);
        let mut problems = Vec::new();
        for entry in entries {
            let file = Arc::clone(&entry.file);
            let text = || files::read(&file).ok().map(Cow::Owned);
            problems.extend(waiting.within(entry, &self.hasher, text));
        }
        problems.extend(waiting.elsewhere());
        problems
    }
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new(findings: Vec<(Arc<Resource>, Finding)>) -> Self {
        let mut by_resource: FxHashMap<usize, Vec<_>> = FxHashMap::default();
        for (resource, finding) in findings {
            let address = Arc::as_ptr(&resource).addr();
            by_resource
                .entry(address)
                .or_default()
                .push((resource, finding));
        }
        Self(by_resource)
    }

    /// Problems for the findings about resources of a file; `text` gives the file's text.
    pub(super) fn within<'t>(
        &mut self,
        entry: &mut FileEntry,
        hasher: &RandomState,
        text: impl FnOnce() -> Option<Cow<'t, str>>,
    ) -> Vec<Problem> {
        let met = self.met(entry);
        let is_known = |met: &Met| entry.documents[met.document].places.contains_key(&met.path);
        let text = match met.iter().all(is_known) {
            true => None,
            false => text(),
        };
        let text = text.as_deref().map(yaml::normalize);
        let documents = text.as_deref().map_or_else(Vec::new, split::documents);
        let mut texts = Texts {
            documents: &documents,
            hasher,
            walked: None,
        };
        let problems = met.into_iter().map(|met| {
            let document = &mut entry.documents[met.document];
            let place = match document.places.get(&met.path) {
                Some(place) => *place,
                None => match texts.find(met.document, document.hash, &met.path) {
                    Some(place) => {
                        document.places.insert(met.path.clone(), place);
                        place
                    }
                    None => Place {
                        line: 1 + met.line_within,
                        column: 1,
                    },
                },
            };
            Problem {
                severity: met.finding.severity,
                file: Arc::clone(&entry.file),
                line: document.line + place.line - 1,
                column: place.column,
                resource: met.resource.to_string(),
                path: met.path,
                message: met.finding.message,
            }
        });
        let mut problems: Vec<Problem> = problems.collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }

    /// Takes the findings about resources of a file, in the order of its documents.
    fn met(&mut self, entry: &FileEntry) -> Vec<Met> {
        let mut met = Vec::new();
        for (number, document) in entry.documents.iter().enumerate() {
            for item in &document.parsed.items {
                let address = Arc::as_ptr(&item.resource).addr();
                let findings = self.0.remove(&address).into_iter().flatten();
                met.extend(findings.map(|(resource, finding)| Met {
                    document: number,
                    line_within: item.line_within,
                    resource,
                    path: path_in_document(item, &finding),
                    finding,
                }));
            }
        }
        met
    }

    /// Problems for the findings that are left.
    fn elsewhere(self) -> Vec<Problem> {
        let findings = self.0.into_values().flatten();
        let problems = findings.map(|(resource, finding)| Problem {
            severity: finding.severity,
            file: Arc::clone(&resource.source.file),
            line: resource.source.line,
            column: 1,
            resource: resource.to_string(),
            path: finding.path,
            message: finding.message,
        });
        let mut problems: Vec<Problem> = problems.collect();
        problems.sort_by(|a, b| (&a.file, a.line, &a.path).cmp(&(&b.file, b.line, &b.path)));
        problems
    }
}

fn path_in_document(item: &Item, finding: &Finding) -> String {
    if item.prefix.is_empty() {
        return finding.path.clone();
    }
    let mut segments = item.prefix.clone();
    segments.extend(segments_of(&finding.path));
    text_of(&segments)
}

// === impl Texts ===

impl Texts<'_> {
    /// The place of a path in a document, if the document's text still has this hash.
    fn find(&mut self, number: usize, hash: u64, path: &str) -> Option<Place> {
        let places = match self.walked.take() {
            Some((walked, places)) if walked == number => places,
            Some(_) | None => {
                let document = self.documents.get(number)?;
                if self.hasher.hash_one(document.text) != hash {
                    return None;
                }
                Places::of(document.text)
            }
        };
        let place = places.find(&segments_of(path), At::Value);
        self.walked = Some((number, places));
        Some(place)
    }
}

#[cfg(test)]
mod tests;
