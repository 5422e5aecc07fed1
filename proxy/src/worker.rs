//! One worker thread: its own runtime, listeners, connections and pools. Nothing in it is shared
//! with another worker but the snapshot and counters.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use config::wire::Demand;
use http::HeaderMap;
use rustc_hash::FxHashSet;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::demand::Demands;
use crate::drain::{Drain, Load, Scope};
use crate::inbound::jwt::Memory;
use crate::listener::places::Places;
use crate::listener::proxy_protocol::HeaderError;
use crate::listener::reserve::Reserve;
use crate::listener::{self, Balancers, Bound};
use crate::pressure::Pressure;
use crate::request::Downstream;
use crate::request::explain::Callers;
use crate::request::limits::Limits;
use crate::request::mirror::Mirrors;
use crate::request::timeout::idle::{Quiet, Watch};
use crate::snapshot::{Current, Publisher, Reader};
use crate::table::Bind;
use crate::tcp::carry::Carrier;
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::clock::Clock;
use crate::telemetry::flags::Flags;
use crate::telemetry::labels::TrafficId;
use crate::telemetry::metrics::{Metrics, Side, TcpCounters, WorkerMetrics};
use crate::tls::handshakes::Handshakes;
use crate::tls::refusals::Refusals;
use crate::tls::server::HandshakeError;
use crate::upstream::Upstream;
use crate::upstream::connect::Connector;
use crate::upstream::endpoint::Member;
use crate::upstream::pool::HomeKey;
use crate::upstream::spoken::Spoke;

/// Time between two looks at the pool for what rested too long, and at connections that wait; the
/// drain counts waits in it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Commands that may wait for a worker; a reload sends one per changed listener.
const COMMANDS_MAX: usize = 1_024;

/// Cause of what is refused for want of memory.
pub(crate) const MEMORY: &str = "memory_high_water";

/// What the requests of one worker share.
#[derive(Debug)]
pub struct Worker {
    reader: Reader,
    /// Its connections and attempts.
    pub(crate) upstream: Upstream,
    /// Its series of request metrics.
    pub(crate) metrics: WorkerMetrics,
    shared: Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    /// Who may know what became of a request.
    explains_to: Option<Callers>,
    /// Who begins connections with a header of the PROXY protocol; none if nobody.
    pub(crate) balancers: Option<Balancers>,
    /// Where it is asked what the table does not know; none without a control plane.
    pub(crate) demands: Option<Demands>,
    /// Its open downstream connections.
    pub drain: Rc<Drain>,
    /// How many of them the process may have.
    pub(crate) places: Arc<Places>,
    /// For connections that cannot be taken.
    pub(crate) reserve: Reserve,
    /// Whether new work is refused for want of memory; none if that is not watched.
    pressure: Option<Arc<Pressure>>,
    /// Its handshakes with clients that are under way.
    pub(crate) handshakes: Handshakes,
    /// Limits of requests and clients.
    pub(crate) limits: Limits,
    /// Its copies of requests for mirrors.
    pub(crate) mirrors: Mirrors,
    /// Handshakes that were refused of late.
    refusals: Refusals,
    /// Connections that were turned away of late.
    turned_away: Refusals,
    /// Its tokens that were found valid.
    pub(crate) tokens: Memory,
    /// What carries bytes of connections that are not HTTP.
    pub(crate) carrier: Carrier,
    /// The date in answers.
    pub(crate) clock: Clock,
    /// Its requests that wait, if there is a limit of how long nothing may pass.
    idle: Option<Rc<Watch>>,
    /// Wakes what outlives generations when there is another.
    renewal: Notify,
    /// Whether anything in a generation looks at the address that connections were reached at.
    local_addr: Cell<Option<(u64, bool)>>,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Take connections at these sockets of one address; count what there is to do in the load.
    Listen(Arc<Load>, Vec<Bound>),
    /// Take no more connections at an address; open ones go on.
    Unlisten(Bind),
    /// End the connections of these listeners after the requests they are in, also those that are
    /// taken from now on.
    Tell(Scope),
    /// The same, and take no more.
    Close(Scope),
    /// End what is left of these listeners, whatever it is doing.
    Cut(Scope),
}

/// The control thread's hold on a worker.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

/// A listener that takes connections until it is closed.
struct Listening {
    load: Arc<Load>,
    /// One for each of its sockets.
    tasks: Vec<JoinHandle<()>>,
    /// Close the sockets when dropped.
    open: Vec<oneshot::Sender<()>>,
}

/// How workers serve; the same for all of them.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where requests are logged.
    pub access_log: Option<Arc<AccessLog>>,
    /// Limits of requests and clients.
    pub limits: Limits,
    /// How long nothing may pass in a request; none for ever.
    pub stream_idle_timeout: Option<Duration>,
    /// Who may know what became of a request; none if nobody.
    pub explains_to: Option<Callers>,
    /// Who begins connections with a header of the PROXY protocol; none if nobody.
    pub balancers: Option<Balancers>,
    /// How many connections the process may have.
    pub places: Arc<Places>,
    /// Whether new work is refused for want of memory; none if that is not watched.
    pub pressure: Option<Arc<Pressure>>,
    /// Where it is asked what the table does not know; none without a control plane.
    pub demands: Option<Demands>,
}

/// Counts a downstream connection as open until dropped, and notes when it ended in a panic.
pub(crate) struct Counted(Arc<Metrics>);

/// Starts a worker thread that ends with the process or when its handle is dropped.
///
/// # Errors
///
/// When the system gives no thread or no event queue.
pub fn spawn(
    number: usize,
    publisher: &Publisher,
    metrics: &Arc<Metrics>,
    setup: Setup,
) -> io::Result<Handle> {
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let (publisher, metrics) = (publisher.clone(), Arc::clone(metrics));
    let runtime = || {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
    };
    let (started, start) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    runtime
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async {
                let log = setup.access_log;
                let worker = Worker::new(&publisher, &metrics, log, Connector::Network);
                let worker = worker.with_limits(setup.limits);
                let worker = worker.with_places(setup.places);
                let mut worker = worker.with_explanations(setup.explains_to);
                worker.balancers = setup.balancers;
                worker.pressure = setup.pressure;
                worker.demands = setup.demands;
                if let Some(timeout) = setup.stream_idle_timeout {
                    let watch = Watch::new();
                    worker.idle = Some(Rc::clone(&watch));
                    tokio::task::spawn_local(watch.run(timeout));
                }
                run(Rc::new(worker), received).await;
            });
        })?;
    start
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("worker ended at its start")))?;
    Ok(Handle { commands })
}

/// Obeys commands until there can be no more.
async fn run(worker: Rc<Worker>, mut commands: mpsc::Receiver<Command>) {
    let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let attending = Rc::clone(&worker);
    let attendant = tokio::task::spawn_local(async move { attending.upstream.pool.attend().await });
    let mut listeners: HashMap<Bind, Listening> = HashMap::new();
    // Listeners that are to open no more.
    let mut closed: Option<Scope> = None;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(load, sockets) => {
                if closed.is_some_and(|closed| closed.covers(load.direction)) {
                    load.close();
                    continue;
                }
                let listening = Listening::open(&worker, load, sockets);
                listeners.insert(listening.load.bind.clone(), listening);
            }
            Command::Unlisten(bind) => {
                if let Some(listening) = listeners.remove(&bind) {
                    let drain = Rc::clone(&worker.drain);
                    let load = Arc::clone(&listening.load);
                    tokio::task::spawn_local(async move {
                        listening.close().await;
                        drain.begin_for(&bind);
                        drain.unlisten(&load);
                    });
                }
            }
            Command::Tell(scope) => worker.drain.begin(scope),
            Command::Close(scope) => {
                closed = Some(closed.map_or(scope, |before| before.with(scope)));
                worker.drain.begin(scope);
                let concerned = listeners.extract_if(|_, it| scope.covers(it.load.direction));
                for (_, listening) in concerned {
                    tokio::task::spawn_local(listening.close());
                }
            }
            Command::Cut(scope) => worker.drain.cut(scope),
        }
    }
    sweeper.abort();
    attendant.abort();
}

/// Closes what the pool need not keep.
async fn sweep(worker: Rc<Worker>) {
    let mut known = FxHashSet::default();
    let mut generation = 0;
    let mut idle = 0;
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        worker.drain.tick();
        let snapshot = worker.snapshot();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            let members = snapshot.destinations.iter().flat_map(|it| it.members());
            known = members.map(Member::home).collect();
            worker.renewal.notify_waiters();
        }
        let originals = originals(&snapshot);
        let is_known = |key: &HomeKey| known.contains(key) || originals.contains(key);
        worker.upstream.pool.sweep(is_known, Instant::now());
        if worker.is_pressed() {
            worker.upstream.pool.give_back();
            worker.tokens.forget_all();
        }
        let before = std::mem::replace(&mut idle, worker.upstream.pool.idle());
        let grown = i64::try_from(idle).unwrap_or(0) - i64::try_from(before).unwrap_or(0);
        worker.shared.process.upstream_connections_idle.add(grown);
    }
}

/// Where connections go on to the addresses that their callers asked for, and somebody still does.
fn originals(snapshot: &Current) -> FxHashSet<HomeKey> {
    let destinations = snapshot.destinations.iter();
    let originals = destinations.filter_map(|it| it.originals.as_ref());
    let now = tokio::time::Instant::now();
    let made = originals.flat_map(|originals| {
        originals.forget_idle(now);
        originals.all()
    });
    made.flat_map(|it| it.members().iter().map(Member::home).collect::<Vec<_>>())
        .collect()
}

// === impl Worker ===

impl Worker {
    /// The parts of a worker, on the thread that will use them.
    pub fn new(
        publisher: &Publisher,
        metrics: &Arc<Metrics>,
        access_log: Option<Arc<AccessLog>>,
        connector: Connector,
    ) -> Self {
        Self {
            reader: publisher.reader(),
            upstream: Upstream::new(connector, Arc::clone(metrics)),
            metrics: metrics.worker(),
            shared: Arc::clone(metrics),
            access_log,
            explains_to: None,
            balancers: None,
            demands: None,
            drain: Rc::default(),
            places: Places::new(usize::MAX, None),
            reserve: Reserve::default(),
            pressure: None,
            handshakes: Handshakes::default(),
            limits: Limits::default(),
            mirrors: Mirrors::new(metrics.process.mirrors.clone()),
            refusals: Refusals::default(),
            turned_away: Refusals::default(),
            tokens: Memory::default(),
            carrier: Carrier::default(),
            clock: Clock::default(),
            idle: None,
            renewal: Notify::new(),
            local_addr: Cell::new(None),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.upstream.limits = limits;
        self
    }

    /// The same with room for other numbers of connections.
    #[must_use]
    pub(crate) fn with_places(mut self, places: Arc<Places>) -> Self {
        self.places = places;
        self
    }

    /// The same, but these callers may know what became of a request.
    #[must_use]
    pub fn with_explanations(mut self, explains_to: Option<Callers>) -> Self {
        self.explains_to = explains_to;
        self
    }

    /// Counts a request or a connection that is refused, by its cause.
    pub(crate) fn count_rejection(&self, cause: &'static str) {
        let rejections = &self.shared.process.rejections;
        rejections.with_label_values(&[cause]).inc();
    }

    /// Counts a connection by what it turned out to speak.
    pub(crate) fn count_detection(&self, spoke: Spoke) {
        let detections = &self.shared.process.detections;
        detections.with_label_values(&[spoke.as_str()]).inc();
    }

    /// How many requests and connections were refused for `cause`.
    #[cfg(test)]
    pub(crate) fn rejections(&self, cause: &str) -> u64 {
        let rejections = &self.shared.process.rejections;
        rejections.with_label_values(&[cause]).get()
    }

    /// Counts a connection that is closed as soon as it is taken and, within bounds, tells of it.
    pub(crate) fn turn_away(&self, bind: &Bind, peer: Option<SocketAddr>, cause: &'static str) {
        self.count_rejection(cause);
        if let Some(left_out) = self.turned_away.tell(Instant::now()) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(%bind, peer, cause, left_out, "connection closed at once");
        }
    }

    /// Whether there is too little memory.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressure.as_ref().is_some_and(|it| it.is_high())
    }

    /// Whether new work is refused for want of memory; counts what is.
    pub(crate) fn sheds(&self) -> bool {
        let sheds = self.is_pressed();
        if sheds {
            self.count_rejection(MEMORY);
        }
        sheds
    }

    /// Counts a handshake that went well.
    pub(crate) fn count_handshake(&self, resumed: bool) {
        let tls = &self.shared.process.tls;
        tls.shook_hands(Side::Downstream, resumed);
    }

    /// Counts a handshake that failed and, within bounds, tells of it.
    pub(crate) fn refuse_handshake(&self, downstream: &Downstream, error: &HandshakeError) {
        let cause = error.cause();
        self.count_rejection(cause);
        let reason = cause.strip_prefix("tls_").unwrap_or(cause);
        self.shared.process.tls.failed(Side::Downstream, reason);
        let (bind, peer) = (&downstream.bind, downstream.peer);
        let peer = peer.map(tracing::field::display);
        if error.is_close() {
            let error = error as &dyn std::error::Error;
            tracing::debug!(%bind, peer, error, "the client left in its handshake");
        } else if let Some(left_out) = self.refusals.tell(Instant::now()) {
            let error = error.words();
            tracing::info!(%bind, peer, reason, error, left_out, "handshake refused");
        }
    }

    /// Counts a connection without the header that it must begin with and, within bounds, tells of it.
    pub(crate) fn refuse_header(&self, downstream: &Downstream, error: &HeaderError) {
        self.count_rejection(error.cause());
        let (bind, peer) = (&downstream.bind, downstream.peer);
        let peer = peer.map(tracing::field::display);
        if let Some(left_out) = self.refusals.tell(Instant::now()) {
            let error = error as &dyn std::error::Error;
            tracing::info!(%bind, peer, error, left_out, "connection of a balancer refused");
        }
    }

    /// The counters of connections with these labels that are not HTTP.
    pub(crate) fn tcp_counters(&self, traffic: TrafficId, flags: Flags) -> Arc<TcpCounters> {
        self.shared.tcp(traffic, flags)
    }

    /// Counts a request whose token is refused, by its cause.
    pub(crate) fn count_refused_token(&self, cause: &'static str) {
        let refused = &self.shared.process.tokens_refused;
        refused.with_label_values(&[cause]).inc();
    }

    /// The configuration that a request sees from its beginning to its end.
    pub(crate) fn snapshot(&self) -> Current {
        self.reader.load()
    }

    /// Waits, within bounds, until it is known what became of `demand`.
    pub(crate) async fn hold(&self, demands: &Demands, demand: &Demand) {
        let is_answered = || self.snapshot().answered.has(demand);
        let outcome = demands.hold(demand, is_answered).await;
        tracing::debug!(%demand, ?outcome, "held for the control plane");
    }

    /// Waits for another generation than that of the moment of the call, within a second or so.
    pub(crate) fn renewed(&self) -> Notified<'_> {
        self.renewal.notified()
    }

    /// Watches that one more request gets on, if there is a limit.
    pub(crate) fn quiet(&self) -> Option<Quiet> {
        self.idle.as_ref().map(Watch::begin)
    }

    /// Whether connections note the address they were reached at, which costs a system call: for the
    /// log, for rules and policies that look at it, and for upstreams that are told whom connections are
    /// for.
    pub(crate) fn wants_local_addr(&self) -> bool {
        self.access_log.is_some() || self.looks_at_local_addr()
    }

    /// Whether anything in the configuration looks at it.
    fn looks_at_local_addr(&self) -> bool {
        let snapshot = self.snapshot();
        if let Some((generation, looks)) = self.local_addr.get()
            && generation == snapshot.generation
        {
            return looks;
        }
        let mut listeners = snapshot.table.listeners.iter();
        let mut destinations = snapshot.destinations.iter();
        let looks = listeners.any(|listener| listener.looks_at_local_addr())
            || destinations.any(|it| it.policy.proxy_protocol.is_some());
        self.local_addr.set(Some((snapshot.generation, looks)));
        looks
    }

    /// Whether requests gather what the log will say.
    pub(crate) fn logs(&self) -> bool {
        self.access_log.is_some()
    }

    /// Whether a caller may know what becomes of its request, and asks.
    pub(crate) fn explains(&self, downstream: &Downstream, headers: &HeaderMap) -> bool {
        let callers = self.explains_to.as_ref();
        callers.is_some_and(|callers| callers.asks(downstream.peer, headers))
    }

    /// Hands a complete entry to the log.
    pub(crate) fn log(&self, entry: &Entry<'_>) {
        if let Some(log) = &self.access_log {
            log.write(entry);
        }
    }

    /// Counts a downstream connection as open.
    pub(crate) fn count_connection(&self) -> Counted {
        self.shared.process.downstream_connections.inc();
        self.shared.process.downstream_connections_active.inc();
        Counted(Arc::clone(&self.shared))
    }
}

// === impl Listening ===

impl Listening {
    /// Takes connections from now on.
    fn open(worker: &Rc<Worker>, load: Arc<Load>, sockets: Vec<Bound>) -> Self {
        worker.drain.listen(Arc::clone(&load));
        let accepting = sockets.into_iter().map(|socket| {
            let (open, closed) = oneshot::channel();
            let accept = listener::accept(Rc::clone(worker), Arc::clone(&load), socket, closed);
            (tokio::task::spawn_local(accept), open)
        });
        let (tasks, open) = accepting.unzip();
        Self { load, tasks, open }
    }

    /// Closes the listener at once; the result is ready when its last connections are taken.
    fn close(self) -> impl Future<Output = ()> {
        let Self { load, tasks, open } = self;
        drop(open);
        async move {
            for task in tasks {
                let _ = task.await;
            }
            load.close();
        }
    }
}

// === impl Handle ===

impl Handle {
    /// Tells the worker something; says whether it can still hear.
    pub async fn tell(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.process.downstream_connections_active.dec();
        if thread::panicking() {
            self.0.process.connection_panics.inc();
        }
    }
}
