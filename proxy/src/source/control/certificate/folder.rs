//! The folder of what was issued: each time a new one in it, and a link that leads to the last, so that
//! all of it changes in one step.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use config::spiffe::SpiffeId;

use super::schedule::Term;
use crate::source::control::disk::replace;
use crate::tls::identity::{IdentityError, WorkloadIdentity};

/// The link.
const CURRENT: &str = "current";
/// Folder below that of `--state-dir`.
const NAME: &str = "identity";
/// Only the owner looks into it.
const MODE: u32 = 0o700;

/// A folder that exists.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// What was issued, as PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) roots: String,
}

/// Why what was issued is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("what was issued cannot be used")]
    Unusable(#[from] IdentityError),
    #[error("what was issued is for {0}")]
    Foreign(SpiffeId),
    #[error("what was issued is not valid now")]
    Dates,
}

// === impl Folder ===

impl Folder {
    /// That below a folder of state.
    pub(super) fn below(state: &Path) -> io::Result<Self> {
        let path = state.join(NAME);
        DirBuilder::new().recursive(true).mode(MODE).create(&path)?;
        Ok(Self(path))
    }

    /// One that nobody else looks into, for as long as the process runs.
    pub(super) fn private() -> io::Result<Self> {
        let number = fastrand::u64(..);
        let name = format!("meshproxy-{}-{number:016x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Fails if it exists: whoever made it first could look into it.
        DirBuilder::new().mode(MODE).create(&path)?;
        Ok(Self(path))
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.0);
    }

    /// Where an identity is found, if there is one.
    pub(super) fn current(&self) -> PathBuf {
        self.0.join(CURRENT)
    }

    /// When the certificate is valid; none if there is none for `id` that can be used.
    pub(super) fn term(&self, id: &SpiffeId, now: SystemTime) -> Option<Term> {
        check(&self.current(), id, now).ok()
    }

    /// Tries what was issued, and puts it in the place of what there is.
    pub(super) fn keep(
        &self,
        issued: &Issued,
        id: &SpiffeId,
        now: SystemTime,
    ) -> Result<Term, KeepError> {
        let name = format!("{:016x}", fastrand::u64(..));
        let new = self.0.join(&name);
        let kept = write(&new, issued).and_then(|()| {
            let term = check(&new, id, now)?.issued_at(now);
            let pointed = self.point_to(&name);
            pointed.map_err(|source| KeepError::Write(self.current(), source))?;
            Ok(term)
        });
        match kept {
            Ok(_) => self.clear(&name),
            Err(_) => drop(fs::remove_dir_all(&new)),
        }
        kept
    }

    /// Has the link lead to a folder from now on.
    fn point_to(&self, name: &str) -> io::Result<()> {
        let link = self.0.join(format!("{CURRENT}.{name}"));
        symlink(name, &link)?;
        fs::rename(&link, self.current())
    }

    /// Removes what was issued before. What cannot be removed is of no account: it is as secret.
    fn clear(&self, kept: &str) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let is_old = |name: &std::ffi::OsStr| name != kept && name != CURRENT;
        for entry in entries.filter(|entry| is_old(&entry.file_name())) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write(folder: &Path, issued: &Issued) -> Result<(), KeepError> {
    let made = DirBuilder::new().mode(MODE).create(folder);
    made.map_err(|source| KeepError::Write(folder.to_owned(), source))?;
    let texts = [&issued.chain, &issued.key, &issued.roots];
    for (path, text) in WorkloadIdentity::files(folder).into_iter().zip(texts) {
        replace(&path, text).map_err(|source| KeepError::Write(path.clone(), source))?;
    }
    Ok(())
}

/// Checks that there is an identity of `id` that can be used, and says for how long.
fn check(folder: &Path, id: &SpiffeId, now: SystemTime) -> Result<Term, KeepError> {
    let identity = WorkloadIdentity::read(folder, &[])?;
    if identity.id != *id {
        return Err(KeepError::Foreign(identity.id));
    }
    if !identity.is_valid_at(now) {
        return Err(KeepError::Dates);
    }
    identity.check_vouched(now)?;
    Term::of(identity.facts.first()).ok_or(KeepError::Dates)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use authority::{Authority, Key, Request, ask};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn id(account: &str) -> SpiffeId {
        SpiffeId::workload("cluster.local", "default", account).expect("an identity")
    }

    fn issued(authority: &Authority, id: &SpiffeId, now: SystemTime) -> Issued {
        let key = Key::generate().expect("a key");
        let request = Request::from_pem(&ask(id, &key).expect("a request"), id).expect("sound");
        let signed = authority.sign(&request, now, DAY).expect("a certificate");
        Issued {
            chain: signed.chain_pem(),
            key: key.to_pem(),
            roots: authority.chain_pem(),
        }
    }

    #[test]
    fn only_what_can_be_used_takes_the_place_of_what_there_is() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::below(state.path()).expect("a folder");
        let now = SystemTime::now();
        let authority = Authority::root("cluster.local", now - 3 * DAY, 30 * DAY).expect("a root");
        assert_eq!(folder.term(&id("a"), now), None);

        let first = issued(&authority, &id("a"), now);
        assert!(folder.keep(&first, &id("a"), now).is_ok());
        let serial = fs::read_to_string(folder.current().join("cert-chain.pem"));

        let foreign = issued(&authority, &id("b"), now);
        let refused = folder.keep(&foreign, &id("a"), now);
        assert!(matches!(refused, Err(KeepError::Foreign(_))));
        let expired = issued(&authority, &id("a"), now - 2 * DAY);
        let refused = folder.keep(&expired, &id("a"), now);
        assert!(matches!(refused, Err(KeepError::Dates)));
        let after = fs::read_to_string(folder.current().join("cert-chain.pem"));
        assert_eq!(after.expect("a file"), serial.expect("a file"));
        assert!(folder.term(&id("a"), now).is_some());
        assert_eq!(folder.term(&id("b"), now), None);
        let left = fs::read_dir(&folder.0).expect("a folder").count();
        assert_eq!(left, 2, "the link and what it leads to");
    }
}
