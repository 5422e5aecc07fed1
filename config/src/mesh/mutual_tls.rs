//! Whether a workload takes mutual TLS, plain text, or both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Mesh, Viewer};
use crate::resource::peer_authentication::{MutualTls, MutualTlsMode, PeerAuthentication};
use crate::resource::{Resource, Spec};

/// What a port of a workload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accepts {
    /// Plain text; TLS is left to the workload.
    Plain,
    /// Plain text and mutual TLS.
    #[default]
    Both,
    /// Mutual TLS.
    MutualTls,
}

/// What the ports of a workload take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MutualTlsPolicy {
    /// All ports that are not named.
    pub every_port: Accepts,
    /// By port of the workload.
    pub ports: BTreeMap<u16, Accepts>,
}

/// The policies that concern a workload, the one that wins on each level.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PeerPolicies<'m> {
    pub(crate) mesh: Option<&'m Arc<Resource>>,
    pub(crate) namespace: Option<&'m Arc<Resource>>,
    pub(crate) workload: Option<&'m Arc<Resource>>,
}

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Mesh,
    Namespace,
    Workload,
}

// === impl MutualTlsPolicy ===

impl MutualTlsPolicy {
    /// What a port takes.
    pub fn at(&self, port: u16) -> Accepts {
        self.ports.get(&port).copied().unwrap_or(self.every_port)
    }
}

// === impl Accepts ===

impl Accepts {
    fn of(mode: MutualTlsMode) -> Option<Self> {
        match mode {
            MutualTlsMode::Unset => None,
            MutualTlsMode::Disable => Some(Self::Plain),
            MutualTlsMode::Permissive => Some(Self::Both),
            MutualTlsMode::Strict => Some(Self::MutualTls),
        }
    }
}

// === impl Mesh ===

impl Mesh {
    /// What the ports of a workload take, given by `PeerAuthentication`: that of the workload, else
    /// of its namespace, else of the mesh, of each the oldest; else plain text and mutual TLS.
    pub fn mutual_tls(&self, workload: &Viewer) -> MutualTlsPolicy {
        let found = self.peer_policies(workload);
        let written =
            |resource: &Arc<Resource>| Accepts::of(policy(resource)?.mtls.as_ref()?.mode?);
        let levels = [found.workload, found.namespace, found.mesh];
        let every_port = levels.into_iter().flatten().find_map(written);
        let every_port = every_port.unwrap_or_default();
        let ports = found.workload.and_then(policy);
        let ports = ports.and_then(|policy| policy.port_level_mtls.as_ref());
        let by_port = |(port, mtls): (&String, &MutualTls)| {
            let accepts = mtls.mode.and_then(Accepts::of).unwrap_or(every_port);
            Some((port.parse().ok()?, accepts))
        };
        MutualTlsPolicy {
            ports: ports.into_iter().flatten().filter_map(by_port).collect(),
            every_port,
        }
    }

    /// The policies that concern a workload.
    pub(crate) fn peer_policies(&self, workload: &Viewer) -> PeerPolicies<'_> {
        let mut found = PeerPolicies::default();
        for resource in &self.kinds.peer_authentications {
            let Some(policy) = policy(resource) else {
                continue;
            };
            if !self.selects_workload(resource, policy.selector.as_ref(), workload) {
                continue;
            }
            let place = match self.peer_policy_level(resource, policy) {
                Some(Level::Mesh) => &mut found.mesh,
                Some(Level::Namespace) => &mut found.namespace,
                Some(Level::Workload) => &mut found.workload,
                None => continue,
            };
            place.get_or_insert(resource);
        }
        found
    }

    /// What a policy is for; none for a selector in the root namespace, which Istio ignores.
    pub(crate) fn peer_policy_level(
        &self,
        resource: &Resource,
        policy: &PeerAuthentication,
    ) -> Option<Level> {
        let in_root = resource.meta.namespace == self.settings.root_namespace;
        match (policy.has_selector(), in_root) {
            (false, true) => Some(Level::Mesh),
            (false, false) => Some(Level::Namespace),
            (true, false) => Some(Level::Workload),
            (true, true) => None,
        }
    }

    /// Every `PeerAuthentication`, in the order of precedence.
    pub(crate) fn peer_authentications(
        &self,
    ) -> impl Iterator<Item = (&Arc<Resource>, &PeerAuthentication)> {
        let policies = self.kinds.peer_authentications.iter();
        policies.filter_map(|resource| Some((resource, policy(resource)?)))
    }
}

fn policy(resource: &Arc<Resource>) -> Option<&PeerAuthentication> {
    match &resource.spec {
        Spec::PeerAuthentication(policy) => Some(policy),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
