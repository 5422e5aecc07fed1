//! Arguments of `meshproxy iptables`, by the names and defaults of Istio's init container.

mod list;
#[cfg(test)]
mod tests;
mod typed;

use clap::ValueEnum;
use config::ip_block::IpBlock;

pub use list::Interface;
pub(super) use typed::Typed;

/// Ports of the sidecar that are reached without it, so that the kubelet and Prometheus need no
/// certificate: merged metrics of Istio's agent, health, metrics. The admin server is none of them: it
/// listens on loopback, and whoever opens it wider wants the mesh's policies to hold.
pub const OWN_PORTS: [u16; 3] = [15_020, 15_021, 15_090];

/// What to do with the rules of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IptablesArgs {
    /// To install or to remove.
    pub action: Action,
    /// By which programs.
    pub backend: Backend,
    /// Whether it is only said what would be run.
    pub dry_run: bool,
}

/// To install or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Capture this, and nothing else that was captured before.
    Install(Box<Capture>),
    /// Capture nothing.
    Clean,
}

/// By which programs rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// iptables-legacy if it has rules here; otherwise the first of the others that is installed.
    Auto,
    /// A table of its own, by `nft`.
    Nft,
    /// Chains in the tables of iptables, kept as nftables.
    IptablesNft,
    /// Chains in the tables of iptables, kept as the kernel kept them before nftables.
    IptablesLegacy,
}

/// What is captured, and what is not. What is excluded always wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Where the proxy takes what the workload sends.
    pub outbound_port: u16,
    /// Where it takes what is sent to the workload.
    pub inbound_port: u16,
    /// Users that the proxy runs as; at least one.
    pub users: Vec<u32>,
    /// Groups that it runs as.
    pub groups: Vec<u32>,
    /// Where traffic goes that is captured.
    pub networks: Selection<IpBlock>,
    /// Where it goes that is not.
    pub networks_except: Vec<IpBlock>,
    /// Ports of other hosts that are captured wherever they are.
    pub outbound_ports: Vec<u16>,
    /// Ports of other hosts that are not.
    pub outbound_ports_except: Vec<u16>,
    /// Ports of the workload that are captured.
    pub inbound_ports: Selection<u16>,
    /// Ports of the workload that are not.
    pub inbound_ports_except: Vec<u16>,
    /// Groups whose programs are captured; everybody's if empty.
    pub callers: Vec<u32>,
    /// Groups whose programs are not.
    pub callers_except: Vec<u32>,
    /// Interfaces that virtual machines are behind: what comes from there is outbound.
    pub machines: Vec<Interface>,
    /// Interfaces where nothing is captured.
    pub interfaces_except: Vec<Interface>,
    /// Which questions of DNS go to the proxy.
    pub dns: Dns,
    /// Whether packets are dropped that belong to no connection.
    pub drop_invalid: bool,
}

/// All of them or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<T> {
    /// All, written `*`.
    All,
    /// These only, maybe none.
    Only(Vec<T>),
}

/// Which questions of DNS go to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dns {
    /// None.
    Untouched,
    /// Those for the servers of `/etc/resolv.conf`.
    Servers,
    /// All at port 53.
    All,
}

// === impl Capture ===

impl Capture {
    /// What was asked for and its opposite at once, if that is so.
    fn contradiction(&self) -> Option<String> {
        if self.outbound_port == self.inbound_port {
            return Some(format!(
                "--envoy-port and --inbound-capture-port: must differ, both are {}",
                self.inbound_port
            ));
        }
        if !self.callers.is_empty() && !self.callers_except.is_empty() {
            let flags = "--outbound-owner-groups and --outbound-owner-groups-exclude";
            return Some(format!("{flags}: name either some or all but some"));
        }
        let both = |flags: &str, what: String| Some(format!("{flags}: {what} is in both"));
        if let Selection::Only(ports) = &self.inbound_ports
            && let Some(port) = first_in_both(ports, &self.inbound_ports_except)
        {
            let flags = "--istio-inbound-ports and --istio-local-exclude-ports";
            return both(flags, port.to_string());
        }
        if let Some(port) = first_in_both(&self.outbound_ports, &self.outbound_ports_except) {
            let flags = "--istio-outbound-ports and --istio-local-outbound-ports-exclude";
            return both(flags, port.to_string());
        }
        if let Selection::Only(networks) = &self.networks
            && let Some(network) = networks.iter().find(|it| self.excludes(it))
        {
            let flags = "--istio-service-cidr and --istio-service-exclude-cidr";
            return both(flags, format!("{}/{}", network.first(), network.bits()));
        }
        let interface = first_in_both(&self.machines, &self.interfaces_except)?;
        let flags = "--kube-virt-interfaces and --istio-exclude-interfaces";
        both(flags, interface.to_string())
    }

    /// Whether the same network is excluded.
    fn excludes(&self, network: &IpBlock) -> bool {
        let same = |it: &IpBlock| (it.first(), it.bits()) == (network.first(), network.bits());
        self.networks_except.iter().any(same)
    }
}

fn first_in_both<'l, T: PartialEq>(left: &'l [T], right: &[T]) -> Option<&'l T> {
    left.iter().find(|it| right.contains(it))
}
