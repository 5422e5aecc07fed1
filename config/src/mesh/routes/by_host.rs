//! Routes for sidecars by the hosts that they are for.

use rustc_hash::FxHashMap;
use std::sync::Arc;

use super::{RouteIndex, Routes};
use crate::mesh::name::{MESH_GATEWAY, covers, resolve};
use crate::resource::Spec;

/// Places of entries that are bound to `mesh`, by completed host in lower case.
#[derive(Debug, Default)]
pub(super) struct ByHost {
    exact: FxHashMap<String, Vec<usize>>,
    wildcards: FxHashMap<String, Vec<usize>>,
}

// === impl RouteIndex ===

impl RouteIndex {
    /// Routes for sidecars that are for a host, by its name or by a wildcard that covers it, and that
    /// `namespace` sees; the one that takes precedence first.
    pub(in crate::mesh) fn for_host(
        &self,
        host: &str,
        namespace: &str,
        domain: &str,
    ) -> Vec<&Arc<Routes>> {
        let by_host = self.by_host.get_or_init(|| self.sorted_by_host(domain));
        let host = &*host.to_ascii_lowercase();
        let mut places = by_host.exact.get(host).cloned().unwrap_or_default();
        let wildcards = by_host.wildcards.iter();
        let covering = wildcards.filter(|(pattern, _)| covers(pattern, host) || *pattern == host);
        places.extend(covering.flat_map(|(_, places)| places));
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|place| self.visible(place, namespace, domain))
            .collect()
    }

    fn sorted_by_host(&self, domain: &str) -> ByHost {
        let mut by_host = ByHost::default();
        for &place in self.by_gateway.get(MESH_GATEWAY).into_iter().flatten() {
            let resource = &self.entries[place].resource;
            let Spec::VirtualService(spec) = &resource.spec else {
                continue;
            };
            for host in &spec.hosts {
                let host = resolve(host, &resource.meta.namespace, domain).to_ascii_lowercase();
                let hosts = match host.starts_with('*') {
                    true => &mut by_host.wildcards,
                    false => &mut by_host.exact,
                };
                hosts.entry(host).or_default().push(place);
            }
        }
        by_host
    }
}
