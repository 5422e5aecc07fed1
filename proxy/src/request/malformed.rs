//! What is wrong with a request that never became one: its form, its size or its pace.

use http::StatusCode;

use crate::message::chunked::ChunkError;
use crate::telemetry::flags::Flags;

/// Why a request is refused before it has a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head is not the syntax of RFC 9112.
    #[error("invalid request line or header")]
    Syntax,
    /// A line ends with LF alone (RFC 9112 §2.2): parsers differ in whether it ends.
    #[error("line feed without carriage return")]
    BareLineFeed,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("unknown version of HTTP")]
    Version,
    /// The target has characters that no URI has, a fragment, or user information.
    #[error("invalid request target")]
    Target,
    /// No host, several, or one that is no authority (RFC 9112 §3.2).
    #[error("invalid host")]
    Host,
    /// The length of the body is contradictory or no number (RFC 9112 §6.3).
    #[error("contradictory framing of the body")]
    Framing,
    /// A transfer coding other than `chunked`.
    #[error("transfer coding other than chunked")]
    Coding,
    /// The chunked coding is broken.
    #[error("invalid chunked coding")]
    Chunk,
    /// Chunk extensions or trailers are larger than allowed.
    #[error("chunk extensions or trailers are too large")]
    ChunkTooLarge,
    /// The head is larger than allowed.
    #[error("request head is too large")]
    HeadTooLarge,
    /// More header lines than allowed.
    #[error("too many header lines")]
    TooManyHeaders,
    /// The target is longer than allowed.
    #[error("request target is too long")]
    TargetTooLong,
    /// The head took too long.
    #[error("request head took too long")]
    HeadTimeout,
    /// The body paused too long.
    #[error("request body paused too long")]
    BodyTimeout,
}

// === impl Malformed ===

impl Malformed {
    /// Every kind, for metrics that show what has not happened yet.
    pub(crate) const ALL: [Self; 14] = [
        Self::Syntax,
        Self::BareLineFeed,
        Self::Version,
        Self::Target,
        Self::Host,
        Self::Framing,
        Self::Coding,
        Self::Chunk,
        Self::ChunkTooLarge,
        Self::HeadTooLarge,
        Self::TooManyHeaders,
        Self::TargetTooLong,
        Self::HeadTimeout,
        Self::BodyTimeout,
    ];

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Syntax
            | Self::BareLineFeed
            | Self::Version
            | Self::Target
            | Self::Host
            | Self::Framing
            | Self::Chunk => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::ChunkTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge | Self::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The response flag.
    pub fn flag(self) -> Flags {
        match self {
            Self::HeadTimeout => Flags::DT,
            Self::BodyTimeout => Flags::SI,
            Self::Syntax
            | Self::BareLineFeed
            | Self::Version
            | Self::Target
            | Self::Host
            | Self::Framing
            | Self::Coding
            | Self::Chunk
            | Self::ChunkTooLarge
            | Self::HeadTooLarge
            | Self::TooManyHeaders
            | Self::TargetTooLong => Flags::DPE,
        }
    }

    /// The cause in `x-meshproxy-error`, in the log and in metrics.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Syntax => "invalid_head",
            Self::BareLineFeed => "bare_line_feed",
            Self::Version => "unknown_version",
            Self::Target => "invalid_target",
            Self::Host => "invalid_host",
            Self::Framing => "contradictory_framing",
            Self::Coding => "unknown_coding",
            Self::Chunk => "invalid_chunk",
            Self::ChunkTooLarge => "chunk_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTimeout => "request_head_timeout",
            Self::BodyTimeout => "request_body_timeout",
        }
    }
}

impl From<ChunkError> for Malformed {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Syntax => Self::Chunk,
            ChunkError::TooLarge => Self::ChunkTooLarge,
        }
    }
}
