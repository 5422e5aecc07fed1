//! The sessions over gRPC.
//!
//! Each stream is one future that is driven by its connection: while the proxy does not read, nothing is
//! computed for it, and when it is gone everything of it is.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, stream};
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Request, Response, Status, Streaming};

use crate::hub::{About, Hub, NoSeat, Place, Share, Woken};
use crate::identity::Proof;
use crate::index::Generation;
use crate::proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::scope::{Scope, scope};

mod node;
mod pace;

#[cfg(test)]
mod tests;

use node::{Peer, Refused};
use pace::Pace;

/// Most bytes of a request. A proxy that comes back names all that it has, in several requests if need be.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most requests that are answered together. A proxy that asks without end is not to occupy a thread.
const REQUESTS_AT_ONCE_MAX: usize = 256;
/// How long a stream may take to say who it is for.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The service, which serves proxies of a hub.
pub struct Discovery {
    hub: Arc<Hub>,
    is_current: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The service for a hub.
pub fn service(hub: Arc<Hub>) -> AggregatedDiscoveryServiceServer<Discovery> {
    service_while(hub, || true)
}

/// The service for a hub, which takes no new streams while what the hub knows is not current: whoever
/// comes from another would be taken back to what was. Streams that are open stay.
pub fn service_while(
    hub: Arc<Hub>,
    is_current: impl Fn() -> bool + Send + Sync + 'static,
) -> AggregatedDiscoveryServiceServer<Discovery> {
    let is_current = Box::new(is_current);
    AggregatedDiscoveryServiceServer::new(Discovery { hub, is_current })
        .max_decoding_message_size(REQUEST_BYTES_MAX)
}

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = Responses;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        if !(self.is_current)() {
            self.hub.counters().refused("old");
            return Err(Status::unavailable(
                "what is known here is old: try another",
            ));
        }
        let peer = Peer::of(&request);
        // Before anything is read, so that those that say nothing count.
        let share = self.hub.take_share(peer.counted());
        let share = share.map_err(|none| turn_away(&self.hub, &peer, none))?;
        let opening = Opening {
            hub: Arc::clone(&self.hub),
            peer,
            share,
            incoming: Box::new(request.into_inner()),
        };
        let state = State::Opening(opening);
        let responses = stream::unfold(state, State::next);
        Ok(Response::new(Box::pin(responses)))
    }
}

/// How far a stream is.
enum State {
    /// Nothing was said.
    Opening(Opening),
    Open(Box<Driver>),
    Ended,
}

/// A stream of somebody who has to say first who he is.
struct Opening {
    hub: Arc<Hub>,
    peer: Peer,
    share: Share,
    incoming: Box<Streaming<DeltaDiscoveryRequest>>,
}

/// One stream.
struct Driver {
    place: Place,
    /// Given back with the stream.
    _share: Share,
    incoming: Box<Streaming<DeltaDiscoveryRequest>>,
    /// Of the generation that last woke the proxy for it. Of generations nothing is kept: old ones would
    /// stay for as long as nothing concerns the proxy.
    scope: Scope,
    /// Whether the scope is not of all demands.
    is_outdated: bool,
    pace: Pace,
    draining: watch::Receiver<bool>,
    ends_at: Instant,
    /// Since when a change is on its way to the proxy, and whether it was told anything of it.
    converging: Option<(Instant, bool)>,
}

// === impl State ===

impl State {
    async fn next(self) -> Option<(Result<DeltaDiscoveryResponse, Status>, Self)> {
        let opened = match self {
            Self::Opening(opening) => open(opening).await,
            Self::Open(driver) => Ok(driver),
            Self::Ended => return None,
        };
        let told = match opened {
            Ok(mut driver) => driver.next().await.map(|told| (told, driver)),
            Err(status) => Err(Some(status)),
        };
        match told {
            Ok((response, driver)) => Some((Ok(response), Self::Open(driver))),
            Err(Some(status)) => Some((Err(status), Self::Ended)),
            Err(None) => None,
        }
    }
}

/// Finds out who the stream is for.
async fn open(opening: Opening) -> Result<Box<Driver>, Status> {
    let Opening {
        hub,
        peer,
        share,
        mut incoming,
    } = opening;
    let first = match timeout(FIRST_REQUEST_TIMEOUT, incoming.message()).await {
        Err(_) => return Err(Status::deadline_exceeded("nothing was asked")),
        Ok(Err(status)) => return Err(status),
        Ok(Ok(None)) => return Err(Status::ok("")),
        Ok(Ok(Some(first))) => first,
    };
    let proxy = match node::admit(first.node.as_ref(), &peer) {
        Ok(proxy) => proxy,
        Err(refused) => return Err(refuse(&hub, &peer, &refused)),
    };
    let now = Instant::now();
    let node = first.node.as_ref();
    let about = About {
        id: format!("{}.{}", proxy.name, proxy.viewer.namespace),
        identity: peer.identity(),
        address: peer.address,
        version: node
            .map(|it| it.user_agent_version.chars().take(64).collect())
            .unwrap_or_default(),
        since: now,
    };
    let age_max = hub.settings().stream_age_max;
    let ends_at = now + age_max.mul_f64(0.9 + fastrand::f64() / 10.0);
    let place = hub.take_seat(proxy, about, ends_at);
    let place = place.map_err(|none| turn_away(&hub, &peer, none))?;
    let (mut generations, mut draining) = (hub.generations(), hub.draining());
    let is_ready = tokio::select! {
        first = generations.wait_for(Option::is_some) => first.is_ok(),
        () = over(&mut draining, ends_at) => false,
    };
    if !is_ready {
        return Err(nothing_known());
    }
    let mut driver = Box::new(Driver {
        place,
        _share: share,
        incoming,
        scope: Scope::default(),
        is_outdated: true,
        pace: Pace::new(now),
        draining,
        ends_at,
        converging: None,
    });
    driver.hear(&first)?;
    Ok(driver)
}

/// Whoever finds no room here may find some elsewhere. Of several pods that nothing but their tokens tells
/// apart, one that showed a certificate is to come again with its token.
fn turn_away(hub: &Hub, peer: &Peer, none: NoSeat) -> Status {
    hub.counters().refused(none.reason());
    match none {
        NoSeat::Share if peer.proof == Some(Proof::Certificate) => {
            Status::unauthenticated("too many of this identity at this address: show a token")
        }
        NoSeat::Share | NoSeat::Full | NoSeat::Draining => Status::unavailable("try another"),
    }
}

/// Who is refused learns that he is; the log says why.
fn refuse(hub: &Hub, peer: &Peer, refused: &Refused) -> Status {
    hub.counters().refused(refused.reason());
    let (peer, identity) = (peer.address, peer.identity.as_ref());
    let identity = identity.map(tracing::field::display);
    if hub.tells_refusal() {
        tracing::warn!(?peer, identity, %refused, "stream refused");
    }
    Status::permission_denied("")
}

// === impl Driver ===

impl Driver {
    /// The next response; an error ends the stream, one that is none in good order: its proxy connects
    /// anew.
    ///
    /// # Cancel safety
    ///
    /// It is one state of the stream: whoever drops it ends the stream.
    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Option<Status>> {
        loop {
            if self.place.seat.is_over() {
                return Err(None);
            }
            if self.is_outdated {
                self.catch_up().await?;
            }
            let generation = self.look()?;
            if let Some(response) = self.tell(&generation) {
                return Ok(response);
            }
            drop(generation);
            if self.place.seat.session().is_to_come_again() {
                return Err(None);
            }
            tokio::select! {
                request = self.incoming.message() => {
                    let request = request.map_err(|_| None)?.ok_or(None)?;
                    self.hear(&request)?;
                }
                // Others have a turn first: it may have woken itself.
                () = self.place.seat.woken() => yield_now().await,
                () = over(&mut self.draining, self.ends_at) => return Err(self.leave().await),
            }
        }
    }

    /// Ends; if all do, when it is its turn, so that not all proxies come to others at once.
    async fn leave(&self) -> Option<Status> {
        if *self.draining.borrow() {
            let spread = self.place.hub().settings().drain_spread;
            sleep_until(Instant::now() + spread.mul_f64(fastrand::f64())).await;
        }
        None
    }

    /// Takes in what woke it; returns the latest generation, of which the scope is now.
    fn look(&mut self) -> Result<Arc<Generation>, Status> {
        let (woken, generation) = self.place.take_woken();
        let generation = generation.ok_or_else(nothing_known)?;
        if let Some(woken) = woken {
            self.converging.get_or_insert((generation.since, false));
            match woken {
                Woken::Endpoints => self.place.seat.session().renew_endpoints(),
                Woken::Scope => self.renew_scope(&generation),
            }
        }
        Ok(generation)
    }

    fn latest(&self) -> Result<Arc<Generation>, Status> {
        self.place.hub().latest().ok_or_else(nothing_known)
    }

    /// Finds out what the proxy needs, at a pace that leaves something for others.
    async fn catch_up(&mut self) -> Result<(), Option<Status>> {
        if let Some(turn) = self.pace.turn(Instant::now()) {
            tokio::select! {
                () = sleep_until(turn) => {}
                () = over(&mut self.draining, self.ends_at) => return Err(self.leave().await),
            }
        }
        // Those that came together are answered together.
        let mut heard = 0;
        while let Some(request) = self.incoming.message().now_or_never() {
            let request = request.map_err(|_| None)?.ok_or(None)?;
            self.hear(&request)?;
            heard += 1;
            if heard == REQUESTS_AT_ONCE_MAX {
                // Others have a turn, and what was told before goes out.
                yield_now().await;
                break;
            }
        }
        let begun = Instant::now();
        let latest = self.latest()?;
        self.renew_scope(&latest);
        self.pace.spend(begun.elapsed());
        self.is_outdated = false;
        Ok(())
    }

    fn renew_scope(&mut self, generation: &Generation) {
        let begun = std::time::Instant::now();
        let seat = &self.place.seat;
        let demands: Vec<_> = seat.session().demands().cloned().collect();
        self.scope = scope(generation, &seat.proxy, &demands);
        let counters = self.place.hub().counters();
        counters
            .scope_seconds
            .observe(begun.elapsed().as_secs_f64());
        self.place.interested_in(&mut self.scope);
        self.place.seat.session().renew();
        // Something may have changed that nobody knew to be of interest.
        let latest = self.place.hub().latest();
        if latest.is_none_or(|latest| latest.number != generation.number) {
            self.place.seat.wake(Woken::Scope);
        }
    }

    fn tell(&mut self, generation: &Generation) -> Option<DeltaDiscoveryResponse> {
        let hub = self.place.hub();
        let mut session = self.place.seat.session();
        let told = session.tell(generation, &self.scope, Instant::now());
        let is_at_rest = session.is_at_rest();
        drop(session);
        match (&told, &mut self.converging) {
            (Some(_), Some((_, was_told))) => *was_told = true,
            (None, Some((since, was_told))) if is_at_rest => {
                if *was_told {
                    let took = since.elapsed().as_secs_f64();
                    hub.counters().convergence_seconds.observe(took);
                }
                self.converging = None;
            }
            _ => {}
        }
        let response = told?;
        hub.counters()
            .pushed(&response.type_url, response.encoded_len());
        Some(response)
    }

    fn hear(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        let seat = &self.place.seat;
        let heard = seat.session().hear(request, &*self.latest()?);
        let heard = heard.map_err(|breach| {
            let hub = self.place.hub();
            hub.counters().refused("breach");
            if hub.tells_refusal() {
                tracing::warn!(proxy = seat.about.id, %breach, "stream ended");
            }
            Status::invalid_argument(breach.to_string())
        })?;
        self.is_outdated |= heard.asks;
        if heard.rejected > 0 {
            let counters = self.place.hub().counters();
            counters.rejected.inc_by(heard.rejected as u64);
            let count = heard.rejected;
            tracing::warn!(proxy = seat.about.id, count, "proxy cannot use resources");
        }
        Ok(())
    }
}

/// Nobody is served before everything was listed.
fn nothing_known() -> Status {
    Status::unavailable("try another")
}

/// Waits until a stream is to end: because it is old, or the hub is drained or gone.
async fn over(draining: &mut watch::Receiver<bool>, ends_at: Instant) {
    tokio::select! {
        _ = draining.wait_for(|draining| *draining) => {}
        () = sleep_until(ends_at) => {}
    }
}

// === impl NoSeat ===

impl NoSeat {
    fn reason(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Share => "share",
            Self::Draining => "draining",
        }
    }
}
