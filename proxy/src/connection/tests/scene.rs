//! A worker with one listener, and the servers behind it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::task::spawn_local;

use crate::connection::{connection, undeclared};
use crate::drain::Scope;
use crate::io::Io;
use crate::request::Downstream;
use crate::snapshot::Publisher;
use crate::table::edit::HeaderEdit;
use crate::table::host::HostTable;
use crate::table::opaque::{Carriage, OpaqueRoute, OpaqueRoutes, OpaqueRule};
use crate::table::split::{DestinationByPort, Split, Target};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Table, Transport, UnknownHost};
use crate::telemetry::labels::{Identity, TrafficId};
use crate::telemetry::metrics::Metrics;
use crate::tls::client::Channel;
use crate::upstream::balance::Balancer;
use crate::upstream::connect::Connector;
use crate::upstream::destination::{Destination, DestinationId, Destinations, Policy};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};
use crate::upstream::spoken::Spoke;
use crate::worker::Worker;

/// Room in either direction of a connection.
const PIPE_BYTES: usize = 64 * 1024;
/// How long nobody may speak.
const IDLE: Duration = Duration::from_secs(2);

pub(super) struct Scene {
    worker: Rc<Worker>,
    destination: Arc<Destination>,
    /// The servers' ends of connections that nobody has taken.
    opened: Rc<RefCell<Vec<DuplexStream>>>,
    connects: Rc<Cell<usize>>,
    refuses: Rc<Cell<bool>>,
}

// === impl Scene ===

impl Scene {
    pub(super) fn new(speaks: Speaks) -> Self {
        Self::with(speaks, Transport::Plain)
    }

    pub(super) fn with(speaks: Speaks, transport: Transport) -> Self {
        Self::routed(speaks, transport, OpaqueRoutes::always(route()))
    }

    /// Where all names in TLS lead one way, and the rest another.
    pub(super) fn by_name() -> Self {
        let rule = |names: &[&str]| OpaqueRule {
            names: names.iter().copied().map(Box::from).collect(),
            destinations: Box::default(),
            sources: Box::default(),
            route: route(),
        };
        let routes = OpaqueRoutes::new(&[rule(&["*"]), rule(&[])]);
        Self::routed(Speaks::Unknown, Transport::Plain, routes)
    }

    fn routed(speaks: Speaks, transport: Transport, opaque: OpaqueRoutes) -> Self {
        let listener = Listener {
            bind: bind(),
            name: "scene".to_owned(),
            direction: Direction::Inbound,
            port_rule: PortRule::Listener(1),
            unknown_host: UnknownHost::NotFound,
            hosts: HostTable::default(),
            transport,
            speaks,
            opaque,
            captured: None,
            admission: None,
        };
        let table = Table {
            listeners: vec![Arc::new(listener)],
            ..Table::default()
        };
        let destination = Arc::new(destination());
        let publisher = Publisher::default();
        let all = Destinations([Some(Arc::clone(&destination))].into());
        publisher.publish(Arc::new(table), all);
        let opened = Rc::<RefCell<Vec<DuplexStream>>>::default();
        let (connects, refuses) = (Rc::<Cell<usize>>::default(), Rc::<Cell<bool>>::default());
        let (into, count, refused) = (opened.clone(), connects.clone(), refuses.clone());
        let connector = Connector::Custom(Rc::new(move |_| {
            count.set(count.get() + 1);
            let (near, far) = duplex(PIPE_BYTES);
            into.borrow_mut().push(far);
            let result = match refused.get() {
                true => Err(io::ErrorKind::ConnectionRefused.into()),
                false => Ok(Io::Memory(near)),
            };
            Box::pin(async { result })
        }));
        let metrics = Metrics::new(Identity::default(), 16);
        Self {
            worker: Rc::new(Worker::new(&publisher, &metrics, None, connector)),
            destination,
            opened,
            connects,
            refuses,
        }
    }

    /// A client's end of a new connection.
    pub(super) fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(PIPE_BYTES);
        let downstream = Downstream::new(bind(), None, None);
        spawn_local(connection(
            Rc::clone(&self.worker),
            Io::Memory(far),
            downstream,
        ));
        near
    }

    /// The server's end of the next connection to it.
    pub(super) async fn accept(&self) -> DuplexStream {
        loop {
            if let Some(opened) = self.opened.borrow_mut().pop() {
                return opened;
            }
            tokio::time::sleep(Duration::from_micros(1)).await;
        }
    }

    /// Has connects fail.
    pub(super) fn refuse(&self) {
        self.refuses.set(true);
    }

    /// How often the server was connected to.
    pub(super) fn connects(&self) -> usize {
        self.connects.get()
    }

    /// What was sent to the server, as it is shown.
    pub(super) fn requests(&self) -> u64 {
        self.destination.members()[0].endpoint.requests()
    }

    /// A connection spoke this before.
    pub(super) fn expect(&self, spoke: Spoke) {
        self.destination.live.spoken.note(spoke);
    }

    /// What was spoken, and how often.
    pub(super) fn spoken(&self) -> Vec<(Spoke, u64)> {
        let count = |spoke| (spoke, self.destination.live.spoken.count(spoke));
        let all = Spoke::ALL.into_iter().map(count);
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// A second passes for who waits.
    pub(super) fn tick(&self) {
        self.worker.drain.tick();
    }

    pub(super) fn drain(&self) {
        self.worker.drain.begin(Scope::All);
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.worker.drain.open()
    }

    /// What a connection needs, and what it needs beside for as long as it is looked into, in bytes.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (_, far) = duplex(1);
        let mut downstream = Downstream::new(bind(), None, None);
        let mut ticket = self.worker.drain.enter(&downstream.bind);
        let looked_into =
            undeclared::enter(&self.worker, Io::Memory(far), &mut downstream, &mut ticket);
        let looked_into = size_of_val(&looked_into);
        let (_, far) = duplex(1);
        let downstream = Downstream::new(bind(), None, None);
        let conn = connection(Rc::clone(&self.worker), Io::Memory(far), downstream);
        (size_of_val(&conn), looked_into)
    }
}

/// Exactly so many bytes.
pub(super) async fn hear(io: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut heard = vec![0; count];
    io.read_exact(&mut heard).await.expect("so many bytes");
    heard
}

fn bind() -> Bind {
    Bind::Tcp(([127, 0, 0, 1], 1).into())
}

fn route() -> Arc<OpaqueRoute> {
    let target = Target {
        host: "server".into(),
        subset: None,
        port: None,
        weight: 1,
        destination: DestinationByPort::Fixed(DestinationId(0)),
        request_headers: HeaderEdit::default(),
        response_headers: HeaderEdit::default(),
    };
    Arc::new(OpaqueRoute {
        origin: None,
        position: 0,
        port: 1,
        split: Split::new(vec![target], None),
        carriage: Carriage::ByPolicy,
    })
}

fn destination() -> Destination {
    let addr: SocketAddr = ([10, 0, 0, 1], 25).into();
    let only = Member {
        endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(addr))),
        weight: 1,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Channel::Plain,
    };
    Destination {
        balancer: Balancer::least_request(vec![only]),
        policy: Policy {
            opaque_idle_timeout: Some(IDLE),
            ..Policy::default()
        },
        ..Destination::nowhere("server", 25)
    }
}
