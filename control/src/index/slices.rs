//! What slices take over from pods and nodes.

use std::net::IpAddr;
use std::sync::Arc;

use config::resource::kubernetes::{EndpointSlice, SliceEndpoint};
use config::{Resource, Spec};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{PodKey, Shards};
use crate::event::{Node, Pod};

/// Labels of a node as Kubernetes once repeated them in slices.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// Something that a slice takes over from, there or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Fact {
    /// A pod by its name.
    Pod(PodKey),
    /// A pod by its address.
    Address(IpAddr),
    /// A node.
    Node(Arc<str>),
}

/// Pods and nodes.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) pods: Shards<PodKey, Arc<Pod>>,
    pods_at: FxHashMap<IpAddr, FxHashSet<PodKey>>,
    nodes: FxHashMap<Arc<str>, Node>,
}

/// A slice with what is known of its pods, and of what that depends.
pub(super) struct Enriched {
    pub(super) resource: Arc<Resource>,
    pub(super) facts: FxHashSet<Fact>,
}

// === impl Facts ===

impl Facts {
    /// Takes a pod in; returns what changed.
    pub(super) fn put_pod(&mut self, pod: Pod) -> Vec<Fact> {
        let key = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
        if self.pods.get(&key).is_some_and(|known| **known == pod) {
            return Vec::new();
        }
        let mut changed = self.remove_pod(&key);
        for ip in pod.addresses.iter().map(IpAddr::to_canonical) {
            self.pods_at.entry(ip).or_default().insert(key.clone());
            changed.push(Fact::Address(ip));
        }
        changed.push(Fact::Pod(key.clone()));
        self.pods.insert(key, Arc::new(pod));
        changed
    }

    /// Forgets a pod; returns what changed.
    pub(super) fn remove_pod(&mut self, key: &PodKey) -> Vec<Fact> {
        let Some(pod) = self.pods.remove(key) else {
            return Vec::new();
        };
        let mut changed = vec![Fact::Pod(key.clone())];
        for ip in pod.addresses.iter().map(IpAddr::to_canonical) {
            if let Some(at) = self.pods_at.get_mut(&ip) {
                at.remove(key);
                if at.is_empty() {
                    self.pods_at.remove(&ip);
                }
            }
            changed.push(Fact::Address(ip));
        }
        changed
    }

    /// Takes a node in; returns what changed.
    pub(super) fn put_node(&mut self, node: Node) -> Option<Fact> {
        let name = Arc::clone(&node.name);
        let known = self.nodes.insert(Arc::clone(&name), node);
        (known.as_ref() != self.nodes.get(&name)).then_some(Fact::Node(name))
    }

    /// Forgets a node; returns what changed.
    pub(super) fn remove_node(&mut self, name: &Arc<str>) -> Option<Fact> {
        self.nodes.remove(name)?;
        Some(Fact::Node(Arc::clone(name)))
    }

    /// Names of all nodes.
    pub(super) fn node_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.keys()
    }

    /// A slice with labels, account and place of the pods behind its endpoints. What it says itself
    /// stays.
    pub(super) fn enrich(&self, resource: &Arc<Resource>) -> Enriched {
        let mut facts = FxHashSet::default();
        let Spec::EndpointSlice(slice) = &resource.spec else {
            let resource = Arc::clone(resource);
            return Enriched { resource, facts };
        };
        let namespace: Arc<str> = resource.meta.namespace.as_str().into();
        let endpoints = slice.endpoints.iter();
        let endpoints: Vec<SliceEndpoint> = endpoints
            .map(|written| self.endpoint(written, &namespace, &mut facts))
            .collect();
        if endpoints == slice.endpoints {
            let resource = Arc::clone(resource);
            return Enriched { resource, facts };
        }
        let slice = EndpointSlice {
            endpoints,
            ..slice.clone()
        };
        let resource = Arc::new(Resource {
            meta: resource.meta.clone(),
            source: resource.source.clone(),
            spec: Spec::EndpointSlice(slice),
        });
        Enriched { resource, facts }
    }

    fn endpoint(
        &self,
        written: &SliceEndpoint,
        namespace: &Arc<str>,
        facts: &mut FxHashSet<Fact>,
    ) -> SliceEndpoint {
        let mut endpoint = written.clone();
        let pod = self.pod_behind(written, namespace, facts);
        if let Some(pod) = pod {
            endpoint.labels.get_or_insert_with(|| pod.labels.clone());
            let account = &mut endpoint.service_account;
            account.get_or_insert_with(|| pod.service_account.clone());
        }
        let on = written.node_name.as_deref().map(Arc::from);
        let on = on.or_else(|| pod.map(|pod| Arc::clone(&pod.node)));
        if let Some(name) = on.filter(|name| !name.is_empty()) {
            if let Some(node) = self.nodes.get(&name) {
                for (label, value) in [
                    (REGION, &node.region),
                    (ZONE, &node.zone),
                    (SUBZONE, &node.subzone),
                ] {
                    if !value.is_empty() {
                        let known = endpoint.deprecated_topology.entry(label.to_owned());
                        known.or_insert_with(|| value.clone());
                    }
                }
            }
            facts.insert(Fact::Node(name));
        }
        endpoint
    }

    /// The pod that an endpoint names, else the only one with its address.
    fn pod_behind(
        &self,
        written: &SliceEndpoint,
        namespace: &Arc<str>,
        facts: &mut FxHashSet<Fact>,
    ) -> Option<&Arc<Pod>> {
        if let Some(target) = &written.target_ref
            && let Some(name) = &target.name
        {
            if target.kind.as_deref().is_some_and(|kind| kind != "Pod") {
                return None;
            }
            let key = (Arc::clone(namespace), Arc::from(name.as_str()));
            let pod = self.pods.get(&key);
            facts.insert(Fact::Pod(key));
            return pod;
        }
        let ip: IpAddr = written.addresses.first()?.parse().ok()?;
        let ip = ip.to_canonical();
        facts.insert(Fact::Address(ip));
        let at = self.pods_at.get(&ip)?;
        // Pods on the network of their node share its address: which is meant is not known.
        let mut keys = at.iter();
        match (keys.next(), keys.next()) {
            (Some(only), None) => self
                .pods
                .get(only)
                .filter(|pod| pod.namespace == *namespace),
            _ => None,
        }
    }
}

/// Addresses of the endpoints of a slice.
pub(super) fn addresses(resource: &Resource) -> FxHashSet<IpAddr> {
    let Spec::EndpointSlice(slice) = &resource.spec else {
        return FxHashSet::default();
    };
    let firsts = slice.endpoints.iter().filter_map(|it| it.addresses.first());
    let ips = firsts.filter_map(|text| text.parse::<IpAddr>().ok());
    ips.map(|ip| ip.to_canonical()).collect()
}
