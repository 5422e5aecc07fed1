//! One type of what a proxy is told without asking for each.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use config::wire::Name;
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use crate::index::{Entry, Generation};
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::proto::wire::Document;

/// Bytes of documents after which a response is closed. What a sidecar needs is far less; the routes of
/// a gateway of a large mesh are more. Proxies take up to 64 MiB.
const RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Most resources that are kept of those that a proxy comes with and that there are not. They are told to be
/// gone; a proxy with more than these comes again for the rest.
const STRANGERS_MAX: usize = 4_096;

/// What a proxy has of one type.
#[derive(Debug, Default)]
pub(super) struct Feed {
    is_subscribed: bool,
    has: FxHashMap<Name, Arc<str>>,
    /// How many of those that the proxy came with there are not.
    strangers: usize,
    on_its_way: Option<OnItsWay>,
    /// Whether there may be something to tell.
    is_stale: bool,
    /// Whether nothing is owed: the first response is, and the last after a part, even if they say nothing.
    is_answered: bool,
    /// Whether the proxy came with more than was kept.
    has_more: bool,
    acknowledged: u64,
}

/// A response that was not acknowledged yet.
#[derive(Debug)]
pub(super) struct OnItsWay {
    pub(super) nonce: String,
    pub(super) sent: Instant,
    pub(super) acknowledged: Acknowledged,
}

/// A response that was acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The generation that it told of.
    pub generation: u64,
    /// When the first of the events came that made the generation.
    pub since: Instant,
    /// Whether nothing of its type was left to tell.
    pub is_complete: bool,
    /// Resources that it told of, those that are gone among them.
    pub names: Vec<Name>,
}

/// Whether a proxy is told what it does not need any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removals {
    Told,
    /// Not yet: something that it has may lead there.
    Withheld,
}

// === impl OnItsWay ===

impl OnItsWay {
    /// One that leaves nothing of its type to tell, and names no resource of the mesh.
    pub(super) fn whole(nonce: &str, generation: &Generation, now: Instant) -> Self {
        Self {
            nonce: nonce.to_owned(),
            sent: now,
            acknowledged: Acknowledged {
                generation: generation.number,
                since: generation.since,
                is_complete: true,
                names: Vec::new(),
            },
        }
    }
}

// === impl Feed ===

impl Feed {
    /// Takes a request in. Until it subscribes they say what the proxy has from before: in parts, if that is
    /// more than fits into one.
    pub(super) fn hear(
        &mut self,
        request: &DeltaDiscoveryRequest,
        generation: &Generation,
    ) -> Option<Acknowledged> {
        if !self.is_subscribed {
            let versions = &request.initial_resource_versions;
            self.begin_with(versions, generation);
            self.is_subscribed =
                versions.is_empty() || !request.resource_names_subscribe.is_empty();
            self.is_stale = true;
        }
        let acknowledged = acknowledge(&mut self.on_its_way, &request.response_nonce)?;
        if acknowledged.is_complete {
            self.acknowledged = acknowledged.generation;
        }
        Some(acknowledged)
    }

    /// Takes in what the proxy has from before, sharing with everyone what is the same.
    fn begin_with(&mut self, versions: &HashMap<String, String>, generation: &Generation) {
        for (name, version) in versions {
            let Ok(name) = name.parse::<Name>() else {
                continue;
            };
            match generation.entries.get_key_value(&name) {
                Some((name, entry)) => {
                    let is_same = *entry.version == **version;
                    let version = is_same.then(|| Arc::clone(&entry.version));
                    self.has.insert(name.clone(), version.unwrap_or_default());
                }
                None if self.strangers < STRANGERS_MAX
                    || generation.refused.contains_key(&name) =>
                {
                    self.strangers += 1;
                    self.has.insert(name, Arc::from(version.as_str()));
                }
                None => self.has_more = true,
            }
        }
    }

    pub(super) fn renew(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn has_more(&self) -> bool {
        self.is_subscribed && self.has_more
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    /// Whether there is nothing that the proxy was not told.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_subscribed || !self.is_stale
    }

    pub(super) fn may_tell(&self) -> bool {
        self.is_subscribed && self.is_stale && self.on_its_way.is_none()
    }

    /// Whether the proxy was told all of these, in whatever version, or does not want to be.
    pub(super) fn has_all<'n>(&self, mut names: impl Iterator<Item = &'n Name>) -> bool {
        !self.is_subscribed || names.all(|name| self.has.contains_key(name))
    }

    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|it| it.sent)
    }

    /// The last generation of which the proxy acknowledged everything.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn has(&self) -> impl Iterator<Item = (&Name, &Arc<str>)> {
        self.has.iter()
    }

    /// Names in the response that was not acknowledged yet.
    pub(super) fn on_its_way(&self) -> impl Iterator<Item = &Name> {
        let on_its_way = self.on_its_way.iter();
        on_its_way.flat_map(|it| &it.acknowledged.names)
    }

    /// The difference between what the proxy has and what it needs, or as much of it as fits into one
    /// response. The first response is sent even if there is none.
    pub(super) fn tell(
        &mut self,
        type_url: &str,
        generation: &Generation,
        needed: &FxHashSet<&Name>,
        removals: Removals,
        (nonce, now): (u64, Instant),
    ) -> Option<DeltaDiscoveryResponse> {
        let is_news = |name: &Name, entry: &Entry| self.has.get(name) != Some(&entry.version);
        let mut news: Vec<(&Name, &Entry)> = needed
            .iter()
            .filter_map(|name| generation.entries.get_key_value(*name))
            .filter(|(name, entry)| is_news(name, entry))
            .collect();
        news.sort_by_key(|(name, _)| (Reverse(rank(name)), *name));
        let mut bytes = 0;
        let fitting = news.iter().take_while(|(_, entry)| {
            let fits = bytes < RESPONSE_BYTES;
            bytes += entry.document.len();
            fits
        });
        let fitting = fitting.count();
        let is_last = fitting == news.len();
        news.truncate(fitting);
        let gone = self.has.keys();
        let gone = gone.filter(|name| !needed.contains(name) && !is_in_doubt(name, generation));
        let gone: Vec<Name> = gone.cloned().collect();
        let tells_gone = is_last && removals == Removals::Told;
        self.is_stale = !is_last || !(tells_gone || gone.is_empty());
        let gone = if tells_gone { gone } else { Vec::new() };
        if news.is_empty() && gone.is_empty() && self.is_answered {
            if !self.is_stale {
                self.acknowledged = generation.number;
            }
            return None;
        }
        self.is_answered = is_last;
        for name in &gone {
            self.has.remove(name);
        }
        let resources = news
            .iter()
            .map(|(name, entry)| resource(type_url, name, entry));
        let response = DeltaDiscoveryResponse {
            system_version_info: match is_last {
                true => generation.number.to_string(),
                false => String::new(),
            },
            resources: resources.collect(),
            type_url: type_url.to_owned(),
            nonce: nonce.to_string(),
            removed_resources: gone.iter().map(Name::to_string).collect(),
        };
        for (name, entry) in &news {
            // The key may be one that came over the wire: this one is everybody's.
            self.has.remove(*name);
            self.has.insert((*name).clone(), Arc::clone(&entry.version));
        }
        let names = news.into_iter().map(|(name, _)| name.clone());
        self.on_its_way = Some(OnItsWay {
            nonce: response.nonce.clone(),
            sent: now,
            acknowledged: Acknowledged {
                generation: generation.number,
                since: generation.since,
                is_complete: !self.is_stale,
                names: names.chain(gone).collect(),
            },
        });
        Some(response)
    }
}

/// Whether there is such a resource in a form that cannot be used, and we know of no good one. A proxy that
/// has one, from before we began, goes on with it.
fn is_in_doubt(name: &Name, generation: &Generation) -> bool {
    generation.refused.contains_key(name) && !generation.entries.contains_key(name)
}

/// Takes what a nonce is about.
pub(super) fn acknowledge(on_its_way: &mut Option<OnItsWay>, nonce: &str) -> Option<Acknowledged> {
    let is_about_it = |it: &mut OnItsWay| it.nonce == nonce;
    let taken = on_its_way.take_if(is_about_it)?;
    Some(taken.acknowledged)
}

/// What goes first where not everything fits into one response: what refuses traffic before what lets it
/// in, and where traffic goes before what sends it there.
fn rank(name: &Name) -> u8 {
    match &*name.kind {
        "MeshConfig" | "Sidecar" => 3,
        "AuthorizationPolicy"
        | "RequestAuthentication"
        | "PeerAuthentication"
        | "RateLimitPolicy" => 2,
        "VirtualService" | "Gateway" => 0,
        _ => 1,
    }
}

fn resource(type_url: &str, name: &Name, entry: &Entry) -> Resource {
    let json = String::from_utf8_lossy(&entry.document).into_owned();
    Resource {
        version: entry.version.to_string(),
        resource: Some(prost_types::Any {
            type_url: type_url.to_owned(),
            value: Document { json }.encode_to_vec(),
        }),
        name: name.to_string(),
    }
}
