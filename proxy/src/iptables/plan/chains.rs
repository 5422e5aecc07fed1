//! The rules of each chain.

use std::net::IpAddr;

use config::ip_block::IpBlock;

use crate::bootstrap::{Capture, Dns, OWN_PORTS, Selection};
use crate::iptables::plan::{ChainName, Family, Match, Rule, Transport, Verdict};

/// Where the proxy answers questions of DNS.
const DNS_PROXY_PORT: u16 = 15_053;
/// Where others do.
const DNS_PORT: u16 = 53;
/// Connection tracking of questions that the proxy asks, apart from those that it answers: a workload
/// and its proxy may ask the same server from the same port at the same time.
const ZONE_OF_PROXY: u16 = 1;
/// Connection tracking of questions that the workload asks.
const ZONE_OF_WORKLOAD: u16 = 2;

pub(super) fn leaving(capture: &Capture, questions: &[Vec<Match>]) -> Vec<Rule> {
    let left_alone = |matches: Vec<Match>| Rule::new(matches, Verdict::Return);
    let mut rules = Vec::new();
    for interface in &capture.interfaces_except {
        rules.push(left_alone(vec![Match::LeavesBy(interface.clone())]));
    }
    for port in &capture.outbound_ports_except {
        for transport in [Transport::Tcp, Transport::Udp] {
            rules.push(left_alone(vec![Match::ToPort(transport, *port)]));
        }
    }
    // The proxy calls its workload.
    for family in Family::ALL {
        let matches = vec![Match::StaysHere, Match::FromProxyToWorkload(family)];
        rules.push(left_alone(matches));
    }
    // The workload calls itself by its service: the proxy sends that to an own address. It must meet
    // the workload's policies, as if another had called.
    for proxy in proxies(capture) {
        for family in Family::ALL {
            let mut matches = vec![Match::StaysHere, Match::NotToLoopback(family)];
            matches.push(match capture.dns {
                Dns::Untouched => Match::Is(Transport::Tcp),
                Dns::Servers | Dns::All => Match::NotToPort(Transport::Tcp, DNS_PORT),
            });
            matches.push(proxy.clone());
            rules.push(Rule::new(matches, Verdict::Jump(ChainName::Inbound)));
        }
    }
    // What the proxy sends would come back to it for ever.
    rules.extend(proxies(capture).map(|proxy| left_alone(vec![proxy])));
    rules.extend(callers(capture).map(left_alone));
    for question in questions {
        let verdict = Verdict::Redirect(DNS_PROXY_PORT);
        rules.push(Rule::new(question.clone(), verdict));
    }
    // Who names addresses of loopback means them; nobody else's traffic there is anybody's business.
    rules.extend(loopback_networks(capture).map(|network| to_network(capture, network)));
    rules.push(left_alone(vec![Match::StaysHere]));
    for family in Family::ALL {
        rules.push(left_alone(vec![Match::ToLoopback(family)]));
    }
    rules.push(Rule::new([], Verdict::Jump(ChainName::Outbound)));
    rules
}

pub(super) fn arriving(capture: &Capture) -> Vec<Rule> {
    let mut rules = Vec::new();
    for interface in &capture.interfaces_except {
        let arrives = Match::ArrivesAt(interface.clone());
        rules.push(Rule::new([arrives], Verdict::Return));
    }
    for interface in &capture.machines {
        let arrives = Match::ArrivesAt(interface.clone());
        let outbound = Verdict::Jump(ChainName::Outbound);
        rules.push(Rule::new([arrives.clone()], outbound));
        rules.push(Rule::new([arrives], Verdict::Return));
    }
    rules.push(Rule::new([], Verdict::Jump(ChainName::Inbound)));
    rules
}

pub(super) fn outbound(capture: &Capture) -> Vec<Rule> {
    let mut rules = Vec::new();
    let redirect = Verdict::Redirect(capture.outbound_port);
    // Again, as what comes from virtual machines did not meet them yet.
    if !capture.machines.is_empty() {
        for port in &capture.outbound_ports_except {
            let matches = [Match::ToPort(Transport::Tcp, *port)];
            rules.push(Rule::new(matches, Verdict::Return));
        }
    }
    for network in &capture.networks_except {
        rules.push(Rule::new([Match::To(*network)], Verdict::Return));
    }
    for port in &capture.outbound_ports {
        let matches = [Match::ToPort(Transport::Tcp, *port)];
        rules.push(Rule::new(matches, redirect.clone()));
    }
    match &capture.networks {
        Selection::All => rules.push(Rule::new([Match::Is(Transport::Tcp)], redirect)),
        Selection::Only(networks) => {
            let elsewhere = networks.iter().filter(|it| !it.first().is_loopback());
            rules.extend(elsewhere.map(|network| to_network(capture, network)));
        }
    }
    match rules.iter().any(|it| it.verdict != Verdict::Return) {
        true => rules,
        // Nothing is captured: then nothing needs to be left alone.
        false => Vec::new(),
    }
}

pub(super) fn inbound(capture: &Capture) -> Vec<Rule> {
    let redirect = Verdict::Redirect(capture.inbound_port);
    let to = |port: &u16| Match::ToPort(Transport::Tcp, *port);
    let except = || OWN_PORTS.iter().chain(&capture.inbound_ports_except);
    match &capture.inbound_ports {
        Selection::All => except()
            .map(|port| Rule::new([to(port)], Verdict::Return))
            .chain([Rule::new([Match::Is(Transport::Tcp)], redirect.clone())])
            .collect(),
        Selection::Only(ports) => ports
            .iter()
            .filter(|port| !except().any(|it| it == *port))
            .map(|port| Rule::new([to(port)], redirect.clone()))
            .collect(),
    }
}

pub(super) fn invalid(capture: &Capture) -> Vec<Rule> {
    match capture.drop_invalid {
        true => vec![Rule::new([Match::Invalid], Verdict::Drop)],
        false => Vec::new(),
    }
}

pub(super) fn zones_leaving(capture: &Capture, questions: &[Vec<Match>]) -> Vec<Rule> {
    if capture.dns == Dns::Untouched {
        return Vec::new();
    }
    let mut rules = Vec::new();
    for proxy in proxies(capture) {
        let asks = [Match::ToPort(Transport::Udp, DNS_PORT), proxy.clone()];
        rules.push(Rule::new(asks, Verdict::Zone(ZONE_OF_PROXY)));
        let answers = [Match::FromPort(Transport::Udp, DNS_PROXY_PORT), proxy];
        rules.push(Rule::new(answers, Verdict::Zone(ZONE_OF_WORKLOAD)));
    }
    // The first zone that is set counts.
    let is_udp =
        |question: &&Vec<Match>| question.contains(&Match::ToPort(Transport::Udp, DNS_PORT));
    for question in questions.iter().filter(is_udp) {
        rules.push(Rule::new(question.clone(), Verdict::Zone(ZONE_OF_WORKLOAD)));
    }
    rules
}

pub(super) fn zones_arriving(dns: Dns, servers: &[IpAddr]) -> Vec<Rule> {
    let answer = Match::FromPort(Transport::Udp, DNS_PORT);
    let zone = Verdict::Zone(ZONE_OF_PROXY);
    match dns {
        Dns::Untouched => Vec::new(),
        Dns::Servers => servers
            .iter()
            .map(|addr| Rule::new([Match::From((*addr).into()), answer.clone()], zone.clone()))
            .collect(),
        Dns::All => vec![Rule::new([answer], zone)],
    }
}

/// What questions of DNS are like that the proxy answers.
pub(super) fn questions(dns: Dns, servers: &[IpAddr]) -> Vec<Vec<Match>> {
    let ports = [Transport::Tcp, Transport::Udp].map(|it| Match::ToPort(it, DNS_PORT));
    match dns {
        Dns::Untouched => Vec::new(),
        Dns::Servers => servers
            .iter()
            .flat_map(|addr| {
                let to = Match::To((*addr).into());
                ports.clone().map(|port| vec![to.clone(), port])
            })
            .collect(),
        Dns::All => ports.map(|port| vec![port]).into(),
    }
}

/// Who the proxy is: a program of one of these.
fn proxies(capture: &Capture) -> impl Iterator<Item = Match> {
    let users = capture.users.iter().map(|id| Match::User(*id));
    users.chain(capture.groups.iter().map(|id| Match::Group(*id)))
}

/// Whose traffic is not captured.
fn callers(capture: &Capture) -> impl Iterator<Item = Vec<Match>> {
    let none_of = capture.callers.iter().map(|id| Match::NotGroup(*id));
    let none_of = Some(none_of.collect::<Vec<_>>()).filter(|it| !it.is_empty());
    let one_of = capture.callers_except.iter();
    none_of
        .into_iter()
        .chain(one_of.map(|id| vec![Match::Group(*id)]))
}

fn loopback_networks(capture: &Capture) -> impl Iterator<Item = &IpBlock> {
    let networks = match &capture.networks {
        Selection::All => &[][..],
        Selection::Only(networks) => networks,
    };
    networks.iter().filter(|it| it.first().is_loopback())
}

fn to_network(capture: &Capture, network: &IpBlock) -> Rule {
    let matches = [Match::To(*network), Match::Is(Transport::Tcp)];
    Rule::new(matches, Verdict::Redirect(capture.outbound_port))
}
