//! When an attempt that failed is made again: the compiled form of `retries`, as a pure decision.
//!
//! What provably was not processed is repeated under every policy that allows attempts: it cannot do
//! a thing twice. Everything else is repeated only where the rule says so in `retryOn`.

mod cause;
#[cfg(test)]
mod tests;

use std::time::Duration;

use config::resource::virtual_service::HttpRetry;
use http::{HeaderMap, StatusCode};

pub use cause::{Cause, Condition};

/// Attempts after the first when nothing else is said (Istio's default policy).
pub const RETRIES_DEFAULT: u32 = 2;
/// Most attempts after the first of one request, whatever its rule says.
pub const RETRIES_MAX: u32 = 100;
/// Longest wait before the first retry when nothing else is said; it doubles with each further one.
pub const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// The wait stops growing at this multiple of the first one.
const BACKOFF_GROWTH_MAX: u32 = 10;
/// Attempts after which `retryRemoteLocalities` looks elsewhere.
const NEAR_ATTEMPTS: u32 = 2;

/// The header by which a rate limit says that it refused a request.
const RATE_LIMITED: &str = "x-envoy-ratelimited";

/// The compiled form of one rule's `retries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first, at most [`RETRIES_MAX`].
    pub attempts: u32,
    /// Limit of one attempt, the first included, until the head of its answer.
    pub per_try_timeout: Option<Duration>,
    /// Whether an attempt avoids endpoints that were tried; unset means unless the destination ties
    /// requests to endpoints.
    pub avoids_tried: Option<bool>,
    /// Whether later attempts prefer localities that were not tried.
    pub goes_far: bool,
    on: On,
    /// Statuses of an upstream that are retried, whatever their class.
    statuses: Box<[u16]>,
    backoff: Duration,
    /// Whether calls of gRPC are repeated.
    grpc: bool,
}

/// A set of conditions, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct On(u16);

/// How an attempt ended, as far as a policy looks at it.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// There was no connection.
    NotConnected,
    /// There was a connection, but nothing of the request went out.
    Unsent,
    /// The upstream refused the stream: nothing was processed (RFC 9113 §8.7).
    Refused,
    /// A connection that had served before was closed before any byte of an answer: most likely the
    /// upstream closed it while it was idle.
    ClosedWhileIdle,
    /// The attempt broke off before the head of an answer; the request may have been processed.
    Reset,
    /// `perTryTimeout` was over.
    TimedOut,
    /// The upstream answered.
    Answered(StatusCode, &'a HeaderMap),
    /// There was nobody to ask, or the caller is gone.
    Final,
}

/// What a policy looks at in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Doing it twice is the same as doing it once (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// It is a call of gRPC.
    pub grpc: bool,
}

/// What a lost attempt is repeated by, whatever had become of the request.
const ANY_LOSS: On = On::of(&[
    Condition::ServerError,
    Condition::GatewayError,
    Condition::Reset,
]);

/// What a server of gRPC says, and the condition and cause that stand for it.
const GRPC: [(&[u8], Condition, Cause); 5] = [
    (b"1", Condition::Cancelled, Cause::Cancelled),
    (b"4", Condition::DeadlineExceeded, Cause::DeadlineExceeded),
    (b"8", Condition::ResourceExhausted, Cause::ResourceExhausted),
    (b"13", Condition::Internal, Cause::Internal),
    (b"14", Condition::Unavailable, Cause::Unavailable),
];

// === impl RetryPolicy ===

impl RetryPolicy {
    /// The policy of a rule that has none. Istio's also names the gRPC statuses `unavailable` and
    /// `cancelled`; ours leaves them out, because a server that says so may have begun.
    pub fn standard() -> Self {
        Self {
            attempts: RETRIES_DEFAULT,
            per_try_timeout: None,
            avoids_tried: None,
            goes_far: false,
            on: On::of(&[Condition::ConnectFailure, Condition::RefusedStream]),
            statuses: Box::default(),
            backoff: BACKOFF_BASE,
            grpc: true,
        }
    }

    /// The policy of traffic to the own workload: only what did not reach it, and no gRPC.
    pub fn inbound() -> Self {
        Self {
            on: On::of(&[Condition::ResetBeforeRequest]),
            grpc: false,
            ..Self::standard()
        }
    }

    /// The compiled form of what is written. Without `attempts` there is no retry, and no limit of
    /// the one attempt either.
    pub fn compile(written: Option<&HttpRetry>) -> Self {
        let standard = Self::standard();
        let Some(written) = written else {
            return standard;
        };
        let attempts = u32::try_from(written.attempts).unwrap_or(0);
        let limit = written.per_try_timeout.map(config::value::Duration::get);
        let backoff = written.backoff.map(config::value::Duration::get);
        let tokens = written.retry_on.as_deref().filter(|it| !it.is_empty());
        let tokens = || tokens.into_iter().flat_map(|list| list.split(','));
        let conditions = tokens().filter_map(Condition::parse);
        let statuses = tokens().filter_map(|token| token.parse().ok());
        Self {
            attempts: attempts.min(RETRIES_MAX),
            per_try_timeout: limit.filter(|limit| attempts > 0 && !limit.is_zero()),
            avoids_tried: written.retry_ignore_previous_hosts,
            goes_far: written.retry_remote_localities.unwrap_or(false),
            on: match tokens().next() {
                Some(_) => conditions.fold(On::default(), On::with),
                None => standard.on,
            },
            statuses: statuses.collect(),
            backoff: backoff.filter(|it| !it.is_zero()).unwrap_or(BACKOFF_BASE),
            grpc: true,
        }
    }

    /// Whether a request is ever made again.
    pub fn retries(&self, asked: Asked) -> bool {
        self.attempts > 0 && (self.grpc || !asked.grpc)
    }

    /// Why an attempt that ended so would be made again; `None` if it is the last.
    pub fn cause(&self, ended: Ended<'_>, asked: Asked) -> Option<Cause> {
        let given = |conditions: On, cause| self.on.any(conditions).then_some(cause);
        let before_request = ANY_LOSS.with(Condition::ResetBeforeRequest);
        let cause = match ended {
            Ended::Final => None,
            Ended::NotConnected => given(
                before_request.with(Condition::ConnectFailure),
                Cause::ConnectFailure,
            ),
            Ended::Unsent => Some(Cause::ResetBeforeRequest),
            Ended::Refused => given(
                before_request.with(Condition::RefusedStream),
                Cause::RefusedStream,
            ),
            Ended::ClosedWhileIdle if asked.idempotent => Some(Cause::ResetBeforeResponse),
            Ended::ClosedWhileIdle => given(ANY_LOSS, Cause::ResetBeforeResponse),
            Ended::Reset => given(ANY_LOSS, Cause::Reset),
            Ended::TimedOut => given(ANY_LOSS, Cause::PerTryTimeout),
            Ended::Answered(status, headers) => self.cause_of_answer(status, headers, asked.grpc),
        };
        cause.filter(|_| self.retries(asked))
    }

    fn cause_of_answer(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        grpc: bool,
    ) -> Option<Cause> {
        // A success is no condition by itself, and this is the way of nearly every request.
        if status == StatusCode::OK && !grpc && self.statuses.is_empty() {
            return None;
        }
        let has = |condition| self.on.any(On::of(&[condition]));
        // Who is told to send less should not be asked again at once unless the rule says so.
        if headers.contains_key(RATE_LIMITED) {
            return has(Condition::RateLimited).then_some(Cause::RateLimited);
        }
        let code = status.as_u16();
        if has(Condition::ServerError) && status.is_server_error() {
            return Some(Cause::ServerError);
        }
        if has(Condition::GatewayError) && (502..=504).contains(&code) {
            return Some(Cause::GatewayError);
        }
        if has(Condition::Conflict) && status == StatusCode::CONFLICT {
            return Some(Cause::Conflict);
        }
        if self.statuses.contains(&code) {
            return Some(Cause::Status);
        }
        let said = headers.get("grpc-status").filter(|_| grpc)?.as_bytes();
        let of_status = GRPC.iter().find(|(status, ..)| *status == said);
        let (_, condition, cause) = of_status?;
        has(*condition).then_some(*cause)
    }

    /// Whether a request can be made again after parts of it were sent, other than on a stream that
    /// was refused.
    pub fn repeats_sent(&self, asked: Asked) -> bool {
        let before_sent = On::of(&[
            Condition::ConnectFailure,
            Condition::ResetBeforeRequest,
            Condition::RefusedStream,
        ]);
        asked.idempotent || !self.statuses.is_empty() || self.on.without(before_sent).any_at_all()
    }

    /// The wait before retry `retry`, from 1: with full jitter, between nothing and a bound that
    /// doubles, so that retries spread out.
    pub fn backoff(&self, retry: u32, random: u64) -> Duration {
        let doubled = self
            .backoff
            .saturating_mul(1 << retry.saturating_sub(1).min(16));
        let bound = doubled.min(self.backoff.saturating_mul(BACKOFF_GROWTH_MAX));
        let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(fraction)
    }

    /// Whether an attempt after `made` ones prefers localities that were not tried.
    pub fn prefers_far(&self, made: u32) -> bool {
        self.goes_far && made >= NEAR_ATTEMPTS
    }

    /// `retryOn` as it is understood, for people.
    pub fn conditions(&self) -> Vec<String> {
        let meanings = self.meanings().into_iter();
        meanings.map(|(condition, _)| condition).collect()
    }

    /// The same with what each condition means.
    pub fn meanings(&self) -> Vec<(String, String)> {
        let conditions = Condition::ALL.iter().copied();
        let named = conditions.filter(|it| self.on.any(On::of(&[*it])));
        let named = named.map(|it| (it.as_str().to_owned(), it.meaning().to_owned()));
        let statuses = self.statuses.iter();
        let statuses = statuses.map(|it| (it.to_string(), format!("The upstream answers {it}.")));
        named.chain(statuses).collect()
    }
}

// === impl On ===

impl On {
    const fn of(conditions: &[Condition]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < conditions.len() {
            bits |= 1 << conditions[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    fn with(self, condition: Condition) -> Self {
        Self(self.0 | Self::of(&[condition]).0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn any_at_all(self) -> bool {
        self.0 != 0
    }
}
