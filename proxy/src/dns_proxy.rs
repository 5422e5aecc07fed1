//! DNS for the workload (`--dns`): names of the mesh are answered here, with addresses by which their
//! connections can be told apart; everything else is asked the name servers of the host.
//!
//! It has a thread of its own: a reload of many resources keeps the control thread busy for longer
//! than applications should wait for a name. What it answers from is compiled once for each
//! generation and published to it.

#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

mod families;
mod judge;
mod learn;
mod names;
mod peers;
mod serve;
mod servers;
mod throttle;
mod upstream;
mod wire;

use std::cell::Cell;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use config::mesh::{Mesh, Viewer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::handover::Sockets as Inherited;
use crate::snapshot::Shared;
use crate::telemetry::metrics::DnsCounters;
use families::Families;
pub use learn::Learn;
use names::Names;
use serve::{Closed, Server};
pub(crate) use servers::PORT;
use servers::Servers;
use throttle::Throttle;
use upstream::Upstream;

/// Ports that are tried for both transports where any will do.
const PORTS_TRIED_MAX: usize = 16;

/// How names are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen, by UDP and TCP; at least one.
    pub listen: Vec<SocketAddr>,
    /// Who is asked what the mesh does not know; empty for the name servers of the system.
    pub upstream: Vec<SocketAddr>,
}

/// What the thread answers from, and what people may see of it.
#[derive(Debug)]
pub struct State {
    listening: Vec<SocketAddr>,
    names: Shared<Names>,
    servers: Shared<Vec<SocketAddr>>,
}

/// The sockets of one address.
#[derive(Debug)]
struct Sockets {
    /// As it was asked for, with port 0 where any will do.
    asked: SocketAddr,
    addr: SocketAddr,
    udp: net::UdpSocket,
    tcp: net::TcpListener,
}

/// A server that listens but does not answer yet. What comes meanwhile waits.
#[derive(Debug)]
pub struct Listening {
    sockets: Vec<Sockets>,
    upstream: Vec<SocketAddr>,
    state: Arc<State>,
}

/// A server that takes questions until this is dropped; those that it has it answers.
#[derive(Debug)]
pub struct Serving {
    _open: watch::Sender<()>,
}

/// An address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("listen at {addr} (--dns)")]
pub struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

// === impl Listening ===

impl Listening {
    /// Listens at all addresses, where the process before did at its sockets. The loopback address of a family that the host does not have may be
    /// missing if there is another.
    ///
    /// # Errors
    ///
    /// If one of the others cannot be listened at, for the first of them.
    pub fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Self, BindError> {
        let mut sockets: Vec<Sockets> = Vec::new();
        let mut absent = None;
        for &addr in &settings.listen {
            match inherited_at(addr, inherited).unwrap_or_else(|| bind(addr)) {
                Ok(bound) => sockets.push(bound),
                Err(source) if is_absent(addr, &source) => {
                    tracing::debug!(%addr, error = %source, "this host has no such address");
                    absent = Some(BindError { addr, source });
                }
                Err(source) => return Err(BindError { addr, source }),
            }
        }
        if let (true, Some(error)) = (sockets.is_empty(), absent) {
            return Err(error);
        }
        let listening = sockets.iter().map(|bound| bound.addr).collect();
        Ok(Self {
            sockets,
            upstream: settings.upstream.clone(),
            state: Arc::new(State {
                listening,
                names: Shared::default(),
                servers: Shared::default(),
            }),
        })
    }

    /// The sockets once more, for a process that takes this one's place.
    ///
    /// # Errors
    ///
    /// When there are no more file descriptors.
    pub fn held(&self) -> io::Result<Inherited> {
        let mut held = Inherited::default();
        for bound in &self.sockets {
            let [udp, tcp] = handed_over_as(bound.asked);
            held.add(udp, bound.udp.as_fd().try_clone_to_owned()?);
            held.add(tcp, bound.tcp.as_fd().try_clone_to_owned()?);
        }
        Ok(held)
    }

    /// What it will answer from.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Begins to answer; what is not known is asked of a control plane first, if there is one.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no event queue.
    pub fn serve(self, counters: DnsCounters, learn: Option<Learn>) -> io::Result<Serving> {
        let (open, closed) = watch::channel(());
        let addresses = self.state.listening.clone();
        let runtime = || {
            Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
        };
        let (started, start) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                let runtime = match runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                runtime.block_on(async {
                    let mut tasks = match self.tasks(counters, learn, closed) {
                        Ok(tasks) => tasks,
                        Err(error) => {
                            let _ = started.send(Err(error));
                            return;
                        }
                    };
                    let _ = started.send(Ok(()));
                    while tasks.join_next().await.is_some() {}
                });
            })?;
        start.recv().map_err(io::Error::other)??;
        tracing::info!(?addresses, "answering names");
        Ok(Serving { _open: open })
    }

    /// One task for each socket.
    fn tasks(
        self,
        counters: DnsCounters,
        learn: Option<Learn>,
        closed: Closed,
    ) -> io::Result<JoinSet<()>> {
        let servers = Servers::new(Arc::clone(&self.state), self.upstream);
        let server = Rc::new(Server {
            state: self.state,
            upstream: Upstream::new(servers),
            learn,
            counters,
            turn: Cell::new(fastrand::usize(..)),
            refusals: Throttle::default(),
            oddities: Throttle::default(),
            failures: Throttle::default(),
        });
        let mut tasks = JoinSet::new();
        for Sockets { addr, udp, tcp, .. } in self.sockets {
            let udp = UdpSocket::from_std(udp)?;
            let tcp = TcpListener::from_std(tcp)?;
            tasks.spawn_local(Rc::clone(&server).serve_udp(udp, addr, closed.clone()));
            tasks.spawn_local(Rc::clone(&server).serve_tcp(tcp, addr, closed.clone()));
        }
        Ok(tasks)
    }
}

/// The names under which the sockets of an address are handed over: of UDP and of TCP.
fn handed_over_as(addr: SocketAddr) -> [String; 2] {
    ["udp", "tcp"].map(|transport| format!("dns {transport} {addr}"))
}

/// The sockets at which the process before listened at `addr`, if it did.
fn inherited_at(addr: SocketAddr, inherited: &mut Inherited) -> Option<io::Result<Sockets>> {
    let [udp, tcp] = handed_over_as(addr).map(|name| inherited.take(&name).pop());
    let (udp, tcp) = (net::UdpSocket::from(udp?), net::TcpListener::from(tcp?));
    let bound = tcp.local_addr();
    Some(bound.map(|bound| Sockets {
        asked: addr,
        addr: bound,
        udp,
        tcp,
    }))
}

/// Both sockets of an address, at the same port.
fn bind(addr: SocketAddr) -> io::Result<Sockets> {
    let mut tried = 1;
    loop {
        let tcp = net::TcpListener::bind(addr)?;
        let bound = tcp.local_addr()?;
        match net::UdpSocket::bind(bound) {
            Ok(udp) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok(Sockets {
                    asked: addr,
                    addr: bound,
                    udp,
                    tcp,
                });
            }
            // Any port will do, but that one is somebody else's.
            Err(_) if addr.port() == 0 && tried < PORTS_TRIED_MAX => tried += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Whether it is the host that has no address of this family.
fn is_absent(addr: SocketAddr, error: &io::Error) -> bool {
    let of_family = matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    );
    addr.ip().is_loopback() && of_family
}

// === impl State ===

impl State {
    /// Answers from another generation from now on.
    pub fn publish(&self, mesh: &Mesh, viewer: &Viewer) {
        let names = Names::compile(mesh, viewer, Families::of_host());
        self.names.replace(names);
    }

    /// As people read it.
    pub(crate) fn shown(&self) -> Value {
        let servers = self.servers.read(|servers| json!(servers));
        let names = self.names.read(|names| {
            let all = names.map(Names::all).unwrap_or_default();
            let shown = all.into_iter().map(|(name, addresses)| {
                let v4 = addresses.v4.iter().map(ToString::to_string);
                let v6 = addresses.v6.iter().map(ToString::to_string);
                json!({
                    "name": name,
                    "addresses": v4.chain(v6).collect::<Vec<_>>(),
                    "from": addresses.source,
                })
            });
            shown.collect::<Vec<_>>()
        });
        json!({
            "listening": self.listening,
            "nameServers": servers,
            "names": names,
        })
    }
}
