//! Being seen and steered: three small HTTP servers on the control thread, for admin, metrics and
//! health. They read what others own and send commands; they change nothing by themselves.
//!
//! Admin is not authenticated: whoever reaches its address may drain this proxy. That is why it
//! listens on loopback unless told otherwise.

mod authorization;
mod certificates;
pub(crate) mod destinations;
mod drain;
mod jwks;
pub(crate) mod limits;
mod loaded;
mod pages;
mod rate_limits;
mod routes;
mod serve;
mod shares;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub use loaded::ConfigInfo;

use crate::dns_proxy;
use crate::drain::plan::Stage;
use crate::drain::{Loads, Scope};
use crate::handover::Sockets;
use crate::probes::Prober;
use crate::snapshot::Publisher;
use crate::source::control;
use crate::tls::facts::CertificateFacts;
use serve::Page;

/// What the servers show, and where their commands go.
pub struct AdminState {
    /// What routes.
    pub publisher: Publisher,
    /// What is loaded. Held only while it is copied or replaced.
    pub config: Mutex<ConfigInfo>,
    /// What certificates say that are in use. Held only while it is copied or replaced.
    pub certificates: Mutex<Vec<CertificateFacts>>,
    /// How it goes with the control plane, if there is one.
    pub control: Option<control::View>,
    /// Names that the workload is answered, if it is.
    pub dns: Option<Arc<dns_proxy::State>>,
    /// Asks the application its probes, if any were led to us.
    pub probes: Option<Prober>,
    /// The metrics in Prometheus' text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What there is to do at each listener.
    pub loads: Arc<Loads>,
    /// How far it is with stopping. Held only while it is copied or replaced.
    pub stage: Mutex<Stage>,
    /// How far this proxy is.
    pub lifecycle: watch::Receiver<Lifecycle>,
    /// Where commands go; one that finds no room is refused with 503.
    pub commands: mpsc::Sender<Command>,
}

/// How far a proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Not all listeners are open yet.
    Starting,
    /// Takes traffic.
    Ready,
    /// Finishes what it has.
    Draining,
    /// Another process has its sockets and answers for it; it finishes what it has.
    Replaced,
}

/// What the admin server was told to do.
#[derive(Debug)]
pub enum Command {
    /// Stop taking new work at some listeners, finish what there is, and stay.
    Drain(Scope),
    /// Exit.
    Quit,
    /// Log by this filter from now on; it is valid.
    SetLogFilter(String),
}

/// Where the three servers listen; port 0 takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Admin.
    pub admin: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
    /// Health.
    pub health: SocketAddr,
}

/// The three servers, open but not yet served.
#[derive(Debug)]
pub struct Servers {
    admin: TcpListener,
    metrics: TcpListener,
    health: TcpListener,
    addresses: Addresses,
    held: Sockets,
}

/// An address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("listen at {addr} (--{server}-addr)")]
pub struct BindError {
    server: &'static str,
    addr: SocketAddr,
    source: io::Error,
}

// === impl AdminState ===

impl AdminState {
    /// For a proxy that has loaded nothing, answers no names, and was given no probes.
    pub fn new(
        publisher: Publisher,
        metrics: Box<dyn Fn() -> String + Send + Sync>,
        lifecycle: watch::Receiver<Lifecycle>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self {
            publisher,
            config: Mutex::default(),
            certificates: Mutex::default(),
            control: None,
            dns: None,
            probes: None,
            metrics,
            loads: Arc::default(),
            stage: Mutex::default(),
            lifecycle,
            commands,
        }
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("lifecycle", &*self.lifecycle.borrow())
            .finish()
    }
}

// === impl Servers ===

impl Servers {
    /// Opens the three servers. What the process before left in `inherited` is taken from it.
    ///
    /// # Errors
    ///
    /// If one of the addresses cannot be listened at, for the first of them.
    pub async fn bind(wanted: Addresses, inherited: &mut Sockets) -> Result<Self, BindError> {
        let mut held = Sockets::default();
        let mut open = async |server, addr| bind(server, addr, inherited, &mut held).await;
        let (admin, admin_addr) = open("admin", wanted.admin).await?;
        let (metrics, metrics_addr) = open("metrics", wanted.metrics).await?;
        let (health, health_addr) = open("health", wanted.health).await?;
        let addresses = Addresses {
            admin: admin_addr,
            metrics: metrics_addr,
            health: health_addr,
        };
        Ok(Self {
            admin,
            metrics,
            health,
            addresses,
            held,
        })
    }

    /// Duplicates of their sockets, to be handed over.
    pub fn take_held(&mut self) -> Sockets {
        std::mem::take(&mut self.held)
    }

    /// Where they listen.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves for as long as it is polled; dropping it ends all their connections.
    pub async fn serve(self, state: Arc<AdminState>) {
        let on = |page| (page, Arc::clone(&state));
        tokio::join!(
            serve::serve(self.admin, on(Page::AtOnce(pages::admin))),
            serve::serve(self.metrics, on(Page::AtOnce(pages::metrics))),
            serve::serve(self.health, on(Page::Health)),
        );
    }
}

async fn bind(
    server: &'static str,
    addr: SocketAddr,
    inherited: &mut Sockets,
    held: &mut Sockets,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let fail = |source| BindError {
        server,
        addr,
        source,
    };
    // By the address that was asked for: port 0 is what the process before got for it.
    let name = format!("{server} {addr}");
    let listener = match inherited.take(&name).pop() {
        Some(left) => adopt(left).map_err(fail)?,
        None => TcpListener::bind(addr).await.map_err(fail)?,
    };
    held.add(name, listener.as_fd().try_clone_to_owned().map_err(fail)?);
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// A socket of the process before.
fn adopt(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
