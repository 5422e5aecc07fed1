//! Connections to listeners of which nobody said that they speak HTTP: opaque ones, TLS that is not ours
//! to end, and those whose first bytes tell.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use config::wire::Demand;

use super::early::{Early, Met, NAME_GRACE, PERMISSIVE_GRACE};
use super::first_bytes::{Heard, Until, hear};
use super::listen::{Asks, Ear, Found, listen};
use super::{Entered, Entry, Refused};
use crate::demand::Demands;
use crate::drain::Ticket;
use crate::io::Io;
use crate::listener::detect::Verdict;
use crate::request::Downstream;
use crate::table::opaque::ConnectionView;
use crate::table::{Direction, Listener, Speaks, Transport};
use crate::tcp;
use crate::tls::gateway::OpaqueArrival;
use crate::tls::hello::{self, Hello};
use crate::tls::server::{Agreed, HANDSHAKE_TIMEOUT, HandshakeError, Secured};
use crate::tls::{self, Security};
use crate::upstream::destination::Destination;
use crate::upstream::spoken::Spoke;
use crate::worker::Worker;

/// A connection that is looked into.
struct Undeclared<'c> {
    worker: &'c Rc<Worker>,
    downstream: &'c mut Downstream,
    ticket: &'c mut Ticket,
    io: Io,
    /// What was read of it.
    first: BytesMut,
    /// Where it goes if it is not HTTP, as far as that is known before it speaks.
    expected: Option<Arc<Destination>>,
    /// The connection there, if one was opened early.
    met: Option<Met>,
}

/// What becomes of a connection next.
enum Stage {
    /// It is in TLS that is ours to end.
    Secure,
    /// What it speaks is still to be found out.
    Listen,
    /// It was found out.
    Found(Spoke),
    /// It was declared, or nobody has said anything.
    Known(Spoke),
    /// Its client is gone, or is not waited for any longer.
    Gone,
}

/// Lets a connection in, and finds out what it speaks; none if the client went away.
pub(super) async fn enter(
    worker: &Rc<Worker>,
    io: Io,
    downstream: &mut Downstream,
    ticket: &mut Ticket,
) -> Result<Option<Entry>, Refused> {
    let mut conn = Undeclared {
        worker,
        downstream,
        ticket,
        io,
        first: BytesMut::new(),
        expected: None,
        met: None,
    };
    let mut stage = conn.tell_tls().await?;
    if let Stage::Secure = stage {
        (conn, stage) = conn.secure().await?;
    }
    if let Stage::Listen = stage {
        stage = conn.tell_protocol().await;
    }
    match stage {
        Stage::Found(spoke) => {
            conn.note(spoke);
            conn.arrive(spoke).await
        }
        Stage::Known(spoke) => conn.arrive(spoke).await,
        Stage::Secure | Stage::Listen | Stage::Gone => Ok(None),
    }
}

// === impl Stage ===

impl Stage {
    fn of(found: Found, asks: Asks) -> Self {
        let spoke = match found {
            Found::Client(Verdict::Http1) => Spoke::Http1,
            Found::Client(Verdict::Http2) => Spoke::Http2,
            Found::Client(Verdict::Tls) => Spoke::Tls,
            Found::Client(Verdict::Opaque | Verdict::More) => Spoke::Opaque,
            Found::Server => Spoke::ServerFirst,
            Found::Failed => return Self::Known(Spoke::ServerFirst),
            // Whoever says nothing and ends its side may still listen.
            Found::End => return Self::Known(Spoke::Opaque),
            Found::Gone => return Self::Gone,
        };
        match asks {
            Asks::Protocol => Self::Found(spoke),
            Asks::Tls => Self::Known(spoke),
        }
    }
}

// === impl Undeclared ===

impl<'c> Undeclared<'c> {
    /// Finds out whether the connection is in TLS that is ours to end, where the listener takes it.
    async fn tell_tls(&mut self) -> Result<Stage, Refused> {
        let snapshot = self.worker.snapshot();
        let Some(listener) = snapshot.table.listener_of(self.downstream) else {
            return Ok(Stage::Gone);
        };
        let is_strict = match &listener.transport {
            Transport::Plain | Transport::Servers(_) => return Ok(within(listener, Agreed::Other)),
            Transport::Strict(None) => return Err(HandshakeError::NoIdentity.into()),
            Transport::Strict(Some(_)) => true,
            Transport::Permissive(_) => false,
        };
        // Without TLS nobody is let in where it is demanded.
        let grace = (!is_strict && listener.speaks != Speaks::Tls).then_some(PERMISSIVE_GRACE);
        let asks = asks(listener);
        drop(snapshot);
        let found = self.listen(asks, grace).await;
        if found == Found::Client(Verdict::Tls) && (is_strict || self.greets_mesh().await) {
            if let Some(met) = self.met.take() {
                met.early.give_up();
            }
            return Ok(Stage::Secure);
        }
        match found {
            Found::Client(_) if is_strict => Err(HandshakeError::PlainText.into()),
            Found::End if is_strict => Ok(Stage::Gone),
            found => Ok(Stage::of(found, asks)),
        }
    }

    /// Shakes hands with a client of the mesh.
    async fn secure(self) -> Result<(Self, Stage), Refused> {
        // Loaded when the client has begun to speak: what is asked for may have changed meanwhile.
        let snapshot = self.worker.snapshot();
        let listener = snapshot.table.listener_of(self.downstream);
        let (listener, own) = match listener.map(|it| (it, &it.transport)) {
            Some((listener, Transport::Permissive(own) | Transport::Strict(Some(own)))) => {
                (listener, own)
            }
            Some((_, Transport::Plain | Transport::Servers(_) | Transport::Strict(None)))
            | None => {
                return Err(HandshakeError::NoIdentity.into());
            }
        };
        self.ticket.wait(None);
        let peer = self.downstream.peer.map(|peer| peer.ip());
        let shaking = self.worker.handshakes.begin(peer);
        let accepting = tls::workload::accept(own, self.first, self.io, &shaking);
        let Secured {
            io,
            security,
            protocol: agreed,
            resumed,
        } = match shaking.unless_given_up(Box::pin(accepting)).await {
            Ok(secured) => secured,
            Err(error) => return Err(Refused::within(shaking, error)),
        };
        self.worker.count_handshake(resumed);
        self.downstream.secure(security);
        let stage = within(listener, agreed);
        let secured = Self {
            io,
            first: BytesMut::new(),
            expected: None,
            met: None,
            ..self
        };
        Ok((secured, stage))
    }

    /// Finds out what the connection speaks, within TLS if that was ours to end.
    async fn tell_protocol(&mut self) -> Stage {
        let snapshot = self.worker.snapshot();
        let Some(listener) = snapshot.table.listener_of(self.downstream) else {
            return Stage::Gone;
        };
        let asks = asks(listener);
        drop(snapshot);
        Stage::of(self.listen(asks, Some(Duration::ZERO)).await, asks)
    }

    /// Listens until it is clear what is spoken, to the server as well once `grace` is over; not at all if
    /// there is none.
    async fn listen(&mut self, asks: Asks, grace: Option<Duration>) -> Found {
        let Self {
            worker,
            downstream,
            ticket,
            io,
            first,
            expected,
            met,
        } = self;
        let mut early = grace.and_then(|grace| early(worker, downstream, grace));
        *expected = early.as_ref().map(|early| Arc::clone(&early.destination));
        let ear = Ear { io, first, ticket };
        let found = listen(ear, asks, &worker.limits, &mut early).await;
        let Some(early) = early else {
            return found;
        };
        match found {
            // What was given up on the way here has left nothing to end.
            Found::End if early.waits() && early.destination.live.spoken.is_http() => {
                return Found::Gone;
            }
            // It may go elsewhere by the name that it asks for, or be of the mesh.
            Found::Client(Verdict::Tls) if early.waits() => {}
            Found::Server
            | Found::Failed
            | Found::End
            | Found::Client(Verdict::Tls | Verdict::Opaque) => *met = Some(early.met().await),
            Found::Client(Verdict::Http1 | Verdict::Http2 | Verdict::More) | Found::Gone => {
                early.give_up();
            }
        }
        found
    }

    /// The name that the client asks for in TLS that is not ours to end; none if its greeting cannot be
    /// read.
    async fn server_name(&mut self) -> Option<Box<str>> {
        match self.greeting().await? {
            Hello::Whole { server_name, .. } => Some(server_name),
            Hello::Partial => None,
        }
    }

    /// Whether the client offers to speak as proxies of the mesh do. Other TLS is the workload's own.
    async fn greets_mesh(&mut self) -> bool {
        match self.greeting().await {
            Some(Hello::Whole { of_mesh, .. }) => of_mesh,
            Some(Hello::Partial) | None => false,
        }
    }

    /// The greeting of a client that has begun with it; none if it is none after all.
    async fn greeting(&mut self) -> Option<Hello> {
        self.ticket.wait(Some(HANDSHAKE_TIMEOUT));
        loop {
            match hello::read(&self.first).ok()? {
                Hello::Partial => {}
                whole @ Hello::Whole { .. } => return Some(whole),
            }
            match hear(&mut self.io, &mut self.first, self.ticket, Until::Late).await {
                Heard::More => {}
                Heard::End | Heard::Told | Heard::Late | Heard::Failed => return None,
            }
        }
    }

    /// Remembers what a connection turned out to speak.
    fn note(&self, spoke: Spoke) {
        self.worker.count_detection(spoke);
        if let Some(expected) = &self.expected {
            expected.live.spoken.note(spoke);
        }
        let (bind, peer) = (&self.downstream.bind, self.downstream.peer);
        let peer = peer.map(tracing::field::display);
        let (protocol, destination) = (spoke.as_str(), self.expected.as_ref());
        let destination = destination.map(|it| tracing::field::display(&it.key));
        tracing::debug!(%bind, peer, protocol, destination, "protocol detected");
    }

    /// Hands the connection on by what it speaks.
    async fn arrive(mut self, spoke: Spoke) -> Result<Option<Entry>, Refused> {
        let server_name = match spoke {
            Spoke::Http1 => return Ok(Some(self.http(Agreed::Http1))),
            Spoke::Http2 => return Ok(Some(self.http(Agreed::Http2))),
            Spoke::Tls => self.server_name().await,
            Spoke::Opaque | Spoke::ServerFirst => None,
        };
        self.ticket.wait(None);
        let name = server_name.as_deref();
        let unknown = name.and_then(|name| unknown_name(self.worker, self.downstream, name));
        if let Some((demands, demand)) = unknown {
            // In a box, with what it is about: few connections wait.
            let worker = self.worker;
            Box::pin(async move { worker.hold(demands, &demand).await }).await;
        }
        let snapshot = self.worker.snapshot();
        let Some(listener) = snapshot.table.listener_of(self.downstream) else {
            return Ok(None);
        };
        if listener.demands_more_than(self.downstream.security.as_ref()) {
            return Err(HandshakeError::PlainText.into());
        }
        let view = view(self.downstream, server_name.as_deref());
        let mut route = listener.opaque.find(view).cloned();
        let mut early = None;
        if let Some(met) = self.met {
            let is_route = route.as_ref().is_some_and(|it| Arc::ptr_eq(it, &met.route));
            // Whoever has spoken is heard, also when routes have changed since.
            match spoke == Spoke::ServerFirst || is_route && met.generation == snapshot.generation {
                true => {
                    route = Some(met.route);
                    early = Some(Box::new(met.early));
                }
                false => met.early.give_up(),
            }
        }
        if let Some(name) = server_name
            && self.downstream.security.is_none()
        {
            self.downstream.security = Some(Security::unproved(name));
        }
        let arrival = OpaqueArrival {
            io: self.io,
            read: self.first,
            security: None,
            route,
            early,
            resumed: None,
        };
        Ok(Some(Entry::Opaque(snapshot, Box::new(arrival))))
    }

    fn http(self, agreed: Agreed) -> Entry {
        Entry::Http(Entered {
            io: self.io,
            agreed,
            first: self.first,
        })
    }
}

/// A connection to where one goes whatever it will say, if policies let it in by what is known of it so
/// far. It is opened when `grace` is over, or later.
fn early<'e>(
    worker: &'e Rc<Worker>,
    downstream: &'e Downstream,
    grace: Duration,
) -> Option<Early<'e>> {
    if worker.is_pressed() {
        return None;
    }
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener_of(downstream)?;
    let admission = listener.admission.as_ref();
    let judges = admission.and_then(|admission| admission.authorization.as_ref());
    if judges.is_some_and(|judges| !judges.may_admit(downstream)) {
        return None;
    }
    let view = view(downstream, None);
    let (route, grace) = match listener.opaque.before_it_speaks(view) {
        Some(route) => (route, grace),
        None => (listener.opaque.find(view)?, grace.max(NAME_GRACE)),
    };
    let destination = tcp::destination(worker, &snapshot, downstream, route)?;
    let who = (worker, downstream);
    Some(Early::after(
        grace,
        who,
        (route, snapshot.generation),
        destination,
    ))
}

/// The connection as rules see it.
fn view<'v>(downstream: &Downstream, server_name: Option<&'v str>) -> ConnectionView<'v> {
    let destination = downstream.addressed();
    ConnectionView {
        server_name,
        destination: destination.map(|it| it.ip()),
        source: downstream.peer.map(|peer| peer.ip()),
    }
}

/// What first bytes are asked for that come to a listener.
fn asks(listener: &Listener) -> Asks {
    match listener.speaks {
        Speaks::Http | Speaks::Unknown => Asks::Protocol,
        Speaks::Tls | Speaks::Opaque => Asks::Tls,
    }
}

/// What comes next of a connection once TLS is out of the way that is ours to end.
fn within(listener: &Listener, agreed: Agreed) -> Stage {
    match (listener.speaks, agreed) {
        (Speaks::Opaque, _) => Stage::Known(Spoke::Opaque),
        (Speaks::Unknown | Speaks::Http, Agreed::Http1) => Stage::Known(Spoke::Http1),
        (Speaks::Unknown | Speaks::Http, Agreed::Http2) => Stage::Known(Spoke::Http2),
        (Speaks::Tls, _) | (Speaks::Unknown | Speaks::Http, Agreed::Other) => Stage::Listen,
    }
}

/// What is to be asked of the control plane before a captured connection goes on that asks for a name in
/// TLS: who has the name, unless that or the address is known.
pub(super) fn unknown_name<'w>(
    worker: &'w Worker,
    downstream: &Downstream,
    name: &str,
) -> Option<(&'w Demands, Demand)> {
    let demands = worker.demands.as_ref()?;
    let original = downstream.original?;
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener(&downstream.bind)?;
    let captured = listener.captured.as_ref()?;
    if listener.direction != Direction::Outbound {
        return None;
    }
    // First, as it also notes that the name is used: routes of TLS do not.
    let demand = demands.of_host(&snapshot.answered, name, original.port())?;
    let is_known = captured.has(original) || captured.find(original).opaque.has_name(name);
    (!is_known).then_some((demands, demand))
}
