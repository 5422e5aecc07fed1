//! Tells workloads in Kubernetes what to believe before they have any certificate: the roots in a
//! ConfigMap of each namespace, which the sidecar's pod mounts.
//!
//! One replica writes. A ConfigMap of that name that somebody else made is left alone: two control
//! planes that correct each other would leave workloads with neither's roots.
//!
//! It is written by server-side apply, also where there is none. Such a request has the name in its path,
//! so that the right to create can be limited to it; that of a `POST` cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Client;
use kube::api::{Api, ObjectMeta, PartialObjectMeta, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::Error as WatchError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::trust::Trust;
use crate::lease::Leadership;

/// Name of the ConfigMap, which is where Istio's pods look.
const NAME: &str = "istio-ca-root-cert";
/// What it holds.
const ROOTS: &str = "root-cert.pem";
/// Label that says whose it is: the namespace of the control plane.
const OWNER: &str = "meshproxy.io/control-plane";
/// How the writer calls itself to the API server.
const MANAGER: &str = "meshcontrol";
/// Namespaces of Kubernetes itself, where no workload of a mesh is.
const IGNORED: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// How often is looked whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long is waited after something did not go well.
const PAUSE: Duration = Duration::from_secs(10);
/// Limit of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes the roots into namespaces.
pub(crate) struct Announcer {
    client: Client,
    /// Namespace of the control plane.
    own: String,
    trust: watch::Receiver<Option<Arc<Trust>>>,
    leadership: Leadership,
    known: Known,
    /// Namespaces of which was told that the ConfigMap is somebody else's.
    told: BTreeSet<String>,
    paused_until: Option<Instant>,
}

/// What there is.
#[derive(Debug, Default)]
struct Known {
    /// Namespaces that do not go.
    namespaces: BTreeSet<String>,
    /// The ConfigMaps of that name by namespace.
    maps: BTreeMap<String, ConfigMap>,
    /// Lists that are complete: nothing is written before both are.
    listed: [bool; 2],
}

/// What is to be done in a namespace.
#[derive(Debug, Clone, PartialEq)]
enum Work {
    /// There is none.
    Create,
    /// There is ours with something else in it.
    Replace(Box<ConfigMap>),
    /// There is somebody else's.
    LeaveAlone,
}

// === impl Announcer ===

impl Announcer {
    pub(crate) fn new(
        client: Client,
        own: &str,
        trust: watch::Receiver<Option<Arc<Trust>>>,
        leadership: Leadership,
    ) -> Self {
        Self {
            client,
            own: own.to_owned(),
            trust,
            leadership,
            known: Known::default(),
            told: BTreeSet::new(),
            paused_until: None,
        }
    }

    /// Follows namespaces, ConfigMaps and roots, and writes what is missing, for ever.
    pub(crate) async fn run(mut self) {
        let all: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let namespaces = watcher(all, watcher::Config::default()).default_backoff();
        let named = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let maps: Api<ConfigMap> = Api::all(self.client.clone());
        let maps = watcher(maps, named).default_backoff();
        let (mut namespaces, mut maps) = (std::pin::pin!(namespaces), std::pin::pin!(maps));
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = namespaces.next() => {
                    self.known.see_namespace(event);
                    // What is written after each of thousands that are listed is written once.
                    continue;
                }
                Some(event) = maps.next() => {
                    self.known.see_map(event);
                    continue;
                }
                changed = self.trust.changed() => if changed.is_err() {
                    return;
                },
                _ = ticks.tick() => {}
            }
            let roots = self.trust.borrow_and_update().clone();
            let is_paused = self
                .paused_until
                .is_some_and(|until| Instant::now() < until);
            if let Some(trust) = roots.filter(|_| !is_paused) {
                self.write(&trust.roots_pem()).await;
            }
        }
    }

    async fn write(&mut self, roots: &str) {
        for (namespace, work) in self.known.work(&self.own, roots) {
            if !self.leadership.is_held() {
                return;
            }
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
            let (map, parameters) = match work {
                Work::Create => {
                    let map = map(&self.own, &namespace, roots, None);
                    // If somebody made one meanwhile who has other roots, he keeps it.
                    (map, PatchParams::apply(MANAGER))
                }
                Work::Replace(before) => {
                    let seen = before.metadata.resource_version;
                    let map = map(&self.own, &namespace, roots, seen);
                    // What somebody else wrote into ours is undone, unless it came after what was seen.
                    (map, PatchParams::apply(MANAGER).force())
                }
                Work::LeaveAlone => {
                    if self.told.insert(namespace.clone()) {
                        tracing::warn!(
                            namespace,
                            "ConfigMap {NAME} is somebody else's and left alone; delete it to have ours"
                        );
                    }
                    continue;
                }
            };
            let apply = Patch::Apply(&map);
            let written = maps.patch(NAME, &parameters, &apply);
            match timeout(REQUEST_TIMEOUT, written).await {
                Ok(Ok(map)) => {
                    self.known.maps.insert(namespace, map);
                }
                // A namespace that goes takes nothing new; all else is tried again.
                Ok(Err(error)) => {
                    tracing::debug!(%error, namespace, "cannot write ConfigMap {NAME}");
                    self.paused_until = Some(Instant::now() + PAUSE);
                }
                Err(_) => {
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }
}

// === impl Known ===

impl Known {
    fn see_namespace(&mut self, event: Result<Event<PartialObjectMeta<Namespace>>, WatchError>) {
        match event {
            Ok(Event::Init) => {
                self.namespaces.clear();
                self.listed[0] = false;
            }
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let goes = object.metadata.deletion_timestamp.is_some();
                let name = object.metadata.name.unwrap_or_default();
                match goes || IGNORED.contains(&name.as_str()) {
                    true => self.namespaces.remove(&name),
                    false => self.namespaces.insert(name),
                };
            }
            Ok(Event::Delete(object)) => {
                let name = object.metadata.name.unwrap_or_default();
                self.namespaces.remove(&name);
                self.maps.remove(&name);
            }
            Ok(Event::InitDone) => self.listed[0] = true,
            Err(error) => tracing::warn!(%error, "cannot watch namespaces"),
        }
    }

    fn see_map(&mut self, event: Result<Event<ConfigMap>, WatchError>) {
        match event {
            Ok(Event::Init) => {
                self.maps.clear();
                self.listed[1] = false;
            }
            Ok(Event::Apply(map) | Event::InitApply(map)) => {
                let namespace = map.metadata.namespace.clone();
                self.maps.insert(namespace.unwrap_or_default(), map);
            }
            Ok(Event::Delete(map)) => {
                self.maps
                    .remove(&map.metadata.namespace.unwrap_or_default());
            }
            Ok(Event::InitDone) => self.listed[1] = true,
            Err(error) => tracing::warn!(%error, "cannot watch ConfigMaps {NAME}"),
        }
    }

    /// What is to be done so that each namespace has these roots.
    fn work(&self, own: &str, roots: &str) -> Vec<(String, Work)> {
        if self.listed != [true; 2] {
            return Vec::new();
        }
        let work = self.namespaces.iter().filter_map(|namespace| {
            let work = match self.maps.get(namespace) {
                None => Work::Create,
                Some(map) if has(map, roots) => return None,
                Some(map) if owner(map) == Some(own) => Work::Replace(Box::new(map.clone())),
                Some(_) => Work::LeaveAlone,
            };
            Some((namespace.clone(), work))
        });
        work.collect()
    }
}

fn has(map: &ConfigMap, roots: &str) -> bool {
    let data = map.data.as_ref();
    data.and_then(|data| data.get(ROOTS)).map(String::as_str) == Some(roots)
}

fn owner(map: &ConfigMap) -> Option<&str> {
    let labels = map.metadata.labels.as_ref()?;
    labels.get(OWNER).map(String::as_str)
}

/// The ConfigMap of a namespace, to be written on top of the version that was seen, if there was one.
fn map(own: &str, namespace: &str, roots: &str, seen: Option<String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(OWNER.to_owned(), own.to_owned())])),
            resource_version: seen,
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ROOTS.to_owned(), roots.to_owned())])),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    fn known(namespaces: &[&str], maps: &[ConfigMap]) -> Known {
        let mut known = Known::default();
        known.see_namespace(Ok(Event::Init));
        known.see_map(Ok(Event::Init));
        for name in namespaces {
            known.see_namespace(Ok(Event::InitApply(namespace(name))));
        }
        for map in maps {
            known.see_map(Ok(Event::InitApply(map.clone())));
        }
        known.see_namespace(Ok(Event::InitDone));
        assert_eq!(
            known.work("own", "roots"),
            [],
            "nothing before all is known"
        );
        known.see_map(Ok(Event::InitDone));
        known
    }

    #[test]
    fn each_namespace_gets_the_roots_and_nothing_is_written_that_is_there() {
        let right = map("own", "right", "roots", None);
        let old = map("own", "old", "before", None);
        let foreign = map("other", "foreign", "theirs", None);
        let names = ["right", "old", "foreign", "new", "kube-system"];
        let mut known = known(&names, &[right, old.clone(), foreign]);

        let expected = [
            ("foreign".to_owned(), Work::LeaveAlone),
            ("new".to_owned(), Work::Create),
            ("old".to_owned(), Work::Replace(Box::new(old))),
        ];
        assert_eq!(known.work("own", "roots"), expected);

        // One that goes takes nothing, one that was deleted comes again.
        let mut goes = namespace("new");
        goes.metadata.deletion_timestamp =
            Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").expect("a time"));
        known.see_namespace(Ok(Event::Apply(goes)));
        known.see_map(Ok(Event::Delete(map("own", "right", "roots", None))));
        let work: Vec<String> = known
            .work("own", "roots")
            .into_iter()
            .map(|it| it.0)
            .collect();
        assert_eq!(work, ["foreign", "old", "right"]);
    }
}
