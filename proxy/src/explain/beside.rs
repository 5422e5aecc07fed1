//! What a request meets beside the action of its rule: faults, rate limits and mirrors.

use config::fault::FaultScope;
use http::HeaderValue;

use super::decide::Walk;
use super::decision::Failure;
use super::decision::beside::{
    Abort, Always, CountedBy, Delay, Faults, Mirror, RateLimit, Reset, Scope, SlowBody, Value,
};
use crate::request::Rejection;
use crate::request::mirror::may_be_copied;
use crate::request::rate_limit::{facts, looking};
use crate::request::reply;
use crate::request::route::Routed;
use crate::table::fault::{End, Fault};
use crate::table::rate_limit::facts::{Dimension, Facts};
use crate::table::rate_limit::{Limit, Tally};
use crate::table::route::Route;
use crate::upstream::{Outgoing, UpstreamError};

/// A number that only shares of everything are hit by.
const ONLY_ALL: u64 = u64::MAX;
/// The value of a cookie that is made of the number 0, which stands for one at random.
const MADE: &str = "0000000000000000";

/// The faults of a route.
pub(super) fn faults(walk: &Walk<'_>, route: &Route) -> Option<Faults> {
    let fault = route.fault.as_deref()?;
    let Fault {
        scope,
        delay,
        abort,
        reset,
        slow_body,
    } = fault;
    Some(Faults {
        scope: match scope {
            FaultScope::Request => Scope::Request,
            FaultScope::Attempt => Scope::Attempt,
        },
        delay: delay.map(|delay| Delay {
            percent: delay.share.percent(),
            time: format!("{:?}", delay.time),
        }),
        abort: abort.map(|abort| Abort {
            percent: abort.share.percent(),
            status: abort.status.http.as_u16(),
            grpc_status: abort.status.grpc,
        }),
        reset: reset.map(|share| Reset {
            percent: share.percent(),
        }),
        slow_body: slow_body.map(|slow| SlowBody {
            percent: slow.share.percent(),
            bytes_per_second: slow.pace.bytes_per_second(),
        }),
        always: end(fault).map(|end| match end {
            End::Abort(_) => Always::Abort(failure(walk, end)),
            End::Reset => Always::Reset,
        }),
    })
}

/// How a fault ends all that it meets, if it does.
fn end(fault: &Fault) -> Option<End> {
    fault.draw(|| ONLY_ALL).end
}

fn failure(walk: &Walk<'_>, end: End) -> Failure {
    match end {
        End::Abort(status) => {
            let response = reply::aborted(status, walk.is_grpc());
            let flags = Rejection::FaultAbort(status).flags().to_string();
            Failure::of(&response, flags, "injected by the rule".to_owned())
        }
        End::Reset => {
            let rejection = Rejection::Upstream(UpstreamError::InjectedReset);
            walk.failure(&rejection, "injected by the rule".to_owned())
        }
    }
}

/// How faults let each attempt of a request fail, if they do. Where a delay before is cut short by a
/// limit, something else is the end.
pub(super) fn failing_attempts(walk: &Walk<'_>, route: &Route) -> Option<Failure> {
    let fault = Fault::of_attempts(route)?;
    let limits = [route.timeout, route.retries.per_try_timeout];
    let limit = limits.into_iter().flatten().min();
    let is_cut = |time| limit.is_some_and(|limit| limit <= time);
    if fault.delay.is_some_and(|delay| is_cut(delay.time)) {
        return None;
    }
    Some(failure(walk, end(fault)?))
}

/// The limits that count a request which meets `routed`.
pub(super) fn rate_limits(walk: &Walk<'_>, routed: &Routed<'_>) -> Vec<RateLimit> {
    let (Some(limits), Ok(mut outgoing)) = (&walk.view.snapshot.table.limits, walk.received())
    else {
        return Vec::new();
    };
    let direction = walk.listener.direction;
    let (incoming, of_route) = looking(limits, direction, &routed.rule.route);
    let counting = incoming.iter().chain(of_route);
    if counting.clone().any(|limit| limit.looks_at_headers) {
        outgoing.settle_headers();
    }
    let facts = facts(limits, direction, &walk.downstream, routed, &outgoing);
    let counting = counting.filter(|limit| limit.counts(&facts));
    counting.map(|limit| rate_limit(limit, &facts)).collect()
}

fn rate_limit(limit: &Limit, facts: &Facts<'_>) -> RateLimit {
    let quota = limit.quota_for(facts);
    let value = |dimension: &Dimension| Value {
        name: dimension.name.to_string(),
        value: String::from_utf8_lossy(&dimension.value(facts)).into_owned(),
    };
    let overridden = limit.override_for(facts).map(|over| {
        let conditions = over.conditions.iter();
        let condition = |(dimension, value): &(Dimension, Box<str>)| Value {
            name: dimension.name.to_string(),
            value: value.to_string(),
        };
        conditions.map(condition).collect()
    });
    RateLimit {
        policy: limit.id.policy.to_string(),
        limit: limit.id.limit.to_string(),
        requests: quota.requests,
        per: format!("{:?}", quota.per),
        burst: quota.burst,
        counted_by: match &quota.tally {
            Tally::One(_) | Tally::PerKey { .. } => CountedBy::Proxy,
            Tally::Shared { .. } => CountedBy::Service,
        },
        key: limit.key.iter().map(value).collect(),
        overridden,
    }
}

/// Who gets copies of a request which meets `routed`.
pub(super) fn mirrors(walk: &Walk<'_>, routed: &Routed<'_>, outgoing: &Outgoing) -> Vec<Mirror> {
    if !may_be_copied(outgoing) {
        return Vec::new();
    }
    let destinations = &walk.view.snapshot.destinations;
    let mirrors = routed.rule.route.mirrors.iter().map(|mirror| {
        let id = mirror.destination.at(routed.port);
        let destination = id.and_then(|id| destinations.get(id));
        Mirror {
            host: mirror.host.to_string(),
            subset: mirror.subset.as_deref().map(str::to_owned),
            percent: mirror.share.percent(),
            destination: destination.map(|it| it.key.to_string()),
        }
    });
    mirrors.collect()
}

/// A cookie that is made of the number 0, with a word in place of its value.
pub(super) fn made_cookie(line: &HeaderValue) -> String {
    String::from_utf8_lossy(line.as_bytes()).replacen(MADE, "<random>", 1)
}
