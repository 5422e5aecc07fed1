//! A request that is sent on: which target, how it is changed for it, and how the answer is.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

use http::Response;
use http::header::{self, HeaderMap, HeaderValue};

use crate::body::Body;
use crate::inbound::jwt::Token;
use crate::request::headers::{X_ORIGINAL_HOST, X_ORIGINAL_PATH};
use crate::request::path::sendable;
use crate::request::record::Record;
use crate::request::retry::{Attempts, Made, Refusal};
use crate::request::route::{Routed, path_and_query, source};
use crate::request::timeout::{Deadline, Time, grpc, within};
use crate::request::{Downstream, Rejection, reply, retry};
use crate::snapshot::Snapshot;
use crate::table::fault::Fault;
use crate::table::retry::Asked;
use crate::table::route::Route;
use crate::table::split::{DestinationByPort, Split, Sticky, Target, stable_hash};
use crate::upstream::balance::Keyed;
use crate::upstream::destination::{Destination, Reached};
use crate::upstream::{Answer, Outgoing};
use crate::worker::Worker;

/// One request on its way to a target.
pub(super) struct Call<'c> {
    pub(super) worker: &'c Rc<Worker>,
    pub(super) downstream: &'c Downstream,
    pub(super) snapshot: &'c Snapshot,
    pub(super) routed: &'c Routed<'c>,
}

// === impl Call ===

impl Call<'_> {
    /// Picks the target, edits the request for it, and sends it within the route's time. Failures
    /// are answers, too: the route's changes of the response apply to them.
    pub(super) async fn forward(
        &self,
        split: &Split,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Response<Body> {
        let route = self.route();
        let Stickiness { key, cookie } = self.stickiness(split, outgoing);
        let target = split.choose(key, self.worker.upstream.random());
        let destination = target.and_then(|target| self.destination(&target.destination));
        let (Some(target), Some(destination)) = (target, destination.as_deref()) else {
            return self.reject(&Rejection::UnknownDestination, record);
        };
        record.traffic = destination.traffic;
        if outgoing.authority.is_empty() {
            // HTTP/1.0 needs no host, HTTP/1.1 does; the service's is as good as any.
            outgoing.authority = destination.key.authority();
        }
        if let Err(rejection) = edit(self.routed, target, outgoing) {
            return self.reject(&rejection, record);
        }
        if let Some(account) = &record.account {
            account.chosen(split.share(target));
        }
        self.mirror(outgoing, record.account.as_deref());
        let (key, tie) = self.hash_key(destination, outgoing);
        match self.attempts(destination, key, outgoing, record).await {
            Ok(answer) => {
                let Answer {
                    mut response,
                    hold,
                    spelling,
                    peer,
                } = *answer;
                record.answered_from(peer.as_deref());
                record.hold = hold;
                record.spelling = spelling;
                let headers = response.headers_mut();
                route.response_headers.apply(headers);
                target.response_headers.apply(headers);
                for cookie in [cookie, tie].into_iter().flatten() {
                    headers.append(header::SET_COOKIE, cookie);
                }
                response
            }
            Err(rejection) => {
                // What failed may be the request's body, and the upstream only showed it.
                let upload = record.upload.as_ref();
                let malformed = upload.and_then(|upload| upload.malformed.get());
                let rejection = malformed.map_or(rejection, Rejection::from);
                self.reject(&rejection, record)
            }
        }
    }

    /// What decides where a sticky split sends the request.
    pub(super) fn stickiness(&self, split: &Split, outgoing: &mut Outgoing) -> Stickiness {
        if split.sticky.as_ref().is_some_and(Sticky::looks_at_headers) {
            outgoing.settle_headers();
        }
        let random = || self.worker.upstream.random();
        let user = User {
            headers: &outgoing.head.headers,
            source: source(self.downstream),
            token: outgoing.token.as_deref(),
        };
        stickiness(split, user, random)
    }

    /// Sends the request as often as the route allows, within its time. Notes what was tried also
    /// when the time is over first.
    async fn attempts(
        &self,
        destination: &Destination,
        key: Option<u64>,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Box<Answer>, Rejection> {
        let (route, worker) = (self.route(), self.worker);
        let grpc = record.is_grpc();
        let caller = if grpc {
            grpc::read(&outgoing.head.headers)
        } else {
            None
        };
        let time = Time::new(route.timeout, caller, record.upload.clone());
        let made = Made::for_account(record.account.clone());
        let attempts = Attempts {
            upstream: &worker.upstream,
            policy: &route.retries,
            fault: Fault::of_attempts(route),
            destination,
            caller: self.downstream.caller(destination),
            asked: Asked {
                idempotent: retry::is_idempotent(&outgoing.head.method),
                grpc,
            },
            key,
            time: &time,
            made: &made,
        };
        let quiet = worker.quiet();
        if time.ends() || quiet.is_some() {
            record.deadline = Some(Deadline::new(time.clone(), quiet));
        }
        let work = pin!(attempts.run(outgoing));
        let outcome = within(&mut record.deadline, work).await;
        if let Err(expired) = &outcome {
            attempts.expired(*expired);
        }
        let member = made.last();
        if let Some(member) = member {
            record.traffic = member.traffic;
        }
        let refusal = outcome.as_ref().ok().and_then(|outcome| outcome.refusal);
        record.attempted(destination, member, made.count(), refusal);
        record.injected(&made);
        match outcome {
            Ok(outcome) => outcome.result.map_err(|error| match refusal {
                Some(Refusal::Exhausted) => Rejection::RetriesExhausted(error),
                Some(_) | None => Rejection::Upstream(error),
            }),
            Err(expired) => Err(Rejection::from(expired)),
        }
    }

    pub(super) fn route(&self) -> &Route {
        &self.routed.rule.route
    }

    /// The answer of our own, with the route's changes.
    pub(super) fn reject(&self, rejection: &Rejection, record: &mut Record) -> Response<Body> {
        // An answer of our own is not waited for.
        record.deadline = None;
        let mut response = reply::reject(rejection, record);
        self.route().response_headers.apply(response.headers_mut());
        response
    }

    /// Where a target leads, by the port that the request addresses.
    pub(super) fn destination(&self, by_port: &DestinationByPort) -> Option<Reached<'_>> {
        let id = by_port.at(self.routed.port)?;
        let destination = self.snapshot.destinations.get(id)?;
        destination.reached(self.downstream.original)
    }

    /// What ties the request to one of the destination's endpoints, and the cookie to set if the
    /// request had none and gets one.
    pub(super) fn hash_key(
        &self,
        destination: &Destination,
        outgoing: &mut Outgoing,
    ) -> (Option<u64>, Option<HeaderValue>) {
        let random = || self.worker.upstream.random();
        hash_key(destination, self.downstream, outgoing, random)
    }
}

/// What ties a request to one of the destination's endpoints, and the cookie to set if the request
/// had none and gets one, which `random` becomes the value of.
pub(crate) fn hash_key(
    destination: &Destination,
    downstream: &Downstream,
    outgoing: &mut Outgoing,
    random: impl FnOnce() -> u64,
) -> (Option<u64>, Option<HeaderValue>) {
    let affinity = destination.balancer.affinity();
    let Some(key) = affinity.and_then(|affinity| affinity.key.as_ref()) else {
        return (None, None);
    };
    if key.looks_at_headers() {
        outgoing.settle_headers();
    }
    let keyed = Keyed {
        headers: &outgoing.head.headers,
        authority: outgoing.authority.as_bytes(),
        target: outgoing.target(),
        source: source(downstream),
    };
    match key.of(&keyed) {
        Some(hash) => (Some(hash), None),
        None => key.make(random()).unzip(),
    }
}

/// What decides where a sticky split sends a request.
pub(crate) struct Stickiness {
    /// Hash of its key; none if it is drawn by weight.
    pub(crate) key: Option<u64>,
    /// The cookie to set if the request had none and gets one.
    pub(crate) cookie: Option<HeaderValue>,
}

/// What tells the users of a sticky split apart.
#[derive(Clone, Copy)]
pub(crate) struct User<'r> {
    pub(crate) headers: &'r HeaderMap,
    pub(crate) source: Option<IpAddr>,
    pub(crate) token: Option<&'r Token>,
}

/// The key of a request where the split is sticky. `random` makes one that is missing.
pub(crate) fn stickiness(
    split: &Split,
    user: User<'_>,
    random: impl FnOnce() -> u64,
) -> Stickiness {
    let key = split
        .sticky
        .as_ref()
        .and_then(|sticky| sticky.key(user.headers, user.source, user.token));
    match (key, &split.sticky) {
        (None, Some(sticky @ Sticky::Cookie { ttl: Some(_), .. })) => {
            let value = format!("{:016x}", random());
            Stickiness {
                key: Some(stable_hash(value.as_bytes())),
                cookie: sticky.set_cookie(&value),
            }
        }
        (key, _) => Stickiness { key, cookie: None },
    }
}

/// Applies the changes of rule and target to the request.
pub(crate) fn edit(
    routed: &Routed<'_>,
    target: &Target,
    outgoing: &mut Outgoing,
) -> Result<(), Rejection> {
    let route = &*routed.rule.route;
    if let Some(rewrite) = &route.rewrite {
        let (path, query) = path_and_query(outgoing);
        if let Some(path) = rewrite.apply(path, routed.matched_len) {
            let original = HeaderValue::from_str(outgoing.target());
            let rewritten = sendable(&path, query);
            let unusable = Rejection::BadRequest("rewritten target cannot be sent");
            outgoing.rewritten = Some(rewritten.ok_or(unusable)?);
            if let Ok(original) = original {
                outgoing
                    .head
                    .headers
                    .insert(X_ORIGINAL_PATH.clone(), original);
            }
        }
    }
    let edits = [&route.request_headers, &target.request_headers];
    for edit in edits.into_iter().filter(|edit| !edit.is_empty()) {
        outgoing.settle_headers();
        edit.apply(&mut outgoing.head.headers);
    }
    if let Some(authority) = edits.into_iter().find_map(|edit| edit.authority.as_ref()) {
        let original = std::mem::replace(&mut outgoing.authority, authority.clone());
        outgoing
            .head
            .headers
            .insert(X_ORIGINAL_HOST.clone(), original);
    }
    Ok(())
}
