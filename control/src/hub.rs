//! Who is connected, and who is woken by what.
//!
//! A generation wakes those whom it may concern and nobody else: those that looked at what changed when
//! they found out what they need, or everybody if that cannot be said. Whoever is woken finds out by
//! itself whether there is something to tell, on its own stream and in its own time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::mesh::MeshSettings;
use config::wire::Name;
use prometheus::Registry;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::event::Event;
use crate::identity::Counted;
use crate::index::{self, Change, Generation, Touched};
use crate::limit::{Limiter, Rate};
use crate::scope::{Proxy, Scope};
use crate::session::Session;
use crate::status::ProxyStatus;

pub(crate) mod counters;
mod shares;

use counters::Counters;
pub(crate) use shares::Share;
use shares::Shares;

/// A response that is not acknowledged for longer than this makes its proxy one that lags.
const LAG: Duration = Duration::from_secs(30);
/// How often a refusal is logged, so that nobody fills a disk; the counter has all.
const TOLD: Rate = Rate {
    burst: 50,
    every: Duration::from_secs(1),
};
/// How long after its time a stream may still be there: its proxy does not read.
const OVERDUE: Duration = Duration::from_secs(30);
/// How often it is looked who lags, and who is overdue.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// Bounds of the hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most streams at once.
    pub streams_max: usize,
    /// Most streams at once of one pod that showed its token; else of one identity from one address, and
    /// without TLS from one address. A pod has one, and another while it connects anew; on a host several
    /// proxies may have one identity.
    pub streams_each_max: usize,
    /// Age at which a stream is ended so that its proxy connects anew, perhaps elsewhere: after a
    /// replica came back nobody would otherwise. A tenth of it is left to chance.
    pub stream_age_max: Duration,
    /// Span over which streams are ended when the hub is drained.
    pub drain_spread: Duration,
}

/// All connected proxies.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    latest: watch::Sender<Option<Arc<Generation>>>,
    seats: Mutex<Seats>,
    shares: Arc<Shares>,
    draining: watch::Sender<bool>,
    counters: Counters,
    told: Limiter<()>,
}

/// Seats and who wants to be woken by what.
#[derive(Debug, Default)]
struct Seats {
    last_id: u64,
    taken: FxHashMap<u64, Arc<Seat>>,
    interested: FxHashMap<Touched, FxHashMap<u64, Woken>>,
}

/// A connected proxy.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) proxy: Proxy,
    pub(crate) about: About,
    ends_at: Instant,
    is_over: AtomicBool,
    /// Held for as long as it takes to read or to advance it, never while waiting.
    session: Mutex<Session>,
    wake: Notify,
    /// [`Woken`] as bits.
    woken: AtomicU8,
}

/// What is shown of a proxy and concerns nothing else.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// `name.namespace`.
    pub(crate) id: String,
    /// SPIFFE identity; empty if it proved none.
    pub(crate) identity: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) version: String,
    pub(crate) since: Instant,
}

/// What woke a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Endpoints that it has.
    Endpoints = 1,
    /// Its scope may be another.
    Scope = 2,
}

/// A taken seat; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    hub: Arc<Hub>,
    id: u64,
    pub(crate) seat: Arc<Seat>,
    interests: FxHashMap<Touched, Woken>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All are taken.
    Full,
    /// Who asks has as many streams as he may have.
    Share,
    /// The hub is being drained.
    Draining,
}

/// How many proxies have a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Those that acknowledged its latest version and can use it.
    pub current: usize,
    /// Those that have an older one, or have not said yet that they have the latest.
    pub older: usize,
    /// Those that said that they cannot use it; they are not among the others.
    pub rejected: usize,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams_max: 10_000,
            streams_each_max: 16,
            stream_age_max: Duration::from_secs(30 * 60),
            drain_spread: Duration::from_secs(3),
        }
    }
}

// === impl Hub ===

impl Hub {
    /// A hub without proxies that counts in a registry.
    ///
    /// # Errors
    ///
    /// When the registry has one of its series already.
    pub fn new(settings: Settings, registry: &Registry) -> prometheus::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            shares: Shares::new(settings.streams_each_max),
            settings,
            latest: watch::Sender::new(None),
            seats: Mutex::default(),
            draining: watch::Sender::new(false),
            counters: Counters::register(registry)?,
            told: Limiter::new(TOLD, 1),
        }))
    }

    /// Makes generations of events until nobody sends any more, tells them, and looks after proxies.
    pub async fn run(&self, events: mpsc::Receiver<Event>, settings: MeshSettings) {
        let fed = index::run(events, settings, |generation, change| {
            self.publish(generation, &change);
        });
        tokio::select! {
            () = fed => {}
            () = self.tend() => {}
        }
    }

    /// Makes a generation the latest and wakes those whom it may concern.
    pub fn publish(&self, generation: Arc<Generation>, change: &Change) {
        let number = generation.number;
        let took = generation.since.elapsed();
        self.counters.generations.inc();
        // With the seats locked: whoever sees this generation was woken by it if it concerns him, and
        // whoever registers an interest later looks here afterwards.
        let seats = self.seats();
        self.latest.send_replace(Some(generation));
        let mut count = 0;
        if change.everybody {
            for seat in seats.taken.values() {
                count += usize::from(seat.wake(Woken::Scope));
            }
        } else {
            let interested = change.touched.iter();
            let interested = interested.filter_map(|touched| seats.interested.get(touched));
            for (id, reason) in interested.flatten() {
                if let Some(seat) = seats.taken.get(id) {
                    count += usize::from(seat.wake(*reason));
                }
            }
        }
        drop(seats);
        self.counters.woken.inc_by(count as u64);
        let everybody = change.everybody;
        tracing::debug!(
            number,
            everybody,
            woken = count,
            ?took,
            "generation published"
        );
    }

    /// Generations as they come; none before everything was listed.
    pub fn generations(&self) -> watch::Receiver<Option<Arc<Generation>>> {
        self.latest.subscribe()
    }

    /// The latest generation; none before everything was listed.
    pub fn latest(&self) -> Option<Arc<Generation>> {
        self.latest.borrow().clone()
    }

    /// Ends all streams one after the other, and takes no new ones: proxies move to others.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// All connected proxies, ordered by what they are called.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let seats: Vec<Arc<Seat>> = self.seats().taken.values().cloned().collect();
        let latest = self.latest().map_or(0, |generation| generation.number);
        let now = Instant::now();
        let mut proxies: Vec<ProxyStatus> =
            seats.iter().map(|seat| seat.status(latest, now)).collect();
        proxies.sort_by(|a, b| (&a.id, &a.address).cmp(&(&b.id, &b.address)));
        proxies
    }

    /// How many proxies have each resource that any has.
    pub fn spread(&self) -> FxHashMap<Name, Spread> {
        let seats: Vec<Arc<Seat>> = self.seats().taken.values().cloned().collect();
        let mut spread: FxHashMap<Name, Spread> = FxHashMap::default();
        let Some(generation) = self.latest() else {
            return spread;
        };
        for seat in &seats {
            let session = seat.session();
            let on_their_way: FxHashSet<&Name> = session.on_their_way().collect();
            let rejected = session.summary().report.rejected;
            let rejected = rejected.iter().filter_map(|it| it.name.parse().ok());
            let rejected: FxHashSet<Name> = rejected.collect();
            for (name, version) in session.has() {
                let latest = generation.entries.get(name).map(|entry| &entry.version);
                let is_current = latest == Some(version) && !on_their_way.contains(name);
                let of_name = spread.entry(name.clone()).or_default();
                match () {
                    () if rejected.contains(name) => of_name.rejected += 1,
                    () if is_current => of_name.current += 1,
                    () => of_name.older += 1,
                }
            }
        }
        spread
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether one more refusal is to be logged.
    pub(crate) fn tells_refusal(&self) -> bool {
        self.told.admit((), std::time::Instant::now()).is_ok()
    }

    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Counts a stream for somebody.
    pub(crate) fn take_share(&self, of: Counted) -> Result<Share, NoSeat> {
        self.shares.take(of).ok_or(NoSeat::Share)
    }

    /// A seat for a proxy, until some time.
    pub(crate) fn take_seat(
        self: &Arc<Self>,
        proxy: Proxy,
        about: About,
        ends_at: Instant,
    ) -> Result<Place, NoSeat> {
        if *self.draining.borrow() {
            return Err(NoSeat::Draining);
        }
        let seat = Arc::new(Seat {
            proxy,
            about,
            ends_at,
            is_over: AtomicBool::new(false),
            session: Mutex::default(),
            wake: Notify::new(),
            woken: AtomicU8::new(0),
        });
        let mut seats = self.seats();
        if seats.taken.len() >= self.settings.streams_max {
            return Err(NoSeat::Full);
        }
        seats.last_id += 1;
        let id = seats.last_id;
        seats.taken.insert(id, Arc::clone(&seat));
        self.counters.connected.set(seats.taken.len() as i64);
        drop(seats);
        Ok(Place {
            hub: Arc::clone(self),
            id,
            seat,
            interests: FxHashMap::default(),
        })
    }

    /// Takes seats and sessions from those whose time was over long ago. A stream ends by itself, but not
    /// while its proxy reads nothing: then nobody asks it what is next.
    pub(crate) fn end_overdue(&self, now: Instant) {
        let mut seats = self.seats();
        let overdue = seats
            .taken
            .extract_if(|_, seat| now > seat.ends_at + OVERDUE);
        let overdue: Vec<Arc<Seat>> = overdue.map(|(_, seat)| seat).collect();
        self.counters.connected.set(seats.taken.len() as i64);
        drop(seats);
        for seat in overdue {
            seat.is_over.store(true, Ordering::Release);
            *seat.session() = Session::default();
            tracing::info!(proxy = seat.about.id, "proxy does not read; stream ended");
        }
    }

    /// Looks again and again who lags, and who is overdue.
    async fn tend(&self) {
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: FxHashSet<u64> = FxHashSet::default();
        loop {
            ticks.tick().await;
            let seats: Vec<(u64, Arc<Seat>)> = self
                .seats()
                .taken
                .iter()
                .map(|(id, seat)| (*id, Arc::clone(seat)))
                .collect();
            let now = Instant::now();
            self.end_overdue(now);
            let lags = |seat: &Seat| {
                let since = seat.session().summary().waits_since;
                since.is_some_and(|since| now.duration_since(since) > LAG)
            };
            let lagging = seats.iter().filter(|(_, seat)| lags(seat));
            let lagging: FxHashMap<u64, &Arc<Seat>> =
                lagging.map(|(id, seat)| (*id, seat)).collect();
            for (id, seat) in &lagging {
                if !known.contains(id) {
                    tracing::info!(proxy = seat.about.id, "proxy does not acknowledge");
                }
            }
            self.counters.lagging.set(lagging.len() as i64);
            known = lagging.into_keys().collect();
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Whoever panicked left the maps as they were: each is changed by single calls.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Seat ===

impl Seat {
    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was taken away.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until it was woken.
    ///
    /// # Cancel safety
    ///
    /// A wake-up that is not waited for is not lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What it was woken by since it was last asked.
    fn take_woken(&self) -> Option<Woken> {
        let bits = self.woken.swap(0, Ordering::AcqRel);
        match bits {
            0 => None,
            1 => Some(Woken::Endpoints),
            _ => Some(Woken::Scope),
        }
    }

    /// Wakes it; returns whether it was not already.
    pub(crate) fn wake(&self, reason: Woken) -> bool {
        let before = self.woken.fetch_or(reason as u8, Ordering::AcqRel);
        self.wake.notify_one();
        before == 0
    }

    fn status(&self, latest: u64, now: Instant) -> ProxyStatus {
        let session = self.session();
        let summary = session.summary();
        let is_at_rest = session.is_at_rest() && self.woken.load(Ordering::Acquire) == 0;
        drop(session);
        let About {
            id,
            identity,
            address,
            version,
            since,
        } = &self.about;
        let milliseconds = |since: Instant| now.duration_since(since).as_millis() as u64;
        ProxyStatus {
            id: id.clone(),
            namespace: self.proxy.viewer.namespace.clone(),
            labels: self.proxy.viewer.labels.clone(),
            identity: identity.clone(),
            address: address.map(|it| it.to_string()).unwrap_or_default(),
            version: version.clone(),
            connected_seconds: now.duration_since(*since).as_secs(),
            // Of what did not wake it nothing concerns it.
            acknowledged: match is_at_rest && summary.acknowledged > 0 {
                true => latest,
                false => summary.acknowledged,
            },
            lag_milliseconds: summary.waits_since.map(milliseconds),
            resources: summary.resources,
            endpoints: summary.endpoints,
            demands: summary.demands,
            report: summary.report,
        }
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What woke the proxy since this was last asked, and the latest generation: nothing in it that did
    /// not wake the proxy concerns it. No generation before everything was listed.
    pub(crate) fn take_woken(&self) -> (Option<Woken>, Option<Arc<Generation>>) {
        let seats = self.hub.seats();
        let news = (self.seat.take_woken(), self.hub.latest());
        drop(seats);
        news
    }

    /// Has the proxy woken by whatever changes its scope, or the endpoints in it. Takes out of the scope
    /// what it depends on.
    pub(crate) fn interested_in(&mut self, scope: &mut Scope) {
        let services = scope.services.iter().cloned().map(Touched::Service);
        let services = services.map(|touched| (touched, Woken::Endpoints));
        let others = std::mem::take(&mut scope.depends_on).into_iter();
        let others = others.map(|touched| (touched, Woken::Scope));
        let mut seats = self.hub.seats();
        let interests: FxHashMap<Touched, Woken> = services
            .chain(others)
            .map(|(touched, reason)| (seats.shared(touched), reason))
            .collect();
        for (touched, reason) in &self.interests {
            if interests.get(touched) != Some(reason) {
                seats.lose_interest(touched, self.id);
            }
        }
        for (touched, reason) in &interests {
            if self.interests.get(touched) != Some(reason) {
                let interested = seats.interested.entry(touched.clone()).or_default();
                interested.insert(self.id, *reason);
            }
        }
        drop(seats);
        self.interests = interests;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.hub.seats();
        for touched in self.interests.keys() {
            seats.lose_interest(touched, self.id);
        }
        seats.taken.remove(&self.id);
        self.hub.counters.connected.set(seats.taken.len() as i64);
    }
}

// === impl Seats ===

impl Seats {
    /// The same as others hold it: many are interested in the same.
    fn shared(&self, touched: Touched) -> Touched {
        let known = self.interested.get_key_value(&touched);
        known.map_or(touched, |(known, _)| known.clone())
    }

    fn lose_interest(&mut self, touched: &Touched, id: u64) {
        if let Some(interested) = self.interested.get_mut(touched) {
            interested.remove(&id);
            if interested.is_empty() {
                self.interested.remove(touched);
            }
        }
    }
}
