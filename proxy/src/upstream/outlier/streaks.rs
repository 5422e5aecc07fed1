//! Failures in a row, and the requests of an interval, of one endpoint.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Cause, Detection, Event, LocalFailures};

/// What an endpoint did lately. Workers share it; each count is exact on its own.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    /// Since the last comparison of success rates, while they are compared.
    requests: AtomicU32,
    successes: AtomicU32,
}

/// Lengths of streaks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lengths {
    pub(crate) errors: u32,
    pub(crate) gateway_errors: u32,
    pub(crate) local_failures: u32,
}

/// What an endpoint did in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Volume {
    pub(crate) requests: u32,
    pub(crate) successes: u32,
}

// === impl Streaks ===

impl Streaks {
    /// Counts an event; returns the cause if it makes a streak long enough for an ejection. Whatever
    /// follows from that, the streak begins anew, so that an ejection that the limit does not allow is
    /// tried again after as many failures, and of two workers only one gets the cause.
    pub(super) fn note(&self, rules: &Detection, event: Event) -> Option<Cause> {
        let (error, gateway_error) = match (event, rules.local_failures) {
            (Event::Answered(code), _) => {
                let error = rules.codes.has(code);
                end(&self.local_failures);
                (error, error && (502..=504).contains(&code))
            }
            (Event::Failed, LocalFailures::AsErrors) => (true, true),
            // That there was a connection does not end a streak, unlike in Envoy: one that is always
            // reset, or never answers, is of as little use as none.
            (Event::Failed, LocalFailures::Apart(most)) => {
                return reaches(&self.local_failures, most).then_some(Cause::LocalFailures);
            }
        };
        if rules.success_rate.is_some() {
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.successes
                .fetch_add(u32::from(!error), Ordering::Relaxed);
        }
        if !gateway_error {
            end(&self.gateway_errors);
        }
        if !error {
            end(&self.errors);
            return None;
        }
        let by_gateway = gateway_error && reaches(&self.gateway_errors, rules.gateway_errors);
        let by_errors = reaches(&self.errors, rules.errors);
        match (by_gateway, by_errors) {
            (true, _) => Some(Cause::GatewayErrors),
            (false, true) => Some(Cause::Errors),
            (false, false) => None,
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        let Self {
            errors,
            gateway_errors,
            local_failures,
            requests,
            successes,
        } = self;
        for count in [errors, gateway_errors, local_failures, requests, successes] {
            end(count);
        }
    }

    /// Takes what was counted since the last time.
    pub(super) fn take_volume(&self) -> Volume {
        // A request between the two reads counts in one interval and succeeds in the next; it must
        // not succeed where it did not count.
        let successes = self.successes.swap(0, Ordering::Relaxed);
        let requests = self.requests.swap(0, Ordering::Relaxed);
        Volume {
            requests,
            successes: successes.min(requests),
        }
    }

    /// How long they are.
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths {
            errors: self.errors.load(Ordering::Relaxed),
            gateway_errors: self.gateway_errors.load(Ordering::Relaxed),
            local_failures: self.local_failures.load(Ordering::Relaxed),
        }
    }
}

/// Ends a streak. Hardly ever is there one, and to read is cheaper than to write.
fn end(streak: &AtomicU32) {
    if streak.load(Ordering::Relaxed) != 0 {
        streak.store(0, Ordering::Relaxed);
    }
}

/// Makes a streak longer by one; says whether it reached `most` by that, and begins it anew if so. A
/// streak that was longer already, because `most` was changed, reaches it at once.
fn reaches(streak: &AtomicU32, most: u32) -> bool {
    let length = streak.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    most > 0 && length >= most && streak.swap(0, Ordering::Relaxed) >= most
}
