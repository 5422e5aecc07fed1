//! The ways in which files change under a running program.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// How a file is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A new file is renamed over the old one, as most editors do.
    Rename,
    /// The file is written over.
    InPlace,
    /// A link to a folder is exchanged, as kubelet does with a mounted ConfigMap.
    Exchange,
}

/// One file in a folder of configuration, and the way to change it.
#[derive(Debug)]
pub(super) struct Edit {
    folder: PathBuf,
    way: Way,
}

// === impl Way ===

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Rename, Self::InPlace, Self::Exchange];

    /// A name for files and hosts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::InPlace => "in-place",
            Self::Exchange => "exchange",
        }
    }
}

// === impl Edit ===

impl Edit {
    pub(super) fn new(folder: &Path, way: Way) -> Self {
        Self {
            folder: folder.to_owned(),
            way,
        }
    }

    /// Makes the file.
    pub(super) fn create(&self, yaml: &str) {
        match self.way {
            Way::Rename | Way::InPlace => {
                fs::write(self.file(), yaml).expect("a file can be written");
            }
            Way::Exchange => {
                self.exchange(yaml);
                let target = Path::new("..data").join(self.name());
                symlink(target, self.file()).expect("a link can be made");
            }
        }
    }

    /// Changes the file.
    pub(super) fn change(&self, yaml: &str) {
        match self.way {
            Way::Rename => {
                let new = self.folder.join(".new");
                fs::write(&new, yaml).expect("a file can be written");
                fs::rename(new, self.file()).expect("a file can be renamed");
            }
            Way::InPlace => {
                // Not emptied first: an empty file is a valid one, and a slow machine could stand
                // still just then.
                let file = OpenOptions::new().write(true).open(self.file());
                let mut file = file.expect("a file can be opened");
                file.write_all(yaml.as_bytes())
                    .expect("a file can be written");
                file.set_len(yaml.len() as u64).expect("a file can be cut");
            }
            Way::Exchange => self.exchange(yaml),
        }
    }

    /// Writes a new folder and lets `..data` point to it, in the order of kubelet.
    fn exchange(&self, yaml: &str) {
        let data = self.folder.join("..data");
        let old = fs::read_link(&data).ok();
        let folder = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(&self.folder);
        let folder = folder.expect("a folder can be made").keep();
        fs::write(folder.join(self.name()), yaml).expect("a file can be written");
        let name = folder.file_name().expect("a folder has a name");
        let new = self.folder.join("..data_tmp");
        symlink(name, &new).expect("a link can be made");
        fs::rename(new, data).expect("a link can be renamed");
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).expect("a folder can be removed");
        }
    }

    fn name(&self) -> String {
        format!("{}.yaml", self.way.name())
    }

    fn file(&self) -> PathBuf {
        self.folder.join(self.name())
    }
}
