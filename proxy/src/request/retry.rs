//! Attempts: what provably was not processed is tried again, on another endpoint where there is one.

use std::time::Duration;

use http::Method;

use crate::request::Rejection;
use crate::table::route::Route;
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::{Answer, Outgoing, Upstream, UpstreamError};

/// Upper bound of the wait before the first retry; it doubles with each further one.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// Upper bound of any wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// The answer of the last attempt, and how many there were.
pub(crate) struct Outcome<'d> {
    pub(crate) result: Result<Answer, Rejection>,
    /// The endpoint of the last attempt.
    pub(crate) member: Option<&'d Member>,
    /// Attempts made.
    pub(crate) attempts: u32,
}

/// Makes attempts until one has an answer, or another would not be safe or allowed.
pub(crate) async fn run<'d>(
    upstream: &Upstream,
    route: &Route,
    destination: &'d Destination,
    outgoing: &mut Outgoing,
) -> Outcome<'d> {
    let mut tried = Vec::new();
    let mut attempts = 0;
    loop {
        let member = match upstream.pick(destination, &tried) {
            Ok(member) => member,
            Err(error) => {
                let result = Err(Rejection::Upstream(error));
                return Outcome {
                    result,
                    member: None,
                    attempts,
                };
            }
        };
        attempts += 1;
        let error = match upstream.send(destination, member, outgoing, attempts).await {
            Ok(answer) => {
                return Outcome {
                    result: Ok(answer),
                    member: Some(member),
                    attempts,
                };
            }
            Err(error) => error,
        };
        let safe = may_repeat(&error, outgoing);
        if !safe || attempts > route.retries {
            let rejection = if safe && attempts > 1 {
                upstream.count_exhausted();
                Rejection::RetriesExhausted(error)
            } else {
                Rejection::Upstream(error)
            };
            return Outcome {
                result: Err(rejection),
                member: Some(member),
                attempts,
            };
        }
        upstream.count_retry(&error);
        tried.push(member.endpoint.id);
        // A connection that died of idleness says nothing about the endpoint's health.
        if !error.closed_while_idle() {
            tokio::time::sleep(backoff(attempts, upstream.random())).await;
        }
    }
}

/// Whether repeating cannot do a thing twice: nothing was processed, or the connection had died
/// before an answer and the method is idempotent (RFC 9110 §9.2.2).
fn may_repeat(error: &UpstreamError, outgoing: &Outgoing) -> bool {
    outgoing.replayable
        && (error.unsent() || (error.closed_while_idle() && is_idempotent(&outgoing.head.method)))
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// A wait with full jitter: between nothing and the bound, so that retries spread out.
fn backoff(attempts: u32, random: u64) -> Duration {
    let bound = BACKOFF_BASE.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
    bound.min(BACKOFF_MAX).mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempts in 1..40 {
            let wait = backoff(attempts, u64::MAX);

            let bound = BACKOFF_BASE * (1 << (attempts - 1).min(16));
            assert!(wait <= bound.min(BACKOFF_MAX), "{attempts}: {wait:?}");
        }
        assert_eq!(backoff(1, 0), Duration::ZERO);
    }
}
