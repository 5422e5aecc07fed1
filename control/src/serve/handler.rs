//! What answers requests.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use tonic::body::Body;
use tower::Service;

/// A request as it comes from a connection.
pub type Request = http::Request<Incoming>;
/// An answer, of gRPC or of HTTP.
pub type Response = http::Response<Body>;

/// Answers requests.
#[derive(Clone)]
pub struct Handler(Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>);

// === impl Handler ===

impl Handler {
    /// A function that answers.
    pub fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }

    /// A service of gRPC, which is always ready.
    pub fn grpc<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self::new(move |request| {
            let answer = service.clone().call(request);
            async move {
                match answer.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        })
    }

    /// Answers one.
    pub async fn answer(&self, request: Request) -> Response {
        (self.0)(request).await
    }
}
