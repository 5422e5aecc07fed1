//! Keys and certificates from files in PEM (RFC 7468).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Largest file that is read, in bytes: a chain has a few certificates of a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates in a file, at least one.
///
/// # Errors
///
/// What is wrong with the file, in words that follow the field that names it.
pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = chain_in(&file(path)?)?;
    if chain.is_empty() {
        return Err(format!(
            "must name a file with a certificate, got \"{}\"",
            path.display()
        ));
    }
    Ok(chain)
}

/// The certificates in a text; there may be none.
///
/// # Errors
///
/// What is wrong with it, in words that follow what names it.
pub(crate) fn chain_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.map_err(|error| format!("is not valid as PEM: {error}"))
}

/// The first private key in a file.
///
/// # Errors
///
/// As [`chain`].
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    key_in(&file(path)?).map_err(|error| format!("must name a file with a private key: {error}"))
}

/// The first private key in a text.
///
/// # Errors
///
/// As [`chain_in`].
pub(crate) fn key_in(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())
}

/// Certificates as those of authorities.
///
/// # Errors
///
/// As [`chain`].
pub(crate) fn authorities(chain: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for root in chain {
        roots
            .add(root)
            .map_err(|error| format!("must have certificates of authorities: {error}"))?;
    }
    Ok(roots)
}

/// What authorities revoked, by the lists in a file; at least one.
///
/// # Errors
///
/// As [`chain`].
pub(crate) fn revocations(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    revocations_in(&file(path)?)
}

/// The same, of a text.
///
/// # Errors
///
/// As [`chain_in`].
pub(crate) fn revocations_in(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(|error| format!("is not valid as PEM: {error}"))?;
    match lists.is_empty() {
        true => Err("must have a revocation list".to_owned()),
        false => Ok(lists),
    }
}

/// The bytes of a file.
///
/// # Errors
///
/// As [`chain_in`].
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let path = path.display();
    match read() {
        Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => Err(format!(
            "must name a file of at most {FILE_BYTES_MAX} bytes, got \"{path}\""
        )),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(format!("cannot be read from \"{path}\": {error}")),
    }
}
