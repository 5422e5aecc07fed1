//! A root or an intermediate: what signs.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::certificate::{CertificateError, Facts, is_issued_by};
use crate::key::{Key, KeyError};
use crate::leaf::{self, Issued, LEAF_LIFETIME_MAX, LEAF_LIFETIME_MIN, ServerName};
use crate::pem;
use crate::request::Request;
use crate::validity::{Standing, Validity};

/// Shortest lifetime of an authority.
pub const LIFETIME_MIN: Duration = Duration::from_secs(3_600);
/// Longest lifetime of an authority, ten years.
pub const LIFETIME_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// How many authorities may stand below a root that is made here.
const PATH_LENGTH: u8 = 1;
/// Longest name of an authority (RFC 5280, `ub-common-name`).
const NAME_CHARS_MAX: usize = 64;
/// Bytes of a serial number: 128 bits of chance, which RFC 5280 has room for (20 bytes).
const SERIAL_BYTES: usize = 16;
/// Most certificates of an authority's own chain.
const CHAIN_MAX: usize = 8;
/// Most names of a server in one certificate.
pub const SERVER_NAMES_MAX: usize = 100;

/// A root or an intermediate with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate first, then the authorities above it without the root; of a root, itself.
    chain: Vec<CertificateDer<'static>>,
    is_root: bool,
    /// When it and all above it that are known are valid.
    validity: Validity,
    /// How many authorities may stand below it; `None` for any number.
    path_length: Option<u32>,
}

/// Why an authority cannot be made or loaded, or does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Its name is empty or too long.
    #[error("the name of an authority must have 1 to {NAME_CHARS_MAX} printable characters")]
    Name,
    /// A lifetime is too short or too long.
    #[error("the lifetime must be {min:?} to {max:?}, got {got:?}")]
    Lifetime {
        /// What was asked for.
        got: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The clock says a year that certificates cannot.
    #[error("the clock is wrong: certificates cannot say such a time")]
    Clock,
    /// The authority, or one above it, is not valid yet.
    #[error("the authority's certificate is not valid yet")]
    NotYetValid,
    /// The authority, or one above it, is over.
    #[error("the authority's certificate has expired")]
    Expired,
    /// What is left of the authority is less than the shortest lifetime.
    #[error("the authority's certificate is about to expire")]
    ExpiresSoon,
    /// An intermediate may have none below it.
    #[error("the authority may have no authorities below it")]
    PathLength,
    /// There is no certificate in the text.
    #[error("must have at least one certificate as PEM")]
    NoCertificate,
    /// The chain is too long.
    #[error("the authority's chain must have at most {CHAIN_MAX} certificates")]
    LongChain,
    /// A certificate is of no authority.
    #[error("certificate {0} {1}")]
    Certificate(usize, #[source] CertificateError),
    /// A certificate is not signed by the next.
    #[error("certificate {0} of the chain is not signed by the next")]
    BrokenChain(usize),
    /// More authorities stand below one than it allows.
    #[error("certificate {0} of the chain does not allow as many authorities below it")]
    ChainLength(usize),
    /// The key cannot be used.
    #[error("the key {0}")]
    Key(#[from] KeyError),
    /// The key is another one's.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// A server needs a name, and not too many.
    #[error("a server must have 1 to {SERVER_NAMES_MAX} names")]
    ServerNames,
    /// Signing itself failed, or the system gave no randomness.
    #[error("cannot sign")]
    Sign,
}

// === impl Authority ===

impl Authority {
    /// Makes a root, valid for `lifetime` from `now`, with a key of its own.
    ///
    /// # Errors
    ///
    /// If the name or the lifetime is out of bounds, or the system gives no randomness.
    pub fn root(name: &str, now: SystemTime, lifetime: Duration) -> Result<Self, AuthorityError> {
        let validity = bounded(now, lifetime, LIFETIME_MIN, LIFETIME_MAX)?;
        let params = authority(name, PATH_LENGTH, validity)?;
        let pair = Key::generate()?.into_pair();
        let signed = params.self_signed(&pair);
        let certificate = signed.map_err(|_| AuthorityError::Sign)?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            chain: vec![certificate.into()],
            is_root: true,
            validity,
            path_length: Some(u32::from(PATH_LENGTH)),
        })
    }

    /// Makes an intermediate below this one, with a key of its own. It lives no longer than this one,
    /// and signs leaves only.
    ///
    /// # Errors
    ///
    /// As [`Self::root`], and if this one is not valid or may have none below it.
    pub fn intermediate(
        &self,
        name: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, AuthorityError> {
        if self.path_length == Some(0) {
            return Err(AuthorityError::PathLength);
        }
        let validity = bounded(now, lifetime, LIFETIME_MIN, LIFETIME_MAX)?;
        let validity = self.grant(validity, now, LIFETIME_MIN)?;
        let mut params = authority(name, 0, validity)?;
        params.use_authority_key_identifier_extension = true;
        let pair = Key::generate()?.into_pair();
        let signed = params.signed_by(&pair, &self.issuer);
        let certificate = signed.map_err(|_| AuthorityError::Sign)?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            chain: self.above(certificate.into()),
            is_root: false,
            validity,
            path_length: Some(0),
        })
    }

    /// Loads an authority from its certificate and key as PEM. Further certificates must be of the
    /// authorities above it, each signed by the next; a root at their end is left out of the chains of
    /// leaves.
    ///
    /// # Errors
    ///
    /// If one of them is of no authority, the chain is broken, or the key is another one's. Whether
    /// they are valid now is asked when it signs.
    pub fn load(chain: &str, key: &str) -> Result<Self, AuthorityError> {
        let mut chain = pem::parse(chain).ok_or(AuthorityError::NoCertificate)?;
        let facts = linked(&chain)?;
        let (own, last) = match (facts.first(), facts.last()) {
            (Some(own), Some(last)) => (own, last),
            (None, _) | (_, None) => return Err(AuthorityError::NoCertificate),
        };
        let key = Key::from_pem(key)?;
        if key.public() != own.public_key {
            return Err(AuthorityError::KeyMismatch);
        }
        let validity = facts.iter().try_fold(own.validity, |validity, above| {
            validity.within(above.validity)
        });
        if last.is_root && chain.len() > 1 {
            chain.pop();
        }
        let issuer = Issuer::from_ca_cert_der(&chain[0], key.into_pair())
            .map_err(|_| AuthorityError::Certificate(1, CertificateError::Unreadable))?;
        Ok(Self {
            issuer,
            is_root: own.is_root,
            validity: validity.ok_or(AuthorityError::Expired)?,
            path_length: own.path_length,
            chain,
        })
    }

    /// Signs what a workload asked for and was found entitled to, for `lifetime` from `now` but no
    /// longer than the authority lives.
    ///
    /// # Errors
    ///
    /// If the lifetime is out of bounds or the authority is not valid now.
    pub fn sign(
        &self,
        request: &Request,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let params = leaf::workload(request.id()).ok_or(AuthorityError::Sign)?;
        self.sign_leaf(params, request.key(), now, lifetime)
    }

    /// Signs the certificate of a server whose key the caller holds.
    ///
    /// # Errors
    ///
    /// As [`Self::sign`], and if there is no name or there are too many.
    pub fn sign_server(
        &self,
        names: &[ServerName],
        key: &Key,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        if !(1..=SERVER_NAMES_MAX).contains(&names.len()) {
            return Err(AuthorityError::ServerNames);
        }
        self.sign_leaf(leaf::server(names), key.pair(), now, lifetime)
    }

    /// Signs the certificate of a workload whose key the caller holds, so that there is nothing to
    /// prove.
    ///
    /// # Errors
    ///
    /// As [`Self::sign`].
    pub fn sign_workload(
        &self,
        id: &config::spiffe::SpiffeId,
        key: &Key,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let params = leaf::workload(id).ok_or(AuthorityError::Sign)?;
        self.sign_leaf(params, key.pair(), now, lifetime)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Its certificate, then those of the authorities above it without the root; of a root, itself.
    pub fn chain_pem(&self) -> String {
        pem::certificates(&self.chain)
    }

    /// Its key as PEM: the secret of the whole mesh.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// When it and the authorities above it are valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    fn sign_leaf(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let validity = bounded(now, lifetime, LEAF_LIFETIME_MIN, LEAF_LIFETIME_MAX)?;
        let validity = self.grant(validity, now, LEAF_LIFETIME_MIN)?;
        stamp(&mut params, validity)?;
        let signed = params.signed_by(key, &self.issuer);
        let certificate = signed.map_err(|_| AuthorityError::Sign)?;
        Ok(Issued {
            chain: self.above(certificate.into()),
            validity,
        })
    }

    /// As much of `asked` as the authority lives, if at least `least` of it is left from `now`.
    fn grant(
        &self,
        asked: Validity,
        now: SystemTime,
        least: Duration,
    ) -> Result<Validity, AuthorityError> {
        match self.validity.at(now) {
            Standing::Ahead => return Err(AuthorityError::NotYetValid),
            Standing::Over => return Err(AuthorityError::Expired),
            Standing::Lasts => {}
        }
        let granted = asked.within(self.validity);
        let granted = granted.ok_or(AuthorityError::ExpiresSoon)?;
        // Half a second is lost when ends are cut to whole ones.
        let left = granted.not_after.duration_since(now).unwrap_or_default();
        match left + Duration::from_secs(1) > least {
            true => Ok(granted),
            false => Err(AuthorityError::ExpiresSoon),
        }
    }

    /// A certificate that this one signed, with what leads from it to the root.
    fn above(&self, certificate: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        let above = match self.is_root {
            true => &[],
            false => &self.chain[..],
        };
        std::iter::once(certificate)
            .chain(above.iter().cloned())
            .collect()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("is_root", &self.is_root)
            .field("validity", &self.validity)
            .field("path_length", &self.path_length)
            .finish_non_exhaustive()
    }
}

/// What the certificates of a chain say, if each is signed by the next and allows those below it.
fn linked(chain: &[CertificateDer<'static>]) -> Result<Vec<Facts>, AuthorityError> {
    if chain.len() > CHAIN_MAX {
        return Err(AuthorityError::LongChain);
    }
    let mut all = Vec::with_capacity(chain.len());
    for (below, certificate) in chain.iter().enumerate() {
        let at = below + 1;
        let facts = Facts::read(certificate);
        let facts = facts.map_err(|error| AuthorityError::Certificate(at, error))?;
        if facts
            .path_length
            .is_some_and(|most| (most as usize) < below)
        {
            return Err(AuthorityError::ChainLength(at));
        }
        if chain
            .get(at)
            .is_some_and(|next| !is_issued_by(certificate, next))
        {
            return Err(AuthorityError::BrokenChain(at));
        }
        all.push(facts);
    }
    Ok(all)
}

fn authority(
    name: &str,
    path_length: u8,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let printable = !name.is_empty() && !name.chars().any(char::is_control);
    if !printable || name.chars().count() > NAME_CHARS_MAX {
        return Err(AuthorityError::Name);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    stamp(&mut params, validity)?;
    Ok(params)
}

/// Writes the span of time and a new serial number.
fn stamp(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    (params.not_before, params.not_after) = validity.to_utc().ok_or(AuthorityError::Clock)?;
    let mut serial = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| AuthorityError::Sign)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn bounded(
    now: SystemTime,
    lifetime: Duration,
    min: Duration,
    max: Duration,
) -> Result<Validity, AuthorityError> {
    if !(min..=max).contains(&lifetime) {
        return Err(AuthorityError::Lifetime {
            got: lifetime,
            min,
            max,
        });
    }
    Validity::starting(now, lifetime).ok_or(AuthorityError::Clock)
}

#[cfg(test)]
mod tests;
