//! Where connections go that are not HTTP.

use std::sync::Arc;

use config::Resource;

use crate::table::split::Split;

/// A rule for connections.
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
