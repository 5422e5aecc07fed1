//! Whether a request may pass the limits that count it.
//!
//! A request must pass all of them, and one that is refused has used up none. Limits of the proxy
//! itself are looked at first; only if all would let it pass is it taken from each, and what another
//! request took in between is settled by giving back. Services are asked last: a request that they
//! refuse is given back here. Where several services count, one may have counted what another
//! refused.

mod counting;
mod question;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use config::spiffe::SpiffeId;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

use crate::body::Body;
use crate::request::forward::Call;
use crate::request::record::Record;
use crate::request::route::Routed;
use crate::request::{Downstream, Rejection};
use crate::table::Direction;
use crate::table::host::split_authority;
use crate::table::rate_limit::facts::Facts;
use crate::table::rate_limit::{Limit, LimitId, RateLimits};
use crate::table::route::Route;
use crate::upstream::Outgoing;
use counting::{Counting, Place, Taken};
use question::{Question, questions};

/// A request that a limit refused.
#[derive(Debug)]
pub struct Refused {
    /// The limit.
    pub(crate) limit: Arc<LimitId>,
    /// How long it takes until one may pass.
    pub(crate) wait: Duration,
    /// What a rate-limit service adds to the answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request that waits for services.
struct Asking<'l> {
    counting: Vec<Counting<'l>>,
    questions: Vec<Question<'l>>,
    taken: Taken<'l>,
}

// === impl Call ===

impl Call<'_> {
    /// Passes if nothing limits the request, or all limits let it pass.
    ///
    /// # Errors
    ///
    /// If a limit refuses it, or it cannot be decided and must be.
    pub(super) async fn admit(
        &self,
        direction: Direction,
        outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let Some(limits) = &self.snapshot.table.limits else {
            return Ok(());
        };
        match self.admit_here(limits, direction, outgoing)? {
            None => Ok(()),
            // In a box: few requests wait here.
            Some(asking) => Box::pin(self.ask(asking)).await,
        }
    }

    /// What the proxy can decide itself; the rest, if there is any, is to be asked.
    fn admit_here<'r>(
        &'r self,
        limits: &'r RateLimits,
        direction: Direction,
        outgoing: &mut Outgoing,
    ) -> Result<Option<Asking<'r>>, Rejection> {
        let (incoming, routed) = looking(limits, direction, self.route());
        if incoming.is_empty() && routed.is_empty() {
            return Ok(None);
        }
        let counted = incoming.iter().chain(routed);
        if counted.clone().any(|limit| limit.looks_at_headers) {
            outgoing.settle_headers();
        }
        let facts = facts(limits, direction, self.downstream, self.routed, outgoing);
        let mut counting = counted
            .filter(|limit| limit.counts(&facts))
            .map(|limit| Counting::new(limit, &facts));
        let Some(first) = counting.next() else {
            return Ok(None);
        };
        let second = counting.next();
        // The usual case: one that the proxy keeps itself needs no look at others.
        if second.is_none() && !matches!(first.place, Place::Elsewhere) {
            first.take(limits.now())?;
            first.limit.counters.allowed.inc();
            return Ok(None);
        }
        let all = std::iter::once(first).chain(second).chain(counting);
        let counting: Vec<Counting<'_>> = all.collect();
        let taken = take(limits, &counting)?;
        let questions = questions(&counting, &facts);
        if questions.is_empty() {
            pass(&counting, taken);
            return Ok(None);
        }
        Ok(Some(Asking {
            counting,
            questions,
            taken,
        }))
    }

    /// Asks services one after the other.
    async fn ask(&self, asking: Asking<'_>) -> Result<(), Rejection> {
        let (upstream, destinations) = (&self.worker.upstream, &self.snapshot.destinations);
        for question in asking.questions {
            let service = question.service;
            let asked = service.ask(upstream, destinations, &question.descriptors);
            match asked.await {
                Ok(verdict) if verdict.is_over => return Err(question.refused(verdict)),
                Err(_) if service.denies => {
                    return Err(Rejection::LimitUndecided(Arc::clone(&service.policy)));
                }
                Ok(_) | Err(_) => {}
            }
        }
        pass(&asking.counting, asking.taken);
        Ok(())
    }

    /// The answer to a request that may not pass.
    pub(super) fn refuse(
        &self,
        rejection: &Rejection,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Response<Body> {
        self.note_destination(outgoing, record);
        self.reject(rejection, record)
    }
}

/// The limits that look at requests to a route: those of what comes in, and those of its resource.
pub(crate) fn looking<'l>(
    limits: &'l RateLimits,
    direction: Direction,
    route: &Route,
) -> (&'l [Arc<Limit>], &'l [Arc<Limit>]) {
    let incoming = match direction {
        Direction::Inbound | Direction::Gateway => &*limits.incoming,
        Direction::Outbound => &[],
    };
    (incoming, limits.routed(route))
}

/// What limits look at.
pub(crate) fn facts<'r>(
    limits: &'r RateLimits,
    direction: Direction,
    downstream: &'r Downstream,
    routed: &'r Routed<'_>,
    outgoing: &'r Outgoing,
) -> Facts<'r> {
    let peer = downstream.peer.map(|peer| peer.ip());
    let view = routed.view(outgoing);
    let named = &*routed.host.name;
    // A host that stands for many is told apart by what the caller asked for. The listener of a
    // workload takes any.
    let host = match direction {
        Direction::Outbound | Direction::Gateway if !named.starts_with('*') => named.into(),
        Direction::Outbound | Direction::Gateway | Direction::Inbound => asked_host(view.authority),
    };
    let ip = downstream.peer_text();
    Facts {
        view,
        source: match direction {
            Direction::Outbound => &limits.own,
            Direction::Inbound | Direction::Gateway => limits.sources.find(peer),
        },
        principal: match direction {
            Direction::Outbound => None,
            Direction::Inbound | Direction::Gateway => downstream.principal().map(SpiffeId::as_str),
        },
        source_ip: ip.and_then(|ip| ip.to_str().ok()).unwrap_or_default(),
        host,
    }
}

/// The host of an authority in the one spelling that counts: in lower case, without a port, also one
/// that is none, and without the dot of the root.
fn asked_host(authority: &str) -> Cow<'_, str> {
    let host = match split_authority(authority) {
        (host, None) if !authority.starts_with('[') => {
            host.rsplit_once(':').map_or(host, |(host, _)| host)
        }
        (host, _) => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    }
}

/// Takes the request from every limit that the proxy keeps itself, or from none.
fn take<'l>(limits: &'l RateLimits, counting: &[Counting<'l>]) -> Result<Taken<'l>, Rejection> {
    let now = limits.now();
    for counting in counting {
        counting.look(now)?;
    }
    let mut taken = Taken {
        limits,
        receipts: Vec::with_capacity(counting.len()),
    };
    for counting in counting {
        let receipt = counting.take(now)?;
        let receipt = receipt.map(|receipt| (counting.place, receipt));
        taken.receipts.extend(receipt);
    }
    Ok(taken)
}

/// All limits let the request pass.
fn pass(counting: &[Counting<'_>], taken: Taken<'_>) {
    taken.keep();
    for counting in counting {
        counting.limit.counters.allowed.inc();
    }
}

// === impl Refused ===

impl Refused {
    /// Adds what the service says, and `retry-after` unless it says that itself.
    pub(crate) fn add_to(&self, answer: &mut HeaderMap) {
        answer.extend(self.headers.iter().cloned());
        let wait = answer.entry(header::RETRY_AFTER);
        wait.or_insert_with(|| self.retry_after());
    }

    /// `retry-after` in whole seconds, at least 1.
    fn retry_after(&self) -> HeaderValue {
        let started = u64::from(self.wait.subsec_nanos() > 0);
        HeaderValue::from((self.wait.as_secs() + started).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_name_however_it_is_spelled() {
        for (authority, expected) in [
            ("shop.test", "shop.test"),
            ("Shop.TEST:8080", "shop.test"),
            ("shop.test.", "shop.test"),
            ("shop.test.:80", "shop.test"),
            ("shop.test..", "shop.test."),
            ("shop.test:", "shop.test"),
            ("shop.test:99999", "shop.test"),
            ("shop.test:http", "shop.test"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[FD00::1]:80", "fd00::1"),
            ("[fd00::1]:99999", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
            ("", ""),
        ] {
            assert_eq!(asked_host(authority), expected, "{authority}");
        }
    }

    fn refused(wait: Duration, headers: Vec<(HeaderName, HeaderValue)>) -> Refused {
        Refused {
            limit: Arc::new(LimitId {
                policy: "a/b".into(),
                limit: "c".into(),
            }),
            wait,
            headers,
        }
    }

    #[test]
    fn a_service_that_says_how_long_to_wait_is_not_contradicted() {
        let told = |headers: Vec<(HeaderName, HeaderValue)>| {
            let mut answer = HeaderMap::new();
            refused(Duration::from_secs(2), headers).add_to(&mut answer);
            let waits = answer.get_all(header::RETRY_AFTER).iter();
            waits.cloned().collect::<Vec<_>>()
        };
        let of_service = (header::RETRY_AFTER, HeaderValue::from_static("30"));

        assert_eq!(told(vec![of_service]), ["30"]);
        assert_eq!(told(Vec::new()), ["2"]);
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds_that_are_long_enough() {
        let told = |nanos| refused(Duration::from_nanos(nanos), Vec::new()).retry_after();

        assert_eq!(told(0), "1");
        assert_eq!(told(1_000_000_000), "1");
        assert_eq!(told(1_000_000_001), "2");
        assert_eq!(told(4_999_999_999), "5");
    }
}
