//! Flags of DNS for the workload.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;

use crate::dns_proxy::{PORT, Settings};

/// Where questions are answered if `--dns` says nothing else: where captured ones are led to.
const DEFAULT: &str = "127.0.0.1:15053,[::1]:15053";

#[derive(Debug, Args)]
#[command(next_help_heading = "DNS for the workload")]
pub(super) struct DnsArgs {
    /// Answer names of the mesh, and ask others for all else, at these addresses, by UDP and TCP
    /// [without value: 127.0.0.1:15053,[::1]:15053, where `meshproxy iptables --redirect-dns` leads].
    #[arg(
        long,
        value_name = "IP:PORT,...",
        env = "MESHPROXY_DNS",
        num_args = 0..=1,
        default_missing_value = DEFAULT
    )]
    dns: Option<Addresses>,
    /// Name servers for what the mesh does not know [default: those of /etc/resolv.conf].
    #[arg(
        long,
        value_name = "IP[:PORT],...",
        env = "MESHPROXY_DNS_UPSTREAM",
        value_delimiter = ',',
        value_parser = server,
        requires = "dns"
    )]
    dns_upstream: Vec<SocketAddr>,
}

/// Addresses with commas between them.
#[derive(Debug, Clone)]
struct Addresses(Vec<SocketAddr>);

// === impl DnsArgs ===

impl DnsArgs {
    pub(super) fn settings(self) -> Option<Settings> {
        Some(Settings {
            listen: self.dns?.0,
            upstream: self.dns_upstream,
        })
    }
}

// === impl Addresses ===

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| {
            let wrong = |_| format!("must be addresses such as {DEFAULT}, got \"{part}\"");
            part.trim().parse().map_err(wrong)
        };
        text.split(',')
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A name server, with or without a port.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    address.or_else(|_| {
        text.parse()
            .map_err(|_| "must be an address such as 10.96.0.10 or [fd00::10]:5353".to_owned())
    })
}
