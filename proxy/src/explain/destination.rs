//! Where a target leads: who answers, how one of them is picked, and what limits and watches them.

use std::collections::BTreeMap;

use config::mesh::{Address, Mesh, Viewer};
use http::HeaderValue;

use super::beside::made_cookie;
use super::decide::Walk;
use super::decision::StickyKey;
use super::decision::destination::{Affinity, Destination, Endpoint, Group, Limits};
use super::words;
use crate::admin::destinations::policy;
use crate::request::forward::hash_key;
use crate::upstream::Outgoing;
use crate::upstream::balance::{HashKey, Standing, Wish};
use crate::upstream::destination::{Destination as Compiled, DestinationKey};
use crate::upstream::endpoint::Member;
use crate::upstream::health::Ailment;

/// The destination of a request, which is `outgoing` if it can be sent there.
pub(super) fn describe(
    walk: &Walk<'_>,
    compiled: &Compiled,
    outgoing: Option<&mut Outgoing>,
) -> Destination {
    let key = &compiled.key;
    let (mesh, viewer) = (&walk.view.mesh, &walk.view.workload.viewer);
    let names = names(key, mesh);
    let tie = outgoing.map(|outgoing| hash_key(compiled, &walk.downstream, outgoing, || 0));
    let (hash, cookie) = tie.unwrap_or_default();
    // A key that is made decides as it falls.
    let decided = hash.filter(|_| cookie.is_none());
    let standings = compiled.balancer.standings(&compiled.live);
    let policy_of = &compiled.policy;
    Destination {
        key: key.to_string(),
        host: key.host.to_string(),
        port: key.port,
        destination_rule: compiled.rule.as_deref().map(str::to_owned),
        labels: labels(key, mesh, viewer),
        tls: tls(key, mesh, viewer),
        algorithm: compiled.balancer.algorithm(),
        affinity: affinity(compiled, decided, cookie.as_ref()),
        retry_limit: policy_of.retries.to_string(),
        limits: Limits {
            connections: policy_of.thresholds.connections,
            pending: policy_of.thresholds.pending,
            requests: policy_of.thresholds.requests,
        },
        outlier_detection: policy_of.outlier.as_deref().map(words::detection),
        health_check: policy_of.check.as_ref().map(|it| words::check(&it.written)),
        policy: policy(policy_of),
        groups: standings.iter().map(group).collect(),
        endpoints: endpoints(compiled),
        goes_anywhere: compiled.originals.as_ref().is_some_and(|it| it.takes_any()),
        // Addresses that DNS adds could be the ones.
        endpoint: picked(compiled, &standings, decided).filter(|_| names.is_empty()),
        names,
    }
}

/// The endpoint of the first attempt: by the balancer itself, where no draw takes part.
fn picked(compiled: &Compiled, standings: &[Standing<'_>], key: Option<u64>) -> Option<String> {
    let mut serving = standings.iter().filter(|it| it.share > 0.0);
    let alone = match (serving.next(), serving.next()) {
        (Some(group), None) => group.members.len() == 1,
        (None, _) | (Some(_), Some(_)) => false,
    };
    if key.is_none() && !alone {
        return None;
    }
    let wish = Wish {
        key,
        ..Wish::default()
    };
    let mut rng = fastrand::Rng::with_seed(0);
    let member = compiled.balancer.pick(&compiled.live, &mut rng, &wish)?;
    Some(member.endpoint.addr.to_string())
}

fn affinity(
    compiled: &Compiled,
    decided: Option<u64>,
    cookie: Option<&HeaderValue>,
) -> Option<Affinity> {
    let affinity = compiled.balancer.affinity()?;
    let by = affinity.key.as_ref().map(HashKey::to_string);
    Some(Affinity {
        by: by.unwrap_or_else(|| "nothing".to_owned()),
        key: match (decided, cookie) {
            (Some(_), _) => StickyKey::Present,
            (None, Some(_)) => StickyKey::Made,
            (None, None) => StickyKey::Absent,
        },
        cookie: cookie.map(made_cookie),
    })
}

fn group(standing: &Standing<'_>) -> Group {
    let members = standing.members.iter();
    Group {
        level: standing.level,
        name: standing.name.as_deref().map(str::to_owned),
        percent: (standing.share * 10_000.0).round() / 100.0,
        endpoints: members.map(|it| it.endpoint.addr.to_string()).collect(),
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

/// What the rules of a destination say of TLS. Without a proxy there are no certificates to speak it by,
/// so that this is not what was made of them.
fn tls(key: &DestinationKey, mesh: &Mesh, viewer: &Viewer) -> Option<String> {
    let subset = (!key.subset.is_empty()).then_some(&*key.subset);
    let policy = mesh.policy(viewer, &key.host, None);
    policy.policy(subset, key.port).tls.as_ref().map(words::tls)
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

fn endpoints(compiled: &Compiled) -> Vec<Endpoint> {
    let members = compiled.members().iter().enumerate();
    let endpoint = |(at, member): (usize, &Member)| Endpoint {
        address: member.endpoint.addr.to_string(),
        weight: member.weight,
        locality: member.locality.as_deref().map(str::to_owned),
        level: compiled.balancer.level_of(at),
        state: state(member),
    };
    members.map(endpoint).collect()
}

fn state(member: &Member) -> &'static str {
    let health = &member.endpoint.health;
    if health.has(Ailment::Ejected) {
        "ejected"
    } else if health.has(Ailment::FailsChecks) {
        "fails health checks"
    } else {
        "available"
    }
}
