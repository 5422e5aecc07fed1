//! The roots that a mesh believes.
//!
//! Roots rotate by overlap: first everybody believes the new one beside the old, then leaves are
//! signed by the new one, and when the last leaf of the old one is over the old one goes.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::certificate::{CertificateError, Facts};
use crate::pem;
use crate::validity::Standing;

/// Most roots of a bundle: two while one rotates, and some more for meshes that believe each other.
/// Each costs every handshake of a peer that names none of them.
pub const ROOTS_MAX: usize = 32;

/// Roots, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    roots: Vec<CertificateDer<'static>>,
}

/// Why a root is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The text is too long, or not of certificates.
    #[error("must have at least one certificate as PEM")]
    Unreadable,
    /// One of them is of no authority.
    #[error("certificate {0} {1}")]
    Certificate(usize, #[source] CertificateError),
    /// There would be too many.
    #[error("must have at most {ROOTS_MAX} roots")]
    TooMany,
}

// === impl Bundle ===

impl Bundle {
    /// Reads a bundle; a root that is there twice counts once.
    ///
    /// # Errors
    ///
    /// If the text is not of certificates, or one of them is of no authority.
    pub fn from_pem(text: &str) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        let certificates = pem::parse(text).ok_or(BundleError::Unreadable)?;
        for (at, certificate) in certificates.into_iter().enumerate() {
            Facts::read(&certificate).map_err(|error| BundleError::Certificate(at + 1, error))?;
            bundle.push(certificate)?;
        }
        Ok(bundle)
    }

    /// Believes one more root; nothing happens if it is believed.
    ///
    /// # Errors
    ///
    /// If it is of no authority, or there are as many as there may be.
    pub fn add(&mut self, root: &CertificateDer<'_>) -> Result<(), BundleError> {
        let root = root.clone().into_owned();
        Facts::read(&root).map_err(|error| BundleError::Certificate(1, error))?;
        self.push(root)
    }

    /// Believes a root no longer; says whether it was believed.
    pub fn remove(&mut self, root: &CertificateDer<'_>) -> bool {
        let before = self.roots.len();
        self.roots.retain(|it| it != root);
        self.roots.len() < before
    }

    /// Removes the roots that are over; says how many they were.
    pub fn expire(&mut self, now: SystemTime) -> usize {
        let before = self.roots.len();
        self.roots.retain(|root| {
            let facts = Facts::read(root);
            facts.is_ok_and(|it| it.validity.at(now) != Standing::Over)
        });
        before - self.roots.len()
    }

    /// The roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// As PEM, for `root-cert.pem`.
    pub fn to_pem(&self) -> String {
        pem::certificates(&self.roots)
    }

    fn push(&mut self, root: CertificateDer<'static>) -> Result<(), BundleError> {
        if self.roots.contains(&root) {
            return Ok(());
        }
        if self.roots.len() >= ROOTS_MAX {
            return Err(BundleError::TooMany);
        }
        self.roots.push(root);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::Authority;

    /// Some day of this century.
    fn today() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000)
    }

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn root(days: u32) -> CertificateDer<'static> {
        let authority = Authority::root("test", today(), DAY * days).expect("a root");
        authority.certificate().clone()
    }

    #[test]
    fn a_rotation_adds_the_new_root_and_later_removes_the_old_one() {
        let (old, new) = (root(10), root(20));
        let mut bundle = Bundle::default();

        bundle.add(&old).expect("a root");
        bundle.add(&new).expect("a root");
        bundle.add(&old).expect("it is there already");

        assert_eq!(bundle.roots(), [old.clone(), new.clone()]);
        assert_eq!(Bundle::from_pem(&bundle.to_pem()), Ok(bundle.clone()));
        assert_eq!(bundle.expire(today() + DAY * 11), 1);
        assert_eq!(bundle.roots(), std::slice::from_ref(&new));
        assert!(bundle.remove(&new));
        assert!(!bundle.remove(&new));
    }

    #[test]
    fn what_is_of_no_authority_is_never_believed() {
        let authority = Authority::root("test", today(), DAY).expect("a root");
        let key = crate::Key::generate().expect("a key");
        let names = ["a.test".parse().expect("a name")];
        let leaf = authority
            .sign_server(&names, &key, today(), DAY)
            .expect("a leaf");

        let error = Bundle::default().add(&leaf.chain()[0]);

        let expected = BundleError::Certificate(1, CertificateError::NoAuthority);
        assert_eq!(error, Err(expected));
        assert_eq!(Bundle::from_pem(&leaf.chain_pem()), Err(expected));
        assert_eq!(Bundle::from_pem("nothing"), Err(BundleError::Unreadable));
    }

    #[test]
    fn there_are_never_more_roots_than_may_be() {
        let mut bundle = Bundle::default();
        for _ in 0..ROOTS_MAX {
            bundle.add(&root(1)).expect("room");
        }

        assert_eq!(bundle.add(&root(1)), Err(BundleError::TooMany));
    }
}
