//! `ServiceEntry`: hosts, addresses, ports, and endpoints as its resolution allows.

use std::collections::BTreeSet;

use crate::resource::Metadata;
use crate::resource::service_entry::{Location, Resolution, ServiceEntry, refuses_address};
use crate::resource::workload_entry::WorkloadEntry;
use crate::validate::field::{self, Export, Protocol};
use crate::validate::findings::Findings;
use crate::validate::{host, workload_entry};

/// Most hosts, addresses and ports.
const LIST_MAX: usize = 256;

/// Most endpoints.
const ENDPOINTS_MAX: usize = 4_096;

/// Checks a `ServiceEntry`.
pub(crate) fn check(entry: &ServiceEntry, meta: &Metadata, f: &mut Findings) {
    let resolution = entry.resolution.unwrap_or(Resolution::None);
    for (name, length, max) in [
        ("hosts", entry.hosts.len(), LIST_MAX),
        ("addresses", entry.addresses.len(), LIST_MAX),
        ("ports", entry.ports.len(), LIST_MAX),
        ("endpoints", entry.endpoints.len(), ENDPOINTS_MAX),
    ] {
        if length > max {
            f.error_in(
                name,
                format!("must have at most {max} entries, got {length}"),
            );
        }
    }
    check_hosts(entry, resolution, f);
    check_addresses(entry, resolution, f);
    check_ports(entry, resolution, meta, f);
    check_endpoints(entry, resolution, f);
    check_selector(entry, resolution, f);
    if resolution == Resolution::DynamicDns
        && entry.location == Some(Location::MeshInternal)
        && meta.labels.contains_key("istio.io/use-waypoint")
    {
        f.error_in(
            "location",
            "must not be MESH_INTERNAL with DYNAMIC_DNS behind a waypoint",
        );
    }
    field::export_to(&entry.export_to, meta, Export::UsualOrNone, f);
}

fn check_hosts(entry: &ServiceEntry, resolution: Resolution, f: &mut Findings) {
    if entry.hosts.is_empty() {
        f.error_in("hosts", "must have at least one host");
    }
    let resolves_hosts = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
        && entry.endpoints.is_empty();
    f.each("hosts", &entry.hosts, |f, name| {
        if name == "*" {
            f.error("must be a host name or a wildcard such as \"*.example.com\", got \"*\"");
        } else if !f.require(host::check_pattern(name)) {
        } else if resolves_hosts && host::check_name(name).is_err() {
            f.error(format!(
                "must be a DNS name without wildcard when DNS has no endpoints to resolve, got \
                 \"{name}\""
            ));
        } else if resolution == Resolution::DynamicDns && !name.starts_with('*') {
            f.error(format!(
                "must be a wildcard for DYNAMIC_DNS, got \"{name}\""
            ));
        } else if host::is_partial_wildcard(name) {
            f.warn(format!(
                "should have a wildcard only as the whole first label, got \"{name}\""
            ));
        }
    });
}

fn check_addresses(entry: &ServiceEntry, resolution: Resolution, f: &mut Findings) {
    if resolution == Resolution::DynamicDns && !entry.addresses.is_empty() {
        f.error_in("addresses", "must not be set with DYNAMIC_DNS");
    }
    let ranges = matches!(resolution, Resolution::None | Resolution::Static);
    f.each("addresses", &entry.addresses, |f, address| {
        let valid = f.require(host::check_subnet(address));
        if valid && address.contains('/') && !ranges {
            f.error(format!(
                "must not be a range unless resolution is NONE or STATIC, got \"{address}\""
            ));
        }
    });
}

fn check_ports(entry: &ServiceEntry, resolution: Resolution, meta: &Metadata, f: &mut Findings) {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let needs_address = entry.addresses.is_empty() && !gets_address(entry, resolution, meta);
    f.each("ports", &entry.ports, |f, port| {
        f.require_in("number", field::port(port.number));
        f.require_in("name", field::port_name(&port.name));
        if !names.insert(&port.name) {
            f.error_in(
                "name",
                format!("must be unique, got \"{}\" again", port.name),
            );
        }
        if !numbers.insert(port.number) {
            f.error_in(
                "number",
                format!("must be unique, got {} again", port.number),
            );
        }
        f.require_in("protocol", field::optional_protocol(&port.protocol));
        if let Some(target) = port.target_port.filter(|target| *target != 0) {
            f.require_in("targetPort", field::port(target));
        }
        if needs_address && matches!(port.protocol.as_str(), "" | "TCP") {
            f.warn_in(
                "protocol",
                "needs spec.addresses to tell connections of TCP apart",
            );
        }
        check_port_protocol(&port.protocol, entry, resolution, f);
    });
}

/// Whether the entry is given a virtual address where it has none.
fn gets_address(entry: &ServiceEntry, resolution: Resolution, meta: &Metadata) -> bool {
    resolution != Resolution::None
        && !refuses_address(meta)
        && !entry.hosts.iter().any(|host| host.starts_with('*'))
}

fn check_port_protocol(name: &str, entry: &ServiceEntry, resolution: Resolution, f: &mut Findings) {
    let protocol = field::protocol(name);
    let has_host = matches!(protocol, Some(Protocol::Http | Protocol::Tls));
    if resolution == Resolution::DynamicDns && !has_host {
        f.error_in(
            "protocol",
            format!("must be HTTP, HTTP2, GRPC or TLS with DYNAMIC_DNS, got \"{name}\""),
        );
    } else if resolution != Resolution::None && entry.hosts.len() > 1 && !has_host {
        f.error_in(
            "protocol",
            format!("must be HTTP or TLS to tell several hosts apart, got \"{name}\""),
        );
    }
    let resolves = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let is_tcp = matches!(protocol, Some(Protocol::Tls));
    if resolves && is_tcp && !entry.addresses.is_empty() && entry.hosts.len() > 1 {
        f.warn_in(
            "protocol",
            "should not stand with addresses and several hosts",
        );
    }
}

fn check_endpoints(entry: &ServiceEntry, resolution: Resolution, f: &mut Findings) {
    let count = entry.endpoints.len();
    match resolution {
        Resolution::None if count > 0 => {
            f.error_in("endpoints", "must not be set with resolution NONE");
        }
        Resolution::DynamicDns if count > 0 => {
            f.error_in("endpoints", "must not be set with resolution DYNAMIC_DNS");
        }
        Resolution::DnsRoundRobin if count > 1 => {
            f.error_in(
                "endpoints",
                format!("must have at most 1 entry with DNS_ROUND_ROBIN, got {count}"),
            );
        }
        Resolution::None
        | Resolution::DynamicDns
        | Resolution::DnsRoundRobin
        | Resolution::Static
        | Resolution::Dns => {}
    }
    f.each("endpoints", &entry.endpoints, |f, endpoint| {
        match resolution {
            Resolution::Static => check_static(endpoint, entry.ports.len(), f),
            Resolution::Dns | Resolution::DnsRoundRobin => {
                if !host::is_address(&endpoint.address) {
                    f.require_in("address", host::check_name(&endpoint.address));
                }
            }
            Resolution::None | Resolution::DynamicDns => return,
        }
        field::labels("labels", &endpoint.labels, f);
        workload_entry::check_ports(&endpoint.ports, f);
        for name in endpoint.ports.keys() {
            if !entry.ports.iter().any(|port| port.name == *name) {
                let message = format!("must be the name of one of spec.ports, got \"{name}\"");
                f.field("ports", |f| f.key(name, |f| f.error(message)));
            }
        }
    });
}

fn check_static(endpoint: &WorkloadEntry, service_ports: usize, f: &mut Findings) {
    let address = &endpoint.address;
    if let Some(path) = address.strip_prefix(field::UNIX) {
        workload_entry::check_unix(path, &endpoint.ports, f);
        if service_ports != 1 {
            f.error_in(
                "address",
                format!("must stand with exactly 1 port in spec.ports, got {service_ports}"),
            );
        }
    } else if address.is_empty() && field::written(endpoint.network.as_ref()).is_some() {
        f.warn_in(
            "address",
            "is not set; traffic goes to the gateway of its network",
        );
    } else {
        f.require_in("address", host::check_address(address));
    }
}

fn check_selector(entry: &ServiceEntry, resolution: Resolution, f: &mut Findings) {
    field::workload_selector(entry.workload_selector.as_ref(), f);
    if entry.workload_selector.is_none() {
        return;
    }
    if !entry.endpoints.is_empty() {
        f.error_in(
            "workloadSelector",
            "must not be set together with endpoints",
        );
    }
    if matches!(resolution, Resolution::None | Resolution::DynamicDns) {
        f.warn_in(
            "workloadSelector",
            "has no effect unless resolution is STATIC or DNS",
        );
    }
}

#[cfg(test)]
mod tests;
