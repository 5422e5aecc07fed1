//! Where connections go that are not HTTP.

use std::net::IpAddr;
use std::sync::Arc;

use config::Resource;
use config::ip_block::IpBlock;

use crate::table::host::HostTable;
use crate::table::split::Split;

/// The rules of a listener for connections that are not HTTP: the first that one meets counts.
#[derive(Debug, Default)]
pub struct OpaqueRoutes {
    /// In order.
    pub rules: Box<[OpaqueRule]>,
}

/// What a connection must be like, and where it goes then.
#[derive(Debug)]
pub struct OpaqueRule {
    /// Names of which it must ask for one in TLS; none if it need not be in TLS.
    pub names: Option<HostTable<()>>,
    /// Where it must have been going; anywhere if empty.
    pub destinations: Box<[IpBlock]>,
    /// From where it must come; from anywhere if empty.
    pub sources: Box<[IpBlock]>,
    /// Where it goes.
    pub route: Arc<OpaqueRoute>,
}

/// A connection as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionView<'c> {
    /// The name that it asked for in TLS that we do not end: empty if it named none, `None` if it is
    /// not in TLS.
    pub server_name: Option<&'c str>,
    /// The address that its caller reached, as far as it is known.
    pub destination: Option<IpAddr>,
    /// The address of its caller; none on a Unix socket.
    pub source: Option<IpAddr>,
}

/// Where connections go that meet a rule.
#[derive(Debug)]
pub struct OpaqueRoute {
    /// The `VirtualService` that it is from; none for a service without one.
    pub origin: Option<Arc<Resource>>,
    /// Position in its list of rules.
    pub position: u32,
    /// The port that is addressed.
    pub port: u16,
    /// Where connections go.
    pub split: Split,
    /// What is done with what passes.
    pub carriage: Carriage,
}

/// What is done with the bytes of a connection on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// The policy of the destination decides.
    ByPolicy,
    /// They stay as they are: they are TLS of the mesh already.
    Untouched,
}

// === impl OpaqueRoutes ===

impl OpaqueRoutes {
    /// One route for all connections.
    pub fn always(route: Arc<OpaqueRoute>) -> Self {
        let rule = OpaqueRule {
            names: None,
            destinations: Box::default(),
            sources: Box::default(),
            route,
        };
        Self {
            rules: [rule].into(),
        }
    }

    /// Where a connection goes; none if nothing says where.
    pub fn find(&self, connection: ConnectionView<'_>) -> Option<&Arc<OpaqueRoute>> {
        let mut rules = self.rules.iter();
        let found = rules.find(|rule| rule.takes(connection))?;
        Some(&found.route)
    }

    /// Where a connection goes whatever it will say; none if that depends on the name that it may ask
    /// for in TLS.
    pub fn before_it_speaks(&self, connection: ConnectionView<'_>) -> Option<&Arc<OpaqueRoute>> {
        let depends = self.rules.iter().any(|rule| rule.names.is_some());
        match depends {
            true => None,
            false => self.find(connection),
        }
    }
}

// === impl OpaqueRule ===

impl OpaqueRule {
    fn takes(&self, connection: ConnectionView<'_>) -> bool {
        let named = match (&self.names, connection.server_name) {
            (None, _) => true,
            (Some(names), Some(name)) => names.find(name).is_some(),
            (Some(_), None) => false,
        };
        let within = |blocks: &[IpBlock], addr: Option<IpAddr>| {
            blocks.is_empty()
                || addr.is_some_and(|addr| blocks.iter().any(|block| block.contains(addr)))
        };
        named
            && within(&self.destinations, connection.destination)
            && within(&self.sources, connection.source)
    }
}

#[cfg(test)]
mod tests;
