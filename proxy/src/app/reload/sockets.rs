//! The sockets of a generation: those that are new, and those that take no connections.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::ReloadError;
use crate::listener::{self, Bound};
use crate::table::{Bind, Listener, Table};

/// Sockets for listeners that are new, by address.
pub(super) type NewSockets = BTreeMap<Bind, Vec<Bound>>;

/// Binds what the table listens at and nobody does yet, one socket for each worker.
pub(super) fn bind_new(
    table: &Table,
    listening: &BTreeSet<Bind>,
    workers: usize,
) -> Result<NewSockets, ReloadError> {
    let binds = table.listeners.iter().map(|listener| &listener.bind);
    let new = binds.filter(|bind| !listening.contains(*bind));
    let bound = new.map(|bind| match listener::bind(bind, workers) {
        Ok(sockets) => Ok((bind.clone(), sockets)),
        Err(source) => Err(ReloadError::Bind {
            bind: bind.clone(),
            source,
        }),
    });
    bound.collect()
}

/// Warns of each listener that is shut and was not before.
pub(super) fn warn_of_shut(table: &Table, before: &Table) {
    let is_shut = |listener: &Listener| listener.transport.is_shut();
    for listener in table.listeners.iter().filter(|it| is_shut(it)) {
        if !before
            .listener(&listener.bind)
            .is_some_and(|it| is_shut(it))
        {
            tracing::warn!(
                bind = %listener.bind,
                name = listener.name,
                "takes no connections: PeerAuthentication asks for STRICT mutual TLS, and there is \
                 no --identity-dir"
            );
        }
    }
}
