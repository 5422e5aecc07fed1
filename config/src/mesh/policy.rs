//! Which `DestinationRule` governs a host, and what its policy comes to for a subset and a port.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::visibility::exported;
use super::{Mesh, MeshSettings, Viewer, name};
use crate::resource::destination_rule::{
    ClientTls, ConnectionPool, DestinationRule, LabelSelector, LoadBalancer, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, RetryBudget, TrafficPolicy, Tunnel,
};
use crate::resource::{Resource, Spec};

/// What governs a host for one viewer: its rules, merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostPolicy {
    /// Host of the rules, which may be a wildcard; `None` without any rule.
    pub host: Option<String>,
    /// Policy of the host where no subset says otherwise: the first rule's that has one.
    pub base: Option<TrafficPolicy>,
    /// Subsets of all rules; of two with one name the first.
    pub subsets: Vec<Subset>,
    /// Every rule that takes part, the one that takes precedence first.
    pub sources: Vec<Arc<Resource>>,
}

/// A named group of a host's endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// Unique name.
    pub name: String,
    /// Labels that an endpoint must all have.
    pub labels: BTreeMap<String, String>,
    /// Blocks that replace those of the host.
    pub policy: Option<TrafficPolicy>,
    /// The rule that defines it.
    pub source: Arc<Resource>,
}

/// What applies to one subset and port of a host, block by block; `None` means the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EffectivePolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the upstream.
    pub tls: Option<ClientTls>,
    /// Tunnelling of TCP over another protocol.
    pub tunnel: Option<Tunnel>,
    /// PROXY protocol towards the upstream.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit of concurrent retries as a share of requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Whose traffic is governed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    /// Namespace of the client.
    pub namespace: &'a str,
    /// Labels of its workload; `None` for any workload of the namespace.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// All `DestinationRule` resources by namespace and host.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    namespaces: FxHashMap<String, NamespaceRules>,
}

/// The rules of one namespace for one host, of which those count that are for the viewer's workload.
pub(super) struct Deciding<'i> {
    host: &'i str,
    namespace: &'i str,
    pub(super) rules: Vec<(&'i Arc<Resource>, &'i DestinationRule)>,
}

#[derive(Debug, Default)]
struct NamespaceRules {
    by_host: FxHashMap<String, Vec<Arc<Resource>>>,
    /// Wildcard hosts, longest first.
    wildcards: Vec<String>,
}

// === impl Mesh ===

impl Mesh {
    /// Rules that may govern traffic of the viewer: exported to its namespace, and for its workload if
    /// they are for some.
    pub fn destination_rules<'m>(
        &'m self,
        viewer: &'m Viewer,
    ) -> impl Iterator<Item = &'m Arc<Resource>> {
        let rules = self.kinds.destination_rules.iter();
        rules.filter(|resource| match &resource.spec {
            Spec::DestinationRule(rule) => {
                let selector = rule.workload_selector.as_ref();
                let selects = |it: &LabelSelector| {
                    resource.meta.namespace == viewer.namespace
                        && name::selects(&it.match_labels, &viewer.labels)
                };
                exported(&rule.export_to, &resource.meta.namespace, &viewer.namespace)
                    && selector.is_none_or(selects)
            }
            _ => false,
        })
    }
}

// === impl HostPolicy ===

impl HostPolicy {
    /// The subset with this name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// What applies to a service port, in a subset or in the host as a whole.
    ///
    /// A port's own settings replace the blocks of their level, also where they are unset; a
    /// subset's blocks replace the host's where they are set. An unknown subset has no policy of
    /// its own.
    pub fn policy(&self, subset: Option<&str>, port: u16) -> EffectivePolicy {
        let mut effective = match &self.base {
            None => EffectivePolicy::default(),
            Some(base) => match of_port(base, port) {
                None => EffectivePolicy::of(base),
                Some(settings) => {
                    let mut replaced = EffectivePolicy::default();
                    replaced.replace(settings);
                    replaced
                }
            },
        };
        let own = subset
            .and_then(|name| self.subset(name))
            .and_then(|own| own.policy.as_ref());
        if let Some(own) = own {
            effective.override_with(own);
            if let Some(settings) = of_port(own, port) {
                effective.replace(settings);
            }
        }
        effective
    }

    /// An annotation of the rules: the first one's that has it.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let values = self.sources.iter().map(|rule| &rule.meta.annotations);
        values
            .filter_map(|it| it.get(name))
            .map(String::as_str)
            .next()
    }

    fn add(&mut self, resource: &Arc<Resource>, rule: &DestinationRule) {
        if self.base.is_none() {
            self.base.clone_from(&rule.traffic_policy);
        }
        for subset in &rule.subsets {
            if self.subset(&subset.name).is_none() {
                self.subsets.push(Subset {
                    name: subset.name.clone(),
                    labels: subset.labels.clone(),
                    policy: subset.traffic_policy.clone(),
                    source: Arc::clone(resource),
                });
            }
        }
        self.sources.push(Arc::clone(resource));
    }
}

fn of_port(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy.port_level_settings.iter().find(|settings| {
        settings
            .port
            .as_ref()
            .is_some_and(|selector| selector.number == u32::from(port))
    })
}

// === impl EffectivePolicy ===

impl EffectivePolicy {
    fn of(policy: &TrafficPolicy) -> Self {
        let mut effective = Self::default();
        effective.override_with(policy);
        effective
    }

    /// Takes over the blocks that are set.
    fn override_with(&mut self, policy: &TrafficPolicy) {
        fn take<T: Clone>(block: &mut Option<T>, other: Option<&T>) {
            if let Some(other) = other {
                *block = Some(other.clone());
            }
        }
        take(&mut self.load_balancer, policy.load_balancer.as_ref());
        take(&mut self.connection_pool, policy.connection_pool.as_ref());
        take(
            &mut self.outlier_detection,
            policy.outlier_detection.as_ref(),
        );
        take(&mut self.tls, policy.tls.as_ref());
        take(&mut self.tunnel, policy.tunnel.as_ref());
        take(&mut self.proxy_protocol, policy.proxy_protocol.as_ref());
        take(&mut self.retry_budget, policy.retry_budget.as_ref());
    }

    /// Takes over the blocks of a port, also where they are unset.
    fn replace(&mut self, settings: &PortTrafficPolicy) {
        self.load_balancer.clone_from(&settings.load_balancer);
        self.connection_pool.clone_from(&settings.connection_pool);
        self.outlier_detection
            .clone_from(&settings.outlier_detection);
        self.tls.clone_from(&settings.tls);
    }
}

// === impl RuleIndex ===

impl RuleIndex {
    /// Indexes rules that are ordered by precedence.
    pub(super) fn new(rules: &[Arc<Resource>], domain: &str) -> Self {
        let mut index = Self::default();
        for resource in rules {
            if let Spec::DestinationRule(rule) = &resource.spec {
                let namespace = &resource.meta.namespace;
                let host = name::resolve(&rule.host, namespace, domain);
                let rules = index.namespaces.entry(namespace.clone()).or_default();
                rules
                    .by_host
                    .entry(host)
                    .or_default()
                    .push(Arc::clone(resource));
            }
        }
        for rules in index.namespaces.values_mut() {
            rules.wildcards = rules
                .by_host
                .keys()
                .filter(|host| host.starts_with('*'))
                .cloned()
                .collect();
            rules
                .wildcards
                .sort_by_key(|host| std::cmp::Reverse(host.len()));
        }
        index
    }

    /// The rules of the first namespace that governs the host: the viewer's, the service's, the
    /// root namespace.
    pub(super) fn policy(
        &self,
        viewer: Client<'_>,
        host: &str,
        service_namespace: Option<&str>,
        settings: &MeshSettings,
    ) -> HostPolicy {
        self.deciding(viewer, host, service_namespace, settings)
            .map_or_else(HostPolicy::default, |rules| rules.merged(viewer))
    }

    /// The rules that decide: whatever is there besides has no word.
    pub(super) fn deciding(
        &self,
        viewer: Client<'_>,
        host: &str,
        service_namespace: Option<&str>,
        settings: &MeshSettings,
    ) -> Option<Deciding<'_>> {
        let own = viewer.namespace;
        let root = settings.root_namespace.as_str();
        // In the root namespace rules are meant for everyone: they must not shadow those of the
        // service's owner, except where they are meant for the root namespace alone.
        let first = self.governing(own, viewer, host, |rule| {
            own != root || is_private(rule, own)
        });
        first
            .or_else(|| self.governing(service_namespace?, viewer, host, |_| true))
            .or_else(|| self.governing(root, viewer, host, |_| true))
    }

    /// The rules of one namespace for its most specific host that is visible.
    fn governing(
        &self,
        namespace: &str,
        viewer: Client<'_>,
        host: &str,
        admits: impl Fn(&DestinationRule) -> bool,
    ) -> Option<Deciding<'_>> {
        let (namespace, rules) = self.namespaces.get_key_value(namespace)?;
        let wildcards = rules.wildcards.iter().map(String::as_str);
        let hosts = std::iter::once(host)
            .chain(wildcards.filter(|wildcard| *wildcard != host && name::covers(wildcard, host)));
        for candidate in hosts {
            let Some((host, candidates)) = rules.by_host.get_key_value(candidate) else {
                continue;
            };
            let visible: Vec<_> = candidates
                .iter()
                .filter_map(|resource| match &resource.spec {
                    Spec::DestinationRule(rule) => Some((resource, rule)),
                    _ => None,
                })
                .filter(|(_, rule)| {
                    exported(&rule.export_to, namespace, viewer.namespace) && admits(rule)
                })
                .collect();
            if !visible.is_empty() {
                return Some(Deciding {
                    host,
                    namespace,
                    rules: visible,
                });
            }
        }
        None
    }
}

/// Whether a rule of `namespace` is exported to that namespace alone.
fn is_private(rule: &DestinationRule, namespace: &str) -> bool {
    !rule.export_to.is_empty()
        && rule
            .export_to
            .iter()
            .all(|target| target == "." || target == namespace)
}

// === impl Deciding ===

impl Deciding<'_> {
    /// Rules that select the viewer come first, then those without selector; others do not count.
    fn merged(&self, viewer: Client<'_>) -> HostPolicy {
        let mut policy = HostPolicy {
            host: Some(self.host.to_owned()),
            ..HostPolicy::default()
        };
        for (resource, rule) in &self.rules {
            if let Some(selector) = &rule.workload_selector
                && self.namespace == viewer.namespace
                && viewer
                    .labels
                    .is_none_or(|labels| name::selects(&selector.match_labels, labels))
            {
                policy.add(resource, rule);
            }
        }
        for (resource, rule) in &self.rules {
            if rule.workload_selector.is_none() {
                policy.add(resource, rule);
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests;
