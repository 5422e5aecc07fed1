//! Servers of others, as Debian ships them. None of them knows of a proxy.

mod databases;
mod secure_shell;
mod web;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) use databases::{Mariadb, Postgres, Redis};
pub(crate) use secure_shell::SecureShell;
pub(crate) use web::{Chat, Grpc, Web};

/// A program of a Debian package.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn debian(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed: it is in the Debian package `{package}`")
    })
}

/// What `tests/install-peers` puts below the target folder.
///
/// # Panics
///
/// If it is not there.
pub(crate) fn peer(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo has its folder for tests in the target folder");
    let found = target.join("peers").join(path);
    let name = found.display();
    assert!(
        found.is_file(),
        "{name} is not there: run `tests/install-peers`"
    );
    found
}

/// A folder of a server that runs as a user of its own.
fn folder_of(user: u32) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be made");
    std::os::unix::fs::chown(folder.path(), Some(user), Some(user)).expect("root may give away");
    folder
}

/// The number of a user of the system.
fn user(name: &str, package: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").expect("the system has users");
    let ours = |line: &&str| line.split(':').next() == Some(name);
    let number = users.lines().find(ours);
    let number = number.and_then(|line| line.split(':').nth(2)?.parse().ok());
    number.unwrap_or_else(|| panic!("no user {name}: it comes with the Debian package `{package}`"))
}
