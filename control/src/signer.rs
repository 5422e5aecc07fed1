//! Certificates for workloads of which it is known who they are.
//!
//! A workload gets the one identity that it proved to have, for a bounded time, as often as it
//! reasonably needs one. What was signed for whom, and what was refused, is logged with the target
//! `audit`.

pub(crate) mod announce;
pub(crate) mod folder;
mod outlet;
pub(crate) mod ring;
pub(crate) mod secret;
pub(crate) mod trust;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use authority::leaf::LEAF_LIFETIME_MIN;
use authority::{AuthorityError, Issued, Request as SigningRequest, RequestError};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use x509_parser::parse_x509_certificate;

use crate::identity::{Caller, Counted};
use crate::limit::{Limiter, Rate};
use crate::proto::ca::istio_certificate_service_server::IstioCertificateService;
use crate::proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use trust::Trust;

/// How long certificates are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// If nothing is asked for.
    pub(crate) default: Duration,
    /// At most.
    pub(crate) max: Duration,
}

/// Signs what callers ask for.
pub(crate) struct Signer {
    trust: watch::Receiver<Option<Arc<Trust>>>,
    lifetimes: Lifetimes,
    overall: Limiter<()>,
    each: Limiter<Counted>,
    refusals_told: Limiter<()>,
    signed: IntCounter,
    refused: IntCounterVec,
}

/// Why a certificate is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignError {
    /// Nobody is known: the connection has no TLS.
    #[error("nobody is known on a connection without TLS")]
    Nobody,
    /// The request is wrong, or for somebody else.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It asks for less than is ever signed.
    #[error("the lifetime must be at least {LEAF_LIFETIME_MIN:?}")]
    Lifetime,
    /// The caller, or all together, ask too often.
    #[error("there are too many requests")]
    TooMany,
    /// There is no authority yet.
    #[error("there is no authority yet")]
    NoAuthority,
    /// The authority does not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// How often all callers together may ask. Signing costs a fraction of a millisecond.
const OVERALL: Rate = Rate {
    burst: 5_000,
    every: Duration::from_millis(2),
};
/// How often one pod may ask that shows its token, else one identity from one address: again when an attempt
/// failed, or a pod starts anew; in the end twice in the life of a certificate.
const EACH: Rate = Rate {
    burst: 20,
    every: Duration::from_secs(3),
};
/// How many of them are told apart.
const CALLERS_MAX: usize = 32_768;
/// How often a refusal is logged, so that nobody fills a disk; the counter has all.
const TOLD: Rate = Rate {
    burst: 50,
    every: Duration::from_secs(1),
};

// === impl Signer ===

impl Signer {
    pub(crate) fn new(
        trust: watch::Receiver<Option<Arc<Trust>>>,
        lifetimes: Lifetimes,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let signed = IntCounter::new(
            "meshcontrol_certificates_signed_total",
            "Certificates that were signed for workloads.",
        )?;
        let refused = IntCounterVec::new(
            Opts::new(
                "meshcontrol_certificates_refused_total",
                "Requests for certificates that were refused, by reason.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(signed.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            trust,
            lifetimes,
            overall: Limiter::new(OVERALL, 1),
            each: Limiter::new(EACH, CALLERS_MAX),
            refusals_told: Limiter::new(TOLD, 1),
            signed,
            refused,
        })
    }

    /// A certificate for a caller from an address, and what to believe.
    fn issue(
        &self,
        caller: &Caller,
        from: IpAddr,
        asked: &IstioCertificateRequest,
        now: SystemTime,
    ) -> Result<(Issued, Arc<Trust>), SignError> {
        let instant = Instant::now();
        let counted = Counted::of(Some(&caller.id), caller.pod.as_ref(), Some(from));
        let admitted = self.each.admit(counted, instant);
        let admitted = admitted.and_then(|()| self.overall.admit((), instant));
        admitted.map_err(|_| SignError::TooMany)?;
        let lifetime = self.lifetimes.grant(asked.validity_duration)?;
        let request = SigningRequest::from_pem(&asked.csr, &caller.id)?;
        let trust = self.trust.borrow().clone();
        let trust = trust.ok_or(SignError::NoAuthority)?;
        let issued = trust.authority.sign(&request, now, lifetime)?;
        Ok((issued, trust))
    }

    fn tell_signed(&self, caller: &Caller, from: IpAddr, issued: &Issued) {
        self.signed.inc();
        let validity = issued.validity();
        tracing::info!(
            target: "audit",
            identity = %caller.id,
            pod = caller.pod.as_deref(),
            proof = ?caller.proof,
            peer = %from,
            serial = serial(issued),
            not_before = %seconds(validity.not_before),
            not_after = %seconds(validity.not_after),
            "certificate signed"
        );
    }

    fn tell_refused(&self, caller: Option<&Caller>, from: IpAddr, error: &SignError) {
        self.refused.with_label_values(&[error.reason()]).inc();
        if self.refusals_told.admit((), Instant::now()).is_err() {
            return;
        }
        let identity = caller.map(|caller| caller.id.as_str());
        let pod = caller.and_then(|caller| caller.pod.as_deref());
        tracing::warn!(
            target: "audit",
            identity,
            pod,
            peer = %from,
            %error,
            "certificate refused"
        );
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let unknown = IpAddr::from([0, 0, 0, 0]);
        let from = request.remote_addr().map_or(unknown, |addr| addr.ip());
        let caller = request.extensions().get::<Caller>();
        let Some(caller) = caller else {
            self.tell_refused(None, from, &SignError::Nobody);
            return Err(SignError::Nobody.status());
        };
        match self.issue(caller, from, request.get_ref(), SystemTime::now()) {
            Ok((issued, trust)) => {
                self.tell_signed(caller, from, &issued);
                let cert_chain = trust.chain(&issued);
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(error) => {
                self.tell_refused(Some(caller), from, &error);
                Err(error.status())
            }
        }
    }
}

// === impl Lifetimes ===

impl Lifetimes {
    /// What is granted of seconds that are asked for; nothing asks for the default.
    fn grant(self, asked_seconds: i64) -> Result<Duration, SignError> {
        match u64::try_from(asked_seconds) {
            Ok(0) | Err(_) => Ok(self.default),
            Ok(seconds) if seconds < LEAF_LIFETIME_MIN.as_secs() => Err(SignError::Lifetime),
            Ok(seconds) => Ok(Duration::from_secs(seconds).min(self.max)),
        }
    }
}

// === impl SignError ===

impl SignError {
    /// The reason as metrics name it.
    fn reason(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Request(RequestError::NotEntitled { .. }) => "not_entitled",
            Self::Request(_) => "request",
            Self::Lifetime => "lifetime",
            Self::TooMany => "too_many",
            Self::NoAuthority => "no_authority",
            Self::Authority(_) => "authority",
        }
    }

    /// What the caller hears. Of his own request he may know what is wrong; of the authority nothing.
    fn status(&self) -> Status {
        match self {
            Self::Nobody => Status::new(Code::Unauthenticated, ""),
            Self::Request(RequestError::NotEntitled { .. }) => {
                Status::new(Code::PermissionDenied, self.to_string())
            }
            Self::Request(_) | Self::Lifetime => {
                Status::new(Code::InvalidArgument, self.to_string())
            }
            Self::TooMany => Status::new(Code::ResourceExhausted, self.to_string()),
            Self::NoAuthority | Self::Authority(_) => Status::new(Code::Unavailable, ""),
        }
    }
}

/// The serial number of what was signed, as OpenSSL prints it.
fn serial(issued: &Issued) -> String {
    let Some(leaf) = issued.chain().first() else {
        return String::new();
    };
    let parsed = parse_x509_certificate(leaf);
    parsed.map_or_else(
        |_| String::new(),
        |(_, leaf)| leaf.raw_serial_as_string().replace(':', "").to_uppercase(),
    )
}

/// Seconds since 1970.
fn seconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
