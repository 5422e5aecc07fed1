//! The policy of a destination: what the connection settings of a `DestinationRule` come to.

use std::time::Duration;

use config::mesh::Protocol as Spoken;
use config::resource::destination_rule::{ConnectionPool, H2UpgradePolicy, HttpSettings};
use config::value::Duration as Written;

use crate::upstream::destination::{CONNECT_TIMEOUT, IDLE_TIMEOUT, Policy, Protocol};

/// The part of `pool` that has an effect on connections and requests to a port that speaks `spoken`;
/// `None` if the service does not have the port.
pub(super) fn compile(spoken: Option<Spoken>, pool: ConnectionPool) -> Policy {
    let (tcp, http) = (pool.tcp.unwrap_or_default(), pool.http.unwrap_or_default());
    let requests_max = http.max_requests_per_connection.unwrap_or(0);
    Policy {
        connect_timeout: span(tcp.connect_timeout).unwrap_or(CONNECT_TIMEOUT),
        idle_timeout: span(http.idle_timeout).unwrap_or(IDLE_TIMEOUT),
        requests_per_connection_max: u32::try_from(requests_max).unwrap_or(0),
        protocol: protocol(spoken, &http),
    }
}

/// A span that says something: zero is as good as unset.
fn span(written: Option<Written>) -> Option<Duration> {
    written.map(Written::get).filter(|span| !span.is_zero())
}

/// What a port is said to speak comes first: it cannot do with less.
fn protocol(spoken: Option<Spoken>, http: &HttpSettings) -> Protocol {
    let upgrade = http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade);
    match spoken {
        Some(Spoken::Http2 | Spoken::Grpc) => Protocol::Http2,
        _ if upgrade => Protocol::Http2,
        _ if http.use_client_protocol == Some(true) => Protocol::AsDownstream,
        Some(Spoken::Auto) => Protocol::AsDownstream,
        _ => Protocol::Http1,
    }
}
