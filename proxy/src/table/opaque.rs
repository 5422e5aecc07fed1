//! Where connections go that are not HTTP.
//!
//! As Envoy does it, the address that a connection was going to counts first, the longest network
//! before shorter ones, then the name that it asks for in TLS, the most specific one before wildcards,
//! and then the order in which rules are written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use config::Resource;
use config::ip_block::IpBlock;
use config::mesh::covers;

use crate::table::host::{By, HostTable};
use crate::table::split::Split;

/// The rules of a listener for connections that are not HTTP.
#[derive(Debug, Default)]
pub struct OpaqueRoutes {
    /// By where a connection was going, the longest network first, what is for all addresses last.
    groups: Box<[Group]>,
}

/// The rules for connections that were going to some addresses.
#[derive(Debug)]
struct Group {
    /// These; any if none.
    within: Option<IpBlock>,
    /// Rules for connections that ask for a name in TLS.
    named: HostTable<Box<[Choice]>>,
    /// Rules for all.
    others: Box<[Choice]>,
}

/// Where a connection goes if it comes from the right place. The first that does counts.
#[derive(Debug, Clone)]
struct Choice {
    /// From where it must come; from anywhere if empty.
    sources: Box<[IpBlock]>,
    route: Arc<OpaqueRoute>,
}

/// What a connection must be like, and where it goes then.
#[derive(Debug, Clone)]
pub struct OpaqueRule {
    /// Names, `*.` wildcards or `*`, of which it must ask for one in TLS; it need not be in TLS if
    /// empty.
    pub names: Box<[Box<str>]>,
    /// Where it must have been going; anywhere if empty.
    pub destinations: Box<[IpBlock]>,
    /// From where it must come; from anywhere if empty.
    pub sources: Box<[IpBlock]>,
    /// Where it goes.
    pub route: Arc<OpaqueRoute>,
}

/// One condition on connections, for people.
#[derive(Debug, Clone)]
pub struct Told<'r> {
    /// Where they must have been going; anywhere if none.
    pub destination: Option<IpBlock>,
    /// What they must ask for in TLS; nothing if none.
    pub name: Option<String>,
    /// From where they must come; from anywhere if empty.
    pub sources: &'r [IpBlock],
    /// Where they go.
    pub route: &'r Arc<OpaqueRoute>,
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
    /// Position of the rule in `tls[]` or `tcp[]` of its `VirtualService`.
    pub position: u32,
    /// The port that the connection addresses.
    pub port: u16,
    /// Where it goes.
    pub split: Split,
    /// How its bytes are carried to the endpoint.
    pub carriage: Carriage,
}

/// How the bytes of a connection are carried to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// As the policy of the destination asks.
    ByPolicy,
    /// They stay as they are: they are TLS of the mesh already.
    Untouched,
}

// === impl OpaqueRoutes ===

impl OpaqueRoutes {
    /// Rules, of which an earlier one counts before a later one that is as specific.
    pub fn new(rules: &[OpaqueRule]) -> Self {
        let mut groups: Vec<Building> = Vec::new();
        for rule in rules {
            let destinations = rule.destinations.iter().copied().map(Some);
            let anywhere = rule.destinations.is_empty().then_some(None);
            for within in destinations.chain(anywhere) {
                let at = groups.iter().position(|it| it.within == within);
                let at = at.unwrap_or_else(|| {
                    groups.push(Building {
                        within,
                        ..Building::default()
                    });
                    groups.len() - 1
                });
                groups[at].add(rule);
            }
        }
        // Stable: networks of one length cannot both hold an address, or are the same.
        groups.sort_by_key(|it| std::cmp::Reverse(it.within.map(|block| block.bits())));
        Self {
            groups: groups.into_iter().map(Building::done).collect(),
        }
    }

    /// One route for all connections.
    pub fn always(route: Arc<OpaqueRoute>) -> Self {
        Self::new(&[OpaqueRule::always(route)])
    }

    /// Where a connection goes; none if nothing says where.
    pub fn find(&self, connection: ConnectionView<'_>) -> Option<&Arc<OpaqueRoute>> {
        let mut groups = self.reached(connection);
        groups.find_map(|group| group.find(connection))
    }

    /// Where a connection goes whatever it will say; none if that depends on the name that it may ask
    /// for in TLS.
    pub fn before_it_speaks(&self, connection: ConnectionView<'_>) -> Option<&Arc<OpaqueRoute>> {
        for group in self.reached(connection) {
            if !group.named.is_empty() {
                return None;
            }
            if let Some(found) = first(&group.others, connection.source) {
                return Some(found);
            }
        }
        None
    }

    /// Whether no connection goes anywhere.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether some rule asks for a name in TLS.
    pub fn ask_for_names(&self) -> bool {
        self.groups.iter().any(|group| !group.named.is_empty())
    }

    /// Whether some rule asks for this very name in TLS.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let mut met = self
            .groups
            .iter()
            .filter_map(|group| group.named.meet(name));
        met.any(|(_, by)| by == By::Name)
    }

    /// Whether some rule is for the addresses of a network.
    pub(crate) fn look_at_destinations(&self) -> bool {
        self.groups.iter().any(|group| group.within.is_some())
    }

    /// Every rule in the order in which they are tried, names of one network by the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = Told<'_>> {
        self.groups.iter().flat_map(Group::told)
    }

    fn reached(&self, connection: ConnectionView<'_>) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| {
            group
                .within
                .is_none_or(|block| contains(&[block], connection.destination))
        })
    }
}

// === impl OpaqueRule ===

impl OpaqueRule {
    /// Without conditions.
    pub fn always(route: Arc<OpaqueRoute>) -> Self {
        Self {
            names: Box::default(),
            destinations: Box::default(),
            sources: Box::default(),
            route,
        }
    }
}

// === impl Told ===

impl Told<'_> {
    /// What a connection must be like, in words; nothing if that does not matter.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let destination = self.destination.map(|it| format!("address is {it}"));
        let name = self.name.as_ref();
        let name = name.map(|name| format!("name in TLS is {name}"));
        let sources: Vec<String> = self.sources.iter().map(IpBlock::to_string).collect();
        let source = (!sources.is_empty()).then(|| format!("source is {}", sources.join(" or ")));
        [destination, name, source].into_iter().flatten().collect()
    }

    /// Whether a connection is like that.
    pub(crate) fn takes(&self, connection: ConnectionView<'_>) -> bool {
        let asked = connection.server_name.unwrap_or_default();
        let asked = asked.to_ascii_lowercase();
        let is_named = self.name.as_ref().is_none_or(|name| {
            connection.server_name.is_some() && (name == "*" || covers(name, &asked))
        });
        let is_there = self
            .destination
            .is_none_or(|block| contains(&[block], connection.destination));
        let is_from = self.sources.is_empty() || contains(self.sources, connection.source);
        is_named && is_there && is_from
    }

    /// The list of its resource that it stands in.
    pub(crate) fn list(&self) -> &'static str {
        match self.name {
            Some(_) => "tls",
            None => "tcp",
        }
    }
}

// === impl Group ===

impl Group {
    fn find(&self, connection: ConnectionView<'_>) -> Option<&Arc<OpaqueRoute>> {
        let named = connection.server_name.and_then(|it| self.named.find(it));
        named
            .and_then(|choices| first(choices, connection.source))
            .or_else(|| first(&self.others, connection.source))
    }

    fn told(&self) -> impl Iterator<Item = Told<'_>> {
        let mut named: Vec<_> = self.named.iter().collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        let named = named.into_iter().flat_map(move |(name, choices)| {
            let choices = choices.iter();
            choices.map(move |choice| self.tell(Some(name.clone()), choice))
        });
        named.chain(
            self.others
                .iter()
                .map(move |choice| self.tell(None, choice)),
        )
    }

    fn tell<'g>(&self, name: Option<String>, choice: &'g Choice) -> Told<'g> {
        Told {
            destination: self.within,
            name,
            sources: &choice.sources,
            route: &choice.route,
        }
    }
}

/// A group while rules are added to it.
#[derive(Default)]
struct Building {
    within: Option<IpBlock>,
    named: BTreeMap<String, Vec<Choice>>,
    others: Vec<Choice>,
}

// === impl Building ===

impl Building {
    fn add(&mut self, rule: &OpaqueRule) {
        let choice = Choice {
            sources: rule.sources.clone(),
            route: Arc::clone(&rule.route),
        };
        if rule.names.is_empty() {
            push(&mut self.others, choice);
            return;
        }
        for name in &rule.names {
            let choices = self.named.entry(name.to_ascii_lowercase()).or_default();
            push(choices, choice.clone());
        }
    }

    fn done(self) -> Group {
        let mut named = HostTable::default();
        for (name, choices) in self.named {
            named.insert(&name, &Arc::new(choices.into_boxed_slice()));
        }
        Group {
            within: self.within,
            named,
            others: self.others.into(),
        }
    }
}

/// Adds a choice, unless one before it takes everything.
fn push(choices: &mut Vec<Choice>, choice: Choice) {
    if choices.last().is_none_or(|last| !last.sources.is_empty()) {
        choices.push(choice);
    }
}

fn first(choices: &[Choice], source: Option<IpAddr>) -> Option<&Arc<OpaqueRoute>> {
    let mut choices = choices.iter();
    let found = choices.find(|it| it.sources.is_empty() || contains(&it.sources, source))?;
    Some(&found.route)
}

fn contains(blocks: &[IpBlock], addr: Option<IpAddr>) -> bool {
    addr.is_some_and(|addr| blocks.iter().any(|block| block.contains(addr)))
}

#[cfg(test)]
mod tests;
