//! Attempts: one after the other, until there is an answer to hand on or no other attempt may follow.
//!
//! Whether an attempt is worth repeating, the rule's policy says; whether it may be, is decided here:
//! by the number of attempts, by what is left of the body, of the time and of the budget.

mod after;
mod refusal;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::Method;
use tokio::time::Instant;

use crate::body::replay::{Keep, Recording};
use crate::request::explain::Account;
use crate::request::fault::{Injected, paced};
use crate::request::reply;
use crate::request::timeout::grpc::{self, GRPC_TIMEOUT};
use crate::request::timeout::{Deadline, Expired, Time, within};
use crate::table::fault::Fault;
use crate::table::retry::{Asked, Cause, Ended, RetryPolicy};
use crate::upstream::balance::Wish;
use crate::upstream::budget::Retrying;
use crate::upstream::caller::Caller;
use crate::upstream::connect::ConnectFault;
use crate::upstream::destination::{Destination, Protocol};
use crate::upstream::endpoint::Member;
use crate::upstream::outlier::{self, Detection, Event};
use crate::upstream::{Answer, Attempt, Outgoing, Upstream, UpstreamError};
pub(crate) use refusal::Refusal;

/// Longest `Retry-After` that is waited out; a caller is better served by a longer one itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// What the attempts of one request have in common.
pub(crate) struct Attempts<'c, 'd> {
    pub(crate) upstream: &'c Upstream,
    pub(crate) policy: &'c RetryPolicy,
    /// Faults that each attempt meets.
    pub(crate) fault: Option<&'c Fault>,
    pub(crate) destination: &'d Destination,
    /// Whom connections are opened for, where the destination is told.
    pub(crate) caller: Option<&'c Rc<Caller>>,
    pub(crate) asked: Asked,
    /// Hash of what ties the request to an endpoint, if something does.
    pub(crate) key: Option<u64>,
    pub(crate) time: &'c Time,
    /// Read by the caller also when the time was over first.
    pub(crate) made: &'c Made<'d>,
}

/// The attempts so far.
#[derive(Default)]
pub(crate) struct Made<'d> {
    count: Cell<u32>,
    /// The endpoint of the last one.
    last: Cell<Option<&'d Member>>,
    /// Whether any of them was delayed by a fault.
    pub(super) delayed: Cell<bool>,
    /// Whether the last one was answered by a fault.
    pub(super) aborted: Cell<bool>,
    /// Whether that one is awaited.
    awaits_endpoint: Cell<bool>,
    /// What all of them were, if the caller is to know.
    pub(super) account: Option<Rc<Account>>,
}

/// How the last attempt ended, and why there was no other one if there should have been.
pub(crate) struct Outcome {
    pub(crate) result: Result<Box<Answer>, UpstreamError>,
    pub(crate) refusal: Option<Refusal>,
}

// === impl Attempts ===

impl Attempts<'_, '_> {
    /// Makes attempts until one has an answer to hand on, or no other may follow.
    pub(crate) async fn run(&self, outgoing: &mut Outgoing) -> Outcome {
        self.destination.count_request();
        self.keep_body(outgoing);
        let mut avoided = Vec::new();
        let mut tried = Vec::new();
        let mut hopeless = Vec::new();
        let mut under_way: Option<Retrying> = None;
        loop {
            let result = self.attempt(outgoing, &avoided).await;
            let cause = self.policy.cause(ended(&result), self.asked);
            let others = self.have_others(&result, &mut hopeless);
            let Some(cause) = cause.filter(|_| others) else {
                return self.done(outgoing, result, None);
            };
            let wait = match self.admit(cause, &result, outgoing, &mut under_way) {
                Ok(wait) => wait,
                Err(refusal) => return self.done(outgoing, result, Some(refusal)),
            };
            let stale = result.as_ref().err();
            let fresh = stale.is_some_and(UpstreamError::closed_while_idle);
            // Of an answer that is not wanted the rest is not read; its connection is closed.
            drop(result);
            self.upstream.count_retry(cause, self.asked);
            tried.extend(self.made.last.get());
            avoided = self.avoided(&tried);
            avoided.extend(&hopeless);
            // The connections beside one that died of idleness are as old, and it says nothing about
            // the endpoint's health.
            outgoing.sending.wants_fresh = fresh;
            if !fresh {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One attempt, within its own time if it has one.
    async fn attempt(
        &self,
        outgoing: &mut Outgoing,
        avoided: &[u64],
    ) -> Result<Box<Answer>, UpstreamError> {
        let wish = Wish {
            key: self.key,
            tried: avoided,
            far: self.policy.prefers_far(self.made.count.get()),
        };
        let member = self.upstream.pick(self.destination, &wish)?;
        self.made.count.set(self.made.count.get() + 1);
        let before = self.made.last.replace(Some(member));
        if let Some(account) = &self.made.account {
            account.tries(member);
        }
        if self.asked.grpc
            && let Some(left) = self.time.left_for_upstream()
        {
            let headers = &mut outgoing.head.headers;
            headers.insert(GRPC_TIMEOUT.clone(), grpc::value(left));
        }
        if let Some(recording) = &outgoing.sending.recording {
            outgoing.body = recording.replay();
        }
        let limit = self.policy.per_try_timeout;
        let deadline = |limit| Deadline::new(self.time.of_attempt(limit), None);
        let mut deadline = limit.map(deadline);
        let result = self.exchange(member, outgoing, &mut deadline).await;
        if let Some(account) = &self.made.account {
            account.ended(self.made.count.get(), told(&result));
        }
        let was_asked = self.made.awaits_endpoint.take();
        if let Err(UpstreamError::Overflow(_)) = result {
            // A limit of our own: nothing was sent to anybody.
            self.made.count.set(self.made.count.get() - 1);
            self.made.last.set(before);
        }
        if let Some(rules) = self.destination.policy.outlier.as_deref()
            && was_asked
            && let Some(event) = Event::of(&result, self.asked.grpc)
        {
            self.observe(rules, member, event);
        }
        result
    }

    /// The faults of an attempt, and what comes of it within its own time.
    async fn exchange(
        &self,
        member: &Member,
        outgoing: &mut Outgoing,
        deadline: &mut Option<Deadline>,
    ) -> Result<Box<Answer>, UpstreamError> {
        let mut pace = None;
        let awaits_endpoint = &self.made.awaits_endpoint;
        if let Some(fault) = self.fault {
            // What is injected here is as if the endpoint had done it.
            awaits_endpoint.set(true);
            match Box::pin(self.inject(fault, deadline)).await {
                Injected::Goes(at) => pace = at,
                Injected::Ends(result) => return result,
            }
            awaits_endpoint.set(false);
        }
        let attempt = Attempt {
            number: self.made.count.get(),
            awaits_endpoint,
            caller: self.caller,
        };
        let sent = self
            .upstream
            .send(self.destination, member, outgoing, &attempt);
        match within(deadline, pin!(sent)).await {
            Ok(Ok(mut answer)) if pace.is_some() => {
                answer.response = paced(answer.response, pace);
                Ok(answer)
            }
            Ok(result) => result,
            Err(_) => {
                member.endpoint.failed();
                let limit = self.policy.per_try_timeout;
                Err(UpstreamError::TryTimeout(limit.unwrap_or_default()))
            }
        }
    }

    /// Notes that the time of the request was over. The endpoint that was awaited is to blame, unless
    /// the time was the caller's own: who allows a millisecond must not take endpoints from others.
    pub(crate) fn expired(&self, expired: Expired) {
        let awaited = match expired {
            Expired::Limit | Expired::QuietUpstream => self.made.awaits_endpoint.get(),
            Expired::Caller | Expired::QuietRequest => false,
        };
        if awaited
            && let Some(rules) = self.destination.policy.outlier.as_deref()
            && let Some(member) = self.made.last.get()
        {
            self.observe(rules, member, Event::Failed);
        }
    }

    fn observe(&self, rules: &Detection, member: &Member, event: Event) {
        let downstream_failed = event == Event::Failed && self.time.request_broke_off();
        if !downstream_failed {
            outlier::observe(rules, self.destination, member, event, Instant::now());
        }
    }

    /// Has the body kept if it may be sent again.
    fn keep_body(&self, outgoing: &mut Outgoing) {
        use http_body::Body as _;
        if outgoing.body.is_end_stream() || !self.policy.retries(self.asked) {
            return;
        }
        // A stream can be refused when much was sent.
        let may_be_refused = match self.destination.policy.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 | Protocol::AsDownstream => true,
        };
        let keep = match may_be_refused || self.policy.repeats_sent(self.asked) {
            true => Keep::Sent,
            false => Keep::Unsent,
        };
        let source = std::mem::take(&mut outgoing.body);
        let recording = Recording::new(source, keep, &self.upstream.kept);
        outgoing.sending.recording = Some(recording);
    }

    /// Whether an attempt may be repeated, and after which wait.
    fn admit(
        &self,
        cause: Cause,
        result: &Result<Box<Answer>, UpstreamError>,
        outgoing: &Outgoing,
        under_way: &mut Option<Retrying>,
    ) -> Result<Duration, Refusal> {
        let made = self.made.count.get();
        if made > self.policy.attempts {
            return Err(Refusal::Exhausted);
        }
        let recording = outgoing.sending.recording.as_ref();
        if let Some(lost) = recording.and_then(Recording::lost) {
            return Err(Refusal::Body(lost));
        }
        let wait = self.policy.backoff(made, self.upstream.random());
        let wait = match result {
            Ok(answer) => {
                let asked = after::wait(answer.response.headers(), SystemTime::now());
                let left = || self.time.left(Instant::now());
                asked
                    .map_or(Some(wait), |asked| longer(wait, asked, left()))
                    .ok_or(Refusal::RetryAfter)?
            }
            Err(_) => wait,
        };
        self.destination.admit_retry(cause, under_way)?;
        Ok(wait)
    }

    /// Whether there is an endpoint left that may do better. Those that would fail again in the same way
    /// are noted as `hopeless`.
    fn have_others(
        &self,
        result: &Result<Box<Answer>, UpstreamError>,
        hopeless: &mut Vec<u64>,
    ) -> bool {
        let fault = result.as_ref().err().and_then(UpstreamError::connect_fault);
        let Some(last) = self.made.last.get() else {
            return true;
        };
        if !fault.is_some_and(ConnectFault::is_lasting) {
            return true;
        }
        hopeless.push(last.endpoint.id);
        let may_do_better = |member: &Member| !hopeless.contains(&member.endpoint.id);
        self.destination.members().iter().any(may_do_better)
    }

    /// Endpoints that the next attempt avoids while there are others.
    fn avoided(&self, tried: &[&Member]) -> Vec<u64> {
        // Whoever belongs to one endpoint is not served better by another.
        let tied = self.destination.balancer.affinity().is_some();
        if !self.policy.avoids_tried.unwrap_or(!tied) {
            return Vec::new();
        }
        match self.policy.prefers_far(self.made.count.get()) {
            true => elsewhere(self.destination.members(), tried),
            false => tried.iter().map(|member| member.endpoint.id).collect(),
        }
    }

    fn done(
        &self,
        outgoing: &Outgoing,
        result: Result<Box<Answer>, UpstreamError>,
        refusal: Option<Refusal>,
    ) -> Outcome {
        if let Some(recording) = &outgoing.sending.recording {
            recording.finish();
        }
        if let Some(refusal) = refusal {
            self.upstream.count_refusal(refusal);
        }
        Outcome { result, refusal }
    }
}

/// The longer of both waits, unless the one that is `asked` for is too long or does not fit into what
/// is `left`.
fn longer(wait: Duration, asked: Duration, left: Option<Duration>) -> Option<Duration> {
    let fits = asked <= RETRY_AFTER_MAX && left.is_none_or(|left| asked < left);
    fits.then(|| wait.max(asked))
}

/// What to avoid in order to go far: all that is where something was tried. If everything is, what
/// was tried.
fn elsewhere(members: &[Member], tried: &[&Member]) -> Vec<u64> {
    let is_near = |member: &&Member| tried.iter().any(|it| it.locality == member.locality);
    let near: Vec<u64> = members
        .iter()
        .filter(is_near)
        .map(|it| it.endpoint.id)
        .collect();
    if near.len() < members.len() {
        return near;
    }
    tried.iter().map(|member| member.endpoint.id).collect()
}

fn ended(result: &Result<Box<Answer>, UpstreamError>) -> Ended<'_> {
    match result {
        Ok(answer) => Ended::Answered(answer.response.status(), answer.response.headers()),
        Err(error) => error.ended(),
    }
}

/// How an attempt ended, for people: the status, or the cause.
fn told(result: &Result<Box<Answer>, UpstreamError>) -> String {
    match result {
        Ok(answer) => answer.response.status().as_str().to_owned(),
        Err(error) => reply::attempt_detail(error).to_owned(),
    }
}

/// Whether doing it twice is the same as doing it once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

// === impl Made ===

impl<'d> Made<'d> {
    /// No attempt yet; all of them are noted in `account`, if there is one.
    pub(crate) fn for_account(account: Option<Rc<Account>>) -> Self {
        Self {
            account,
            ..Self::default()
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.get()
    }

    pub(crate) fn last(&self) -> Option<&'d Member> {
        self.last.get()
    }
}
