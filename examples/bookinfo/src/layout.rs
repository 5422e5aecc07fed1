//! The folder of one running Bookinfo: live YAML, certificates or tokens, logs.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::workload::NAMESPACE;

/// Paths below one folder, which belongs to one process at a time.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Held as long as the process lives: two of them would overwrite each other's ports.
    _lock: File,
}

/// Whether there was a `routes.yaml` before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routes {
    /// Written now.
    Fresh,
    /// Left as somebody edited it in an earlier run.
    Kept,
}

impl Layout {
    /// Makes the folders below `root` and takes the folder for this process.
    ///
    /// # Errors
    ///
    /// When the folders cannot be made, or another Bookinfo uses them.
    pub(crate) fn claim(root: &Path) -> anyhow::Result<Self> {
        for folder in ["config/sidecars", "logs", "tokens"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        // Absolute, because the page and the proxies outlive any change of directory.
        let root = fs::canonicalize(root).context("find the folder just made")?;
        let lock = File::create(root.join("lock")).context("make the lock file")?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another bookinfo runs from {}; stop it or give --dir",
                root.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).context("take the lock file"),
        }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What every proxy reads.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The file that people edit.
    pub(crate) fn routes(&self) -> PathBuf {
        self.config().join("routes.yaml")
    }

    /// The listeners of the proxy beside the workload `name`.
    pub(crate) fn sidecar(&self, name: &str) -> PathBuf {
        self.config().join("sidecars").join(format!("{name}.yaml"))
    }

    /// The certificates of all proxies.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    /// What the proxies of a service account prove themselves with.
    pub(crate) fn identity(&self, service_account: &str) -> PathBuf {
        let folder = format!("{NAMESPACE}.{service_account}");
        self.certificates().join(folder)
    }

    /// Keys of the control plane.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The authority that the control plane is, as the proxies know it.
    pub(crate) fn control_root(&self) -> PathBuf {
        self.keys().join("root-cert.pem")
    }

    /// What proves to the control plane that a proxy belongs to a service account.
    pub(crate) fn token(&self, service_account: &str) -> PathBuf {
        self.root.join("tokens").join(service_account)
    }

    /// What the proxy `name` keeps of what the control plane told.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.root.join("state").join(name)
    }

    /// What the process `name` writes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Writes `routes.yaml` unless there is one.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn first_routes(&self, yaml: &str) -> anyhow::Result<Routes> {
        if self.routes().exists() {
            return Ok(Routes::Kept);
        }
        replace(&self.routes(), yaml)?;
        Ok(Routes::Fresh)
    }
}

/// Writes a whole file in one step, so that no reader ever sees half of it.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // The ending keeps the unfinished file out of what the proxies read.
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, text)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("write {}", path.display()))
}

/// `path` as a person in the current directory would write it.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here
        .as_deref()
        .and_then(|here| path.strip_prefix(here).ok());
    short.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_serves_one_bookinfo_and_keeps_the_routes_of_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::claim(dir.path()).unwrap();
        assert_eq!(first.first_routes("a").unwrap(), Routes::Fresh);

        let second = Layout::claim(dir.path());
        assert!(second.unwrap_err().to_string().contains("--dir"));

        drop(first);
        let third = Layout::claim(dir.path()).unwrap();
        assert_eq!(third.first_routes("b").unwrap(), Routes::Kept);
        assert_eq!(fs::read_to_string(third.routes()).unwrap(), "a");
    }
}
