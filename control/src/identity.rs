//! Who a caller is.
//!
//! There are two proofs: a certificate that one of our roots vouches for, and a token, about which
//! the API server is asked in Kubernetes, and which we signed ourselves without. A caller whose proof is
//! no good learns only that; the log and a counter say why.

pub(crate) mod certificate;
mod review;
pub(crate) mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use config::spiffe::SpiffeId;
use prometheus::{IntCounterVec, Opts, Registry};

use crate::limit::{Limiter, Rate};
use certificate::PeerCertificate;
pub use review::Reviewer;
use token::Claims;
pub use token::TokenKey;

/// Somebody of whom it is known who he is. In the extensions of each request that came over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// His identity.
    pub id: SpiffeId,
    /// The pod that his token is bound to, if it is to one.
    pub pod: Option<Arc<str>>,
    /// How he proved it.
    pub proof: Proof,
}

/// How somebody proved who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By a certificate.
    Certificate,
    /// By a token.
    Token,
}

/// Whom it is counted for what a caller does and has.
///
/// An identity at an address is one pod, mostly. But there may be hundreds of one Deployment behind one
/// address, on the network of their node or behind address translation: they are told apart by tokens that
/// are bound to them. Certificates say nothing of pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// A pod: its identity and its name.
    Pod(Arc<str>, Arc<str>),
    /// Whoever has an identity at an address. It is empty where none was proved.
    At(Arc<str>, Option<IpAddr>),
}

/// Why nobody is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a certificate nor a token.
    #[error("there is neither a certificate nor a token")]
    NoProof,
    /// The connection outlived the certificate that it was made with.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// Too long, or no token.
    #[error("the token cannot be read")]
    TokenUnreadable,
    /// It is over.
    #[error("the token has expired")]
    TokenExpired,
    /// It is for somebody else.
    #[error("the token is not for us")]
    TokenAudience,
    /// Whoever signs tokens did not sign this one, or believes it no longer.
    #[error("the token is not believed")]
    TokenNotBelieved,
    /// It is of no service account.
    #[error("the token is of no service account")]
    TokenSubject,
    /// Tokens come faster than they may.
    #[error("there are too many tokens")]
    TooMany,
    /// The API server does not answer.
    #[error("tokens cannot be reviewed")]
    NoReview,
}

/// What somebody shows to be known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Certificate of his connection.
    pub(crate) certificate: Option<&'a PeerCertificate>,
    /// Value of the header `authorization`.
    pub(crate) authorization: Option<&'a [u8]>,
    /// Where he comes from.
    pub(crate) from: IpAddr,
}

/// Knows callers.
pub(crate) struct Identifier {
    trust_domain: String,
    audience: String,
    tokens: Tokens,
    attempts: Limiter<IpAddr>,
    refused: IntCounterVec,
}

/// Who is asked about tokens.
pub enum Tokens {
    /// Nobody: we signed them.
    Own(TokenKey),
    /// The API server.
    Reviewed(Box<Reviewer>),
}

/// What is believed of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) pod: Option<Arc<str>>,
}

/// How often one address may show tokens: those of the pods of a whole node may come from one.
const ATTEMPTS: Rate = Rate {
    burst: 500,
    every: std::time::Duration::from_millis(20),
};
/// Addresses that are told apart.
const ADDRESSES_MAX: usize = 16_384;
/// Longest token; Kubernetes' have 1 to 2 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

// === impl Counted ===

impl Counted {
    pub(crate) fn of(id: Option<&SpiffeId>, pod: Option<&Arc<str>>, from: Option<IpAddr>) -> Self {
        let id = id.map(SpiffeId::shared).unwrap_or_default();
        match pod {
            Some(pod) => Self::Pod(id, Arc::clone(pod)),
            None => Self::At(id, from.map(|ip| ip.to_canonical())),
        }
    }
}

// === impl Identifier ===

impl Identifier {
    pub(crate) fn new(
        trust_domain: &str,
        audience: &str,
        tokens: Tokens,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "meshcontrol_callers_refused_total",
                "Requests of callers who did not prove who they are, by reason.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            audience: audience.to_owned(),
            tokens,
            attempts: Limiter::new(ATTEMPTS, ADDRESSES_MAX),
            refused,
        })
    }

    /// Who somebody is by what he shows.
    ///
    /// # Errors
    ///
    /// Why he is nobody, which is counted.
    pub(crate) async fn identify(
        &self,
        shown: Shown<'_>,
        now: SystemTime,
    ) -> Result<Caller, Refusal> {
        let known = self.known(shown, now).await;
        if let Err(refusal) = &known {
            self.refused.with_label_values(&[refusal.reason()]).inc();
        }
        known
    }

    async fn known(&self, shown: Shown<'_>, now: SystemTime) -> Result<Caller, Refusal> {
        let expired = match shown.certificate {
            Some(certificate) if now <= certificate.not_after => {
                return Ok(Caller {
                    id: certificate.id.clone(),
                    pod: None,
                    proof: Proof::Certificate,
                });
            }
            Some(_) => true,
            None => false,
        };
        let Some(authorization) = shown.authorization else {
            return Err(match expired {
                true => Refusal::CertificateExpired,
                false => Refusal::NoProof,
            });
        };
        let token = bearer(authorization).ok_or(Refusal::TokenUnreadable)?;
        let admitted = self.attempts.admit(network(shown.from), Instant::now());
        admitted.map_err(|_| Refusal::TooMany)?;
        let account = self.account(token, now).await?;
        let id = SpiffeId::workload(&self.trust_domain, &account.namespace, &account.name);
        Ok(Caller {
            id: id.map_err(|_| Refusal::TokenSubject)?,
            pod: account.pod,
            proof: Proof::Token,
        })
    }

    async fn account(&self, token: &str, now: SystemTime) -> Result<Account, Refusal> {
        // Before anybody is asked: what it says itself can only be held against it.
        let claims = Claims::unverified(token).ok_or(Refusal::TokenUnreadable)?;
        claims.check(&self.audience, now)?;
        match &self.tokens {
            Tokens::Own(key) => {
                if !key.signed(token) {
                    return Err(Refusal::TokenNotBelieved);
                }
                account_of(&claims.sub, None)
            }
            Tokens::Reviewed(reviewer) => reviewer.review(token, &claims, Instant::now()).await,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The reason as metrics name it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoProof => "no_proof",
            Self::CertificateExpired => "certificate_expired",
            Self::TokenUnreadable => "token_unreadable",
            Self::TokenExpired => "token_expired",
            Self::TokenAudience => "token_audience",
            Self::TokenNotBelieved => "token_not_believed",
            Self::TokenSubject => "token_subject",
            Self::TooMany => "too_many",
            Self::NoReview => "no_review",
        }
    }

    /// Whether it may go better when tried again with the same proof.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::TooMany | Self::NoReview => true,
            Self::NoProof
            | Self::CertificateExpired
            | Self::TokenUnreadable
            | Self::TokenExpired
            | Self::TokenAudience
            | Self::TokenNotBelieved
            | Self::TokenSubject => false,
        }
    }
}

/// The token in a header.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX;
    (fits && !token.is_empty()).then_some(token)
}

/// Who is told apart: one host may have all the addresses of a /64 of IPv6.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

/// The service account of a subject as Kubernetes writes it.
fn account_of(subject: &str, pod: Option<Arc<str>>) -> Result<Account, Refusal> {
    let account = subject.strip_prefix(token::SUBJECT);
    let parts = account.and_then(|account| account.split_once(':'));
    let (namespace, name) = parts.ok_or(Refusal::TokenSubject)?;
    Ok(Account {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        pod,
    })
}

#[cfg(test)]
mod tests;
