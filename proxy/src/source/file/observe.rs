//! The state of configured files, and the folders in which a change of it shows.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
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

/// Which folder a path leads to: device and inode.
pub(super) type Identity = (u64, u64);

/// The state of all configured files at one time.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Hash over the names of all files and what changes with their content.
    state: u64,
    /// Whether some file is so young that an equal state proves nothing.
    unsettled: bool,
    /// Folders, free of links, in which a change shows: those that hold a file, a link on the way
    /// to one, or the place where a missing one would be.
    pub(super) folders: BTreeMap<PathBuf, Identity>,
}

/// One walk over the configured paths.
struct Walk {
    now: SystemTime,
    hasher: DefaultHasher,
    observed: Observed,
}

/// Looks at every file that `paths` stand for.
pub(super) fn observe(paths: &[PathBuf]) -> Observed {
    let mut walk = Walk {
        now: SystemTime::now(),
        hasher: DefaultHasher::new(),
        observed: Observed::default(),
    };
    for path in paths {
        walk.visit(path, &mut Vec::new());
    }
    Observed {
        state: walk.hasher.finish(),
        ..walk.observed
    }
}

// === impl Observed ===

impl Observed {
    /// Whether the files may hold something else than before.
    pub(super) fn differs_from(&self, before: &Self) -> bool {
        self.unsettled || self.state != before.state
    }
}

// === impl Walk ===

impl Walk {
    /// Looks at a configured path, or at a name that a folder shows as one; `above` holds the
    /// folders on the way here, so that a link back up ends the descent.
    fn visit(&mut self, path: &Path, above: &mut Vec<Identity>) {
        path.hash(&mut self.hasher);
        self.trace(path);
        let Ok(metadata) = fs::metadata(path) else {
            return 0_u8.hash(&mut self.hasher);
        };
        if !metadata.is_dir() {
            return self.stamp(&metadata);
        }
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

    fn stamp(&mut self, metadata: &Metadata) {
        1_u8.hash(&mut self.hasher);
        identity(metadata).hash(&mut self.hasher);
        (metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut self.hasher);
        (metadata.ctime(), metadata.ctime_nsec()).hash(&mut self.hasher);
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        // Times ahead of the clock prove nothing either, but only for as long.
        let age = self
            .now
            .duration_since(modified)
            .unwrap_or_else(|ahead| ahead.duration());
        self.observed.unsettled |= age < SETTLED_AFTER;
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
