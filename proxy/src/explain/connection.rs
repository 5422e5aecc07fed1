//! What would become of a captured connection that is not HTTP: `tcp://HOST:PORT`, or TLS that the
//! application begins, `tls://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use config::mesh::{Address, Service};

use super::decision::connection::{Connection, End, Rule, Target};
use crate::offline::View;
use crate::table::host::split_authority;
use crate::table::opaque::{ConnectionView, OpaqueRoute, Told};
use crate::table::{Direction, Listener, Speaks};
use crate::upstream::destination::Destination;

/// Rules that are told of a listener which has more.
const RULES_TOLD_MAX: usize = 20;

/// A connection that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whether it begins with TLS, in which it asks for the host.
    pub secure: bool,
    /// Name or address that the caller connects to.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A connection in a view.
struct Walk<'w> {
    view: &'w View,
    asked: &'w Asked,
    /// The address of the host, as far as it is known.
    address: Option<IpAddr>,
}

/// What would become of `asked` at the proxy of `view`, which takes captured connections.
pub(super) fn decide(view: &View, asked: &Asked) -> Option<Connection> {
    let walk = Walk {
        view,
        asked,
        address: address(view, &asked.host),
    };
    walk.decision()
}

/// The address that a name stands for: that of its service, where it has one.
fn address(view: &View, host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let (mesh, viewer) = (&view.mesh, &view.workload.viewer);
    let domain = &mesh.settings().domain;
    // As Kubernetes' DNS completes names.
    let completed = [
        mesh.resolve(host, &viewer.namespace),
        format!("{host}.svc.{domain}"),
        format!("{host}.{domain}"),
    ];
    let service = completed
        .iter()
        .find_map(|name| mesh.service(viewer, name))?;
    let own = mesh.addresses(service).find_map(|block| block.alone());
    own.or_else(|| endpoint(service))
}

/// An endpoint of a headless service, which is what DNS says of it.
fn endpoint(service: &Service) -> Option<IpAddr> {
    let mut endpoints = service.endpoints.iter().filter(|_| service.headless);
    endpoints.find_map(|endpoint| match endpoint.address {
        Address::Ip(ip) => Some(ip),
        Address::Name(_) | Address::Unix(_) => None,
    })
}

// === impl Asked ===

impl Asked {
    /// Whether a URL is that of a connection.
    pub(crate) fn is_meant(url: &str) -> bool {
        url.starts_with("tcp://") || url.starts_with("tls://")
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be such as \"tcp://mysql:3306\", got \"{text}\"");
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let secure = match scheme {
            "tcp" => false,
            "tls" => true,
            _ => return Err(wrong()),
        };
        match split_authority(authority) {
            (host, Some(port)) if !host.is_empty() && port != 0 && !host.contains('/') => {
                Ok(Self {
                    secure,
                    host: host.to_ascii_lowercase(),
                    port,
                })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "tls" } else { "tcp" };
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn decision(&self) -> Option<Connection> {
        let table = &self.view.snapshot.table;
        let mut listeners = table.listeners.iter();
        let taking =
            listeners.find(|it| it.direction == Direction::Outbound && it.captured.is_some())?;
        let ip = self.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let captured = taking.captured.as_ref()?;
        let listener = captured.find(SocketAddr::new(ip, self.asked.port));
        let route = self.route(listener);
        Some(Connection {
            connection: self.asked.to_string(),
            caller: self.view.workload.viewer.clone().into(),
            address: self.address.map(|ip| ip.to_string()),
            listener: listener.name.clone(),
            speaks: listener.speaks.as_str(),
            rules: self.rules(listener, route),
            end: self.end(listener, route),
        })
    }

    fn view(&self) -> ConnectionView<'_> {
        let is_name = self.asked.host.parse::<IpAddr>().is_err();
        let name = if is_name {
            self.asked.host.as_str()
        } else {
            ""
        };
        ConnectionView {
            server_name: self.asked.secure.then_some(name),
            destination: self.address,
            source: None,
        }
    }

    fn route<'l>(&self, listener: &'l Listener) -> Option<&'l Arc<OpaqueRoute>> {
        match listener.speaks {
            Speaks::Http => None,
            Speaks::Tls | Speaks::Opaque | Speaks::Unknown => listener.opaque.find(self.view()),
        }
    }

    /// The rule that takes it, and those that resources have for others.
    fn rules(&self, listener: &Listener, route: Option<&Arc<OpaqueRoute>>) -> Vec<Rule> {
        let is_taken = |told: &Told<'_>| route.is_some_and(|it| Arc::ptr_eq(it, told.route));
        let told = listener.opaque.iter();
        let told = told.filter(|it| it.route.origin.is_some() || is_taken(it));
        let describe = |told: Told<'_>| {
            let matched = is_taken(&told) && told.takes(self.view());
            let why = match matched {
                true => None,
                false => Some(match told.takes(self.view()) {
                    true => "a more specific or an earlier one takes it".to_owned(),
                    false => format!("wants {}", told.conditions().join(", ")),
                }),
            };
            Rule {
                name: name(&told),
                matched,
                why,
            }
        };
        let mut rules: Vec<Rule> = told.map(describe).collect();
        // What takes it is told whatever is left out.
        rules.sort_by_key(|rule| !rule.matched);
        rules.truncate(RULES_TOLD_MAX);
        rules
    }

    fn end(&self, listener: &Listener, route: Option<&Arc<OpaqueRoute>>) -> End {
        let Some(route) = route else {
            return End::Refused(match listener.speaks {
                Speaks::Http => "this address is declared to speak HTTP".to_owned(),
                Speaks::Tls | Speaks::Opaque | Speaks::Unknown => "no rule takes it".to_owned(),
            });
        };
        let targets = route.split.targets().iter().map(|target| {
            let id = target.destination.at(route.port);
            let found = id.and_then(|id| self.view.snapshot.destinations.get(id));
            Target {
                host: target.host.to_string(),
                subset: target.subset.as_deref().map(str::to_owned),
                percent: (route.split.share(target) * 10_000.0).round() / 100.0,
                destination: found.map(|it| it.key.to_string()),
                destination_rule: found.and_then(|it| it.rule.as_deref().map(str::to_owned)),
                balancing: found.map(|it| it.balancer.algorithm()),
                endpoints: found.map(|it| self.endpoints(it)).unwrap_or_default(),
                fails: fails(found),
            }
        });
        End::Forwarded(targets.collect())
    }

    /// Who may get it.
    fn endpoints(&self, destination: &Arc<Destination>) -> Vec<String> {
        let wanted = self.address.map(|ip| SocketAddr::new(ip, self.asked.port));
        let takes_any = destination.originals.as_ref().map(|it| it.takes_any());
        match (destination.reached(wanted), wanted) {
            (Some(reached), Some(_)) => {
                let members = reached.members().iter();
                members.map(|it| it.endpoint.addr.to_string()).collect()
            }
            (Some(_) | None, _) if takes_any == Some(true) => {
                vec!["the address that was asked for".to_owned()]
            }
            (Some(reached), None) => {
                let members = reached.members().iter();
                members.map(|it| it.endpoint.addr.to_string()).collect()
            }
            (None, _) => Vec::new(),
        }
    }
}

/// Why a connection to a destination fails for certain.
fn fails(destination: Option<&Arc<Destination>>) -> Option<String> {
    let Some(destination) = destination else {
        return Some("NC: there is no such host, port or subset".to_owned());
    };
    let is_empty = destination.members().is_empty() && destination.originals.is_none();
    is_empty.then(|| "UH: it has no endpoint that is known without DNS".to_owned())
}

/// Where a rule is written, or that it is the service's own.
fn name(told: &Told<'_>) -> String {
    match &told.route.origin {
        None => "by itself".to_owned(),
        Some(origin) => {
            let (list, at) = (told.list(), told.route.position);
            let source = format!("{}:{}", origin.source.file.display(), origin.source.line);
            format!("{origin} {list}[{at}] ({source})")
        }
    }
}

#[cfg(test)]
mod tests;
