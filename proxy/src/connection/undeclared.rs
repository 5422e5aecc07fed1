//! Connections to listeners of which nobody said that they speak HTTP: opaque ones, TLS that is not ours
//! to end, and those whose first bytes tell.

use bytes::BytesMut;

use super::first_bytes::{Heard, hear};
use super::{Entered, Entry, Refused};
use crate::drain::Ticket;
use crate::io::Io;
use crate::listener::detect::{Verdict, detect};
use crate::request::Downstream;
use crate::table::opaque::ConnectionView;
use crate::table::{Listener, Speaks, Transport};
use crate::tls::gateway::OpaqueArrival;
use crate::tls::hello::{self, Hello};
use crate::tls::server::{Agreed, HANDSHAKE_TIMEOUT, HandshakeError, Secured};
use crate::tls::workload::is_tls;
use crate::tls::{self, Security};
use crate::worker::Worker;

/// A connection that is looked into.
struct Undeclared<'c> {
    worker: &'c Worker,
    downstream: &'c mut Downstream,
    ticket: &'c mut Ticket,
    io: Io,
    /// What was read of it.
    first: BytesMut,
}

/// What becomes of a connection next.
enum Stage {
    /// It is in TLS that is ours to end.
    Secure,
    /// What it speaks is still to be found out.
    Listen,
    /// It speaks this.
    Known(Verdict),
    /// Its client is gone, or is not waited for any longer.
    Gone,
}

/// What is asked of the first bytes.
#[derive(Debug, Clone, Copy)]
enum Asks {
    /// Whether they are TLS.
    Tls,
    /// What they are.
    Protocol,
}

/// Lets a connection in, and finds out what it speaks; none if the client went away.
pub(super) async fn enter(
    worker: &Worker,
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
    };
    let mut stage = conn.tell_tls().await?;
    if let Stage::Secure = stage {
        (conn, stage) = conn.secure().await?;
    }
    if let Stage::Listen = stage {
        stage = conn.tell_protocol().await;
    }
    match stage {
        Stage::Known(verdict) => Ok(conn.arrive(verdict).await),
        Stage::Secure | Stage::Listen | Stage::Gone => Ok(None),
    }
}

// === impl Undeclared ===

impl Undeclared<'_> {
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
        let asks = match listener.speaks {
            Speaks::Http | Speaks::Unknown => Asks::Protocol,
            Speaks::Tls | Speaks::Opaque => Asks::Tls,
        };
        drop(snapshot);
        match self.listen(asks).await {
            None => Ok(Stage::Gone),
            Some(Verdict::Tls) if is_strict || self.greets_mesh().await => Ok(Stage::Secure),
            Some(_) if is_strict => Err(HandshakeError::PlainText.into()),
            Some(verdict) => Ok(Stage::Known(verdict)),
        }
    }

    /// Shakes hands with a client of the mesh.
    async fn secure(self) -> Result<(Self, Stage), Refused> {
        let Self {
            worker,
            downstream,
            ticket,
            io,
            first,
        } = self;
        // Loaded when the client has begun to speak: what is asked for may have changed meanwhile.
        let snapshot = worker.snapshot();
        let listener = snapshot.table.listener_of(downstream);
        let (listener, own) = match listener.map(|it| (it, &it.transport)) {
            Some((listener, Transport::Permissive(own) | Transport::Strict(Some(own)))) => {
                (listener, own)
            }
            Some((_, Transport::Plain | Transport::Servers(_) | Transport::Strict(None)))
            | None => {
                return Err(HandshakeError::NoIdentity.into());
            }
        };
        let shaking = worker
            .handshakes
            .begin(downstream.peer.map(|peer| peer.ip()));
        let accepting = tls::workload::accept(own, first, io, &shaking);
        let Secured {
            io,
            security,
            protocol: agreed,
            resumed,
        } = match shaking.unless_given_up(Box::pin(accepting)).await {
            Ok(secured) => secured,
            Err(error) => return Err(Refused::within(shaking, error)),
        };
        worker.count_handshake(resumed);
        downstream.secure(security);
        let stage = within(listener, agreed);
        let secured = Self {
            worker,
            downstream,
            ticket,
            io,
            first: BytesMut::new(),
        };
        Ok((secured, stage))
    }

    /// Finds out what the connection speaks, within TLS if that was ours to end.
    async fn tell_protocol(&mut self) -> Stage {
        let snapshot = self.worker.snapshot();
        let listener = snapshot.table.listener_of(self.downstream);
        let asks = match listener.map(|it| it.speaks) {
            Some(Speaks::Http | Speaks::Unknown) => Asks::Protocol,
            Some(Speaks::Tls | Speaks::Opaque) => Asks::Tls,
            None => return Stage::Gone,
        };
        drop(snapshot);
        match self.listen(asks).await {
            Some(verdict) => Stage::Known(verdict),
            None => Stage::Gone,
        }
    }

    /// Listens until it is clear what the client speaks; none if it goes before, or is not waited for
    /// any longer.
    async fn listen(&mut self, asks: Asks) -> Option<Verdict> {
        self.ticket.wait(Some(self.worker.limits.idle_timeout));
        loop {
            match asks.judge(&self.first) {
                Verdict::More => {}
                verdict => return Some(verdict),
            }
            match hear(&mut self.io, &mut self.first, self.ticket).await {
                Heard::More => self.ticket.wait(Some(self.worker.limits.head_timeout)),
                // Whoever says nothing and ends its side may listen still.
                Heard::End => return Some(Verdict::Opaque),
                Heard::Gone => return None,
            }
        }
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

    async fn greeting(&mut self) -> Option<Hello> {
        self.ticket.wait(Some(HANDSHAKE_TIMEOUT));
        loop {
            match hello::read(&self.first).ok()? {
                Hello::Partial => {}
                whole @ Hello::Whole { .. } => return Some(whole),
            }
            match hear(&mut self.io, &mut self.first, self.ticket).await {
                Heard::More => {}
                Heard::End | Heard::Gone => return None,
            }
        }
    }

    /// Hands the connection on by what it speaks.
    async fn arrive(mut self, verdict: Verdict) -> Option<Entry> {
        let server_name = match verdict {
            Verdict::Http1 => return Some(self.http(Agreed::Http1)),
            Verdict::Http2 => return Some(self.http(Agreed::Http2)),
            Verdict::Tls => self.server_name().await,
            Verdict::Opaque | Verdict::More => None,
        };
        self.ticket.wait(None);
        let snapshot = self.worker.snapshot();
        let listener = snapshot.table.listener_of(self.downstream)?;
        let view = ConnectionView {
            server_name: server_name.as_deref(),
            destination: self
                .downstream
                .original
                .or(self.downstream.local)
                .map(|it| it.ip()),
            source: self.downstream.peer.map(|peer| peer.ip()),
        };
        let route = listener.opaque.find(view).cloned();
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
            resumed: None,
        };
        Some(Entry::Opaque(snapshot, Box::new(arrival)))
    }

    fn http(self, agreed: Agreed) -> Entry {
        Entry::Http(Entered {
            io: self.io,
            agreed,
            first: self.first,
        })
    }
}

/// What comes next of a connection once TLS is out of the way.
fn within(listener: &Listener, agreed: Agreed) -> Stage {
    match (listener.speaks, agreed) {
        (Speaks::Opaque, _) => Stage::Known(Verdict::Opaque),
        (Speaks::Unknown | Speaks::Http, Agreed::Http1) => Stage::Known(Verdict::Http1),
        (Speaks::Unknown | Speaks::Http, Agreed::Http2) => Stage::Known(Verdict::Http2),
        (Speaks::Tls, _) | (Speaks::Unknown | Speaks::Http, Agreed::Other) => Stage::Listen,
    }
}

// === impl Asks ===

impl Asks {
    fn judge(self, bytes: &[u8]) -> Verdict {
        match (self, detect(bytes)) {
            (Self::Tls, Verdict::Http1 | Verdict::Http2) => Verdict::Opaque,
            // Nothing but TLS begins like it.
            (Self::Tls, Verdict::More) if !bytes.is_empty() && !is_tls(bytes) => Verdict::Opaque,
            (_, verdict) => verdict,
        }
    }
}
