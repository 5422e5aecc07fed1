//! The scene of most scenarios: one proxy with one gateway.

use crate::client::{Http1, Http2};
use crate::port::Port;
use crate::proxy::Proxy;
use crate::wire::Wire;
use crate::yaml;

/// A proxy with the gateway `edge` for every host.
#[derive(Debug)]
pub struct Edge {
    /// Where the gateway listens.
    pub port: Port,
    /// The proxy.
    pub proxy: Proxy,
}

// === impl Edge ===

impl Edge {
    /// Starts a proxy with the gateway and `documents`.
    pub async fn start(documents: &[String]) -> Self {
        Self::start_with(documents, &[]).await
    }

    /// The same with more arguments.
    pub async fn start_with(documents: &[String], arguments: &[&str]) -> Self {
        let port = Port::reserve();
        let yaml = yaml::gateway(&port) + &documents.concat();
        let proxy = Proxy::start_with(&yaml, arguments).await;
        Self { port, proxy }
    }

    /// Changes everything but the gateway and waits until it is in use.
    pub async fn apply(&self, documents: &[String]) {
        let yaml = yaml::gateway(&self.port) + &documents.concat();
        self.proxy.apply(&yaml).await;
    }

    /// A new HTTP/1.1 connection.
    pub async fn http1(&self) -> Http1 {
        Http1::connect(self.port.addr()).await
    }

    /// A new connection for bytes.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.port.addr()).await
    }

    /// A new HTTP/2 connection.
    pub async fn http2(&self) -> Http2 {
        Http2::connect(self.port.addr()).await
    }
}
