//! What the control plane knows, over HTTP: `GET /` is a page for people, `/api/proxies` and
//! `/api/resources` are the same for programs, such as `meshcontrol status`.
//!
//! Nothing can be changed here, and no secret is shown; but names and mistakes of the whole mesh are.
//! Whoever reaches the address may read them, so web pages of others are refused.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use system::origin;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::status::known::Known;

const PAGE: &str = include_str!("dashboard/index.html");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");
const STYLE: &str = include_str!("dashboard/dashboard.css");

/// Answers that are made at a time: each may walk over the whole mesh.
const ANSWERS_MAX: usize = 2;
/// The page loads its own parts and nothing else, and nobody may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What answers.
#[derive(Debug, Clone)]
pub struct Dashboard {
    known: Arc<Known>,
    places: Arc<Semaphore>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Proxies,
    Resources,
    /// Only those that somebody should look at.
    Troubled,
}

// === impl Dashboard ===

impl Dashboard {
    /// Shows what is known.
    pub fn new(known: Arc<Known>) -> Self {
        Self {
            known,
            places: Arc::new(Semaphore::new(ANSWERS_MAX)),
        }
    }

    /// The answer to a request, whose body does not matter.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Some(reason) = origin::refusal(request.uri(), request.headers()) {
            return plain(StatusCode::FORBIDDEN, reason);
        }
        let path = request.uri().path();
        let page = match path {
            "/" => Some(("text/html; charset=utf-8", PAGE)),
            "/dashboard.js" => Some(("text/javascript; charset=utf-8", SCRIPT)),
            "/dashboard.css" => Some(("text/css; charset=utf-8", STYLE)),
            "/api/proxies" | "/api/resources" => None,
            _ => return plain(StatusCode::NOT_FOUND, "there is nothing here; try /"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        if let Some((kind, text)) = page {
            return response(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()));
        }
        self.told(match (path, request.uri().query()) {
            ("/api/proxies", _) => Wanted::Proxies,
            (_, Some("trouble")) => Wanted::Troubled,
            (_, Some(_) | None) => Wanted::Resources,
        })
        .await
    }

    async fn told(&self, wanted: Wanted) -> Response<Full<Bytes>> {
        // It is never closed.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping");
        };
        let known = Arc::clone(&self.known);
        let made = spawn_blocking(move || {
            let _place = place;
            match wanted {
                Wanted::Proxies => json(&known.proxies()),
                Wanted::Resources => json(&known.resources()),
                Wanted::Troubled => json(&known.troubled()),
            }
        });
        match made.await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, "what is known could not be told");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "see the log")
            }
        }
    }
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(text) => response(StatusCode::OK, JSON, text.into()),
        Err(error) => {
            tracing::error!(%error, "what is known is no JSON");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "see the log")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, TEXT, Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ] {
        headers.insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests;
