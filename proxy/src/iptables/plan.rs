//! What is captured, as rules: a pure function of what was asked for.
//!
//! A connection that leaves meets `Leaving`, one that arrives `Arriving`. Both end in the chains that
//! decide by address and port, `Outbound` and `Inbound`, which other ways lead to as well: traffic of
//! virtual machines is outbound wherever it arrives, and what the proxy sends to its own workload is
//! inbound although it never leaves.

mod chains;

use std::net::IpAddr;

use config::ip_block::IpBlock;

use crate::bootstrap::{Capture, Interface};
use chains::{
    arriving, inbound, invalid, leaving, outbound, questions, zones_arriving, zones_leaving,
};

/// All rules, by chain; chains that would be empty are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) chains: Vec<Chain>,
}

/// Rules that are passed in order until one decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: ChainName,
    pub(super) rules: Vec<Rule>,
}

/// The chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChainName {
    /// Which connection tracking is asked about questions that leave.
    ZonesLeaving,
    /// The same for answers that arrive.
    ZonesArriving,
    /// What belongs to no connection.
    Invalid,
    /// Which addresses and ports of others are captured.
    Outbound,
    /// Which ports of the workload are captured.
    Inbound,
    /// Whether what arrives is for the workload at all.
    Arriving,
    /// Whether what leaves is from the workload at all.
    Leaving,
}

/// What the kernel does at one stage of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Before connections are known.
    Raw,
    /// Before addresses are changed.
    Mangle,
    /// Where addresses are changed.
    Nat,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// When they come from another host.
    Prerouting,
    /// When a program of this host sends them.
    Output,
}

/// What is done with a packet that meets all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// Arrives at this interface.
    ArrivesAt(Interface),
    /// Leaves by this interface.
    LeavesBy(Interface),
    /// Leaves by the loopback interface: it is for this host.
    StaysHere,
    /// Comes from the address by which the proxy calls its workload.
    FromProxyToWorkload(Family),
    /// Comes from an address.
    From(IpBlock),
    /// Goes to an address.
    To(IpBlock),
    /// Goes to an address of loopback.
    ToLoopback(Family),
    /// Goes to another address than those of loopback.
    NotToLoopback(Family),
    /// Is of this protocol.
    Is(Transport),
    /// Goes to this port.
    ToPort(Transport, u16),
    /// Goes to another port.
    NotToPort(Transport, u16),
    /// Comes from this port.
    FromPort(Transport, u16),
    /// A program of this user sent it.
    User(u32),
    /// A program of this group sent it.
    Group(u32),
    /// A program of another group sent it.
    NotGroup(u32),
    /// Belongs to no connection.
    Invalid,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What carries ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing more in this chain.
    Return,
    /// It goes on in another chain, and comes back if that decides nothing.
    Jump(ChainName),
    /// It goes to a port of this host.
    Redirect(u16),
    /// It goes nowhere.
    Drop,
    /// Its connection is looked up among those of a zone.
    Zone(u16),
}

// === impl Plan ===

impl Plan {
    /// The rules for `capture`, with the name servers of this host.
    pub(super) fn new(capture: &Capture, servers: &[IpAddr]) -> Self {
        let questions = questions(capture.dns, servers);
        let chain = |name, rules| Chain { name, rules };
        let all = [
            chain(ChainName::ZonesLeaving, zones_leaving(capture, &questions)),
            chain(
                ChainName::ZonesArriving,
                zones_arriving(capture.dns, servers),
            ),
            chain(ChainName::Invalid, invalid(capture)),
            chain(ChainName::Outbound, outbound(capture)),
            chain(ChainName::Inbound, inbound(capture)),
            chain(ChainName::Arriving, arriving(capture)),
            chain(ChainName::Leaving, leaving(capture, &questions)),
        ];
        let chains: Vec<Chain> = all.into_iter().filter(|it| !it.rules.is_empty()).collect();
        let mut plan = Self { chains };
        plan.drop_jumps_to_nothing();
        plan
    }

    /// Takes out what leads to a chain that was left out, and chains that are empty then.
    fn drop_jumps_to_nothing(&mut self) {
        let there: Vec<ChainName> = self.chains.iter().map(|chain| chain.name).collect();
        for chain in &mut self.chains {
            chain.rules.retain(|rule| match rule.verdict {
                Verdict::Jump(to) => there.contains(&to),
                Verdict::Return | Verdict::Redirect(_) | Verdict::Drop | Verdict::Zone(_) => true,
            });
        }
        self.chains.retain(|chain| !chain.rules.is_empty());
    }
}

// === impl ChainName ===

impl ChainName {
    /// Every chain.
    pub(super) const ALL: [Self; 7] = [
        Self::ZonesLeaving,
        Self::ZonesArriving,
        Self::Invalid,
        Self::Outbound,
        Self::Inbound,
        Self::Arriving,
        Self::Leaving,
    ];

    /// Its table.
    pub(super) fn table(self) -> Table {
        match self {
            Self::ZonesLeaving | Self::ZonesArriving => Table::Raw,
            Self::Invalid => Table::Mangle,
            Self::Outbound | Self::Inbound | Self::Arriving | Self::Leaving => Table::Nat,
        }
    }

    /// Where packets enter it; none if only other chains lead to it.
    pub(super) fn hook(self) -> Option<Hook> {
        match self {
            Self::ZonesLeaving | Self::Leaving => Some(Hook::Output),
            Self::ZonesArriving | Self::Invalid | Self::Arriving => Some(Hook::Prerouting),
            Self::Outbound | Self::Inbound => None,
        }
    }
}

// === impl Rule ===

impl Rule {
    fn new(matches: impl IntoIterator<Item = Match>, verdict: Verdict) -> Self {
        Self {
            matches: matches.into_iter().collect(),
            verdict,
        }
    }

    /// The family of addresses that it is about; none if it is about both.
    pub(super) fn family(&self) -> Option<Family> {
        self.matches.iter().find_map(Match::family)
    }
}

// === impl Match ===

impl Match {
    fn family(&self) -> Option<Family> {
        match self {
            Self::FromProxyToWorkload(family)
            | Self::ToLoopback(family)
            | Self::NotToLoopback(family) => Some(*family),
            Self::From(block) | Self::To(block) => Some(Family::of(block)),
            Self::ArrivesAt(_)
            | Self::LeavesBy(_)
            | Self::StaysHere
            | Self::Is(_)
            | Self::ToPort(..)
            | Self::NotToPort(..)
            | Self::FromPort(..)
            | Self::User(_)
            | Self::Group(_)
            | Self::NotGroup(_)
            | Self::Invalid => None,
        }
    }
}

// === impl Family ===

impl Family {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of a network.
    pub(super) fn of(block: &IpBlock) -> Self {
        match block.first() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The address by which the proxy calls its workload. Rules tell by it that a connection was
    /// captured already.
    pub(super) fn proxy_to_workload(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.6",
            Self::V6 => "::6",
        }
    }

    /// Its addresses of loopback.
    pub(super) fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1/128",
        }
    }
}

/// A network in the form that every program reads.
pub(super) fn network(block: &IpBlock) -> String {
    format!("{}/{}", block.first(), block.bits())
}

#[cfg(test)]
pub(super) mod tests;
