//! Keys and certificates from files in PEM (RFC 7468).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::tls::words;

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
    chain.map_err(|error| format!("is not valid as PEM: {}", told(&error)))
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
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| told(&error).to_owned())
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
            .map_err(|it| format!("must have certificates of authorities: {}", words::of(&it)))?;
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
    let lists = lists.map_err(|error| format!("is not valid as PEM: {}", told(&error)))?;
    match lists.is_empty() {
        true => Err("must have a revocation list".to_owned()),
        false => Ok(lists),
    }
}

/// What is wrong with a text. The library quotes lines of it, and where line ends were lost a line is all
/// of a key.
fn told(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "a section has no line for its end",
        Error::IllegalSectionStart { .. } => "the line at which a section begins is malformed",
        Error::Base64Decode(_) => "a section is not Base64",
        Error::NoItemsFound => "it has no section of the kind",
        Error::SectionTooLarge => "a section is too large",
        // The library adds errors as it grows.
        _ => "it cannot be read",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_key_is_quoted() {
        for pem in [
            "-----BEGIN PRIVATE KEY-----MIIsecret",
            "-----BEGIN PRIVATE KEY-----MIIsecret-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMIIsecret",
            "-----BEGIN PRIVATE KEY-----\nMII?secret\n-----END PRIVATE KEY-----",
            "MIIsecret",
        ] {
            let quoted = format!("{:?}", "MII".as_bytes());
            let quoted = quoted.trim_matches(['[', ']']);
            let told = [key_in(pem.as_bytes()).err(), chain_in(pem.as_bytes()).err()];
            assert!(told[0].is_some(), "{pem:?}");

            for told in told.into_iter().flatten() {
                let is_quoted = told.contains("MII") || told.contains(quoted);
                assert!(!is_quoted, "{told}");
            }
        }
    }
}
