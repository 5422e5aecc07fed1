//! A folder of certificates: files that are read whole, replaced by one rename, and, where they hold
//! a secret, only ever created.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use authority::{Authority, Bundle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

/// The chain of a certificate, its own first.
pub(super) const CHAIN: &str = "cert-chain.pem";
/// Its private key.
pub(super) const KEY: &str = "key.pem";
/// Whom its owner believes.
pub(super) const ROOTS: &str = "root-cert.pem";

/// What is added to the name of a file that is not complete.
const UNFINISHED: &str = ".new";
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Only the owner reads secrets.
const SECRET_MODE: u32 = 0o600;

/// A folder that exists.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// A file or folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {source}", path.display())]
pub(super) struct FileError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

// === impl Folder ===

impl Folder {
    /// Makes it if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let made = fs::create_dir_all(path);
        made.map_err(|source| FileError {
            path: path.to_owned(),
            action: "make the folder",
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The text of a file; `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, FileError> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            let file = fs::File::open(self.path(name))?;
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

    /// Writes a file in the place of one of the same name, if there is one.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<(), FileError> {
        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        let written = fs::write(&unfinished, text);
        let replaced = written.and_then(|()| fs::rename(&unfinished, self.path(name)));
        replaced.map_err(|error| self.error(name, "write", error))
    }

    /// Writes a file that only its owner may read and that must not exist.
    pub(super) fn create_secret(&self, name: &str, text: &str) -> Result<(), FileError> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(SECRET_MODE);
        let created = options.open(self.path(name));
        let written = created.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| self.error(name, "write", error))
    }

    fn error(&self, name: &str, action: &'static str, source: io::Error) -> FileError {
        FileError {
            path: self.path(name),
            action,
            source,
        }
    }
}

/// Whether the first certificate of a text was signed by `authority`.
pub(super) fn is_signed_by(chain: &str, authority: &Authority) -> bool {
    let Ok(leaf) = CertificateDer::from_pem_slice(chain.as_bytes()) else {
        return false;
    };
    let parsed = (
        parse_x509_certificate(&leaf),
        parse_x509_certificate(authority.certificate()),
    );
    match parsed {
        (Ok((_, leaf)), Ok((_, root))) => leaf.verify_signature(Some(root.public_key())).is_ok(),
        (Ok(_) | Err(_), _) => false,
    }
}

/// Whether a bundle has the root.
pub(super) fn has(bundle: &str, authority: &Authority) -> bool {
    let bundle = Bundle::from_pem(bundle);
    bundle.is_ok_and(|bundle| bundle.roots().contains(authority.certificate()))
}

/// Whether a certificate is of somebody with this common name.
pub(super) fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return false;
    };
    let mut names = parsed.subject().iter_common_name();
    names.next().is_some_and(|it| it.as_str() == Ok(name))
}
