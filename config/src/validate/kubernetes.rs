//! `Service` and `EndpointSlice`: only what would make them useless, since the API server has
//! checked the rest.

use crate::resource::kubernetes::{EndpointSlice, IntOrString, Service};
use crate::validate::findings::Findings;
use crate::validate::{field, host};

/// Checks the spec of a `Service`.
pub(crate) fn check_service(service: &Service, f: &mut Findings) {
    let spec = &service.spec;
    f.each("ports", &spec.ports, |f, port| {
        f.require_in("port", field::port(port.port));
        if let Some(IntOrString::Int(target)) = port.target_port {
            // Zero stands for "the same as port".
            if target != 0 {
                f.require_in("targetPort", field::port(target));
            }
        }
    });
    let single = spec
        .cluster_ip
        .iter()
        .map(|address| ("clusterIP".to_owned(), address));
    let several = spec.cluster_ips.iter().enumerate();
    let several = several.map(|(index, address)| (format!("clusterIPs[{index}]"), address));
    for (name, address) in single.chain(several) {
        if !address.is_empty() && address != "None" {
            f.require_in(&name, host::check_address(address));
        }
    }
    if spec.kind.as_deref() == Some("ExternalName") {
        let name = spec.external_name.as_deref().unwrap_or_default();
        if !host::is_address(name) {
            f.require_in("externalName", host::check_name(name));
        }
    }
}

/// Checks an `EndpointSlice`, which has no `spec`.
pub(crate) fn check_slice(slice: &EndpointSlice, f: &mut Findings) {
    let by_name = slice.address_type == "FQDN";
    f.each("endpoints", &slice.endpoints, |f, endpoint| {
        f.each("addresses", &endpoint.addresses, |f, address| {
            f.require(if by_name {
                host::check_name(address)
            } else {
                host::check_address(address)
            });
        });
    });
    f.each("ports", &slice.ports, |f, port| {
        if let Some(number) = port.port {
            f.require_in("port", field::port(number));
        }
    });
}

#[cfg(test)]
mod tests;
