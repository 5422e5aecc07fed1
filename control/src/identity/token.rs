//! Tokens of service accounts (RFC 7519): what they say, and those that we sign ourselves where there
//! is no Kubernetes to do it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authority::Key;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::state_dir::{StateDir, StateError};

/// What the subject of a service account begins with.
pub(super) const SUBJECT: &str = "system:serviceaccount:";
/// Who signed our own.
const ISSUER: &str = "meshcontrol";
/// File of the key.
const FILE: &str = "token-key.pem";
/// How far clocks may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// Bytes of a public key of P-256: a mark and two coordinates. In DER it comes last.
const POINT_BYTES: usize = 65;

/// What a token says. It is to be believed only when its signature is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Who signed it.
    #[serde(default)]
    pub(crate) iss: String,
    /// Whom it is of.
    pub(crate) sub: String,
    /// Whom it is for.
    pub(crate) aud: Audiences,
    /// Until when it is valid, in seconds since 1970.
    pub(crate) exp: u64,
    /// From when, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<u64>,
}

/// One or several, both of which there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audiences {
    One(String),
    Several(Vec<String>),
}

/// Signs tokens, and knows those that it signed.
pub struct TokenKey {
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// Why there is no key for tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The folder cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is in it is no key.
    #[error("{FILE} must have a private key for ECDSA P-256 as PEM")]
    Key,
    /// The system gave no randomness.
    #[error("cannot sign a token")]
    Sign,
    /// The clock says a year that tokens cannot.
    #[error("the clock is wrong")]
    Clock,
}

// === impl Claims ===

impl Claims {
    /// What a token says, whoever signed it.
    pub(crate) fn unverified(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let payload = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(_), Some(payload), Some(_), None) => payload,
            _ => return None,
        };
        let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Whether it is for `audience`, and valid at `now`.
    pub(crate) fn check(&self, audience: &str, now: SystemTime) -> Result<(), Refusal> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let skew = CLOCK_SKEW.as_secs();
        if !self.aud.has(audience) {
            return Err(Refusal::TokenAudience);
        }
        // One that is not valid yet is as foreign to us as one that is not any more.
        let ahead = self.nbf.is_some_and(|from| from > now + skew);
        match self.exp.saturating_add(skew) <= now || ahead {
            true => Err(Refusal::TokenExpired),
            false => Ok(()),
        }
    }
}

// === impl Audiences ===

impl Audiences {
    fn has(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|it| it == audience),
        }
    }
}

// === impl TokenKey ===

impl TokenKey {
    /// The key in a folder, which is made if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read or made.
    pub fn open(dir: &StateDir) -> Result<Self, TokenError> {
        let _lock = dir.lock()?;
        let pem = match dir.read(FILE)? {
            Some(pem) => pem,
            None => {
                let key = Key::generate().map_err(|_| TokenError::Sign)?;
                dir.replace(FILE, &key.to_pem())?;
                key.to_pem()
            }
        };
        Self::from_pem(&pem).ok_or(TokenError::Key)
    }

    fn from_pem(pem: &str) -> Option<Self> {
        let key = Key::from_pem(pem).ok()?;
        let public = key.public();
        let point = public.len().checked_sub(POINT_BYTES)?;
        let point = public.get(point..).filter(|point| point[0] == 4)?;
        // In the one form that the library reads.
        let PrivateKeyDer::Pkcs8(private) =
            PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).ok()?
        else {
            return None;
        };
        let signing = EncodingKey::from_ec_der(private.secret_pkcs8_der());
        let verifying = DecodingKey::from_ec_der(point);
        let key = Self { signing, verifying };
        // A key of another kind has no such signature.
        let probe = key.sign(&Claims::of("", "", "", UNIX_EPOCH)?).ok()?;
        key.signed(&probe).then_some(key)
    }

    /// A token of a service account for `audience`, valid for `lifetime` from `now`.
    ///
    /// # Errors
    ///
    /// If it cannot be signed.
    pub fn issue(
        &self,
        account: (&str, &str),
        audience: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<String, TokenError> {
        let until = now.checked_add(lifetime).ok_or(TokenError::Clock)?;
        let claims = Claims::of(account.0, account.1, audience, until);
        self.sign(&claims.ok_or(TokenError::Clock)?)
    }

    /// Whether a token was signed with this key.
    pub(super) fn signed(&self, token: &str) -> bool {
        let Some((message, signature)) = token.rsplit_once('.') else {
            return false;
        };
        let is_ours = jsonwebtoken::decode_header(token).is_ok_and(|it| it.alg == Algorithm::ES256);
        let verified = jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &self.verifying,
            Algorithm::ES256,
        );
        is_ours && verified.unwrap_or(false)
    }

    fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let header = Header::new(Algorithm::ES256);
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|_| TokenError::Sign)
    }
}

impl Claims {
    fn of(namespace: &str, account: &str, audience: &str, until: SystemTime) -> Option<Self> {
        Some(Self {
            iss: ISSUER.to_owned(),
            sub: format!("{SUBJECT}{namespace}:{account}"),
            aud: Audiences::Several(vec![audience.to_owned()]),
            exp: until.duration_since(UNIX_EPOCH).ok()?.as_secs(),
            nbf: None,
        })
    }
}
