//! Hosts as network namespaces, joined by a switch.
//!
//! Each network has names and namespaces of its own, so that networks of several tests exist side by
//! side; every port of a host is free. Nothing is made in the namespace that the tests run in. What a
//! test leaves behind goes with its network, also if it panics; what a test leaves that was killed goes
//! with the next that begins.
//!
//! This needs root: who is not gets a failure, and no test that has shown nothing.

pub mod cable;
pub mod host;
pub mod sidecar;
mod system;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

pub use cable::Cable;
pub use host::Host;
pub use sidecar::Sidecar;

use system::{ip, namespaces, remove, run};

/// Begins the name of every namespace of the tests, before the process id.
const PREFIX: &str = "meshtest-";
/// The switch that joins hosts, in the namespace of its network.
const BRIDGE: &str = "switch";

/// Families of addresses that the hosts of a network have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only: of IPv6 hosts have what the kernel gives everybody.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
}

/// Hosts that reach each other; removed when dropped.
#[derive(Debug)]
pub struct Network {
    /// Begins the names of its namespaces.
    name: String,
    families: Families,
    /// Hosts so far.
    hosts: AtomicU32,
}

// === impl Families ===

impl Families {
    fn has_v4(self) -> bool {
        self != Self::V6
    }

    fn has_v6(self) -> bool {
        self != Self::V4
    }

    /// The addresses with a number in two networks.
    fn addrs(self, v4: [u8; 2], v6: u16, number: u8) -> Vec<IpAddr> {
        let v4 = Ipv4Addr::new(10, v4[0], v4[1], number);
        let v6 = Ipv6Addr::new(0xfd77, v6, 0, 0, 0, 0, 0, number.into());
        let mut addrs = Vec::new();
        addrs.extend(self.has_v4().then_some(IpAddr::V4(v4)));
        addrs.extend(self.has_v6().then_some(IpAddr::V6(v6)));
        addrs
    }

    /// Addresses that no host has, as those of services are.
    pub fn service_addrs(self, number: u8) -> Vec<IpAddr> {
        self.addrs([96, 0], 0x96, number)
    }
}

// === impl Network ===

impl Network {
    /// One without hosts yet.
    ///
    /// # Panics
    ///
    /// Without root, or if the kernel has no namespaces.
    pub fn new(families: Families) -> Self {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        assert!(
            rustix::process::geteuid().is_root(),
            "scenarios in network namespaces need root; README says how to leave them out"
        );
        remove_leftovers();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            name: format!("{PREFIX}{}-{number}", std::process::id()),
            families,
            hosts: AtomicU32::new(0),
        };
        let switch = network.switch();
        run("ip", &["netns", "add", &switch]);
        ip(&switch, "link set lo up");
        ip(
            &switch,
            &format!("link add {BRIDGE} type bridge mcast_snooping 0"),
        );
        ip(&switch, &format!("link set {BRIDGE} up"));
        network
    }

    /// A new host.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn host(&self, name: &str) -> Host {
        let (host, port) = self.plug(name);
        ip(&self.switch(), &format!("link set {port} master {BRIDGE}"));
        host
    }

    /// A new host that is far away: the cable to it delays packets and loses them as it is told.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn distant_host(&self, name: &str) -> (Host, Cable) {
        let (host, port) = self.plug(name);
        let cable = Cable::between(&self.switch(), &port, &host);
        let inner = cable.inner_port();
        ip(&self.switch(), &format!("link set {inner} master {BRIDGE}"));
        (host, cable)
    }

    /// A host, and the end of its cable at the switch.
    fn plug(&self, name: &str) -> (Host, String) {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let number = u8::try_from(number).expect("few hosts");
        let namespace = format!("{}-{name}", self.name);
        let port = format!("port{number}");
        run("ip", &["netns", "add", &namespace]);
        let addrs = self.families.addrs([77, 0], 0x77, number);
        let host = Host::new(name, &namespace, addrs);
        ip(
            &self.switch(),
            &format!("link add {port} type veth peer name eth0 netns {namespace}"),
        );
        ip(&self.switch(), &format!("link set {port} up"));
        self.configure(&host);
        (host, port)
    }

    fn configure(&self, host: &Host) {
        let namespace = host.namespace();
        ip(namespace, "link set lo up");
        ip(namespace, "link set eth0 up");
        for addr in host.addrs() {
            match addr {
                IpAddr::V4(addr) => {
                    ip(namespace, &format!("addr add {addr}/24 dev eth0"));
                    // Leads nowhere, but who calls the address of a service must not be told so.
                    ip(namespace, "route add default dev eth0");
                }
                IpAddr::V6(addr) => {
                    ip(namespace, &format!("-6 addr add {addr}/64 dev eth0 nodad"));
                    ip(namespace, "-6 route add default dev eth0");
                }
            }
        }
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let ours = format!("{}-", self.name);
        let all = namespaces().into_iter();
        all.filter(|name| name.starts_with(&ours))
            .for_each(|name| remove(&name));
    }
}

/// Removes namespaces of tests that do not run any more.
fn remove_leftovers() {
    for name in namespaces() {
        let rest = name.strip_prefix(PREFIX);
        let pid = rest.and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}
