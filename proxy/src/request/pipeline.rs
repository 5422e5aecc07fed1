//! The way of one request, from top to bottom.

use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::Body;
use crate::request::cors::{self, Verdict};
use crate::request::log::LogFields;
use crate::request::record::{Record, Recorded};
use crate::request::timeout::{Deadline, Upload, within};
use crate::request::{Downstream, Rejection, headers, reply, retry};
use crate::snapshot::Snapshot;
use crate::table::host::{VirtualHost, split_authority};
use crate::table::redirect::Original;
use crate::table::route::{Action, Route};
use crate::table::rules::{RequestView, Rule};
use crate::table::split::{DestinationByPort, Split, Sticky, Target};
use crate::table::{Listener, PortRule, UnknownHost};
use crate::upstream::Outgoing;
use crate::upstream::destination::Destination;
use crate::worker::Worker;

/// The answer to a request, and the end of its time if it has one.
type Answered = (Response<Body>, Option<Deadline>);

/// Where a request goes: the rule it met and the port it addresses.
struct Routed<'s> {
    rule: &'s Rule,
    port: u16,
    /// Length of the path's part that the rule matched.
    matched_len: usize,
}

/// Answers one request: by its route, or with the reason why not.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    downstream: &Downstream,
    request: Request<Incoming>,
) -> Response<Recorded> {
    let grpc = reply::is_grpc(request.headers());
    let log = worker
        .logs()
        .then(|| Box::new(LogFields::new(downstream, &request)));
    let mut record = Box::new(Record::new(Rc::clone(&worker), grpc, log));
    let request = watch(request, &mut record);
    let (response, deadline) = match forward(&worker, downstream, request, &mut record).await {
        Ok(answered) => answered,
        Err((rejection, request_headers)) => {
            record.flags |= rejection.flags();
            if let Some(log) = &mut record.log {
                log.rejected(reply::detail(&rejection), &rejection);
            }
            (reply::reject(&rejection, &request_headers), None)
        }
    };
    record.complete_with(response, deadline)
}

/// Puts a watch on the request's body where there is one.
fn watch(request: Request<Incoming>, record: &mut Record) -> Request<Body> {
    request.map(|body| {
        if body.is_end_stream() {
            return Body::Empty;
        }
        let upload = Rc::new(Upload::default());
        record.upload = Some(Rc::clone(&upload));
        Body::Watched(body, upload)
    })
}

/// The spine: every stage in order.
async fn forward(
    worker: &Worker,
    downstream: &Downstream,
    request: Request<Body>,
    record: &mut Record,
) -> Result<Answered, (Rejection, http::HeaderMap)> {
    let snapshot = worker.snapshot();
    let Some(listener) = snapshot.table.listener(&downstream.bind) else {
        return Err((Rejection::UnknownHost, request.into_parts().0.headers));
    };
    let random = || worker.upstream.random_wide();
    let mut outgoing = headers::receive(request, downstream, listener.direction, random)
        .map_err(|rejection| (rejection, http::HeaderMap::new()))?;
    let routed = match route(listener, &outgoing) {
        Ok(routed) => routed,
        Err(rejection) => return Err((rejection, outgoing.head.headers)),
    };
    let route = &*routed.rule.route;
    if let Some(log) = &mut record.log {
        log.route(route);
        log.outgoing(&outgoing);
    }
    let origin = match judge_origin(route, &outgoing) {
        Verdict::Answered(response) => return Ok((*response, None)),
        Verdict::Allowed(origin) => Some(origin),
        Verdict::Silent => None,
    };
    let (mut response, deadline) = match &route.action {
        Action::Redirect(redirect) => {
            if let Some(log) = &mut record.log {
                log.answered_by("redirect");
            }
            let location = redirect.location(original(&outgoing, &routed));
            return Ok((redirected(redirect.status, &location), None));
        }
        Action::Direct(direct) => {
            if let Some(log) = &mut record.log {
                log.answered_by("direct_response");
            }
            let mut response = Response::new(Body::full(direct.body.clone()));
            *response.status_mut() = direct.status;
            (response, None)
        }
        Action::Forward(split) => {
            let call = Call {
                worker,
                downstream,
                snapshot: &snapshot,
                routed: &routed,
            };
            call.forward(split, &mut outgoing, record).await
        }
    };
    route.response_headers.apply(response.headers_mut());
    if let (Some(origin), Some(policy)) = (origin, &route.cors) {
        cors::mark(policy, origin, response.headers_mut());
    }
    Ok((response, deadline))
}

/// Finds the host, the port and the rule.
fn route<'s>(listener: &'s Listener, outgoing: &Outgoing) -> Result<Routed<'s>, Rejection> {
    let authority = outgoing.authority.to_str().unwrap_or_default();
    let (name, written_port) = split_authority(authority);
    let unknown = || match listener.unknown_host {
        UnknownHost::NotFound => Rejection::UnknownHost,
        UnknownHost::BadGateway => Rejection::Blocked,
    };
    let host = listener.hosts.find(name).ok_or_else(unknown)?;
    let port = match listener.port_rule {
        PortRule::Listener(port) => port,
        PortRule::Authority => written_port.unwrap_or_else(|| host.default_port()),
    };
    if listener.port_rule == PortRule::Authority && !serves(host, port) {
        return Err(unknown());
    }
    let (path, query) = path_and_query(outgoing);
    let lines = &outgoing.head.headers;
    let scheme = lines
        .get(&headers::X_FORWARDED_PROTO)
        .and_then(|scheme| scheme.to_str().ok());
    let view = RequestView {
        method: outgoing.head.method.as_str(),
        scheme: scheme.unwrap_or("http"),
        authority,
        port,
        target: outgoing.target(),
        path,
        query,
        headers: lines,
    };
    // `*` and the like are no paths: no condition on a path can mean them.
    if !path.starts_with('/') {
        return Err(Rejection::NoRule);
    }
    let rule = host.rules.find(&view).ok_or(Rejection::NoRule)?;
    Ok(Routed {
        rule,
        port,
        matched_len: rule.path.replaced_len(path),
    })
}

fn serves(host: &VirtualHost, port: u16) -> bool {
    host.ports.is_empty() || host.ports.contains(&port)
}

/// Path and query as they are now, normalised.
fn path_and_query(outgoing: &Outgoing) -> (&str, Option<&str>) {
    match outgoing.target().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (outgoing.target(), None),
    }
}

fn judge_origin(route: &Route, outgoing: &Outgoing) -> Verdict {
    match (&route.cors, &route.action) {
        (None, _) | (_, Action::Redirect(_)) => Verdict::Silent,
        (Some(policy), _) => cors::judge(policy, &outgoing.head.method, &outgoing.head.headers),
    }
}

fn original<'r>(outgoing: &'r Outgoing, routed: &Routed<'_>) -> Original<'r> {
    let (path, query) = path_and_query(outgoing);
    let scheme = outgoing.head.headers.get(&headers::X_FORWARDED_PROTO);
    Original {
        scheme: scheme
            .and_then(|scheme| scheme.to_str().ok())
            .unwrap_or("http"),
        authority: outgoing.authority.to_str().unwrap_or_default(),
        port: routed.port,
        path,
        query,
        matched_len: routed.matched_len,
    }
}

fn redirected(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A request that is to be forwarded.
struct Call<'c> {
    worker: &'c Worker,
    downstream: &'c Downstream,
    snapshot: &'c Snapshot,
    routed: &'c Routed<'c>,
}

// === impl Call ===

impl Call<'_> {
    /// Picks the target, edits the request for it, and sends it within the route's time. Failures
    /// are answers, too: the route's changes of the response apply to them.
    async fn forward(
        &self,
        split: &Split,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Answered {
        let route = &*self.routed.rule.route;
        let (key, cookie) = self.sticky_key(split, outgoing);
        let target = split.choose(key, self.worker.upstream.random());
        let destination = target.and_then(|target| self.destination(target));
        let (Some(target), Some(destination)) = (target, destination) else {
            return self.reject(&Rejection::UnknownDestination, outgoing, record);
        };
        record.traffic = destination.traffic;
        self.edit(target, outgoing);
        let mut deadline = route
            .timeout
            .map(|limit| Deadline::new(limit, record.upload.clone()));
        let attempts = retry::run(&self.worker.upstream, route, destination, outgoing);
        let Some(outcome) = within(&mut deadline, attempts).await else {
            return self.reject(&Rejection::TimedOut, outgoing, record);
        };
        if let Some(member) = outcome.member {
            record.traffic = member.traffic;
        }
        let elapsed = record.elapsed();
        if let Some(log) = &mut record.log {
            log.upstream(&destination.key, outcome.member, outcome.attempts, elapsed);
        }
        match outcome.result {
            Ok(answer) => {
                record.hold = Some(answer.hold);
                let mut response = answer.response;
                target.response_headers.apply(response.headers_mut());
                if let Some(cookie) = cookie {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                }
                (response, deadline)
            }
            Err(rejection) => self.reject(&rejection, outgoing, record),
        }
    }

    fn reject(&self, rejection: &Rejection, outgoing: &Outgoing, record: &mut Record) -> Answered {
        record.flags |= rejection.flags();
        if let Some(log) = &mut record.log {
            log.rejected(reply::detail(rejection), rejection);
        }
        (reply::reject(rejection, &outgoing.head.headers), None)
    }

    fn destination(&self, target: &Target) -> Option<&Destination> {
        let id = match &target.destination {
            DestinationByPort::Fixed(id) => *id,
            DestinationByPort::Addressed(by_port) => {
                by_port
                    .iter()
                    .find(|(port, _)| *port == self.routed.port)?
                    .1
            }
            DestinationByPort::Unknown => return None,
        };
        self.snapshot
            .destinations
            .get(id)
            .map(|destination| &**destination)
    }

    /// The key of a sticky split, and the cookie to set if the request had none and gets one.
    fn sticky_key(&self, split: &Split, outgoing: &Outgoing) -> (Option<u64>, Option<HeaderValue>) {
        let Some(sticky) = &split.sticky else {
            return (None, None);
        };
        let source = self.downstream.peer.map(|peer| peer.ip());
        let key = sticky.key(&outgoing.head.headers, source);
        match (key, sticky) {
            (None, Sticky::Cookie { ttl: Some(_), .. }) => {
                let value = format!("{:016x}", self.worker.upstream.random());
                (
                    Some(crate::table::split::stable_hash(value.as_bytes())),
                    sticky.set_cookie(&value),
                )
            }
            (key, _) => (key, None),
        }
    }

    /// Applies the changes of rule and target to the request.
    fn edit(&self, target: &Target, outgoing: &mut Outgoing) {
        let route = &*self.routed.rule.route;
        if let Some(rewrite) = &route.rewrite {
            let (path, query) = path_and_query(outgoing);
            if let Some(path) = rewrite.apply(path, self.routed.matched_len) {
                let rewritten =
                    query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
                let original = HeaderValue::from_str(outgoing.target());
                outgoing.rewritten = Some(rewritten);
                if let Ok(original) = original {
                    outgoing
                        .head
                        .headers
                        .insert(headers::X_ORIGINAL_PATH.clone(), original);
                }
            }
        }
        route.request_headers.apply(&mut outgoing.head.headers);
        target.request_headers.apply(&mut outgoing.head.headers);
        let authorities = [
            &route.request_headers.authority,
            &target.request_headers.authority,
        ];
        if let Some(authority) = authorities.into_iter().flatten().next() {
            let original = std::mem::replace(&mut outgoing.authority, authority.clone());
            outgoing
                .head
                .headers
                .insert(headers::X_ORIGINAL_HOST.clone(), original);
        }
    }
}
