//! What one proxy was told, has acknowledged, and asked for. It knows no socket, and the time is told to
//! it.
//!
//! Of each type at most one response is on its way. What changes meanwhile is in the next, so that a
//! slow proxy gets fewer and larger ones and costs only itself.
//!
//! What is known of the proxy itself is told first, as everything else is compiled by it.
//! Nothing is taken away before what replaces it is there: slices of a service go before the routes that
//! lead to it, and away after them; a demand is answered after everything that it needs was sent.
//!
//! More than fits into a response goes in several. All but the last have an empty
//! `system_version_info`: what they say is not complete.

use std::sync::Arc;

use config::wire::{DEMANDS, Demand, ENDPOINTS, Name, RESOURCES, Report, WORKLOAD};
use rustc_hash::FxHashSet;
use tokio::time::Instant;

use crate::index::Generation;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::scope::Scope;

mod asked;
mod feed;
mod own;
mod remarks;

#[cfg(test)]
mod tests;

use asked::Asked;
pub use feed::Acknowledged;
use feed::{Feed, Removals};
use own::Own;
use remarks::Remarks;

/// Most names in one request. A proxy that comes back with more than fits says what it has in several.
const NAMES_MAX: usize = 100_000;
/// Most bytes of a name: kind, namespace and name with what Kubernetes allows of each.
const NAME_BYTES_MAX: usize = 600;

/// One proxy on one stream.
#[derive(Debug, Default)]
pub struct Session {
    own: Own,
    resources: Feed,
    endpoints: Feed,
    asked: Asked,
    remarks: Remarks,
    nonces: u64,
}

/// What a request changed.
#[derive(Debug, Default)]
pub struct Heard {
    /// Whether it asks for something else than before, so that the scope is another.
    pub asks: bool,
    /// The response that it is about, if it is about one on its way.
    pub acknowledged: Option<Acknowledged>,
    /// Resources that it says cannot be used.
    pub rejected: usize,
}

/// Why a proxy is not listened to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// There is no such type.
    #[error("asks for a type that there is not")]
    Type,
    /// A request has more names than any proxy has resources.
    #[error("names more than {NAMES_MAX} resources in a request")]
    Names,
    /// A name or a version is longer than any.
    #[error("has a name or a version of more than {NAME_BYTES_MAX} bytes")]
    Name,
}

/// What is shown of a session.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Resources that the proxy has.
    pub resources: usize,
    /// Slices that it has.
    pub endpoints: usize,
    /// Demands.
    pub demands: usize,
    /// When the oldest response was sent that waits to be acknowledged.
    pub waits_since: Option<Instant>,
    /// Number of the last generation of which it acknowledged everything.
    pub acknowledged: u64,
    /// What it said of what it has.
    pub report: Report,
}

// === impl Session ===

impl Session {
    /// Takes a request in. What the proxy has from before is held against a generation.
    ///
    /// # Errors
    ///
    /// When it breaks the rules of the transport or a bound.
    pub fn hear(
        &mut self,
        request: &DeltaDiscoveryRequest,
        generation: &Generation,
    ) -> Result<Heard, Breach> {
        check(request)?;
        let mut heard = Heard::default();
        match request.type_url.as_str() {
            WORKLOAD => heard.acknowledged = self.own.hear(request),
            RESOURCES => heard.acknowledged = self.resources.hear(request, generation),
            ENDPOINTS => heard.acknowledged = self.endpoints.hear(request, generation),
            DEMANDS => {
                heard.acknowledged = self.asked.acknowledge(&request.response_nonce);
                heard.asks = self.asked.hear(request);
            }
            _ => return Err(Breach::Type),
        }
        if let Some(acknowledged) = &heard.acknowledged {
            let detail = request.error_detail.as_ref();
            heard.rejected = self.remarks.note(&acknowledged.names, detail);
        }
        Ok(heard)
    }

    /// What the proxy asked for.
    pub fn demands(&self) -> impl Iterator<Item = &Demand> {
        self.asked.demands()
    }

    /// Notes that the generation or the scope is another than before.
    pub fn renew(&mut self) {
        self.resources.renew();
        self.endpoints.renew();
        self.asked.renew();
    }

    /// Notes that only endpoints are other than before.
    pub fn renew_endpoints(&mut self) {
        self.endpoints.renew();
    }

    /// The next response; none if there is nothing to say or too much is on its way.
    pub fn tell(
        &mut self,
        generation: &Generation,
        scope: &Scope,
        now: Instant,
    ) -> Option<DeltaDiscoveryResponse> {
        let nonce = self.nonces + 1;
        let told = self.tell_with(generation, scope, (nonce, now));
        if told.is_some() {
            self.nonces = nonce;
        }
        told
    }

    fn tell_with(
        &mut self,
        generation: &Generation,
        scope: &Scope,
        stamp: (u64, Instant),
    ) -> Option<DeltaDiscoveryResponse> {
        // Whoever compiles what comes next goes by it.
        let own = self.own.tell(generation, scope.locality.as_ref(), stamp);
        if own.is_some() {
            return own;
        }
        let removals = match self.resources.is_settled() {
            true => Removals::Told,
            false => Removals::Withheld,
        };
        if self.endpoints.may_tell() {
            let slices: FxHashSet<&Name> = scope.slices(generation).collect();
            let told = self
                .endpoints
                .tell(ENDPOINTS, generation, &slices, removals, stamp);
            if told.is_some() {
                return told;
            }
        }
        if self.resources.may_tell() && self.endpoints.has_all(scope.slices(generation)) {
            let names: FxHashSet<&Name> = scope.resources.iter().collect();
            let told = self
                .resources
                .tell(RESOURCES, generation, &names, Removals::Told, stamp);
            if told.is_some() {
                return told;
            }
            // What was withheld may be told now.
            if removals == Removals::Withheld && self.endpoints.may_tell() {
                return self.tell_with(generation, scope, stamp);
            }
        }
        let mut feeds = [&self.resources, &self.endpoints].into_iter();
        // A proxy that comes back asks before it subscribes, so that what it needs stays.
        if feeds.all(|feed| feed.is_subscribed() && feed.is_settled()) {
            return self.asked.tell(generation, &scope.found, stamp);
        }
        None
    }

    /// Whether everything was told and acknowledged.
    pub fn is_at_rest(&self) -> bool {
        let at_rest = |feed: &Feed| feed.is_settled() && feed.waits_since().is_none();
        let waits = [self.own.waits_since(), self.asked.waits_since()];
        at_rest(&self.resources) && at_rest(&self.endpoints) && waits.iter().all(Option::is_none)
    }

    /// Whether the proxy is to come again: it is at rest, but came with more than was kept.
    pub fn is_to_come_again(&self) -> bool {
        let has_more = self.resources.has_more() || self.endpoints.has_more();
        has_more && self.is_at_rest()
    }

    /// Names and versions of what the proxy was told.
    pub fn has(&self) -> impl Iterator<Item = (&Name, &Arc<str>)> {
        self.resources.has().chain(self.endpoints.has())
    }

    /// Names of what it was told and has not acknowledged yet.
    pub fn on_their_way(&self) -> impl Iterator<Item = &Name> {
        self.resources
            .on_its_way()
            .chain(self.endpoints.on_its_way())
    }

    /// What is shown of it.
    pub fn summary(&self) -> Summary {
        let waits = [
            self.own.waits_since(),
            self.resources.waits_since(),
            self.endpoints.waits_since(),
            self.asked.waits_since(),
        ];
        let subscribed = [&self.resources, &self.endpoints];
        let subscribed = subscribed.into_iter().filter(|feed| feed.is_subscribed());
        Summary {
            resources: self.resources.has().count(),
            endpoints: self.endpoints.has().count(),
            demands: self.asked.demands().count(),
            waits_since: waits.into_iter().flatten().min(),
            acknowledged: subscribed.map(Feed::acknowledged).min().unwrap_or_default(),
            report: self.remarks.report(),
        }
    }
}

fn check(request: &DeltaDiscoveryRequest) -> Result<(), Breach> {
    let names = request.resource_names_subscribe.iter();
    let names = names.chain(&request.resource_names_unsubscribe);
    let names = names.chain(request.initial_resource_versions.keys());
    let mut count = 0;
    for name in names {
        count += 1;
        if name.len() > NAME_BYTES_MAX {
            return Err(Breach::Name);
        }
    }
    let mut versions = request.initial_resource_versions.values();
    if versions.any(|version| version.len() > NAME_BYTES_MAX) {
        return Err(Breach::Name);
    }
    match count > NAMES_MAX {
        true => Err(Breach::Names),
        false => Ok(()),
    }
}
