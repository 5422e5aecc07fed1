//! What captured connections meet.
//!
//! Two listeners take them, one each way. Behind each stand others that are bound nowhere, by the
//! address that a connection was going to; what none of them stands for goes where its caller wanted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Plan, every_request};
use crate::table::capture::Captured;
use crate::table::compile::destinations::{PASSTHROUGH, Workload};
use crate::table::edit::HeaderEdit;
use crate::table::host::HostTable;
use crate::table::opaque::{Carriage, OpaqueRoute, OpaqueRoutes};
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::split::{DestinationByPort, Split, Target};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};
use crate::upstream::destination::{DestinationId, Protocol};

/// Where traffic from the workload is redirected to.
pub(super) const OUTBOUND_PORT: u16 = 15_001;
/// Where traffic to the workload is redirected to.
pub(super) const INBOUND_PORT: u16 = 15_006;

// === impl Plan ===

impl Plan<'_> {
    /// The listeners that take captured connections.
    pub(super) fn capture(&mut self) {
        let outbound = Arc::new(self.beyond());
        self.takes_captured("captured outbound", OUTBOUND_PORT, Captured::new(outbound));
        let inbound = Arc::new(self.own_ports());
        self.takes_captured("captured inbound", INBOUND_PORT, Captured::new(inbound));
    }

    fn takes_captured(&mut self, name: &str, port: u16, captured: Captured) {
        let bind = Bind::Tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
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

    /// Everything from the workload that nobody told us of.
    fn beyond(&mut self) -> Listener {
        let id = self.registry.beyond();
        Listener {
            bind: Bind::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
            name: "outbound passthrough".to_owned(),
            direction: Direction::Outbound,
            port_rule: PortRule::Authority,
            unknown_host: UnknownHost::NotFound,
            hosts: all_hosts(Route::new("allow_any", Action::Forward(all_to(id)))),
            transport: Transport::Plain,
            speaks: Speaks::Unknown,
            opaque: OpaqueRoutes::always(whole(id)),
            captured: None,
            admission: None,
        }
    }

    /// Everything to the workload, at ports that nobody told us of.
    fn own_ports(&mut self) -> Listener {
        let workload = Workload {
            addr: None,
            protocol: Protocol::AsDownstream,
            service: None,
        };
        let id = self.registry.workload_destination(0, workload);
        let mut route = Route::new("inbound", Action::Forward(all_to(id)));
        route.retries = RetryPolicy::inbound();
        Listener {
            bind: Bind::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
            name: "inbound passthrough".to_owned(),
            direction: Direction::Inbound,
            port_rule: PortRule::Authority,
            unknown_host: UnknownHost::NotFound,
            hosts: all_hosts(route),
            transport: self.workload_transport(0),
            speaks: Speaks::Unknown,
            opaque: OpaqueRoutes::always(whole(id)),
            captured: None,
            admission: self.admission.clone(),
        }
    }
}

/// Everything to one destination.
fn all_to(destination: DestinationId) -> Split {
    let target = Target {
        host: PASSTHROUGH.into(),
        subset: None,
        port: None,
        weight: 1,
        destination: DestinationByPort::Fixed(destination),
        request_headers: HeaderEdit::default(),
        response_headers: HeaderEdit::default(),
    };
    Split::new(vec![target], None)
}

fn all_hosts(route: Route) -> HostTable {
    let mut hosts = HostTable::default();
    hosts.insert("*", &every_request(route));
    hosts
}

/// Connections as a whole to one destination.
fn whole(destination: DestinationId) -> Arc<OpaqueRoute> {
    Arc::new(OpaqueRoute {
        origin: None,
        position: 0,
        port: 0,
        split: all_to(destination),
        carriage: Carriage::ByPolicy,
    })
}
