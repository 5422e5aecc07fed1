//! For whom access is controlled, and the policies that say so today.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::plan::Plan;
use super::super::workloads::{Target, Workloads, parts};
use super::policy;
use super::written::{Enforcement, Mode, Named, RbacConfig};
use crate::mesh::MeshSettings;

/// Why nothing can be allowed for the root namespace alone.
pub(super) const IN_ROOT: &str =
    "what is allowed in the root namespace of the mesh is allowed in all namespaces";

/// For whom access is controlled.
#[derive(Debug)]
pub(super) enum Scope {
    /// No document says so.
    Unsaid,
    Nobody,
    Everybody,
    Only(Members),
    AllBut(Members),
}

/// Namespaces, and services by namespace.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) services: BTreeMap<String, BTreeSet<String>>,
}

// === impl Scope ===

impl Scope {
    pub(super) fn of(config: Option<&RbacConfig>, namespace: &str) -> Self {
        let Some(config) = config else {
            return Self::Unsaid;
        };
        match config.mode.unwrap_or(Mode::Off) {
            Mode::Off => Self::Nobody,
            Mode::On => Self::Everybody,
            Mode::OnWithInclusion => Self::Only(Members::of(&config.inclusion, namespace)),
            Mode::OnWithExclusion => Self::AllBut(Members::of(&config.exclusion, namespace)),
        }
    }

    /// Whether access to a service is controlled.
    pub(super) fn has(&self, namespace: &str, service: &str) -> bool {
        match self {
            Self::Unsaid | Self::Everybody => true,
            Self::Nobody => false,
            Self::Only(members) => members.have(namespace, service),
            Self::AllBut(members) => !members.have(namespace, service),
        }
    }

    /// Whether access to all of a namespace is controlled, but for single services.
    pub(super) fn has_namespace(&self, namespace: &str) -> bool {
        match self {
            Self::Unsaid | Self::Everybody => true,
            Self::Nobody => false,
            Self::Only(members) => members.namespaces.contains(namespace),
            Self::AllBut(members) => !members.namespaces.contains(namespace),
        }
    }

    /// The services of a namespace that are controlled one by one.
    pub(super) fn single(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let services = match self {
            Self::Only(members) => members.services.get(namespace),
            Self::Unsaid | Self::Nobody | Self::Everybody | Self::AllBut(_) => None,
        };
        services.into_iter().flatten().map(String::as_str)
    }

    /// Makes the policies without which everybody may everything: what has one that allows something
    /// is closed but for that.
    pub(super) fn make(&self, at: usize, dry_run: bool, workloads: &Workloads, plan: &mut Plan) {
        let root = MeshSettings::default().root_namespace;
        let deny = |plan: &mut Plan, namespace: &str, target: &Target| {
            if namespace == root && matches!(self, Self::Only(_)) {
                plan.lose(
                    at,
                    "what closes the root namespace of the mesh closes all namespaces",
                );
            }
            let name = policy::name("deny-by-default", target);
            plan.make(at, policy::of(&name, namespace, target, None, dry_run));
        };
        match self {
            Self::Unsaid | Self::Nobody => {}
            Self::Everybody => deny(plan, &root, &Target::all()),
            Self::Only(members) => members.each(at, workloads, plan, deny),
            Self::AllBut(members) => {
                deny(plan, &root, &Target::all());
                let anything = vec![json!({})];
                members.each(at, workloads, plan, |plan, namespace, target| {
                    if namespace == root {
                        plan.lose(at, IN_ROOT);
                        return;
                    }
                    let name = policy::name("allow-all", target);
                    let rules = Some(anything.clone());
                    plan.make(at, policy::of(&name, namespace, target, rules, false));
                });
            }
        }
    }
}

// === impl Members ===

impl Members {
    fn of(named: &Named, namespace: &str) -> Self {
        let mut members = Self {
            namespaces: named.namespaces.iter().cloned().collect(),
            services: BTreeMap::new(),
        };
        for service in &named.services {
            let (name, namespace) = parts(service, namespace);
            let services = members.services.entry(namespace.to_owned());
            services.or_default().insert(name.to_owned());
        }
        members
    }

    fn have(&self, namespace: &str, service: &str) -> bool {
        let services = self.services.get(namespace);
        self.namespaces.contains(namespace)
            || services.is_some_and(|services| services.contains(service))
    }

    fn each(
        &self,
        at: usize,
        workloads: &Workloads,
        plan: &mut Plan,
        mut make: impl FnMut(&mut Plan, &str, &Target),
    ) {
        for namespace in &self.namespaces {
            make(plan, namespace, &Target::all());
        }
        for (namespace, services) in &self.services {
            for service in services {
                let target = workloads.target(namespace, service);
                if let Some(doubt) = target.doubt() {
                    plan.note(at, doubt);
                }
                make(plan, namespace, &target);
            }
        }
    }
}

/// Says what of the configuration has no successor.
pub(super) fn losses(at: usize, config: &RbacConfig, plan: &mut Plan) {
    let selectors: [&[Value]; 2] = [
        &config.inclusion.workload_selectors,
        &config.exclusion.workload_selectors,
    ];
    if selectors.iter().any(|list| !list.is_empty()) {
        plan.lose(
            at,
            "workloadSelectors: write AuthorizationPolicies with these selectors",
        );
    }
    if config.enforcement_mode == Some(Enforcement::Permissive) {
        plan.note(
            at,
            "PERMISSIVE: all policies are made for a dry run, which refuses nobody",
        );
    }
}
