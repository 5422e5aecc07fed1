//! `RbacConfig`, `ServiceRole` and `ServiceRoleBinding` to `AuthorizationPolicy`.
//!
//! A role had no effect by itself, and a binding none where access was not controlled. Today a policy
//! that allows something closes its workloads for all else, so that a binding becomes one only where
//! access was controlled.

mod policy;
mod rule;
mod scope;
mod written;

use std::collections::BTreeMap;

use serde_json::Value;

use super::documents::{Document, Retired};
use super::plan::Plan;
use super::specs;
use super::workloads::{Target, Workloads, parts};
use crate::mesh::MeshSettings;
use crate::problem::Problem;
use scope::Scope;
use written::{AccessRule, Enforcement, RbacConfig, ServiceRole, ServiceRoleBinding};

/// Where and what a binding is.
#[derive(Debug, Clone, Copy)]
struct Binding<'b> {
    at: usize,
    namespace: &'b str,
    name: &'b str,
    spec: &'b ServiceRoleBinding,
}

/// All that counts for bindings.
struct Access<'a> {
    scope: Scope,
    /// Whether nobody is refused yet.
    dry_run: bool,
    workloads: &'a Workloads,
}

/// Converts all documents of `rbac.istio.io`.
pub(super) fn convert(
    documents: &[Document],
    workloads: &Workloads,
    plan: &mut Plan,
) -> Result<(), Vec<Problem>> {
    let configs: Vec<(usize, RbacConfig)> = specs(documents, |it| it == Retired::RbacConfig)?;
    let roles: Vec<(usize, ServiceRole)> = specs(documents, |it| it == Retired::ServiceRole)?;
    let bindings: Vec<(usize, ServiceRoleBinding)> =
        specs(documents, |it| it == Retired::ServiceRoleBinding)?;
    let access = access(documents, &configs, workloads, plan);
    for (at, role) in &roles {
        let document = &documents[*at];
        let is_bound = bindings.iter().any(|(binding, spec)| {
            documents[*binding].namespace == document.namespace
                && (spec.role_ref.name == document.name || spec.role == document.name)
        });
        if !is_bound && !role.rules.is_empty() {
            plan.note(*at, "is bound to nobody, so that it allows nothing");
        }
    }
    for (at, spec) in &bindings {
        let document = &documents[*at];
        let binding = Binding {
            at: *at,
            namespace: &document.namespace,
            name: &document.name,
            spec,
        };
        let name = match spec.role.is_empty() {
            true => &spec.role_ref.name,
            false => &spec.role,
        };
        let role = roles.iter().find(|(role, _)| {
            documents[*role].namespace == document.namespace && documents[*role].name == *name
        });
        match (role, spec.actions.is_empty()) {
            (_, false) => access.bind(binding, &spec.actions, plan),
            (Some((_, role)), true) => access.bind(binding, &role.rules, plan),
            (None, true) => plan.lose(*at, format!("its role {name} is not among the files")),
        }
    }
    Ok(())
}

/// The configuration that counts: of several the first for the cluster.
fn access<'a>(
    documents: &[Document],
    configs: &[(usize, RbacConfig)],
    workloads: &'a Workloads,
    plan: &mut Plan,
) -> Access<'a> {
    let cluster = |(at, _): &&(usize, RbacConfig)| documents[*at].kind() == "ClusterRbacConfig";
    let counts = configs.iter().find(cluster).or(configs.first());
    for (at, _) in configs {
        if counts.is_some_and(|(counts, _)| counts != at) {
            plan.note(*at, "is left out: another one counts for the whole mesh");
        }
    }
    let namespace = counts.map_or("", |(at, _)| &documents[*at].namespace);
    let scope = Scope::of(counts.map(|(_, config)| config), namespace);
    let mut dry_run = false;
    if let Some((at, config)) = counts {
        scope::losses(*at, config, plan);
        dry_run = config.enforcement_mode == Some(Enforcement::Permissive);
        if let Scope::Nobody = scope {
            plan.note(
                *at,
                "access control is off: roles and bindings have no effect and are left out",
            );
        }
        scope.make(*at, dry_run, workloads, plan);
    }
    Access {
        scope,
        dry_run,
        workloads,
    }
}

// === impl Access ===

impl Access<'_> {
    /// Makes the policies of a binding: one for each set of workloads.
    fn bind(&self, binding: Binding<'_>, rules: &[AccessRule], plan: &mut Plan) {
        let Binding { at, namespace, .. } = binding;
        match self.scope {
            Scope::Nobody => return,
            Scope::Unsaid => plan.note(
                at,
                "no RbacConfig is among the files: access is taken to be controlled, and whoever is \
                 not allowed by a policy of a workload is refused",
            ),
            Scope::Everybody | Scope::Only(_) | Scope::AllBut(_) => {}
        }
        if namespace == MeshSettings::default().root_namespace {
            plan.lose(at, scope::IN_ROOT);
            return;
        }
        let mut by_target: BTreeMap<Target, Vec<Value>> = BTreeMap::new();
        for rule in rules {
            let made = match rule::rules(rule, &binding.spec.subjects) {
                Ok(made) => made,
                Err(reason) => {
                    plan.lose(at, format!("a rule is left out: {reason}"));
                    continue;
                }
            };
            for target in self.targets(at, namespace, rule, plan) {
                by_target
                    .entry(target)
                    .or_default()
                    .extend(made.iter().cloned());
            }
        }
        let dry_run = self.dry_run || binding.spec.mode == Some(Enforcement::Permissive);
        let mut names = BTreeMap::new();
        for (target, rules) in by_target {
            if rules.is_empty() {
                continue;
            }
            let name = policy::name(binding.name, &target);
            // Of several with other labels of the same service, the later ones are numbered.
            let count = names.entry(name.clone()).or_insert(0_u32);
            *count += 1;
            let name = match count {
                1 => name,
                _ => format!("{name}-{count}"),
            };
            plan.make(
                at,
                policy::of(&name, namespace, &target, Some(rules), dry_run),
            );
        }
    }

    /// The workloads that a rule is for, as far as access to them is controlled.
    fn targets(
        &self,
        at: usize,
        namespace: &str,
        rule: &AccessRule,
        plan: &mut Plan,
    ) -> Vec<Target> {
        let mut targets = Vec::new();
        for service in &rule.services {
            targets.extend(self.of_service(at, namespace, service, plan));
        }
        if rule.services.is_empty() {
            targets.extend(self.of_service(at, namespace, "*", plan));
        }
        for target in &targets {
            if let Some(doubt) = target.doubt() {
                plan.note(at, doubt);
            }
        }
        for constraint in &rule.constraints {
            if constraint.key == "destination.namespace" {
                if !constraint
                    .values
                    .iter()
                    .any(|it| it == namespace || it == "*")
                {
                    targets.clear();
                }
                continue;
            }
            let label = constraint.key.strip_prefix("destination.labels[");
            if let Some(label) = label.and_then(|rest| rest.strip_suffix(']')) {
                targets = labelled(&targets, label, &constraint.values);
                if let Some(pattern) = constraint.values.iter().find(|it| it.contains('*')) {
                    plan.lose(
                        at,
                        format!(
                            "workloads whose label {label} is {pattern}: labels are selected whole"
                        ),
                    );
                }
            }
        }
        targets
    }

    fn of_service(
        &self,
        at: usize,
        namespace: &str,
        pattern: &str,
        plan: &mut Plan,
    ) -> Vec<Target> {
        let whole = [
            "*".to_owned(),
            format!("*.{namespace}"),
            host("*", namespace),
        ];
        let is_whole = whole.iter().any(|it| it == pattern);
        if is_whole && self.scope.has_namespace(namespace) {
            return vec![Target::all()];
        }
        if !pattern.contains('*') {
            let (name, of) = parts(pattern, namespace);
            if of != namespace {
                plan.lose(
                    at,
                    format!("{pattern} is of another namespace, which roles never reached"),
                );
                return Vec::new();
            }
            if !self.scope.has(namespace, name) {
                plan.note(
                    at,
                    format!("access to {pattern} is not controlled: its rule is left out"),
                );
                return Vec::new();
            }
            return vec![self.workloads.target(namespace, name)];
        }
        let pattern = if is_whole { "*" } else { pattern };
        let known = self
            .workloads
            .names(namespace)
            .chain(self.scope.single(namespace));
        let mut names: Vec<&str> = known
            .filter(|name| self.scope.has(namespace, name))
            .filter(|name| matches(pattern, name) || matches(pattern, &host(name, namespace)))
            .collect();
        names.sort_unstable();
        names.dedup();
        match (names.is_empty(), is_whole) {
            (true, true) => plan.note(at, "access to its services is not controlled: left out"),
            (true, false) => plan.lose(
                at,
                format!(
                    "no Service document of {namespace} matches {pattern}: add them to the files"
                ),
            ),
            (false, _) => {}
        }
        let target = |name: &&str| self.workloads.target(namespace, name);
        names.iter().map(target).collect()
    }
}

/// The targets with each value of one more label, as far as they can have it. A pattern cannot be
/// selected by.
fn labelled(targets: &[Target], label: &str, values: &[String]) -> Vec<Target> {
    let with = |target: &Target, value: &String| {
        let mut target = target.clone();
        let before = target.labels.insert(label.to_owned(), value.clone());
        before
            .is_none_or(|before| before == *value)
            .then_some(target)
    };
    let exact = values.iter().filter(|value| !value.contains('*'));
    exact
        .flat_map(|value| targets.iter().filter_map(move |target| with(target, value)))
        .collect()
}

fn host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

/// `*` at the end or the beginning stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => text.starts_with(prefix),
        (None, Some(suffix)) => text.ends_with(suffix),
        (None, None) => pattern == text,
    }
}
