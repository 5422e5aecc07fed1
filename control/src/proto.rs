//! Messages and services of the wire.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// The incremental transport of xDS.
pub mod discovery {
    tonic::include_proto!("envoy.service.discovery.v3");
}

/// What is carried over it.
pub mod wire {
    tonic::include_proto!("meshproxy.v1");
}

/// Signing of certificates.
pub mod ca {
    tonic::include_proto!("istio.v1.auth");
}
