//! The way of one request, from top to bottom.

use std::rc::Rc;

use http::header::HeaderName;
use http::{HeaderValue, Response};

use crate::body::{Body, Received, Watched};
use crate::inbound::standing::Standing;
use crate::inbound::{Admission, Arrival};
use crate::request::cors::{self, Verdict};
use crate::request::forward::Call;
use crate::request::headers::Reception;
use crate::request::log::LogFields;
use crate::request::malformed::Malformed;
use crate::request::record::{Record, Recorded};
use crate::request::route::{self, Found, Routed};
use crate::request::timeout::Upload;
use crate::request::{Arrived, Downstream, Rejection, fault, headers, reply};
use crate::snapshot::Current;
use crate::table::host::split_authority;
use crate::table::route::{Action, Route};
use crate::table::{Direction, Listener, PortRule};
use crate::upstream::Outgoing;
use crate::worker::Worker;

/// The port of HTTP.
const DEFAULT_PORT: u16 = 80;

/// Answers one request: by its route, or with the reason why not.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    downstream: &Downstream,
    mut arrived: Arrived,
) -> Response<Recorded> {
    let explains = worker.explains(downstream, &arrived.head.headers);
    let logs = worker.logs() || explains;
    let log = logs.then(|| Box::new(LogFields::new(downstream, &arrived.head)));
    let mut record = Box::new(Record::new(
        Rc::clone(&worker),
        downstream,
        &arrived.head,
        log,
    ));
    record.account = explains.then(Rc::default);
    let body = watch(arrived.body.take(), &mut record);
    let response = match forward(&worker, downstream, arrived, body, &mut record).await {
        Ok(response) => response,
        Err(rejection) => reply::reject(&rejection, &mut record),
    };
    record.complete_with(response)
}

/// The answer to what never became a request.
pub(crate) fn refuse(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    malformed: Malformed,
) -> Response<Recorded> {
    let log = worker
        .logs()
        .then(|| Box::new(LogFields::unreadable(downstream)));
    let mut record = Box::new(Record::unreadable(Rc::clone(worker), downstream, log));
    let response = reply::reject(&Rejection::Malformed(malformed), &mut record);
    record.complete_with(response)
}

/// Puts a watch on the request's body where there is one.
fn watch(body: Option<Received>, record: &mut Record) -> Body {
    let Some(body) = body else {
        return Body::Empty;
    };
    let upload = Rc::new(Upload::default());
    record.upload = Some(Rc::clone(&upload));
    Body::Watched(Watched::new(body, upload))
}

/// The listener of a connection. Refuses, and ends, one that came before it asked for mutual TLS, and
/// any while there is too little memory.
fn listener<'s>(
    worker: &Worker,
    snapshot: &'s Current,
    downstream: &Downstream,
) -> Result<&'s Listener, Rejection> {
    if worker.sheds() {
        downstream.end_after_answer();
        return Err(Rejection::Shed);
    }
    let listener = snapshot.table.listener_of(downstream);
    let listener = listener.ok_or(Rejection::UnknownHost)?;
    if listener.demands_more_than(downstream.security.as_ref()) {
        downstream.end_after_answer();
        return Err(Rejection::PlainText);
    }
    Ok(listener)
}

/// The spine: every stage in order.
async fn forward(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    arrived: Arrived,
    body: Body,
    record: &mut Record,
) -> Result<Response<Body>, Rejection> {
    let snapshot = worker.snapshot();
    let listener = listener(worker, &snapshot, downstream)?;
    let reception = Reception {
        downstream,
        direction: listener.direction,
        limits: &worker.limits,
        normalization: snapshot.table.normalization(worker.limits.normalization),
        explains: record.account.is_some(),
    };
    let random = || worker.upstream.random_wide();
    let mut outgoing = headers::receive(arrived, body, &reception, random)?;
    let (admitted, answer_headers) = match &listener.admission {
        Some(admission) => {
            record.conceal(admission);
            let arrival = Arrival::new(worker, &snapshot, downstream, listener.direction);
            // In a box: most listeners let everybody in.
            Box::pin(admit(admission, arrival, &mut outgoing, record)).await
        }
        None => (Ok(()), Vec::new()),
    };
    let found = match admitted {
        Ok(()) => route::find(listener, downstream, &outgoing),
        Err(rejection) => Err(rejection).into(),
    };
    let missed = found.missed.then_some(&outgoing);
    let renewed = learn(worker, &snapshot, listener, missed).await;
    let found = find_again(found, renewed.as_ref(), worker, downstream, &outgoing);
    if let Some(log) = &mut record.log {
        outgoing.settle_headers();
        log.outgoing(&outgoing);
    }
    let routed = found.routed()?;
    record.standing = Standing::of_tunnel(listener, downstream, &mut outgoing);
    let route = &*routed.rule.route;
    record.rule(routed.rule);
    let call = Call {
        worker,
        downstream,
        snapshot: renewed.as_ref().unwrap_or(&snapshot),
        routed: &routed,
    };
    let pace = match call.inject(&mut outgoing, record).await {
        Ok(pace) => pace,
        Err(rejection) => return Ok(call.reject(&rejection, record)),
    };
    let origin = match judge_origin(route, &outgoing) {
        Verdict::Answered(response) => {
            record.answered_by("cors_response");
            return Ok(*response);
        }
        Verdict::Allowed(origin) => Some(origin),
        Verdict::Silent => None,
    };
    let mut response = match call.admit(listener.direction, &mut outgoing).await {
        Err(rejection) => call.refuse(&rejection, &mut outgoing, record),
        Ok(()) => match &route.action {
            Action::Forward(split) => {
                let response = call.forward(split, &mut outgoing, record).await;
                fault::paced(response, pace)
            }
            Action::Redirect(_) | Action::Direct(_) => answer_itself(&routed, &outgoing, record),
        },
    };
    if let (Some(origin), Some(policy)) = (origin, &route.cors) {
        cors::mark(policy, origin, response.headers_mut());
    }
    response.headers_mut().extend(answer_headers);
    Ok(response)
}

/// Waits for what the control plane knows of the host of a request that `missed`: that the table does not
/// have by its name. What is in use then, if it did.
async fn learn(
    worker: &Worker,
    snapshot: &Current,
    listener: &Listener,
    missed: Option<&Outgoing>,
) -> Option<Current> {
    let outgoing = missed?;
    let demands = worker.demands.as_ref()?;
    if listener.direction != Direction::Outbound {
        return None;
    }
    let authority = outgoing.authority.to_str().unwrap_or_default();
    let (host, port) = split_authority(authority);
    let port = port.unwrap_or(match listener.port_rule {
        PortRule::Listener(port) => port,
        PortRule::Authority => DEFAULT_PORT,
    });
    let demand = demands.of_host(&snapshot.answered, host, port)?;
    // In a box: few requests wait.
    Box::pin(async move { worker.hold(demands, &demand).await }).await;
    Some(worker.snapshot())
}

/// What was found, or is now by what is in use after the request was held. Takes what was found: a
/// request would keep the room for it while it waits for the upstream.
fn find_again<'s>(
    found: Found<'s>,
    renewed: Option<&'s Current>,
    worker: &Worker,
    downstream: &Downstream,
    outgoing: &Outgoing,
) -> Found<'s> {
    let Some(renewed) = renewed else {
        return found;
    };
    match listener(worker, renewed, downstream) {
        Ok(listener) => route::find(listener, downstream, outgoing),
        Err(rejection) => Err(rejection).into(),
    }
}

/// Whether a request is let in, and the headers that its answer gets for it.
async fn admit(
    admission: &Admission,
    arrival: Arrival<'_>,
    outgoing: &mut Outgoing,
    record: &mut Record,
) -> (Result<(), Rejection>, Vec<(HeaderName, HeaderValue)>) {
    *arrival.notes.borrow_mut() = record.log.is_some().then(Box::default);
    let admitted = admission.admit(&arrival, outgoing).await;
    if let (Some(log), Some(notes)) = (&mut record.log, arrival.notes.take()) {
        log.judged(notes);
    }
    (admitted, arrival.answer_headers.take())
}

/// What the rule's policy says of the origin of a request.
pub(crate) fn judge_origin(route: &Route, outgoing: &Outgoing) -> Verdict {
    match (&route.cors, &route.action) {
        (None, _) | (_, Action::Redirect(_)) => Verdict::Silent,
        (Some(policy), _) => cors::judge(policy, &outgoing.head.method, &outgoing.head.headers),
    }
}

/// The answer of a rule that does not forward.
fn answer_itself(routed: &Routed<'_>, outgoing: &Outgoing, record: &mut Record) -> Response<Body> {
    let (response, detail) = answer_here(routed, outgoing, record.is_grpc());
    record.answered_by(detail);
    response
}

/// The answer of a rule that does not forward, and what the log says of it.
pub(crate) fn answer_here(
    routed: &Routed<'_>,
    outgoing: &Outgoing,
    grpc: bool,
) -> (Response<Body>, &'static str) {
    let route = &*routed.rule.route;
    let (mut response, detail) = match &route.action {
        Action::Direct(direct) => (reply::direct(direct, grpc), "direct_response"),
        Action::Redirect(redirect) => {
            let location = redirect.location(routed.original(outgoing));
            (reply::redirected(redirect.status, &location), "redirect")
        }
        Action::Forward(_) => (Response::new(Body::Empty), "via_upstream"),
    };
    route.response_headers.apply(response.headers_mut());
    (response, detail)
}
