//! One target of a split: whether the request goes there, how it is changed for it, and who answers.

use http::{HeaderMap, header};

use super::beside::failing_attempts;
use super::decide::Walk;
use super::decision::destination::Destination;
use super::decision::{Edit, Failure, Sent, Taken, Target};
use super::destination;
use crate::request::Rejection;
use crate::request::forward::edit;
use crate::request::headers::passes;
use crate::request::route::Routed;
use crate::table::edit::HeaderEdit;
use crate::table::route::Route;
use crate::table::split;
use crate::table::split::Split;
use crate::upstream::destination::DestinationKey;
use crate::upstream::{Outgoing, UpstreamError};

/// What becomes of a request that meets `routed` at `target`; `chosen` is where it goes, if that is
/// certain.
pub(super) fn describe(
    walk: &Walk<'_>,
    routed: &Routed<'_>,
    split: &Split,
    target: &split::Target,
    chosen: Option<&split::Target>,
) -> Target {
    let id = target.destination.at(routed.port);
    let compiled = id.and_then(|id| walk.view.snapshot.destinations.get(id));
    let mut outgoing = edited(walk, routed, target, compiled.map(|it| &it.key));
    let sendable = outgoing.as_mut().ok();
    let destination = compiled.map(|it| destination::describe(walk, it, sendable));
    let (sent, unsendable) = match outgoing {
        Ok(outgoing) => (Some(sent(outgoing)), None),
        Err(rejection) => (None, Some(rejection)),
    };
    let route = &*routed.rule.route;
    let mut response_headers = HeaderMap::new();
    route.response_headers.apply(&mut response_headers);
    target.response_headers.apply(&mut response_headers);
    let edits = |rule: &HeaderEdit, target: &HeaderEdit| {
        edits(rule).chain(edits(target)).collect::<Vec<Edit>>()
    };
    Target {
        host: target.host.to_string(),
        subset: target.subset.as_deref().map(str::to_owned),
        weight: target.weight,
        percent: (split.share(target) * 10_000.0).round() / 100.0,
        taken: match chosen {
            None => Taken::Drawn,
            Some(chosen) if std::ptr::eq(chosen, target) => Taken::Always,
            Some(_) => Taken::Never,
        },
        failure: failure(walk, route, target, destination.as_ref(), unsendable),
        destination,
        sent,
        request_edits: edits(&route.request_headers, &target.request_headers),
        response_edits: edits(&route.response_headers, &target.response_headers),
        response_headers,
    }
}

/// Why a request that is sent to a target fails whatever the endpoints do.
fn failure(
    walk: &Walk<'_>,
    route: &Route,
    target: &split::Target,
    destination: Option<&Destination>,
    unsendable: Option<Rejection>,
) -> Option<Failure> {
    let Some(destination) = destination else {
        let subset = target.subset.as_deref();
        let subset = subset.map_or_else(String::new, |it| format!(", or it has no subset {it}"));
        let reason = format!("there is no host {} with this port{subset}", target.host);
        return Some(walk.failure(&Rejection::UnknownDestination, reason));
    };
    if let Some(rejection) = unsendable {
        let reason = rejection.to_string();
        return Some(walk.failure(&rejection, reason));
    }
    let nobody = destination.endpoints.is_empty() && destination.names.is_empty();
    if nobody && !destination.goes_anywhere {
        let rejection = Rejection::Upstream(UpstreamError::NoEndpoint);
        return Some(walk.failure(&rejection, "it has no endpoint".to_owned()));
    }
    failing_attempts(walk, route)
}

/// The request with its changes for a target.
fn edited(
    walk: &Walk<'_>,
    routed: &Routed<'_>,
    target: &split::Target,
    key: Option<&DestinationKey>,
) -> Result<Outgoing, Rejection> {
    let mut outgoing = walk.received()?;
    if let Some(key) = key.filter(|_| outgoing.authority.is_empty()) {
        outgoing.authority = key.authority();
    }
    edit(routed, target, &mut outgoing)?;
    Ok(outgoing)
}

/// The request as the upstream sees it.
fn sent(mut outgoing: Outgoing) -> Sent {
    outgoing.settle_headers();
    let headers = outgoing.head.headers.iter();
    let headers = headers.filter(|(name, value)| **name != header::HOST && passes(name, value));
    let headers = headers.map(|(name, value)| (name.clone(), value.clone()));
    Sent {
        authority: String::from_utf8_lossy(outgoing.authority.as_bytes()).into_owned(),
        path: outgoing.target().to_owned(),
        headers: headers.collect(),
    }
}

fn edits(edit: &HeaderEdit) -> impl Iterator<Item = Edit> {
    edit.changes().map(|(change, name, value)| Edit {
        change,
        name: name.to_string(),
        value: value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
    })
}
