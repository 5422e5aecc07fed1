//! Where the workload of a proxy is.

use config::mesh::locality_of;

use super::gather::Gatherer;
use super::pod_key;
use crate::event::Node;
use crate::index::Touched;

// === impl Gatherer ===

impl Gatherer<'_> {
    /// As its pod says by a label, else where its node is. The proxy knows of its node nothing, as little as
    /// whoever injects it.
    pub(super) fn place(&mut self) {
        let (generation, key) = (self.generation, pod_key(self.proxy));
        let pod = generation.pods.get(&key);
        self.scope.depends_on.insert(Touched::Pod(key));
        let Some(pod) = pod else {
            return;
        };
        let said = locality_of(&pod.labels);
        let node = || {
            let depends_on = &mut self.scope.depends_on;
            depends_on.insert(Touched::Node(pod.node.clone()));
            generation.nodes.get(&pod.node).and_then(locality)
        };
        self.scope.locality = said.or_else(node).map(Into::into);
    }
}

/// Where a node is; none if it does not say. What endpoints take over from it reads the same.
fn locality(node: &Node) -> Option<String> {
    let Node {
        region,
        zone,
        subzone,
        ..
    } = node;
    let parts = [region, zone, subzone];
    let known = parts.iter().rposition(|part| !part.is_empty())?;
    let parts: Vec<&str> = parts[..=known].iter().map(|it| it.as_str()).collect();
    Some(parts.join("/"))
}
