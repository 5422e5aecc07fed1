//! The whole application: six services, a proxy beside each, and one at the door.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::child::Stop;
use crate::layout::{Layout, replace, shown};
use crate::manifest::{self, GATEWAY_LABELS, Place};
use crate::meshcontrol::{ControlPlane, Meshcontrol};
use crate::meshproxy::Meshproxy;
use crate::port::Reservation;
use crate::service::neighbour::{Http, Neighbours};
use crate::service::{Instance, Service, server};
use crate::sidecar::{Feed, Identity, OwnPorts, Sidecar};
use crate::workload::{WORKLOADS, Workload};

/// Service account of the proxy at the door.
const GATEWAY_ACCOUNT: &str = "bookinfo-gateway";

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The data plane.
    pub(crate) meshproxy: Meshproxy,
    /// The control plane, if there is one in the middle; else each proxy reads the files itself.
    pub(crate) meshcontrol: Option<Meshcontrol>,
}

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Bookinfo {
    page: SocketAddr,
    parts: Vec<Part>,
    gateway: Sidecar,
    control: Option<ControlPlane>,
    layout: Layout,
    /// Ends the services when it is dropped, which is after the proxies were stopped.
    _services: JoinSet<()>,
    /// Holds the ports of all listeners.
    _reserved: Vec<Reservation>,
}

/// A workload with its proxy.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where it is.
    pub(crate) place: Place,
    /// The proxy beside it.
    pub(crate) sidecar: Sidecar,
    /// Requests that reached the service itself.
    served: Arc<AtomicU64>,
}

impl Bookinfo {
    /// Starts everything, and returns when all of it serves.
    ///
    /// `routes.yaml` must be there already; the rest of the configuration is written here.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, a service has no port, or a process does not get ready.
    pub(crate) async fn start(
        programs: &Programs,
        page: Reservation,
        layout: Layout,
        http: &Http,
    ) -> anyhow::Result<Self> {
        let mut services = JoinSet::new();
        let mut reserved = Vec::new();
        let mut started = Vec::new();
        for workload in &WORKLOADS {
            let ingress = Reservation::any().context("reserve a port")?;
            let egress = Reservation::any().context("reserve a port")?;
            let neighbours = Neighbours::new(egress.addr(), http.clone());
            let (app, served) = serve(workload, neighbours, &layout, &mut services).await?;
            let place = Place {
                workload,
                app,
                ingress: ingress.addr(),
                egress: egress.addr(),
            };
            reserved.extend([ingress, egress]);
            started.push((place, served));
        }
        let page_addr = page.addr();
        reserved.push(page);

        let places: Vec<Place> = started.iter().map(|(place, _)| *place).collect();
        write(&layout, page_addr, &places)?;
        let control = introduce(programs, &layout, http).await?;
        let start = |who| start_proxy(&programs.meshproxy, who, control.as_ref(), &layout);
        let mut gateway = start(Who::gateway())?;
        let mut parts = Vec::with_capacity(started.len());
        for (place, served) in started {
            let sidecar = start(Who::beside(place.workload))?;
            parts.push(Part {
                place,
                sidecar,
                served,
            });
        }
        for part in &mut parts {
            part.sidecar.ready(http).await?;
        }
        gateway.ready(http).await?;
        Ok(Self {
            page: page_addr,
            parts,
            gateway,
            control,
            layout,
            _services: services,
            _reserved: reserved,
        })
    }

    /// Address of the gateway's listener, where the page is.
    pub(crate) fn page(&self) -> SocketAddr {
        self.page
    }

    /// The workloads, as in [`WORKLOADS`].
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part of `name`.
    pub(crate) fn part(&self, name: &str) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| part.place.workload.name == name)
    }

    /// The proxy at the door.
    pub(crate) fn gateway(&self) -> &Sidecar {
        &self.gateway
    }

    /// The control plane, if there is one.
    pub(crate) fn control(&self) -> Option<&ControlPlane> {
        self.control.as_ref()
    }

    /// Where the files are.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Waits until any process ends by itself, and says how.
    ///
    /// # Cancel safety
    ///
    /// Safe: no end is lost.
    pub(crate) async fn any_end(&mut self) -> anyhow::Error {
        let sidecars = self.parts.iter_mut().map(|part| &mut part.sidecar);
        let sidecars = sidecars.chain([&mut self.gateway]);
        let mut ends: Vec<BoxFuture<'_>> = Vec::new();
        ends.extend(sidecars.map(|sidecar| Box::pin(sidecar.end()) as BoxFuture<'_>));
        ends.extend(self.control.iter_mut().map(|it| Box::pin(it.end()) as _));
        poll_fn(|ctx| {
            let ended = ends.iter_mut().find_map(|end| match pin!(end).poll(ctx) {
                Poll::Ready(error) => Some(error),
                Poll::Pending => None,
            });
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Stops the door first, so that nothing new comes in, then all other proxies at once, and at last
    /// who told them what to do.
    ///
    /// Returns how each process ended.
    pub(crate) async fn stop(self) -> Vec<(String, Stop)> {
        let mut ends = vec![self.gateway.stop().await];
        let mut stopping = JoinSet::new();
        for part in self.parts {
            stopping.spawn(part.sidecar.stop());
        }
        while let Some(end) = stopping.join_next().await {
            ends.extend(end.ok());
        }
        if let Some(control) = self.control {
            ends.push(control.stop().await);
        }
        ends
    }
}

/// The end of one process.
type BoxFuture<'a> = Pin<Box<dyn Future<Output = anyhow::Error> + 'a>>;

// === impl Part ===

impl Part {
    /// Requests that reached the service itself since the start.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

/// Starts the service of `workload` on a port of its own.
async fn serve(
    workload: &'static Workload,
    neighbours: Neighbours,
    layout: &Layout,
    services: &mut JoinSet<()>,
) -> anyhow::Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.with_context(|| format!("open a port for {}", workload.name))?;
    let addr = listener.local_addr().context("read the port just opened")?;
    let instance = Instance { workload, addr };
    let service = Service::new(instance, neighbours, &shown(&layout.routes()));
    let served = Arc::new(AtomicU64::new(0));
    services.spawn(server::serve(listener, service, Arc::clone(&served)));
    Ok((addr, served))
}

/// Writes all configuration that depends on ports.
fn write(layout: &Layout, page: SocketAddr, places: &[Place]) -> anyhow::Result<()> {
    let config = layout.config();
    replace(&config.join("registry.yaml"), &manifest::registry(places))?;
    replace(&config.join("gateway.yaml"), &manifest::gateway(page))?;
    replace(&config.join("security.yaml"), manifest::SECURITY)?;
    for place in places {
        let path = layout.sidecar(place.workload.name);
        replace(&path, &manifest::sidecar(place))?;
    }
    Ok(())
}

/// Gives the proxies what they prove themselves with: certificates, or tokens for which the control
/// plane, which runs then, signs them.
async fn introduce(
    programs: &Programs,
    layout: &Layout,
    http: &Http,
) -> anyhow::Result<Option<ControlPlane>> {
    let accounts = WORKLOADS.iter().map(Workload::service_account);
    let accounts: BTreeSet<String> = accounts.chain([GATEWAY_ACCOUNT.to_owned()]).collect();
    match &programs.meshcontrol {
        Some(meshcontrol) => meshcontrol.start(&accounts, layout, http).await.map(Some),
        None => {
            let folder = layout.certificates();
            programs.meshproxy.certify(&folder, &accounts).await?;
            Ok(None)
        }
    }
}

/// Whose proxy it is.
struct Who {
    name: &'static str,
    labels: String,
    service_account: String,
}

impl Who {
    fn gateway() -> Self {
        Self {
            name: "gateway",
            labels: GATEWAY_LABELS.to_owned(),
            service_account: GATEWAY_ACCOUNT.to_owned(),
        }
    }

    fn beside(workload: &Workload) -> Self {
        Self {
            name: workload.name,
            labels: workload.labels(),
            service_account: workload.service_account(),
        }
    }
}

fn start_proxy(
    meshproxy: &Meshproxy,
    who: Who,
    control: Option<&ControlPlane>,
    layout: &Layout,
) -> anyhow::Result<Sidecar> {
    let feed = match control {
        Some(control) => Feed::Control {
            url: control.url(),
            root: layout.control_root(),
            token: layout.token(&who.service_account),
            state: layout.state(who.name),
        },
        None => Feed::Files {
            config: layout.config(),
            certificate: layout.identity(&who.service_account),
        },
    };
    let identity = Identity {
        name: who.name.to_owned(),
        labels: who.labels,
        service_account: who.service_account,
        feed,
    };
    let ports = OwnPorts::reserve().context("reserve ports for a proxy")?;
    Sidecar::start(meshproxy, &identity, ports, layout)
}
