//! The state of configured files, and the folders in which a change of it shows.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Links that are followed on the way to one file, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// Deepest nesting of folders below a configured one.
const FOLDER_DEPTH_MAX: usize = 16;

/// A file younger than this may change again without a change of its times, which some file systems
/// keep in steps of a second.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How much of a young file is compared; the loader takes no larger one.
const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

const CONTENT_CHUNK_BYTES: usize = 64 * 1024;

/// Which folder a path leads to: device and inode.
pub(super) type Identity = (u64, u64);

/// The state of all configured files at one time.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Hash of each name on the walk, and the file there, if it is one.
    files: Vec<(u64, Option<Stamp>)>,
    /// Folders, free of links, in which a change shows: those that hold a file, a link on the way
    /// to one, or the place where a missing one would be.
    pub(super) folders: BTreeMap<PathBuf, Identity>,
}

/// What changes with a file's content.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    identity: Identity,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Hash of the content of a file so young that its times prove nothing.
    content: Option<u64>,
}

/// One walk over the configured paths.
struct Walk {
    now: SystemTime,
    observed: Observed,
}

/// Looks at every file that `paths` stand for.
pub(super) fn observe(paths: &[PathBuf]) -> Observed {
    let mut walk = Walk {
        now: SystemTime::now(),
        observed: Observed::default(),
    };
    for path in paths {
        walk.visit(path, &mut Vec::new());
    }
    walk.observed
}

// === impl Observed ===

impl Observed {
    /// Whether the files hold something else than before.
    pub(super) fn differs_from(&self, before: &Self) -> bool {
        let same = |now: &Option<Stamp>, before: &Option<Stamp>| match (now, before) {
            (Some(now), Some(before)) => now.is_same(before),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let pairs = self.files.iter().zip(&before.files);
        self.files.len() != before.files.len()
            || pairs
                .into_iter()
                .any(|(now, before)| now.0 != before.0 || !same(&now.1, &before.1))
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(path: &Path, metadata: &Metadata, now: SystemTime) -> Self {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        // Times ahead of the clock prove nothing either, but only for as long.
        let age = now
            .duration_since(modified)
            .unwrap_or_else(|ahead| ahead.duration());
        Self {
            identity: identity(metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content: (age < SETTLED_AFTER && metadata.is_file())
                .then(|| content(path))
                .flatten(),
        }
    }

    /// Contents count only where both are known: a file that has settled since is the same.
    fn is_same(&self, before: &Self) -> bool {
        self.identity == before.identity
            && self.bytes == before.bytes
            && self.modified == before.modified
            && self.changed == before.changed
            && (self.content == before.content
                || self.content.is_none()
                || before.content.is_none())
    }
}

/// Hash of a file's content, as far as it is read by the loader.
fn content(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok()?.take(CONTENT_BYTES_MAX);
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; CONTENT_CHUNK_BYTES];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            len => hasher.write(&buffer[..len]),
        }
    }
}

// === impl Walk ===

impl Walk {
    /// Looks at a configured path, or at a name that a folder shows as one; `above` holds the
    /// folders on the way here, so that a link back up ends the descent.
    fn visit(&mut self, path: &Path, above: &mut Vec<Identity>) {
        let mut name = DefaultHasher::new();
        path.hash(&mut name);
        self.trace(path);
        let metadata = fs::metadata(path).ok();
        let file = metadata.as_ref().filter(|metadata| !metadata.is_dir());
        let stamp = file.map(|metadata| Stamp::of(path, metadata, self.now));
        self.observed.files.push((name.finish(), stamp));
        let Some(metadata) = metadata.filter(Metadata::is_dir) else {
            return;
        };
        let identity = identity(&metadata);
        if above.contains(&identity) || above.len() > FOLDER_DEPTH_MAX {
            return;
        }
        if let Ok(real) = fs::canonicalize(path) {
            self.observed.folders.insert(real, identity);
        }
        above.push(identity);
        self.list(path, above);
        above.pop();
    }

    /// Looks at what the loader would read of a folder: files of its kinds and folders, none hidden.
    fn list(&mut self, folder: &Path, above: &mut Vec<Identity>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort_unstable();
        for path in names.iter().map(|name| folder.join(name)) {
            let kind = path.extension().and_then(|extension| extension.to_str());
            if matches!(kind, Some("yaml" | "yml" | "json")) || path.is_dir() {
                self.visit(&path, above);
            }
        }
    }

    /// Collects the folders that decide where `path` leads: walks it name by name as the kernel
    /// does, and notes the folder of each link, of the file, and of a name that is missing.
    fn trace(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else {
            return;
        };
        let mut ahead: Vec<PathBuf> = names_reversed(&path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match name.components().next() {
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::from("/");
                    continue;
                }
                Some(Component::Normal(_)) => {}
                Some(Component::CurDir | Component::Prefix(_)) | None => continue,
            }
            let next = at.join(&name);
            let link = fs::read_link(&next);
            let missing = link.is_err() && fs::symlink_metadata(&next).is_err();
            if link.is_ok() || missing || ahead.is_empty() {
                self.note(&at);
            }
            match link {
                Ok(_) if links == LINKS_MAX || missing => return,
                Ok(target) => {
                    links += 1;
                    ahead.extend(names_reversed(&target));
                }
                Err(_) if missing => return,
                Err(_) => at = next,
            }
        }
    }

    fn note(&mut self, folder: &Path) {
        if let Ok(metadata) = fs::metadata(folder) {
            self.observed
                .folders
                .insert(folder.to_owned(), identity(&metadata));
        }
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn names_reversed(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}
