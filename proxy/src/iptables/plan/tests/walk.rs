//! The kernel's walk through the rules that change addresses.

use std::net::IpAddr;

use crate::bootstrap::Capture;
use crate::iptables::plan::{ChainName, Family, Hook, Match, Plan, Transport, Verdict};

use super::servers;

/// The first packet of a connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) arrives_at: Option<String>,
    pub(super) leaves_by: Option<String>,
    pub(super) source: IpAddr,
    pub(super) to: IpAddr,
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) user: u32,
    pub(super) group: u32,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Untouched,
    Redirected(u16),
}

// === impl Connection ===

impl Connection {
    /// A program of `user` calls.
    pub(super) fn sent(user: u32, to: IpAddr, port: u16) -> Self {
        Self {
            arrives_at: None,
            leaves_by: Some("eth0".to_owned()),
            source: "10.1.2.3".parse().expect("an address"),
            to,
            port,
            transport: Transport::Tcp,
            user,
            group: user,
        }
    }

    /// Another host calls.
    pub(super) fn arrives(interface: &str, to: IpAddr, port: u16) -> Self {
        Self {
            arrives_at: Some(interface.to_owned()),
            leaves_by: None,
            ..Self::sent(0, to, port)
        }
    }

    /// To this host itself.
    pub(super) fn here(self) -> Self {
        let leaves_by = Some("lo".to_owned());
        Self { leaves_by, ..self }
    }

    pub(super) fn is_here(&self) -> bool {
        self.leaves_by.as_deref() == Some("lo")
    }

    pub(super) fn udp(self) -> Self {
        let transport = Transport::Udp;
        Self { transport, ..self }
    }

    fn meets(&self, condition: &Match) -> bool {
        let family = match self.to {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let is = |interface: &Option<String>, name: &crate::bootstrap::Interface| {
            let (start, all) = name.parts();
            let interface = interface.as_deref();
            interface.is_some_and(|it| it == start || all && it.starts_with(start))
        };
        let own = family.proxy_to_workload().parse() == Ok(self.source);
        match condition {
            Match::ArrivesAt(name) => is(&self.arrives_at, name),
            Match::LeavesBy(name) => is(&self.leaves_by, name),
            Match::StaysHere => self.is_here(),
            Match::FromProxyToWorkload(of) => *of == family && own,
            Match::From(block) => block.contains(self.source),
            Match::To(block) => block.contains(self.to),
            Match::ToLoopback(of) => *of == family && self.to.is_loopback(),
            Match::NotToLoopback(of) => *of == family && !self.to.is_loopback(),
            Match::Is(transport) => self.transport == *transport,
            Match::ToPort(transport, port) => self.transport == *transport && self.port == *port,
            Match::NotToPort(transport, port) => self.transport == *transport && self.port != *port,
            Match::FromPort(..) | Match::Invalid => false,
            Match::User(id) => self.arrives_at.is_none() && self.user == *id,
            Match::Group(id) => self.arrives_at.is_none() && self.group == *id,
            Match::NotGroup(id) => self.arrives_at.is_none() && self.group != *id,
        }
    }
}

pub(super) fn fate(capture: &Capture, connection: &Connection) -> Fate {
    let plan = Plan::new(capture, &servers());
    let hook = match &connection.arrives_at {
        Some(_) => Hook::Prerouting,
        None => Hook::Output,
    };
    let entry = match hook {
        Hook::Prerouting => ChainName::Arriving,
        Hook::Output => ChainName::Leaving,
    };
    let port = walk(&plan, entry, connection);
    port.map_or(Fate::Untouched, Fate::Redirected)
}

fn walk(plan: &Plan, name: ChainName, connection: &Connection) -> Option<u16> {
    let chain = plan.chains.iter().find(|chain| chain.name == name)?;
    for rule in &chain.rules {
        if !rule.matches.iter().all(|it| connection.meets(it)) {
            continue;
        }
        match rule.verdict {
            Verdict::Return => return None,
            Verdict::Redirect(port) => return Some(port),
            Verdict::Jump(to) => {
                if let Some(port) = walk(plan, to, connection) {
                    return Some(port);
                }
            }
            Verdict::Drop | Verdict::Zone(_) => panic!("no rule of this table: {rule:?}"),
        }
    }
    None
}
