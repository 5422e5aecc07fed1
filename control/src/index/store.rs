//! The index itself: what was told of by now, and what of it is not in a generation yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use config::Resource;
use config::mesh::{Mesh, MeshSettings, service_of_slice};
use config::wire::{self, Name};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::slices::{Enriched, Fact, Facts, addresses};
use super::{Change, Entry, Generation, PodKey, ServiceKey, Shards, Touched};
use crate::event::{Event, Object};

#[cfg(test)]
mod tests;

/// Kinds that are no resources.
const POD: &str = "Pod";
const NODE: &str = "Node";

/// All we know of the mesh.
#[derive(Debug)]
pub struct Index {
    entries: Shards<Name, Entry>,
    slices: Shards<ServiceKey, Arc<[Name]>>,
    served_at: Shards<IpAddr, Arc<[ServiceKey]>>,
    refused: Arc<BTreeMap<Name, Vec<String>>>,
    facts: Facts,
    /// Slices as they were told of.
    written: FxHashMap<Name, Arc<Resource>>,
    /// What each slice takes over from, and the reverse.
    facts_of: FxHashMap<Name, FxHashSet<Fact>>,
    users: FxHashMap<Fact, FxHashSet<Name>>,
    settings: MeshSettings,
    /// Of the last generation.
    mesh: Option<Arc<Mesh>>,
    number: u64,
    is_synced: bool,
    news: News,
}

/// What is not in a generation yet.
#[derive(Debug, Default)]
struct News {
    change: Change,
    /// Slices to be looked at again.
    stale: FxHashSet<Name>,
    /// Whether what is refused changed.
    refused: bool,
}

// === impl Index ===

impl Index {
    /// Knows nothing yet.
    pub fn new(settings: MeshSettings) -> Self {
        Self {
            entries: Shards::default(),
            slices: Shards::default(),
            served_at: Shards::default(),
            refused: Arc::default(),
            facts: Facts::default(),
            written: FxHashMap::default(),
            facts_of: FxHashMap::default(),
            users: FxHashMap::default(),
            settings,
            mesh: None,
            number: 0,
            is_synced: false,
            news: News::default(),
        }
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Applied(objects) => objects.into_iter().for_each(|object| self.put(object)),
            Event::Deleted(names) => names.iter().for_each(|name| self.remove(name)),
            Event::Listed { kind, objects } => {
                if kind == POD {
                    self.expect_pods();
                }
                self.replace(objects, |name| &*name.kind == kind);
            }
            Event::Everything(objects) => self.replace(objects, |_| true),
            Event::Synced => self.is_synced = true,
        }
    }

    /// The next generation and what makes it another than the last; none if nothing does, or before
    /// everything was listed. `since` is when the first event came that is not in the last.
    pub fn next(&mut self, since: Instant) -> Option<(Arc<Generation>, Change)> {
        if !self.is_synced {
            return None;
        }
        for name in std::mem::take(&mut self.news.stale) {
            self.refresh(&name);
        }
        let News {
            mut change,
            refused,
            ..
        } = std::mem::take(&mut self.news);
        if self.mesh.is_none() {
            (change.structure, change.everybody) = (true, true);
        }
        if !change.structure && change.touched.is_empty() && !refused {
            return None;
        }
        let mesh = match &self.mesh {
            Some(mesh) if !change.structure => Arc::clone(mesh),
            previous => Arc::new(self.mesh_after(previous.as_deref())),
        };
        self.mesh = Some(Arc::clone(&mesh));
        self.number += 1;
        let generation = Generation {
            number: self.number,
            since,
            mesh,
            entries: self.entries.clone(),
            slices: self.slices.clone(),
            served_at: self.served_at.clone(),
            pods: self.facts.pods.clone(),
            nodes: self.facts.nodes.clone(),
            refused: Arc::clone(&self.refused),
        };
        Some((Arc::new(generation), change))
    }

    fn mesh_after(&self, previous: Option<&Mesh>) -> Mesh {
        let entries = self.entries.iter();
        let resources = entries.filter(|(name, _)| !name.is_endpoints());
        let resources: Vec<Arc<Resource>> = resources
            .map(|(_, entry)| Arc::clone(&entry.resource))
            .collect();
        match previous {
            Some(previous) => previous.next(&resources),
            None => Mesh::new(&resources, self.settings.clone()),
        }
    }

    fn put(&mut self, object: Object) {
        match object {
            Object::Resource(resource) => self.put_resource(resource),
            Object::Refused(refused) => {
                let known = self.refused.get(&refused.name);
                if known != Some(&refused.reasons) {
                    self.news.refused = true;
                    Arc::make_mut(&mut self.refused).insert(refused.name, refused.reasons);
                }
            }
            Object::Pod(pod) => {
                self.expect_pods();
                let changed = self.facts.put_pod(pod);
                self.unsettle(changed);
            }
            Object::Node(node) => {
                let changed = self.facts.put_node(node);
                self.unsettle(changed);
            }
        }
    }

    /// From now on endpoints wait for their pods.
    fn expect_pods(&mut self) {
        if self.facts.expect_pods() {
            self.news.stale.extend(self.written.keys().cloned());
        }
    }

    fn put_resource(&mut self, resource: Arc<Resource>) {
        let name = Name::of(&resource);
        self.accept(&name);
        if name.is_endpoints() {
            self.news.stale.insert(name.clone());
            self.written.insert(name, resource);
            return;
        }
        let before = self.entries.get(&name).map(|it| Arc::clone(&it.resource));
        if self.enter(name, Arc::clone(&resource)) {
            self.restructure(before.as_deref().into_iter().chain([&*resource]));
        }
    }

    /// Notes that the mesh is another, and that these are what changed of it.
    fn restructure<'r>(&mut self, resources: impl IntoIterator<Item = &'r Resource>) {
        let change = &mut self.news.change;
        change.structure = true;
        match &self.mesh {
            Some(mesh) => resources
                .into_iter()
                .for_each(|resource| change.concern(resource, mesh)),
            None => change.everybody = true,
        }
    }

    /// Enters what proxies are told; returns whether it is something else than before.
    fn enter(&mut self, name: Name, resource: Arc<Resource>) -> bool {
        let document = wire::document(&resource);
        let known = self.entries.get(&name);
        if known.is_some_and(|known| known.document == document.as_bytes()) {
            return false;
        }
        let version = wire::version(&document).into();
        let entry = Entry {
            resource,
            document: Bytes::from(document),
            version,
        };
        self.entries.insert(name, entry);
        true
    }

    fn remove(&mut self, name: &Name) {
        // Proxies may have one of which we never knew a good form.
        let is_known = self.entries.contains_key(name);
        if self.refused.contains_key(name) && !is_known {
            (self.news.change.structure, self.news.change.everybody) = (true, true);
        }
        self.accept(name);
        match &*name.kind {
            POD => {
                let changed = self.facts.remove_pod(&key_of(name));
                self.unsettle(changed);
            }
            NODE => {
                let changed = self.facts.remove_node(&name.name);
                self.unsettle(changed);
            }
            _ if name.is_endpoints() => {
                if self.written.remove(name).is_some() {
                    self.news.stale.insert(name.clone());
                }
            }
            _ => {
                if let Some(entry) = self.entries.remove(name) {
                    self.restructure([&*entry.resource]);
                }
            }
        }
    }

    /// What is told under this name is right, or gone.
    fn accept(&mut self, name: &Name) {
        if self.refused.contains_key(name) {
            self.news.refused = true;
            Arc::make_mut(&mut self.refused).remove(name);
        }
    }

    /// Takes objects in, and forgets what else there is among what `is_listed`.
    fn replace(&mut self, objects: Vec<Object>, is_listed: impl Fn(&Name) -> bool) {
        let listed: FxHashSet<Name> = objects.iter().map(Object::name).collect();
        let resources = self.entries.keys().chain(self.written.keys());
        let resources = resources.chain(self.refused.keys()).cloned();
        let pods = self.facts.pods.keys();
        let pods = pods.map(|(namespace, name)| Name::new(POD, namespace, name));
        let nodes = self.facts.node_names();
        let nodes = nodes.map(|name| Name::new(NODE, "", name));
        let gone: FxHashSet<Name> = resources
            .chain(pods)
            .chain(nodes)
            .filter(|name| is_listed(name) && !listed.contains(name))
            .collect();
        gone.iter().for_each(|name| self.remove(name));
        objects.into_iter().for_each(|object| self.put(object));
    }

    /// Notes that slices which take over from something have to be looked at again.
    fn unsettle(&mut self, changed: impl IntoIterator<Item = Fact>) {
        for fact in changed {
            if let Some(users) = self.users.get(&fact) {
                self.news.stale.extend(users.iter().cloned());
            }
            let touched = match fact {
                Fact::Pod(key) => Touched::Pod(key),
                Fact::Node(name) => Touched::Node(name),
                // Who has it may be asked for by it alone, which its slices tell.
                Fact::Address(_) => continue,
            };
            self.news.change.touched.insert(touched);
        }
    }

    /// Brings what proxies are told of a slice up to date.
    fn refresh(&mut self, name: &Name) {
        let before = self.entries.get(name).map(|it| Arc::clone(&it.resource));
        let now = self.written.get(name);
        let now = now.map(|it| self.facts.enrich(it, before.as_deref()));
        let facts = now.as_ref().map(|it| it.facts.clone());
        self.depend(name, facts.unwrap_or_default());
        let after = match now {
            Some(Enriched { resource, .. }) => {
                if !self.enter(name.clone(), Arc::clone(&resource)) {
                    return;
                }
                Some(resource)
            }
            None => {
                self.entries.remove(name);
                None
            }
        };
        self.serve(name, before.as_deref(), after.as_deref());
    }

    /// Notes what a slice takes over from.
    fn depend(&mut self, name: &Name, facts: FxHashSet<Fact>) {
        for fact in self.facts_of.remove(name).into_iter().flatten() {
            if facts.contains(&fact) {
                continue;
            }
            if let Some(users) = self.users.get_mut(&fact) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(&fact);
                }
            }
        }
        for fact in &facts {
            let users = self.users.entry(fact.clone()).or_default();
            users.insert(name.clone());
        }
        if !facts.is_empty() {
            self.facts_of.insert(name.clone(), facts);
        }
    }

    /// Notes whose endpoints changed from one form of a slice to the other.
    fn serve(&mut self, name: &Name, before: Option<&Resource>, after: Option<&Resource>) {
        let service = |it: &Resource| {
            let name = service_of_slice(it)?;
            Some((Arc::from(it.meta.namespace.as_str()), Arc::from(name)))
        };
        let (was, is) = (before.and_then(service), after.and_then(service));
        if was != is {
            if let Some(key) = &was {
                remove_from(&mut self.slices, key, name);
            }
            if let Some(key) = &is {
                add_to(&mut self.slices, key, name);
            }
        }
        let at = |it: Option<&Resource>| it.map(addresses).unwrap_or_default();
        let (left, taken) = (at(before), at(after));
        let moved = was != is;
        let gone = left.iter().filter(|ip| moved || !taken.contains(*ip));
        let gone: Vec<&IpAddr> = gone.collect();
        if let Some(key) = was.as_ref().filter(|_| !gone.is_empty()) {
            // Another slice of the service may have it too. Each of them is read once, not once for each
            // address: a large service has hundreds of slices with a hundred addresses.
            let others = self.addresses_of(key);
            for ip in gone.iter().filter(|ip| !others.contains(**ip)) {
                remove_from(&mut self.served_at, ip, key);
            }
        }
        let touched = gone.into_iter().map(|ip| Touched::Address(*ip));
        self.news.change.touched.extend(touched);
        for ip in taken.iter().filter(|ip| moved || !left.contains(*ip)) {
            if let Some(key) = &is {
                add_to(&mut self.served_at, ip, key);
            }
            self.news.change.touched.insert(Touched::Address(*ip));
        }
        let services = was.into_iter().chain(is).map(Touched::Service);
        self.news.change.touched.extend(services);
    }

    /// Addresses of all endpoints of a service.
    fn addresses_of(&self, service: &ServiceKey) -> FxHashSet<IpAddr> {
        let slices = self.slices.get(service);
        let slices = slices.into_iter().flat_map(|it| it.iter());
        let entries = slices.filter_map(|name| self.entries.get(name));
        entries
            .flat_map(|entry| addresses(&entry.resource))
            .collect()
    }
}

fn key_of(name: &Name) -> PodKey {
    (Arc::clone(&name.namespace), Arc::clone(&name.name))
}

fn add_to<K, V>(map: &mut Shards<K, Arc<[V]>>, key: &K, value: &V)
where
    K: std::hash::Hash + Eq + Clone,
    V: Clone + PartialEq,
{
    let known = map.get(key).map_or(&[][..], |it| it);
    if !known.contains(value) {
        let more = known.iter().chain([value]).cloned().collect();
        map.insert(key.clone(), more);
    }
}

fn remove_from<K, V>(map: &mut Shards<K, Arc<[V]>>, key: &K, value: &V)
where
    K: std::hash::Hash + Eq + Clone,
    V: Clone + PartialEq,
{
    let known = map.get(key).map_or(&[][..], |it| it);
    let rest: Arc<[V]> = known.iter().filter(|it| *it != value).cloned().collect();
    match rest.is_empty() {
        true => map.remove(key),
        false => map.insert(key.clone(), rest),
    };
}
