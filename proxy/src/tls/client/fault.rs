//! Why a handshake with a server failed.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::tls::verify::PeerFault;

/// Why a handshake with a server failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It does not prove to be who it should be.
    #[error("{words}")]
    Untrusted {
        /// Why.
        words: Box<str>,
        /// What kind of reason it is.
        fault: TlsFault,
        /// The reason as metrics name it.
        reason: &'static str,
    },
    /// It does not want us.
    #[error("the server refuses with alert {0:?}")]
    Refused(AlertDescription),
    /// It speaks TLS in no way that we do, or no TLS at all.
    #[error("no TLS in common: {0}")]
    Protocol(Error),
    /// The connection ended.
    #[error("the connection ended within the handshake")]
    Ended(#[source] io::Error),
    /// It speaks TLS, but not what is needed in it.
    #[error("the server does not agree to HTTP/2")]
    NoHttp2,
}

/// Why a handshake with a server failed, as far as anybody reacts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate was valid once.
    Expired,
    /// The certificate will be valid once.
    NotYetValid,
    /// Nobody who is believed signed it.
    UnknownAuthority,
    /// Its authority took it back.
    Revoked,
    /// No list of what was taken back speaks of it, or the list is too old.
    RevocationUnknown,
    /// It is for another host.
    WrongName,
    /// It is that of another workload than expected, or of none.
    WrongIdentity,
    /// Anything else is wrong with it.
    Unacceptable,
    /// The server does not want us.
    Refused,
    /// No TLS in common.
    Protocol,
    /// The connection ended.
    Ended,
    /// No HTTP/2.
    NoHttp2,
}

/// The alert by which a server refused us, where an error is made of one. With TLS 1.3 a client hears
/// only after the handshake what the server thinks of its certificate; nothing that was sent meanwhile
/// can have been processed.
pub(crate) fn refusal(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An error of the system hides what it was made of from its sources.
        let inner = error.downcast_ref::<io::Error>();
        let inner = inner.and_then(io::Error::get_ref);
        let rustls = inner.map_or_else(|| error.downcast_ref(), |it| it.downcast_ref());
        if let Some(Error::AlertReceived(alert)) = rustls {
            return Some(*alert).filter(|alert| ends_handshake(*alert));
        }
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Whether a server that sends this alert has not come to the end of the handshake. Others can follow
/// upon a request.
fn ends_handshake(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol
            | AlertDescription::NoCertificate
            | AlertDescription::ProtocolVersion
            | AlertDescription::UnknownCA
            | AlertDescription::UnrecognisedName
            | AlertDescription::UnsupportedCertificate
    )
}

// === impl TlsError ===

impl TlsError {
    /// What a handshake ended with.
    pub(super) fn of(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
        match inner {
            Some(inner) => Self::from(inner.clone()),
            None => Self::Ended(error),
        }
    }

    /// What kind of failure it is.
    pub(crate) fn fault(&self) -> TlsFault {
        match self {
            Self::Untrusted { fault, .. } => *fault,
            Self::Refused(_) => TlsFault::Refused,
            Self::Protocol(_) => TlsFault::Protocol,
            Self::Ended(_) => TlsFault::Ended,
            Self::NoHttp2 => TlsFault::NoHttp2,
        }
    }

    /// The reason as metrics name it, out of a fixed set.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Untrusted { reason, .. } => reason,
            Self::Refused(_) => "refused",
            Self::Protocol(_) => "protocol_error",
            Self::Ended(_) => "closed",
            Self::NoHttp2 => "no_http2",
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match PeerFault::of(&error) {
            Some(fault) => {
                let kind = TlsFault::from(&fault);
                let reason = fault.reason();
                let reason = reason.strip_prefix("tls_").unwrap_or(reason);
                let words = kind
                    .words()
                    .map_or_else(|| fault.to_string(), str::to_owned);
                Self::Untrusted {
                    words: words.into(),
                    fault: kind,
                    reason: kind.reason().unwrap_or(reason),
                }
            }
            None => match error {
                Error::AlertReceived(alert) => Self::Refused(alert),
                other => Self::Protocol(other),
            },
        }
    }
}

// === impl TlsFault ===

impl From<&PeerFault> for TlsFault {
    fn from(fault: &PeerFault) -> Self {
        use CertificateError as Written;
        match fault {
            PeerFault::Expired => Self::Expired,
            PeerFault::NotYetValid => Self::NotYetValid,
            PeerFault::UnknownAuthority => Self::UnknownAuthority,
            PeerFault::Name(_) | PeerFault::TrustDomain(_) | PeerFault::Unexpected(_) => {
                Self::WrongIdentity
            }
            PeerFault::Revoked => Self::Revoked,
            PeerFault::UnknownRevocation => Self::RevocationUnknown,
            PeerFault::NoCertificate
            | PeerFault::Unreadable
            | PeerFault::BadSignature
            | PeerFault::WrongUsage
            | PeerFault::OtherName
            | PeerFault::OtherKey => Self::Unacceptable,
            PeerFault::Unacceptable(error) => match error {
                Written::NotValidForName | Written::NotValidForNameContext { .. } => {
                    Self::WrongName
                }
                // The library adds reasons as it grows.
                _ => Self::Unacceptable,
            },
        }
    }
}

impl TlsFault {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = Self::NoHttp2 as usize + 1;

    /// Whether the same server would be refused again if it were asked at once. Authorities and lists
    /// of what is revoked may be in the midst of a change, and what stands behind an address may be
    /// several servers that do not speak alike.
    pub(crate) fn is_lasting(self) -> bool {
        match self {
            Self::Expired
            | Self::NotYetValid
            | Self::Revoked
            | Self::WrongName
            | Self::WrongIdentity
            | Self::Unacceptable
            | Self::NoHttp2 => true,
            Self::UnknownAuthority
            | Self::RevocationUnknown
            | Self::Refused
            | Self::Protocol
            | Self::Ended => false,
        }
    }

    /// Words for what the library only has a name for.
    fn words(self) -> Option<&'static str> {
        match self {
            Self::Revoked => Some("the certificate is revoked"),
            Self::RevocationUnknown => {
                Some("no list of what is revoked that is in force speaks of the certificate")
            }
            Self::Expired
            | Self::NotYetValid
            | Self::UnknownAuthority
            | Self::WrongName
            | Self::WrongIdentity
            | Self::Unacceptable
            | Self::Refused
            | Self::Protocol
            | Self::Ended
            | Self::NoHttp2 => None,
        }
    }

    /// The reason as metrics name it, where the verifier of workloads has no name for it.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Revoked => Some("revoked"),
            Self::RevocationUnknown => Some("revocation_unknown"),
            Self::WrongName => Some("wrong_name"),
            Self::Expired
            | Self::NotYetValid
            | Self::UnknownAuthority
            | Self::WrongIdentity
            | Self::Unacceptable
            | Self::Refused
            | Self::Protocol
            | Self::Ended
            | Self::NoHttp2 => None,
        }
    }

    /// The detail of an answer.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Expired => "connect_certificate_expired",
            Self::NotYetValid => "connect_certificate_not_yet_valid",
            Self::UnknownAuthority => "connect_certificate_unknown_authority",
            Self::Revoked => "connect_certificate_revoked",
            Self::RevocationUnknown => "connect_certificate_revocation_unknown",
            Self::WrongName => "connect_certificate_wrong_name",
            Self::WrongIdentity => "connect_certificate_wrong_identity",
            Self::Unacceptable => "connect_certificate_unacceptable",
            Self::Refused => "connect_tls_refused",
            Self::Protocol => "connect_tls_protocol",
            Self::Ended => "connect_tls_closed",
            Self::NoHttp2 => "connect_no_http2",
        }
    }
}
