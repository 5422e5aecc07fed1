//! The conditions that a rule can name, and the causes for which an attempt is made again.

/// Defines causes and conditions with their names, in the order of their numbers.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $text:literal $doc:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $(#[doc = $doc] $variant,)* }

        impl $name {
            /// All of them; each stands at its own number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in configuration, metrics and log.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it means, as a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

named! {
    /// A condition of `retryOn` besides status codes.
    Condition {
        ServerError "5xx" "Any 5xx, or no answer at all.",
        GatewayError "gateway-error" "502, 503, 504, or no answer at all.",
        Reset "reset" "No answer.",
        ResetBeforeRequest "reset-before-request" "Nothing of the request reached the upstream.",
        ConnectFailure "connect-failure" "No connection.",
        Conflict "retriable-4xx" "409, the one 4xx that another attempt may change.",
        RefusedStream "refused-stream" "The upstream refused the HTTP/2 stream.",
        Cancelled "cancelled" "gRPC status 1 in the head of the answer.",
        DeadlineExceeded "deadline-exceeded" "gRPC status 4 in the head of the answer.",
        Internal "internal" "gRPC status 13 in the head of the answer.",
        ResourceExhausted "resource-exhausted" "gRPC status 8 in the head of the answer.",
        Unavailable "unavailable" "gRPC status 14 in the head of the answer.",
        RateLimited "envoy-ratelimited" "The answer says that a rate limit refused the request.",
    }
}

named! {
    /// Why an attempt is made again.
    Cause {
        ConnectFailure "connect-failure" "There was no connection.",
        ResetBeforeRequest "reset-before-request" "Nothing of the request went out.",
        RefusedStream "refused-stream" "The stream was refused.",
        ResetBeforeResponse "reset-before-response" "A reused connection turned out to be closed.",
        Reset "reset" "The attempt broke off.",
        PerTryTimeout "per-try-timeout" "The attempt took too long.",
        ServerError "5xx" "The status is 5xx.",
        GatewayError "gateway-error" "The status is 502, 503 or 504.",
        Conflict "retriable-4xx" "The status is 409.",
        Status "retriable-status-codes" "The status is one of those in the rule.",
        RateLimited "envoy-ratelimited" "A rate limit refused the request.",
        Cancelled "cancelled" "gRPC status 1.",
        DeadlineExceeded "deadline-exceeded" "gRPC status 4.",
        Internal "internal" "gRPC status 13.",
        ResourceExhausted "resource-exhausted" "gRPC status 8.",
        Unavailable "unavailable" "gRPC status 14.",
    }
}

// === impl Cause ===

impl Cause {
    /// Whether the upstream can have done nothing, so that another attempt adds no work for it.
    pub fn is_unprocessed(self) -> bool {
        match self {
            Self::ConnectFailure | Self::ResetBeforeRequest | Self::RefusedStream => true,
            Self::ResetBeforeResponse => true,
            Self::Reset | Self::PerTryTimeout | Self::ServerError | Self::GatewayError => false,
            Self::Conflict | Self::Status | Self::RateLimited | Self::Cancelled => false,
            Self::DeadlineExceeded | Self::Internal => false,
            Self::ResourceExhausted | Self::Unavailable => false,
        }
    }
}

// === impl Condition ===

impl Condition {
    /// `retriable-status-codes` says no more than the codes beside it. `retriable-headers` and
    /// `http3-post-connect-failure` mean nothing here: the API has no place for the names of
    /// headers, and there is no HTTP/3.
    pub(super) fn parse(token: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == token)
    }
}
