//! Files and folders to the files that are read, and the text of each.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Deepest nesting of folders below a given one.
const FOLDER_DEPTH_MAX: usize = 16;

/// A file younger than this when it was read may change again without a change of its times: they
/// are kept in steps of the system's clock tick (up to 10 ms), and on some file systems of a second.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What changes whenever a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// What it looked like when it was found; `None` if its times cannot be relied on.
    pub(super) stamp: Option<Stamp>,
}

/// A path that cannot be used, and why.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) path: PathBuf,
    pub(super) message: String,
}

/// The files that `path` stands for: itself, or the YAML and JSON files of a folder and its
/// subfolders in the order of their names. Hidden names are skipped: a mounted `ConfigMap` keeps its
/// data in `..data` and shows it by links with plain names.
pub(super) fn expand(path: &Path, files: &mut Vec<Listed>, unusable: &mut Vec<Unusable>) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let before = (files.len(), unusable.len());
            walk(path, &mut vec![identity(&metadata)], files, unusable);
            if before == (files.len(), unusable.len()) {
                let message = "has no *.yaml, *.yml or *.json file".to_owned();
                unusable.push(Unusable {
                    path: path.to_owned(),
                    message,
                });
            }
        }
        Ok(metadata) => files.push(Listed {
            path: path.to_owned(),
            stamp: stamp(&metadata),
        }),
        Err(error) => unusable.push(unreadable(path, &error)),
    }
}

/// The text of a file, or why it cannot be used.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let too_large = || format!("is larger than {} MiB", FILE_BYTES_MAX / 1024 / 1024);
    let file = File::open(path).map_err(|error| cannot_read(&error))?;
    let expected = file.metadata().map_or(0, |metadata| metadata.len());
    if expected > FILE_BYTES_MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "is not UTF-8 text: byte {}",
            error.utf8_error().valid_up_to() + 1
        )
    })
}

/// The stamp of a file, if it is one whose times can be relied on.
fn stamp(metadata: &Metadata) -> Option<Stamp> {
    let settled = metadata
        .modified()
        .ok()?
        .max(changed(metadata)?)
        .checked_add(SETTLED_AFTER)?;
    (metadata.is_file() && settled < SystemTime::now()).then(|| Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn changed(metadata: &Metadata) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(metadata.ctime()).ok()?))
}

/// `above` holds the folders on the way here, so that a link back up ends the descent.
fn walk(
    folder: &Path,
    above: &mut Vec<(u64, u64)>,
    files: &mut Vec<Listed>,
    unusable: &mut Vec<Unusable>,
) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return unusable.push(unreadable(folder, &error)),
    };
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    entries.sort_by_cached_key(DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let wanted = matches!(
            path.extension().and_then(|extension| extension.to_str()),
            Some("yaml" | "yml" | "json")
        );
        // A look through the open folder costs half of one by the whole path, which only links need.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            if wanted {
                let stamp = entry.metadata().ok().as_ref().and_then(stamp);
                files.push(Listed { path, stamp });
            }
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let identity = identity(&metadata);
                if !above.contains(&identity) && above.len() <= FOLDER_DEPTH_MAX {
                    above.push(identity);
                    walk(&path, above, files, unusable);
                    above.pop();
                }
            }
            Ok(metadata) if wanted && metadata.is_file() => {
                files.push(Listed {
                    path,
                    stamp: stamp(&metadata),
                });
            }
            Ok(_) => {}
            Err(error) if wanted => unusable.push(unreadable(&path, &error)),
            Err(_) => {}
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn unreadable(path: &Path, error: &io::Error) -> Unusable {
    Unusable {
        path: path.to_owned(),
        message: cannot_read(error),
    }
}

fn cannot_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
