//! All ports: what is listened at, and what answers there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::front::Front;
use super::handler::Handler;
use super::mesh::Mesh;
use super::places::Places;
use super::port::{Meters, Port, listen};
use super::{Ground, TrustReceiver, pages, tls, webhooks};
use crate::admission::Router;
use crate::cli::{ServeArgs, Source};
use crate::identity::{Identifier, Tokens};
use crate::proto::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use crate::signer::trust::Trust;
use crate::signer::{Lifetimes, Signer};
use crate::stream;

/// Connections of proxies at once: some thousands of proxies, and as many that come from a replica
/// that is gone.
const CONNECTIONS_MAX: usize = 16_384;
/// Of them from one address, behind which there may be a whole node.
const CONNECTIONS_EACH_MAX: usize = 4_096;
/// Most bytes of a request for a certificate: a signing request and what says what it is.
const CERTIFICATE_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What is listened at before anything else starts, so that a port that is taken is told at once.
pub(super) struct Listeners {
    proxies: TcpListener,
    plain: Option<TcpListener>,
    webhooks: Option<TcpListener>,
    metrics: TcpListener,
    http: TcpListener,
}

/// Those of them that need an authority.
pub(super) struct Waiting {
    proxies: TcpListener,
    plain: Option<TcpListener>,
    webhooks: Option<TcpListener>,
}

/// Where.
pub(super) struct Addresses {
    addr: SocketAddr,
    plain: Option<SocketAddr>,
    webhooks: Option<SocketAddr>,
    metrics: SocketAddr,
    http: SocketAddr,
}

/// What connections are served with.
pub(super) struct Serving<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) tokens: Tokens,
    pub(super) trust: &'a TrustReceiver,
    /// What signs and is believed now.
    pub(super) first: &'a Trust,
}

// === impl Listeners ===

impl Listeners {
    pub(super) async fn bind(arguments: &ServeArgs) -> anyhow::Result<Self> {
        let addresses = &arguments.addresses;
        let webhooks = match arguments.source {
            Source::Kubernetes => Some(addresses.webhook_addr),
            Source::Folder(_) => None,
        };
        Ok(Self {
            proxies: listen(addresses.addr, "addr").await?,
            plain: optional(addresses.plain_addr, "plain-addr").await?,
            webhooks: optional(webhooks, "webhook-addr").await?,
            metrics: listen(addresses.metrics_addr, "metrics-addr").await?,
            http: listen(addresses.http_addr, "http-addr").await?,
        })
    }

    pub(super) fn addresses(&self) -> anyhow::Result<Addresses> {
        let of = |listener: &Option<TcpListener>| {
            let addr = listener.as_ref().map(TcpListener::local_addr);
            addr.transpose()
        };
        Ok(Addresses {
            addr: self.proxies.local_addr()?,
            plain: of(&self.plain)?,
            webhooks: of(&self.webhooks)?,
            metrics: self.metrics.local_addr()?,
            http: self.http.local_addr()?,
        })
    }

    /// Answers for health and metrics from now on; the others wait.
    pub(super) fn serve_pages(
        self,
        ground: &Ground<'_>,
        mesh: &Mesh,
        trust: &TrustReceiver,
        ports: &mut JoinSet<()>,
    ) -> Waiting {
        let stop = &ground.stop;
        let metrics = pages::metrics(ground.registry.clone());
        ports.spawn(pages::serve(self.metrics, metrics, stop.clone()));
        let (hub, trust, stopping) = (Arc::clone(&mesh.hub), trust.clone(), stop.clone());
        let is_current = mesh.is_current();
        let is_ready = move || {
            let is_there = trust.borrow().is_some() && hub.latest().is_some();
            is_there && is_current() && !stopping.is_set()
        };
        let health = pages::health(is_ready, pages::dashboard(Arc::clone(&mesh.known)));
        ports.spawn(pages::serve(self.http, health, stop.clone()));
        Waiting {
            proxies: self.proxies,
            plain: self.plain,
            webhooks: self.webhooks,
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Takes connections from now on, until it is time to stop.
    pub(super) async fn serve(
        self,
        ground: &mut Ground<'_>,
        serving: Serving<'_>,
        ports: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let arguments = ground.arguments;
        let domain: Arc<str> = arguments.trust.trust_domain.as_str().into();
        let server = server(arguments, &domain)?;
        let secured = server.start(serving.first, SystemTime::now())?;
        let (proxies, webhooks) = (secured.proxies.subscribe(), secured.webhooks.subscribe());
        let renewal = server.renew(secured, serving.trust.clone());
        ground.work.spawn(renewal);
        let meters = meters(&ground.registry)?;
        let front = Arc::new(front(ground, serving)?);
        let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
        let port = |listener, tls| Port {
            listener,
            tls,
            trust_domain: Arc::clone(&domain),
            front: Arc::clone(&front),
            places: Arc::clone(&places),
            meters: meters.clone(),
        };
        let stop = &ground.stop;
        ports.spawn(port(self.proxies, Some(proxies)).serve(stop.clone()));
        if let Some(plain) = self.plain {
            ports.spawn(port(plain, None).serve(stop.clone()));
        }
        if let Some(listener) = self.webhooks {
            let client = ground.client.as_ref();
            let client = client.context("there is no client of the API server")?;
            let folder = &arguments.injection_dir;
            let router = Router::for_cluster(client, folder, &ground.registry);
            let router = handler(router.await.context("start the webhooks")?);
            ports.spawn(webhooks::serve(listener, webhooks, router, stop.clone()));
        }
        Ok(())
    }
}

// === impl Addresses ===

impl Addresses {
    /// Says that all is there, and where.
    pub(super) fn tell(&self) {
        let plain = self.plain.map(tracing::field::display);
        let webhooks = self.webhooks.map(tracing::field::display);
        let Self {
            addr,
            metrics,
            http,
            ..
        } = self;
        tracing::info!(%addr, plain, webhooks, %metrics, %http, "ready");
    }
}

async fn optional(addr: Option<SocketAddr>, flag: &str) -> anyhow::Result<Option<TcpListener>> {
    match addr {
        Some(addr) => listen(addr, flag).await.map(Some),
        None => Ok(None),
    }
}

/// What makes our own certificates.
fn server(arguments: &ServeArgs, domain: &Arc<str>) -> anyhow::Result<tls::Server> {
    let names = tls::names(
        &arguments.service,
        &arguments.namespace,
        arguments.source == Source::Kubernetes,
        &arguments.trust.server_names,
    )?;
    let lifetime = arguments.trust.certificate_lifetime;
    Ok(tls::Server::new(names, domain, lifetime))
}

/// Both services of gRPC, and who may use them.
fn front(ground: &Ground<'_>, serving: Serving<'_>) -> anyhow::Result<Front> {
    let (trust, registry) = (&ground.arguments.trust, &ground.registry);
    let lifetimes = Lifetimes {
        default: trust.certificate_lifetime,
        max: trust.certificate_lifetime_max,
    };
    let signer = Signer::new(serving.trust.clone(), lifetimes, registry)?;
    let certificates = IstioCertificateServiceServer::new(signer)
        .max_decoding_message_size(CERTIFICATE_REQUEST_BYTES_MAX);
    let identifier = Identifier::new(
        &trust.trust_domain,
        &trust.audience,
        serving.tokens,
        registry,
    )?;
    let discovery = stream::service_while(Arc::clone(&serving.mesh.hub), serving.mesh.is_current());
    Ok(Front::new(
        Handler::grpc(discovery),
        Handler::grpc(certificates),
        identifier,
    ))
}

/// What answers the API server.
fn handler(router: Router) -> Handler {
    Handler::new(move |request| {
        let router = router.clone();
        async move { router.answer(request).await.map(Body::new) }
    })
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
