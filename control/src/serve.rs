//! `meshcontrol serve`: what there is, wired together, from start to stop.

mod front;
mod handler;
mod log;
mod pages;
mod places;
mod port;
mod stop;
mod tls;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use config::mesh::MeshSettings;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::{ServeArgs, Source};
use crate::hub::{self, Hub};
use crate::identity::{Identifier, TokenKey, Tokens};
use crate::proto::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use crate::signer::folder::Keeper;
use crate::signer::trust::Trust;
use crate::signer::{Lifetimes, Signer};
use crate::source::directory;
use crate::state_dir::StateDir;
use crate::stream;
use front::Front;
pub use handler::{Handler, Request, Response};
use places::Places;
use port::{Meters, Port, listen};
use stop::{DRAIN_MAX, Signals, Stop};

/// Most threads: the work is to wait, to compare and to sign.
const THREADS_MAX: usize = 4;
/// Connections of proxies at once: some thousands of proxies, and as many that come from a replica
/// that is gone.
const CONNECTIONS_MAX: usize = 16_384;
/// Of them from one address, behind which there may be a whole node.
const CONNECTIONS_EACH_MAX: usize = 4_096;
/// Events on their way from the source: enough that it is not held up by a generation in the making.
const EVENTS_MAX: usize = 1_024;
/// Most bytes of a request for a certificate: a signing request and what says what it is.
const CERTIFICATE_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What is known of who signs.
type TrustReceiver = watch::Receiver<Option<Arc<Trust>>>;

/// Serves until told to stop.
pub fn run(arguments: ServeArgs) -> ExitCode {
    if let Err(error) = arguments.check() {
        error.exit();
    }
    log::to_stderr(&arguments.log);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .enable_all()
        .build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(serve(&arguments));
        // What blocks on a file does not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &ServeArgs) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let listeners = Listeners::bind(arguments).await?;
    let registry = Registry::new();
    let (stopping, stop) = Stop::new();
    // Background work ends with this function.
    let mut work = JoinSet::new();

    let trusted = trust(arguments, &mut work).await?;
    let secured = secured(arguments, &trusted.receiver, &mut work)?;
    let discovery = discovery(arguments, &registry, stop.clone(), &mut work)?;
    let trust = trusted.receiver.clone();
    let front = front(arguments, trusted, discovery, &registry)?;
    let addresses = listeners.addresses()?;
    let domain = arguments.trust.trust_domain.as_str().into();
    let mut ports = listeners.serve(Serving {
        front,
        secured,
        domain,
        trust,
        registry,
        stop,
    })?;
    let Addresses {
        addr,
        plain,
        metrics,
        http,
    } = addresses;
    tracing::info!(%addr, plain = plain.map(tracing::field::display), %metrics, %http, "ready");

    tokio::select! {
        () = signals.next() => {}
        // They never end by themselves.
        Some(ended) = work.join_next() => ended.context("a part of the control plane failed")?,
    }
    tracing::info!("stopping");
    stopping.send_replace(true);
    let drained = async { while ports.join_next().await.is_some() {} };
    tokio::select! {
        _ = timeout(DRAIN_MAX, drained) => {}
        () = signals.next() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// What is listened at before anything else starts, so that a port that is taken is told at once.
struct Listeners {
    proxies: TcpListener,
    plain: Option<TcpListener>,
    metrics: TcpListener,
    http: TcpListener,
}

/// Where.
struct Addresses {
    addr: SocketAddr,
    plain: Option<SocketAddr>,
    metrics: SocketAddr,
    http: SocketAddr,
}

/// What connections are served with.
struct Serving {
    front: Front,
    secured: watch::Receiver<Arc<rustls::ServerConfig>>,
    domain: Arc<str>,
    trust: TrustReceiver,
    registry: Registry,
    stop: Stop,
}

/// Who signs, and who knows callers.
struct Trusted {
    receiver: TrustReceiver,
    tokens: Tokens,
}

// === impl Listeners ===

impl Listeners {
    async fn bind(arguments: &ServeArgs) -> anyhow::Result<Self> {
        let addresses = &arguments.addresses;
        Ok(Self {
            proxies: listen(addresses.addr, "addr").await?,
            plain: match addresses.plain_addr {
                Some(addr) => Some(listen(addr, "plain-addr").await?),
                None => None,
            },
            metrics: listen(addresses.metrics_addr, "metrics-addr").await?,
            http: listen(addresses.http_addr, "http-addr").await?,
        })
    }

    fn addresses(&self) -> anyhow::Result<Addresses> {
        let plain = self.plain.as_ref().map(TcpListener::local_addr);
        Ok(Addresses {
            addr: self.proxies.local_addr()?,
            plain: plain.transpose()?,
            metrics: self.metrics.local_addr()?,
            http: self.http.local_addr()?,
        })
    }

    /// Takes connections at all of them until it is time to stop.
    fn serve(self, serving: Serving) -> anyhow::Result<JoinSet<()>> {
        let Serving {
            front,
            secured,
            domain,
            trust,
            registry,
            stop,
        } = serving;
        let meters = meters(&registry)?;
        let front = Arc::new(front);
        let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
        let port = |listener, tls| Port {
            listener,
            tls,
            trust_domain: Arc::clone(&domain),
            front: Arc::clone(&front),
            places: Arc::clone(&places),
            meters: meters.clone(),
        };
        let mut ports = JoinSet::new();
        ports.spawn(port(self.proxies, Some(secured)).serve(stop.clone()));
        if let Some(plain) = self.plain {
            ports.spawn(port(plain, None).serve(stop.clone()));
        }
        let metrics = pages::metrics(registry);
        ports.spawn(pages::serve(self.metrics, metrics, stop.clone()));
        let stopping = stop.clone();
        let is_ready = move || trust.borrow().is_some() && !stopping.is_set();
        let nothing = Handler::new(|_| async { pages::text(http::StatusCode::NOT_FOUND, "") });
        let health = pages::health(is_ready, nothing);
        ports.spawn(pages::serve(self.http, health, stop));
        Ok(ports)
    }
}

/// Who signs certificates, and who knows tokens.
async fn trust(arguments: &ServeArgs, work: &mut JoinSet<()>) -> anyhow::Result<Trusted> {
    let longest = arguments.trust.certificate_lifetime_max;
    match (&arguments.source, &arguments.state_dir) {
        (Source::Folder(_), Some(path)) => {
            let dir = StateDir::open(path)?;
            let tokens = Tokens::Own(TokenKey::open(&dir)?);
            let mut keeper = Keeper::new(dir, longest);
            let first = keeper
                .start(SystemTime::now())
                .context("start the authority")?;
            let (sender, receiver) = watch::channel(Some(first));
            work.spawn(keeper.run(sender));
            Ok(Trusted { receiver, tokens })
        }
        (Source::Folder(_), None) => anyhow::bail!("there is no --state-dir"),
        (Source::Kubernetes, _) => anyhow::bail!("--source kubernetes is not available yet"),
    }
}

/// By which connections are secured, from now on up to date.
fn secured(
    arguments: &ServeArgs,
    trust: &TrustReceiver,
    work: &mut JoinSet<()>,
) -> anyhow::Result<watch::Receiver<Arc<rustls::ServerConfig>>> {
    let has_cluster = arguments.source == Source::Kubernetes;
    let names = tls::names(
        &arguments.service,
        &arguments.namespace,
        has_cluster,
        &arguments.trust.server_names,
    )?;
    let domain: Arc<str> = arguments.trust.trust_domain.as_str().into();
    let server = tls::Server::new(names, &domain, arguments.trust.certificate_lifetime);
    let first = trust.borrow().clone().context("there is no authority")?;
    let secured = server.start(&first, SystemTime::now())?;
    let proxies = secured.proxies.subscribe();
    work.spawn(server.renew(secured, trust.clone()));
    Ok(proxies)
}

/// What gives configuration: from the source to the streams.
fn discovery(
    arguments: &ServeArgs,
    registry: &Registry,
    mut stop: Stop,
    work: &mut JoinSet<()>,
) -> anyhow::Result<Handler> {
    let hub = Hub::new(hub::Settings::default(), registry)?;
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    match &arguments.source {
        Source::Folder(path) => work.spawn(directory::run(path.clone(), sender)),
        Source::Kubernetes => anyhow::bail!("--source kubernetes is not available yet"),
    };
    let fed = Arc::clone(&hub);
    work.spawn(async move { fed.run(events, MeshSettings::default()).await });
    let drained = Arc::clone(&hub);
    work.spawn(async move {
        stop.drain().await;
        drained.drain();
        // Nobody waits for this one to end.
        std::future::pending::<()>().await;
    });
    Ok(Handler::grpc(stream::service(hub)))
}

/// Both services of gRPC, and who may use them.
fn front(
    arguments: &ServeArgs,
    trusted: Trusted,
    discovery: Handler,
    registry: &Registry,
) -> anyhow::Result<Front> {
    let trust = &arguments.trust;
    let lifetimes = Lifetimes {
        default: trust.certificate_lifetime,
        max: trust.certificate_lifetime_max,
    };
    let signer = Signer::new(trusted.receiver, lifetimes, registry)?;
    let certificates = IstioCertificateServiceServer::new(signer)
        .max_decoding_message_size(CERTIFICATE_REQUEST_BYTES_MAX);
    let identifier = Identifier::new(
        &trust.trust_domain,
        &trust.audience,
        trusted.tokens,
        registry,
    )?;
    Ok(Front::new(
        discovery,
        Handler::grpc(certificates),
        identifier,
    ))
}

fn meters(registry: &Registry) -> anyhow::Result<Meters> {
    let open = IntGauge::new(
        "meshcontrol_connections",
        "Connections of proxies that are open.",
    )?;
    let refused = IntCounterVec::new(
        Opts::new(
            "meshcontrol_connections_refused_total",
            "Connections that were not taken or were of no use, by reason.",
        ),
        &["reason"],
    )?;
    registry.register(Box::new(open.clone()))?;
    registry.register(Box::new(refused.clone()))?;
    Ok(Meters { open, refused })
}
