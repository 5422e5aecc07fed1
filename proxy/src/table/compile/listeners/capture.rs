//! What captured connections meet.
//!
//! Two listeners take them, one each way. Behind each stand others that are bound nowhere, by the
//! address that a connection was going to; what none of them stands for goes where its caller wanted,
//! or nowhere.

mod inbound;
mod outbound;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::Plan;
use super::port::{Within, outbound, whole};
use crate::table::capture::Captured;
use crate::table::host::HostTable;
use crate::table::opaque::OpaqueRoutes;
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};

/// Where traffic from the workload is redirected to.
pub(super) const OUTBOUND_PORT: u16 = 15_001;
/// Where traffic to the workload is redirected to.
pub(super) const INBOUND_PORT: u16 = 15_006;

// === impl Plan ===

impl Plan<'_> {
    /// The listeners that take captured connections.
    pub(super) fn capture(&mut self) {
        let outbound = self.captured_outbound();
        self.takes_captured("captured outbound", OUTBOUND_PORT, outbound);
        let inbound = self.captured_inbound();
        self.takes_captured("captured inbound", INBOUND_PORT, inbound);
    }

    fn takes_captured(&mut self, name: &str, port: u16, mut captured: Captured) {
        // What was going to this very port could only lead back here.
        let nowhere = self.nowhere(captured.rest.direction, port);
        captured.ports.insert(port, Arc::new(nowhere));
        // Both families come to it.
        let bind = Bind::Tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        let listener = Listener {
            bind: bind.clone(),
            name: name.to_owned(),
            direction: captured.rest.direction,
            port_rule: PortRule::Authority,
            unknown_host: UnknownHost::NotFound,
            // A connection that nobody redirected leads nowhere: it could only lead back here.
            hosts: HostTable::default(),
            transport: Transport::Plain,
            speaks: Speaks::Http,
            opaque: OpaqueRoutes::default(),
            captured: Some(Arc::new(captured)),
            admission: None,
        };
        self.listeners.insert(bind, listener);
    }

    /// A listener whose connections lead nowhere.
    fn nowhere(&mut self, direction: Direction, port: u16) -> Listener {
        let id = self.registry.black_hole();
        let within = Within {
            hosts: HostTable::default(),
            speaks: Speaks::Opaque,
            opaque: OpaqueRoutes::always(whole(id)),
        };
        Listener {
            direction,
            ..outbound("own port".to_owned(), port, within)
        }
    }
}
