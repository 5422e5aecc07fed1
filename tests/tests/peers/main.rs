//! Programs that others wrote, as judges of the proxy: what they say counts more than what our own
//! clients and servers would. `tests/install-peers` and `tests/run` install them; one that is missing
//! is a failure which names it.

mod authorizer;
mod dns;
mod envoy;
mod grpc;
mod h2spec;
mod judges;
mod mtls;
mod process;
mod rate_limit;
mod slow;
mod tls;
mod tokens;
mod tools;
mod upstream_tls;
mod websocket;
