//! Faults that are injected on purpose: delays, errors, resets, slow answers.
//!
//! By default they meet a request before its timeout and retries begin, as in Istio. With
//! `meshproxy.io/fault-scope: attempt` they meet each attempt instead, as if the upstream had done it,
//! so that timeouts, retries and outlier detection can be seen at work.

use std::pin::pin;
use std::time::Duration;

use config::fault::FaultScope;
use http::Response;

use crate::body::Body;
use crate::request::forward::Call;
use crate::request::record::Record;
use crate::request::retry::{Attempts, Made};
use crate::request::timeout::{Deadline, within};
use crate::request::{Rejection, reply};
use crate::table::fault::{Drawn, End, Fault, Pace};
use crate::table::route::{Action, Route};
use crate::telemetry::flags::Flags;
use crate::telemetry::metrics::FaultCounters;
use crate::upstream::{Answer, Outgoing, UpstreamError};

/// Name of an injected error in headers and logs.
pub(crate) const ABORT: &str = "fault_filter_abort";

/// What an attempt does after its faults.
pub(super) enum Injected {
    /// Goes on, and its answer's body comes at this pace if there is one.
    Goes(Option<Pace>),
    /// Has ended like this.
    Ends(Result<Box<Answer>, UpstreamError>),
}

// === impl Fault ===

impl Fault {
    /// The faults of a route that meet its requests.
    fn of_requests(route: &Route) -> Option<&Self> {
        let fault = route.fault.as_deref()?;
        (fault.scope == FaultScope::Request).then_some(fault)
    }

    /// The faults of a route that meet the attempts of its requests.
    pub(crate) fn of_attempts(route: &Route) -> Option<&Self> {
        let fault = route.fault.as_deref()?;
        (fault.scope == FaultScope::Attempt).then_some(fault)
    }
}

// === impl Call ===

impl Call<'_> {
    /// Lets the request meet its faults; the pace of its answer's body if it goes on.
    pub(super) async fn inject(
        &self,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Option<Pace>, Rejection> {
        let Some(fault) = Fault::of_requests(self.route()) else {
            return Ok(None);
        };
        let upstream = &self.worker.upstream;
        let counters = upstream.faults();
        let drawn = fault.draw(|| upstream.random());
        if let Some(account) = &record.account {
            account.faults(&drawn);
        }
        let Drawn { delay, end, pace } = drawn;
        if let Some(time) = delay {
            record.flags |= Flags::DI;
            // In a box, for the sake of the many requests that do not wait.
            Box::pin(wait(counters, time)).await;
        }
        let rejection = match end {
            None => {
                if pace.is_some() {
                    record.flags |= Flags::DI;
                    counters.slow_bodies.inc();
                }
                return Ok(pace);
            }
            Some(End::Abort(status)) => {
                counters.aborts.inc();
                Rejection::FaultAbort(status)
            }
            Some(End::Reset) => {
                counters.resets.inc();
                Rejection::FaultReset
            }
        };
        self.note_destination(outgoing, record);
        Err(rejection)
    }

    /// Labels the traffic with where it would have gone.
    pub(super) fn note_destination(&self, outgoing: &mut Outgoing, record: &mut Record) {
        if let Action::Forward(split) = &self.route().action
            && let key = self.stickiness(split, outgoing).key
            && let Some(target) = split.choose(key, self.worker.upstream.random())
            && let Some(destination) = self.destination(&target.destination)
        {
            record.traffic = destination.traffic;
        }
    }
}

// === impl Attempts ===

impl Attempts<'_, '_> {
    /// Lets an attempt meet its faults, within its own time if it has one.
    pub(super) async fn inject(&self, fault: &Fault, deadline: &mut Option<Deadline>) -> Injected {
        let counters = self.upstream.faults();
        let drawn = fault.draw(|| self.upstream.random());
        if let Some(account) = &self.made.account {
            account.faults(&drawn);
        }
        let Drawn { delay, end, pace } = drawn;
        self.made.aborted.set(false);
        if let Some(time) = delay {
            self.made.delayed.set(true);
            let waits = pin!(wait(counters, time));
            if within(deadline, waits).await.is_err() {
                let limit = self.policy.per_try_timeout.unwrap_or_default();
                return Injected::Ends(Err(UpstreamError::TryTimeout(limit)));
            }
        }
        match end {
            None => {
                if pace.is_some() {
                    self.made.delayed.set(true);
                    counters.slow_bodies.inc();
                }
                Injected::Goes(pace)
            }
            Some(End::Abort(status)) => {
                self.made.aborted.set(true);
                counters.aborts.inc();
                let response = reply::aborted(status, self.asked.grpc);
                Injected::Ends(Ok(Answer::new(response, None)))
            }
            Some(End::Reset) => {
                counters.resets.inc();
                Injected::Ends(Err(UpstreamError::InjectedReset))
            }
        }
    }
}

// === impl Record ===

impl Record {
    /// Notes what the attempts met.
    pub(super) fn injected(&mut self, made: &Made<'_>) {
        if made.delayed.get() {
            self.flags |= Flags::DI;
        }
        if made.aborted.get() {
            self.flags |= Flags::FI;
            if let Some(log) = &mut self.log {
                log.answered_by(ABORT);
            }
        }
    }
}

/// The answer with its body at this pace.
pub(super) fn paced(response: Response<Body>, pace: Option<Pace>) -> Response<Body> {
    match pace {
        None => response,
        Some(pace) => response.map(|body| body.paced(pace)),
    }
}

async fn wait(counters: &FaultCounters, time: Duration) {
    let _delayed = counters.delay();
    tokio::time::sleep(time).await;
}
