//! One target of a split: whether the request goes there, how it is changed for it, and who answers.

use std::collections::BTreeMap;

use config::mesh::{Address, Mesh, Viewer};
use http::{HeaderMap, header};

use super::decide::Walk;
use super::decision::{Destination, Edit, Endpoint, Failure, Sent, Taken, Target};
use crate::admin::destinations::policy;
use crate::request::Rejection;
use crate::request::forward::edit;
use crate::request::headers::passes;
use crate::request::route::Routed;
use crate::table::edit::HeaderEdit;
use crate::table::split;
use crate::table::split::Split;
use crate::upstream::UpstreamError;
use crate::upstream::destination::{Destination as Compiled, DestinationKey};
use crate::upstream::endpoint::Member;
use crate::upstream::health::Ailment;

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
    let destination = compiled.map(|it| destination(it, &walk.view.mesh, &walk.view.viewer));
    let (sent, unsendable) = match sent(walk, routed, target, compiled.map(|it| &it.key)) {
        Ok(sent) => (Some(sent), None),
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
        failure: failure(walk, target, destination.as_ref(), unsendable),
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
    nobody.then(|| {
        let rejection = Rejection::Upstream(UpstreamError::NoEndpoint);
        walk.failure(&rejection, "it has no endpoint".to_owned())
    })
}

/// The request as it is sent to a target.
fn sent(
    walk: &Walk<'_>,
    routed: &Routed<'_>,
    target: &split::Target,
    key: Option<&DestinationKey>,
) -> Result<Sent, Rejection> {
    let mut outgoing = walk.received()?;
    if let Some(key) = key.filter(|_| outgoing.authority.is_empty()) {
        outgoing.authority = key.authority();
    }
    edit(routed, target, &mut outgoing)?;
    outgoing.settle_headers();
    let headers = outgoing.head.headers.iter();
    let headers = headers.filter(|(name, value)| **name != header::HOST && passes(name, value));
    let headers = headers.map(|(name, value)| (name.clone(), value.clone()));
    Ok(Sent {
        authority: String::from_utf8_lossy(outgoing.authority.as_bytes()).into_owned(),
        path: outgoing.target().to_owned(),
        headers: headers.collect(),
    })
}

fn edits(edit: &HeaderEdit) -> impl Iterator<Item = Edit> {
    edit.changes().map(|(change, name, value)| Edit {
        change,
        name: name.to_string(),
        value: value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
    })
}

fn destination(compiled: &Compiled, mesh: &Mesh, viewer: &Viewer) -> Destination {
    let key = &compiled.key;
    Destination {
        key: key.to_string(),
        host: key.host.to_string(),
        port: key.port,
        destination_rule: compiled.rule.as_deref().map(str::to_owned),
        labels: labels(key, mesh, viewer),
        algorithm: compiled.balancer.algorithm(),
        retry_limit: compiled.policy.retries.to_string(),
        policy: policy(&compiled.policy),
        endpoints: compiled.members().iter().map(endpoint).collect(),
        names: names(key, mesh),
    }
}

/// The labels that make up the subset of a destination.
fn labels(key: &DestinationKey, mesh: &Mesh, viewer: &Viewer) -> BTreeMap<String, String> {
    if key.subset.is_empty() {
        return BTreeMap::new();
    }
    let policy = mesh.policy(viewer, &key.host, None);
    let subset = policy.subset(&key.subset);
    subset.map(|it| it.labels.clone()).unwrap_or_default()
}

/// Names among the endpoints of a destination's host.
fn names(key: &DestinationKey, mesh: &Mesh) -> Vec<String> {
    let services = mesh
        .services()
        .filter(|service| mesh.resolve(&service.host, &service.namespace) == *key.host);
    let endpoints = services.flat_map(|service| &service.endpoints);
    let mut names: Vec<String> = endpoints
        .filter_map(|endpoint| match &endpoint.address {
            Address::Name(name) => Some(name.clone()),
            Address::Ip(_) | Address::Unix(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn endpoint(member: &Member) -> Endpoint {
    let health = &member.endpoint.health;
    Endpoint {
        address: member.endpoint.addr.to_string(),
        weight: member.weight,
        locality: member.locality.as_deref().map(str::to_owned),
        state: if health.has(Ailment::Ejected) {
            "ejected"
        } else if health.has(Ailment::FailsChecks) {
            "fails health checks"
        } else {
            "available"
        },
    }
}
