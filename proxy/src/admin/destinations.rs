//! `/destinations`: where routes lead.

use serde_json::{Value, json};

use crate::upstream::destination::{Destination, Destinations, Policy, Protocol};
use crate::upstream::endpoint::Member;

/// All destinations in use, by key.
pub(super) fn destinations(destinations: &Destinations) -> Vec<Value> {
    let mut sorted: Vec<_> = destinations.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted
        .into_iter()
        .map(|destination| describe(destination))
        .collect()
}

fn describe(destination: &Destination) -> Value {
    let key = &destination.key;
    json!({
        "key": key.to_string(),
        "host": &*key.host,
        "port": key.port,
        "subset": (!key.subset.is_empty()).then_some(&*key.subset),
        "direction": if key.inbound { "inbound" } else { "outbound" },
        "algorithm": destination.balancer.algorithm(),
        "policy": policy(&destination.policy),
        "endpoints": destination.members().iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn policy(policy: &Policy) -> Value {
    let requests_max = policy.requests_per_connection_max;
    json!({
        "connectTimeout": format!("{:?}", policy.connect_timeout),
        "idleTimeout": format!("{:?}", policy.idle_timeout),
        "requestsPerConnectionMax": (requests_max > 0).then_some(requests_max),
        "protocol": match policy.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::AsDownstream => "as downstream",
        },
    })
}

fn endpoint(member: &Member) -> Value {
    let endpoint = &member.endpoint;
    json!({
        "address": endpoint.addr.to_string(),
        "weight": member.weight,
        "active": endpoint.active(),
        "requests": endpoint.requests(),
        "failures": endpoint.failures(),
    })
}
