//! What is wrong between resources that are each right in themselves.
//!
//! Nothing here makes a resource unusable: what Istio answers with 503 or ignores is applied as
//! Istio does, and said. So every finding is a warning.

use std::cell::Cell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::mesh::Mesh;
use crate::problem::{Finding, Severity};
use crate::resource::{Resource, Spec};

mod authentication;
mod authorization;
mod binding;
mod conflict;
mod destination;
mod opaque;
mod peer_authentication;
mod policy;
mod rate_limit;
mod reach;

/// Findings in the order of `resources`, each with the resource whose field it names.
pub fn analyze(mesh: &Mesh, resources: &[Arc<Resource>]) -> Vec<(Arc<Resource>, Finding)> {
    let mut report = Report::default();
    let context = Context::new(mesh, resources);
    for resource in resources {
        match &resource.spec {
            Spec::VirtualService(spec) => {
                destination::check(&context, resource, spec, &mut report);
                binding::check(&context, resource, spec, &mut report);
                reach::check(resource, spec, &mut report);
                opaque::check_rules(&context, resource, spec, &mut report);
            }
            Spec::DestinationRule(rule) => policy::check(&context, resource, rule, &mut report),
            Spec::RateLimitPolicy(policy) => {
                rate_limit::check(&context, resource, policy, &mut report);
            }
            Spec::PeerAuthentication(policy) => {
                peer_authentication::check(&context, resource, policy, &mut report);
            }
            Spec::RequestAuthentication(policy) => {
                authentication::check(&context, resources, resource, policy, &mut report);
            }
            Spec::AuthorizationPolicy(policy) => {
                authorization::check(&context, resources, resource, policy, &mut report);
            }
            Spec::Gateway(_) | Spec::ServiceEntry(_) | Spec::WorkloadEntry(_) => {}
            Spec::Sidecar(_)
            | Spec::MeshConfig(_)
            | Spec::Service(_)
            | Spec::EndpointSlice(_)
            | Spec::Secret(_) => {}
        }
    }
    conflict::check(&context, resources, &mut report);
    opaque::check_services(&context, &mut report);
    report.sorted(resources)
}

/// Of the findings those that say which of two resources goes first.
pub fn conflicts(mesh: &Mesh, resources: &[Arc<Resource>]) -> Vec<(Arc<Resource>, Finding)> {
    let mut report = Report::default();
    conflict::check(&Context::new(mesh, resources), resources, &mut report);
    report.sorted(resources)
}

/// What every check looks things up in.
struct Context<'a> {
    mesh: &'a Mesh,
    /// Gateways by `namespace/name`.
    gateways: FxHashMap<String, &'a Resource>,
    /// How many suggestions may still be made.
    suggestions: Cell<usize>,
}

/// Suggestions that one analysis makes at most: each is a comparison with every known name.
const SUGGESTIONS_MAX: usize = 200;
/// Share of letters that must agree; below it a suggestion is more confusing than none.
const LIKENESS_MIN: f64 = 0.85;

/// Findings so far.
#[derive(Default)]
struct Report {
    findings: Vec<(Arc<Resource>, Finding)>,
}

impl<'a> Context<'a> {
    fn new(mesh: &'a Mesh, resources: &'a [Arc<Resource>]) -> Self {
        let gateways = resources
            .iter()
            .filter(|resource| matches!(resource.spec, Spec::Gateway(_)))
            .map(|resource| (key(resource), resource.as_ref()))
            .collect();
        Self {
            mesh,
            gateways,
            suggestions: Cell::new(SUGGESTIONS_MAX),
        }
    }

    /// ` (did you mean …?)` with the candidate that reads most like `wrong`, or nothing.
    fn suggestion<'n>(&self, wrong: &str, candidates: impl Iterator<Item = &'n str>) -> String {
        let Some(left) = self.suggestions.get().checked_sub(1) else {
            return String::new();
        };
        self.suggestions.set(left);
        candidates
            .map(|candidate| (strsim::jaro_winkler(wrong, candidate), candidate))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map_or_else(String::new, |(_, best)| {
                format!(" (did you mean {best:?}?)")
            })
    }
}

impl Report {
    fn warn(&mut self, resource: &Arc<Resource>, path: impl Into<String>, message: String) {
        let finding = Finding {
            severity: Severity::Warning,
            path: path.into(),
            message,
        };
        self.findings.push((Arc::clone(resource), finding));
    }

    /// Findings in the order of the resources, those of one resource as they were found.
    fn sorted(mut self, resources: &[Arc<Resource>]) -> Vec<(Arc<Resource>, Finding)> {
        let places: FxHashMap<_, _> = resources
            .iter()
            .enumerate()
            .map(|(at, resource)| (Arc::as_ptr(resource), at))
            .collect();
        self.findings
            .sort_by_key(|(resource, _)| places.get(&Arc::as_ptr(resource)).copied());
        self.findings
    }
}

/// `namespace/name`.
fn key(resource: &Resource) -> String {
    format!("{}/{}", resource.meta.namespace, resource.meta.name)
}

#[cfg(test)]
mod tests;
