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
    /// Whether the source tells of pods at all.
    knows_pods: bool,
    pub(super) nodes: Shards<Arc<str>, Node>,
}

/// A slice with what is known of its pods, and of what that depends.
pub(super) struct Enriched {
    pub(super) resource: Arc<Resource>,
    pub(super) facts: FxHashSet<Fact>,
}

// === impl Facts ===

impl Facts {
    /// Notes that the source tells of pods; returns whether that is news.
    pub(super) fn expect_pods(&mut self) -> bool {
        !std::mem::replace(&mut self.knows_pods, true)
    }

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
    ///
    /// Pods and slices are told of by separate watches, either of which may be ahead. An endpoint
    /// whose pod is not known stays as `before` has it, the slice as it was told last; one that was
    /// not told of yet waits for its pod: without labels and account it would be asked in plain text
    /// and be in no subset.
    pub(super) fn enrich(&self, resource: &Arc<Resource>, before: Option<&Resource>) -> Enriched {
        let mut facts = FxHashSet::default();
        let Spec::EndpointSlice(slice) = &resource.spec else {
            let resource = Arc::clone(resource);
            return Enriched { resource, facts };
        };
        let namespace: Arc<str> = resource.meta.namespace.as_str().into();
        let before = before.map_or(&[][..], endpoints_of);
        let endpoints = slice.endpoints.iter();
        let endpoints: Vec<SliceEndpoint> = endpoints
            .filter_map(|written| self.endpoint(written, before, &namespace, &mut facts))
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

    /// One endpoint; none while nothing is known of the pod that it names.
    fn endpoint(
        &self,
        written: &SliceEndpoint,
        before: &[SliceEndpoint],
        namespace: &Arc<str>,
        facts: &mut FxHashSet<Fact>,
    ) -> Option<SliceEndpoint> {
        let mut endpoint = written.clone();
        let pod = self.pod_behind(written, namespace, facts);
        if pod.is_none() && self.lacks_pod(written) {
            take_over(&mut endpoint, told(written, before)?);
        }
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
        Some(endpoint)
    }

    /// Whether an endpoint that was found no pod for cannot do without.
    fn lacks_pod(&self, written: &SliceEndpoint) -> bool {
        let target = written.target_ref.as_ref();
        let is_pod =
            target.is_some_and(|it| it.kind.as_deref() == Some("Pod") && it.name.is_some());
        let says_all = written.labels.is_some() && written.service_account.is_some();
        self.knows_pods && is_pod && !says_all
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

/// The endpoint of a pod as it was told when the pod was known.
fn told<'b>(written: &SliceEndpoint, before: &'b [SliceEndpoint]) -> Option<&'b SliceEndpoint> {
    let is_same = |it: &&SliceEndpoint| {
        it.addresses == written.addresses && it.target_ref == written.target_ref
    };
    let mut same = before.iter().filter(is_same);
    same.find(|it| it.labels.is_some() && it.service_account.is_some())
}

/// Takes over from an endpoint as it was told what came from its pod.
fn take_over(endpoint: &mut SliceEndpoint, told: &SliceEndpoint) {
    endpoint.labels = endpoint.labels.take().or_else(|| told.labels.clone());
    let account = endpoint.service_account.take();
    endpoint.service_account = account.or_else(|| told.service_account.clone());
    // Otherwise the node that is named says the place.
    if endpoint.node_name.is_none() {
        for (label, value) in &told.deprecated_topology {
            let known = endpoint.deprecated_topology.entry(label.clone());
            known.or_insert_with(|| value.clone());
        }
    }
}

fn endpoints_of(resource: &Resource) -> &[SliceEndpoint] {
    let Spec::EndpointSlice(slice) = &resource.spec else {
        return &[];
    };
    &slice.endpoints
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
