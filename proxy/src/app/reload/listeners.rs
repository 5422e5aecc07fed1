//! The listeners of this proxy: bound, given to the workers, and taken from them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::problems::ReloadError;
use crate::drain::{Load, Loads};
use crate::handover::Sockets;
use crate::listener::{self, Bound};
use crate::table::{Bind, Table};
use crate::worker::{Command, Handle};

/// How long after it could not be listened somewhere that is tried again: whoever has the port may end.
const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// What is open, and by whom it is served.
pub(in crate::app) struct Listeners {
    workers: Vec<Handle>,
    /// What there is to do at each.
    loads: Arc<Loads>,
    /// Duplicates of the sockets that are open, to be handed over.
    held: BTreeMap<Bind, Vec<OwnedFd>>,
    /// What the process before left.
    inherited: Sockets,
    /// What could not be listened at the last time, where that is no reason to give up.
    refused: BTreeSet<Bind>,
    /// When to try that again; none if there is nothing.
    retry_at: Option<Instant>,
    /// Whether what is new is another process's to listen at.
    is_held: bool,
}

/// Sockets for listeners that are new, by address: some for each worker.
pub(super) type NewSockets = BTreeMap<Bind, New>;

/// The sockets of one new listener.
pub(super) struct New {
    workers: Vec<Vec<Bound>>,
    held: Vec<OwnedFd>,
}

// === impl Listeners ===

impl Listeners {
    pub(in crate::app) fn new(workers: Vec<Handle>, loads: Arc<Loads>, inherited: Sockets) -> Self {
        Self {
            workers,
            loads,
            held: BTreeMap::new(),
            inherited,
            refused: BTreeSet::new(),
            retry_at: None,
            is_held: false,
        }
    }

    /// When to try again what could not be listened at; never while there is nothing.
    pub(in crate::app) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Says whether what is new may be listened at. What came while it could not is tried afterwards.
    pub(in crate::app) fn bind_while(&mut self, is_free: bool) {
        let was_held = std::mem::replace(&mut self.is_held, !is_free);
        if was_held && is_free {
            self.retry_at = Some(Instant::now());
        }
    }

    /// Binds what the table listens at and nobody does yet. What the process before left is taken from
    /// it.
    pub(super) fn bind_new(&mut self, table: &Table) -> Result<NewSockets, ReloadError> {
        let binds = table.listeners.iter().map(|listener| &listener.bind);
        let new: Vec<&Bind> = binds.filter(|it| !self.held.contains_key(*it)).collect();
        let bound = new.into_iter().map(|bind| match self.bind(bind) {
            Ok(sockets) => Ok((bind.clone(), sockets)),
            Err(source) => Err(ReloadError::Bind {
                bind: bind.clone(),
                source,
            }),
        });
        bound.collect()
    }

    /// The same, as far as that can be. What cannot is told once, and tried again after a while
    /// and with the next table.
    pub(super) fn bind_possible(&mut self, table: &Table) -> NewSockets {
        if self.is_held {
            return NewSockets::new();
        }
        let binds = table.listeners.iter().map(|listener| &listener.bind);
        let new: Vec<&Bind> = binds.filter(|it| !self.held.contains_key(*it)).collect();
        let before = std::mem::take(&mut self.refused);
        let mut sockets = NewSockets::new();
        for bind in new {
            match self.bind(bind) {
                Ok(bound) => drop(sockets.insert(bind.clone(), bound)),
                Err(error) => {
                    if !before.contains(bind) {
                        tracing::error!(%bind, %error, "cannot listen; all else goes on");
                    }
                    self.refused.insert(bind.clone());
                }
            }
        }
        let is_refused = !self.refused.is_empty();
        self.retry_at = is_refused.then(|| Instant::now() + REFUSED_RETRY);
        sockets
    }

    fn bind(&mut self, bind: &Bind) -> io::Result<New> {
        let count = self.workers.len();
        let left = self.inherited.take(&name(bind));
        let sockets = match left.is_empty() {
            true => listener::bind(bind, count)?,
            false => listener::adopt(bind, left)?,
        };
        let held: io::Result<Vec<OwnedFd>> = sockets.iter().map(Bound::duplicate).collect();
        Ok(New {
            held: held?,
            workers: listener::share(sockets, count)?,
        })
    }

    /// Gives new sockets to the workers.
    pub(super) async fn open(&mut self, new: NewSockets, table: &Table) {
        for (bind, New { workers, held }) in new {
            let Some(listener) = table.listener(&bind) else {
                continue;
            };
            tracing::info!(%bind, "listening");
            for (worker, sockets) in self.workers.iter().zip(workers) {
                let load = Arc::new(Load::new(bind.clone(), listener.direction));
                self.loads.add(&load);
                worker.tell(Command::Listen(load, sockets)).await;
            }
            self.held.insert(bind, held);
        }
    }

    /// Takes from the workers what the table has no listener for.
    pub(super) async fn close_gone(&mut self, table: &Table) {
        let held = self.held.keys();
        let gone: Vec<Bind> = held
            .filter(|bind| table.listener(bind).is_none())
            .cloned()
            .collect();
        for bind in gone {
            tracing::info!(%bind, "no longer listening");
            // First: a socket is closed with its last duplicate, and the worker looks into the queue.
            self.held.remove(&bind);
            self.tell(|| Command::Unlisten(bind.clone())).await;
        }
    }

    /// What the process before left and nobody took is closed.
    pub(in crate::app) fn forget_inherited(&mut self) {
        self.inherited = Sockets::default();
    }

    /// Duplicates of all that is open, to be handed over.
    pub(in crate::app) fn sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for (bind, held) in &self.held {
            for socket in held {
                sockets.add(name(bind), socket.try_clone()?);
            }
        }
        Ok(sockets)
    }

    /// Lets go of the duplicates: what the workers close is closed. What listens is not bound again.
    pub(in crate::app) fn release(&mut self) {
        self.held.values_mut().for_each(Vec::clear);
    }

    /// Tells every worker the same.
    pub(in crate::app) async fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            worker.tell(command()).await;
        }
    }
}

/// How the sockets of an address are called when they are handed over.
fn name(bind: &Bind) -> String {
    match bind {
        Bind::Tcp(addr) => format!("tcp {addr}"),
        Bind::Unix(path) => format!("unix {}", path.display()),
    }
}

/// Warns of each listener that is shut and was not before.
pub(super) fn warn_of_shut(table: &Table, before: &Table) {
    let shut = |table: &Table| -> BTreeSet<(Bind, String)> {
        let all = table.everywhere().filter(|it| it.transport.is_shut());
        all.map(|it| (it.bind.clone(), it.name.clone())).collect()
    };
    let before = shut(before);
    for (bind, name) in shut(table) {
        if !before.contains(&(bind.clone(), name.clone())) {
            tracing::warn!(
                %bind,
                name,
                "takes no connections: PeerAuthentication asks for STRICT mutual TLS, and there is \
                 no --identity-dir"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::host::HostTable;
    use crate::table::opaque::OpaqueRoutes;
    use crate::table::{Direction, Listener, PortRule, Speaks, Transport, UnknownHost};

    fn table(bind: &Bind) -> Table {
        let listener = Listener {
            bind: bind.clone(),
            name: "a".to_owned(),
            direction: Direction::Outbound,
            port_rule: PortRule::Authority,
            unknown_host: UnknownHost::BadGateway,
            hosts: HostTable::default(),
            transport: Transport::Plain,
            speaks: Speaks::Unknown,
            opaque: OpaqueRoutes::default(),
            captured: None,
            admission: None,
        };
        Table {
            listeners: vec![Arc::new(listener)],
            ..Table::default()
        }
    }

    #[tokio::test]
    async fn what_is_new_while_another_process_is_on_its_way_is_bound_when_that_gave_up() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let bind = Bind::Tcp(free.local_addr().expect("an address"));
        drop(free);
        let table = table(&bind);
        let mut listeners = Listeners::new(Vec::new(), Arc::default(), Sockets::default());

        listeners.bind_while(false);
        assert!(listeners.bind_possible(&table).is_empty());
        assert_eq!(listeners.retry_at(), None);
        listeners.bind_while(true);
        assert!(listeners.retry_at().is_some());
        assert!(listeners.bind_possible(&table).contains_key(&bind));

        listeners.bind_while(true);
        assert_eq!(listeners.retry_at(), None, "nothing is left to try");
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_is_tried_again_until_it_is_free() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let bind = Bind::Tcp(holder.local_addr().expect("an address"));
        let table = table(&bind);
        let mut listeners = Listeners::new(Vec::new(), Arc::default(), Sockets::default());

        assert!(listeners.bind_possible(&table).is_empty());
        assert!(listeners.retry_at().is_some());
        drop(holder);
        let sockets = listeners.bind_possible(&table);

        assert!(sockets.contains_key(&bind));
        assert_eq!(listeners.retry_at(), None);
    }
}
