//! Match blocks that no request of this proxy can meet, because they are for other callers or other
//! gateways. Matching never sees them; they are kept so that people can be told why not.

use std::fmt;
use std::sync::Arc;

use config::Resource;

/// A match block that is for others.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// Name of the rule, or `default`.
    pub name: Box<str>,
    /// The resource that holds the rule.
    pub origin: Option<Arc<Resource>>,
    /// Position of the rule in `http[]` of its `VirtualService` as it applies.
    pub position: u32,
    /// Position of the block in `match[]` of the rule.
    pub block: u32,
    /// Its number among all blocks of the host, in the count of `Rule::number`.
    pub number: u32,
    /// What it asks for and does not find here.
    pub wants: Wants,
}

/// What a match block asks of a proxy or of the workload beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants {
    /// One of these gateways, `mesh` being the proxies beside workloads.
    Gateways(Box<[String]>),
    /// This label with this value.
    Label(Box<str>, Box<str>),
    /// This namespace.
    Namespace(Box<str>),
}

// === impl Wants ===

impl fmt::Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateways(gateways) => write!(f, "gateway is {}", gateways.join(" or ")),
            Self::Label(name, value) => write!(f, "caller's label {name} is {value}"),
            Self::Namespace(namespace) => write!(f, "caller's namespace is {namespace}"),
        }
    }
}
