//! `WorkloadEntry`, by itself and as an endpoint of a `ServiceEntry`.

use std::collections::BTreeMap;

use crate::resource::workload_entry::WorkloadEntry;
use crate::validate::findings::Findings;
use crate::validate::{field, host};

/// Checks a `WorkloadEntry` resource: whether it serves a service with names or addresses is not
/// known, so that it may have either.
pub(crate) fn check(entry: &WorkloadEntry, f: &mut Findings) {
    let has_network = field::written(entry.network.as_ref()).is_some();
    if entry.address.is_empty() {
        if has_network {
            f.warn_in(
                "address",
                "is not set; traffic goes to the gateway of its network",
            );
        } else {
            f.error_in("address", "is required without network");
        }
    } else if let Some(path) = entry.address.strip_prefix(field::UNIX) {
        check_unix(path, &entry.ports, f);
    } else if !host::is_address(&entry.address) {
        f.require_in("address", host::check_name(&entry.address));
    }
    check_ports(&entry.ports, f);
    field::labels("labels", &entry.labels, f);
}

/// Checks a Unix socket; it has no port.
pub(crate) fn check_unix(path: &str, ports: &BTreeMap<String, u32>, f: &mut Findings) {
    f.require_in("address", field::unix_path(path));
    if !ports.is_empty() {
        f.error_in("ports", "must not be set for a Unix socket");
    }
}

/// Checks names and numbers of ports.
pub(crate) fn check_ports(ports: &BTreeMap<String, u32>, f: &mut Findings) {
    f.field("ports", |f| {
        for (name, number) in ports {
            f.key(name, |f| {
                f.require(field::port_name(name));
                f.require(field::port(*number));
            });
        }
    });
}

#[cfg(test)]
mod tests;
