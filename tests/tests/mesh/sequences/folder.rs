//! A folder of documents as it should be understood, and the files that it is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::documents::{Document, one_of};

/// Files that documents are spread over.
const FILES_MAX: u8 = 6;
/// A file that has nothing but mistakes.
const STRAY: &str = "stray.yaml";
/// What is no document that can be used.
const MISTAKES: [&str; 4] = [
    "kind: [",
    "apiVersion: networking.istio.io/v1\nkind: Nonsense\nmetadata: {name: a}\n",
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: wrong}\n\
     spec: {hosts: [wrong.test], http: [{timeout: 5}]}\n",
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: wrong}\n\
     spec: {action: SOMETIMES}\n",
];

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<String, File>,
    has_stray: bool,
    /// Counts files, so that none comes back under its name before it is seen that it was gone.
    number: u32,
}

#[derive(Debug, Default)]
struct File {
    documents: Vec<Document>,
    /// Whether it is written as something that cannot be used: then it means what it did before.
    is_broken: bool,
    /// Whether what it says was seen to be in use, so that it is what remains of it.
    is_in_use: bool,
}

// === impl Folder ===

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        fs::create_dir(path).expect("a temporary folder can be made");
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
            has_stray: false,
            number: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What all of it means, as one text.
    pub(super) fn text(&self) -> String {
        let documents = self.files.values().flat_map(|file| &file.documents);
        let texts: Vec<&str> = documents.map(|it| it.text.as_str()).collect();
        texts.join("---\n")
    }

    /// Puts a document in the place of the one that it is another form of, or beside others; not into
    /// a file that cannot be used.
    pub(super) fn put(&mut self, rng: &mut Rng, document: Document) -> String {
        let told = format!("put {}", named(&document));
        let has = |file: &&String| {
            let documents = &self.files[*file].documents;
            documents.iter().any(|it| it.is_same(&document))
        };
        let name = match self.files.keys().find(has).cloned() {
            Some(name) => name,
            None => self.any_file(rng),
        };
        let file = self.files.entry(name.clone()).or_default();
        if file.is_broken {
            return format!("{told}: not while {name} is broken");
        }
        match file.documents.iter_mut().find(|it| it.is_same(&document)) {
            Some(before) => *before = document,
            None => file.documents.push(document),
        }
        self.write(rng, &name);
        format!("{told} into {name}")
    }

    /// A file that there is, or a new one.
    fn any_file(&mut self, rng: &mut Rng) -> String {
        let at = rng.u8(..FILES_MAX);
        match self.files.keys().nth(at.into()) {
            Some(name) => name.clone(),
            None => self.new_name(),
        }
    }

    fn new_name(&mut self) -> String {
        self.number += 1;
        format!("f{}.yaml", self.number)
    }

    /// Takes a document away for which `may_go`.
    pub(super) fn delete(&mut self, rng: &mut Rng, may_go: impl Fn(&Document) -> bool) -> String {
        let Some((name, at)) = self.pick(rng, may_go) else {
            return "delete nothing".to_owned();
        };
        let file = self.files.get_mut(&name).expect("it was just seen");
        let gone = file.documents.remove(at);
        if file.documents.is_empty() {
            self.files.remove(&name);
            fs::remove_file(self.path.join(&name)).expect("a file can be removed");
        } else {
            self.write(rng, &name);
        }
        format!("delete {} from {name}", named(&gone))
    }

    /// Gives a document for which `may_change` another name that nobody has.
    pub(super) fn rename(
        &mut self,
        rng: &mut Rng,
        may_change: impl Fn(&Document) -> bool,
    ) -> String {
        let Some((name, at)) = self.pick(rng, may_change) else {
            return "rename nothing".to_owned();
        };
        self.number += 1;
        let renamed = format!("renamed-{}", self.number);
        let file = self.files.get_mut(&name).expect("it was just seen");
        let document = &mut file.documents[at];
        let told = format!("rename {} to {renamed}", named(document));
        *document = document.renamed(&renamed);
        self.write(rng, &name);
        told
    }

    /// A document in a file that can be used.
    fn pick(&self, rng: &mut Rng, may: impl Fn(&Document) -> bool) -> Option<(String, usize)> {
        let files = self.files.iter().filter(|(_, file)| !file.is_broken);
        let all = files.flat_map(|(name, file)| {
            let documents = file.documents.iter().enumerate();
            documents.map(move |(at, document)| (name, at, document))
        });
        let all: Vec<_> = all.filter(|(_, _, document)| may(document)).collect();
        let (name, at, _) = *rng.choice(all.iter())?;
        Some((name.clone(), at))
    }

    /// Moves a file, which changes nothing.
    pub(super) fn move_file(&mut self, rng: &mut Rng) -> String {
        let Some(name) = self.file(rng, |file| !file.is_broken) else {
            return "move nothing".to_owned();
        };
        let mut file = self.files.remove(&name).expect("it was just seen");
        // Under its new name nobody has seen it: of what it has, a mistake right after this would leave nothing.
        file.is_in_use = false;
        let new = self.new_name();
        fs::rename(self.path.join(&name), self.path.join(&new)).expect("a file can be renamed");
        self.files.insert(new.clone(), file);
        format!("move {name} to {new}")
    }

    /// Makes a mistake in a file, or takes a file of mistakes in, which changes nothing.
    pub(super) fn break_one(&mut self, rng: &mut Rng) -> String {
        let mistake = one_of(rng, &MISTAKES);
        let is_whole = |file: &File| file.is_in_use && !file.is_broken;
        let Some(name) = self.file(rng, is_whole).filter(|_| rng.bool()) else {
            self.has_stray = true;
            fs::write(self.path.join(STRAY), mistake).expect("a file can be written");
            return format!("mistake in {STRAY}");
        };
        let file = self.files.get_mut(&name).expect("it was just seen");
        file.is_broken = true;
        // What is still there as it was says so; what is not stays all the same.
        let rest = match rng.bool() {
            true => text(&file.documents),
            false => String::new(),
        };
        let written = format!("{rest}\n---\n{mistake}");
        fs::write(self.path.join(&name), written).expect("a file can be written");
        format!("mistake in {name}")
    }

    /// Repairs everything.
    pub(super) fn mend(&mut self, rng: &mut Rng) -> String {
        if std::mem::take(&mut self.has_stray) {
            fs::remove_file(self.path.join(STRAY)).expect("a file can be removed");
        }
        let broken = self.files.iter().filter(|(_, file)| file.is_broken);
        let broken: Vec<String> = broken.map(|(name, _)| name.clone()).collect();
        for name in &broken {
            self.write(rng, name);
        }
        format!("mend {broken:?}")
    }

    /// Notes that all that is written is in use.
    pub(super) fn note_in_use(&mut self) {
        let whole = self.files.values_mut().filter(|file| !file.is_broken);
        whole.for_each(|file| file.is_in_use = true);
    }

    fn file(&self, rng: &mut Rng, may: impl Fn(&File) -> bool) -> Option<String> {
        let files = self.files.iter().filter(|(_, file)| may(file));
        let names: Vec<&String> = files.map(|(name, _)| name).collect();
        rng.choice(names).cloned()
    }

    /// Writes a file as it should be, in one step or in place.
    fn write(&mut self, rng: &mut Rng, name: &str) {
        let file = self.files.get_mut(name).expect("a file of ours");
        (file.is_broken, file.is_in_use) = (false, false);
        let (path, text) = (self.path.join(name), text(&file.documents));
        if rng.bool() {
            fs::write(&path, text).expect("a file can be written");
            return;
        }
        let new = path.with_extension("new");
        fs::write(&new, text).expect("a file can be written");
        fs::rename(&new, &path).expect("a file can be renamed");
    }
}

fn text(documents: &[Document]) -> String {
    let texts: Vec<&str> = documents.iter().map(|it| it.text.as_str()).collect();
    texts.join("---\n")
}

fn named(document: &Document) -> String {
    let Document {
        kind,
        namespace,
        name,
        ..
    } = document;
    format!("{kind} {namespace}/{name}")
}
