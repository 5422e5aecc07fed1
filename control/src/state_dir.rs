//! The folder in which a control plane without Kubernetes keeps its keys: for its owner alone, each
//! file written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Only the owner may look into the folder.
const FOLDER_MODE: u32 = 0o700;
/// Only the owner reads secrets.
const SECRET_MODE: u32 = 0o600;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Whose holder is the only one that writes.
const LOCK: &str = ".lock";

/// A folder that exists.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// A file or folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}", path.display())]
pub struct StateError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// While it lives nobody else writes in the folder.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

// === impl StateDir ===

impl StateDir {
    /// Makes it if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or others than its owner may write to it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let dir = Self {
            path: path.to_owned(),
        };
        let made = DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path);
        made.map_err(|source| dir.error("", "make the folder", source))?;
        let metadata = fs::metadata(path);
        let mode = metadata.map_err(|source| dir.error("", "look at the folder", source))?;
        // Whoever can replace the keys of a mesh is whom he wants to be.
        if mode.permissions().mode() & 0o022 != 0 {
            let source = io::Error::other("others than its owner may write to it");
            return Err(dir.error("", "use the folder", source));
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a file; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is no text.
    pub fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            let file = File::open(self.path.join(name))?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(name, "read", error)),
        }
    }

    /// Writes a file in the place of one of the same name, if there is one. Only its owner may read it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn replace(&self, name: &str, text: &str) -> Result<(), StateError> {
        let replace = || -> io::Result<()> {
            let beside = self.path.join(format!(".{name}.new"));
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true);
            let mut file = options.mode(SECRET_MODE).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, self.path.join(name))?;
            // The new name is on disk once the folder is.
            File::open(&self.path)?.sync_all()
        };
        replace().map_err(|source| self.error(name, "write", source))
    }

    /// Removes a file; whether it was there.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool, StateError> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.error(name, "remove", error)),
        }
    }

    /// Waits until nobody else writes. What is read before this may be old by then.
    ///
    /// # Errors
    ///
    /// If the folder cannot be locked.
    pub fn lock(&self) -> Result<Lock, StateError> {
        let lock = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false);
            let file = options.mode(SECRET_MODE).open(self.path.join(LOCK))?;
            file.lock()?;
            Ok(file)
        };
        let locked = lock().map_err(|source| self.error(LOCK, "lock", source));
        locked.map(|file| Lock { _file: file })
    }

    fn error(&self, name: &str, action: &'static str, source: io::Error) -> StateError {
        StateError {
            path: self.path.join(name),
            action,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_the_owner_reads_what_is_kept() {
        let outer = TempDir::new().expect("a folder");
        let path = outer.path().join("state");
        let dir = StateDir::open(&path).expect("made");

        dir.replace("key.pem", "secret").expect("written");

        let mode = |path: &Path| {
            let metadata = fs::metadata(path).expect("it exists");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), FOLDER_MODE);
        assert_eq!(mode(&path.join("key.pem")), SECRET_MODE);
        assert_eq!(
            dir.read("key.pem").expect("read").as_deref(),
            Some("secret")
        );
        assert_eq!(dir.read("other").expect("no error"), None);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let folder = TempDir::new().expect("a folder");
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), open).expect("permissions");

        StateDir::open(folder.path()).expect_err("anyone could replace the keys");
    }
}
