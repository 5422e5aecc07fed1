//! A simulated proxy: a connection of its own, the hosts that it uses, and when it was told of what.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use anyhow::{Context as _, Result};
use config::wire::{DEMANDS, ENDPOINTS, RESOURCES};
use control::proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use control::proto::discovery::{DeltaDiscoveryRequest, Node};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost_types::Struct;
use prost_types::value::Kind;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Something that a proxy was told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) client: usize,
    pub(crate) at: Instant,
    /// Names in one response.
    pub(crate) names: Vec<String>,
}

/// Who a proxy is and what it uses.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) namespace: String,
    pub(crate) hosts: Vec<String>,
}

/// A connection of HTTP/2 as tonic wants it.
struct Channel(SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

// === impl Client ===

impl Client {
    /// Follows the control plane until it ends, and tells what it was told.
    pub(crate) async fn follow(
        self,
        control: SocketAddr,
        told: mpsc::UnboundedSender<Told>,
    ) -> Result<()> {
        let socket = TcpStream::connect(control).await.context("connect")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let origin = format!("http://{control}").parse()?;
        let mut service = AggregatedDiscoveryServiceClient::with_origin(Channel(sender), origin)
            .max_decoding_message_size(64 * 1024 * 1024);
        let (requests, stream) = mpsc::channel(16);
        for request in self.first() {
            requests.send(request).await?;
        }
        let answer = service.delta_aggregated_resources(ReceiverStream::new(stream));
        let mut responses = answer.await?.into_inner();
        while let Some(response) = responses.message().await? {
            let at = Instant::now();
            let acknowledged = DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..DeltaDiscoveryRequest::default()
            };
            let names = response.resources.into_iter().map(|it| it.name).collect();
            requests.send(acknowledged).await?;
            let client = self.number;
            told.send(Told { client, at, names })?;
        }
        Ok(())
    }

    fn first(&self) -> [DeltaDiscoveryRequest; 3] {
        let text = |text: &str| prost_types::Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let fields = [
            ("NAMESPACE".to_owned(), text(&self.namespace)),
            (
                "LABELS".to_owned(),
                prost_types::Value {
                    kind: Some(Kind::StructValue(Struct {
                        fields: [("app".to_owned(), text("client"))].into(),
                    })),
                },
            ),
        ];
        let node = Node {
            id: format!("client-{}.{}", self.number, self.namespace),
            metadata: Some(Struct {
                fields: fields.into(),
            }),
            ..Node::default()
        };
        let request = |type_url: &str, subscribe: Vec<String>| DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: subscribe,
            initial_resource_versions: HashMap::new(),
            ..DeltaDiscoveryRequest::default()
        };
        let demands = self.hosts.iter().map(|host| format!("host:{host}"));
        let mut requests = [
            request(DEMANDS, demands.collect()),
            request(RESOURCES, vec!["*".to_owned()]),
            request(ENDPOINTS, vec!["*".to_owned()]),
        ];
        requests[0].node = Some(node);
        requests
    }
}
