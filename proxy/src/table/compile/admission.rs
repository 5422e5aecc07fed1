//! What traffic must satisfy that comes to this workload or to its gateways.

use std::sync::Arc;

use config::Resource;
use config::mesh::{Mesh, Viewer};
use config::resource::authorization_policy::{Action, AuthorizationPolicy};

use super::destinations::Registry;
use super::{Perspective, authentication, authorization};
use crate::inbound::Admission;
use crate::jwks::Issuers;

/// A policy of authorization that concerns a port.
pub(super) struct Concerning<'m> {
    pub(super) resource: &'m Arc<Resource>,
    pub(super) written: &'m AuthorizationPolicy,
    /// Whether what it allows is enough. It is not where others that share the port allow less.
    pub(super) suffices: bool,
}

/// The admission of a port at which this proxy is one of `workloads` to policies; none where all may
/// in.
///
/// It is one workload, but for a proxy without labels at a port that gateways with different selectors
/// share. Policies do not know whose a request is, so that all must hold there that is said of any of
/// them: what one workload denies, asks about or wants a token for concerns all, and only that is
/// allowed which is allowed to each of which something is said.
pub(super) fn compile(
    mesh: &Mesh,
    perspective: &Perspective,
    workloads: &[Viewer],
    registry: &mut Registry,
    issuers: &mut Issuers,
) -> Option<Arc<Admission>> {
    let tokens = workloads.iter().map(|it| mesh.request_authentications(it));
    let tokens = each_once(tokens.flatten(), |(resource, _)| *resource);
    let tokens = tokens.into_iter().map(|(_, written)| written);
    let policies = concerning(mesh, workloads);
    let admission = Admission {
        authentication: authentication::compile(tokens, issuers),
        authorization: authorization::compile(mesh, perspective, &policies, registry),
    };
    let is_needed = admission.authentication.is_some() || admission.authorization.is_some();
    is_needed.then(|| Arc::new(admission))
}

/// The policies of authorization of all of `workloads`.
fn concerning<'m>(mesh: &'m Mesh, workloads: &[Viewer]) -> Vec<Concerning<'m>> {
    let of_each: Vec<Vec<_>> = workloads
        .iter()
        .map(|it| mesh.authorization_policies(it).collect())
        .collect();
    let allows = |(resource, written): &(&Arc<Resource>, &AuthorizationPolicy)| {
        let allows = matches!(written.action, Some(Action::Allow) | None);
        allows && !AuthorizationPolicy::is_dry_run(&resource.meta)
    };
    let allowing: Vec<&Vec<_>> = of_each
        .iter()
        .filter(|policies| policies.iter().any(allows))
        .collect();
    let is_everywhere = |resource: &Arc<Resource>| {
        let has = |policies: &&Vec<(&Arc<Resource>, _)>| {
            policies.iter().any(|(it, _)| Arc::ptr_eq(it, resource))
        };
        allowing.iter().all(has)
    };
    let all = each_once(of_each.iter().flatten().copied(), |(resource, _)| *resource);
    let concerning = all
        .into_iter()
        .map(|policy @ (resource, written)| Concerning {
            resource,
            written,
            suffices: !allows(&policy) || is_everywhere(resource),
        });
    concerning.collect()
}

/// Of what comes from one resource the first.
fn each_once<'m, T>(
    all: impl Iterator<Item = T>,
    resource: impl Fn(&T) -> &'m Arc<Resource>,
) -> Vec<T> {
    let mut once: Vec<T> = Vec::new();
    for one in all {
        let is_same = |known: &T| Arc::ptr_eq(resource(known), resource(&one));
        if !once.iter().any(is_same) {
            once.push(one);
        }
    }
    once
}
