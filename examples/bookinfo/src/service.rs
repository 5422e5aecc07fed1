//! The services of Bookinfo: small HTTP programs that know nothing about versions or routes.
//!
//! A service takes a whole request and gives a whole answer; sockets are in `server`, calls to
//! other services in `neighbour`. Nothing here speaks to another service directly: every call
//! goes to the outbound listener of the service's own meshproxy.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::workload::{App, Workload};

use self::details::Details;
use self::neighbour::Neighbours;
use self::productpage::ProductPage;
use self::ratings::Ratings;
use self::reviews::Reviews;

pub(crate) mod details;
pub(crate) mod neighbour;
pub(crate) mod productpage;
pub(crate) mod ratings;
pub(crate) mod reviews;
pub(crate) mod server;

/// Body of every answer; answers are small and made in one piece.
pub(crate) type Body = Full<Bytes>;

/// Who answers; part of the answers, so that a person can see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instance {
    /// The workload, e.g. `reviews-v2`.
    pub(crate) workload: &'static Workload,
    /// Address of the service itself, behind its meshproxy.
    pub(crate) addr: SocketAddr,
}

/// One of the services.
pub(crate) enum Service {
    /// The page and its JSON API.
    ProductPage(ProductPage),
    /// Facts about the book.
    Details(Details),
    /// Reviews, with or without stars by version.
    Reviews(Reviews),
    /// Stars.
    Ratings(Ratings),
}

impl Service {
    /// The service of `instance`, calling others through `neighbours`.
    pub(crate) fn new(instance: Instance, neighbours: Neighbours, routes_file: &str) -> Self {
        match instance.workload.app {
            App::ProductPage => {
                Self::ProductPage(ProductPage::new(instance, neighbours, routes_file))
            }
            App::Details => Self::Details(Details { instance }),
            App::Reviews(stars) => Self::Reviews(Reviews {
                instance,
                stars,
                neighbours,
            }),
            App::Ratings => Self::Ratings(Ratings { instance }),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, req: Request<Bytes>) -> Response<Body> {
        match self {
            Self::ProductPage(service) => service.answer(req).await,
            Self::Details(service) => service.answer(&req),
            Self::Reviews(service) => service.answer(&req).await,
            Self::Ratings(service) => service.answer(&req),
        }
    }
}

/// An error as the services write it.
#[derive(Debug, Serialize)]
pub(crate) struct Failure<'a> {
    /// What is wrong, for people.
    pub(crate) error: &'a str,
    /// Why, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// An answer in JSON that nobody may cache.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let (status, text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot write the answer: {error}").into_bytes(),
        ),
    };
    let mut rsp = Response::new(Full::new(Bytes::from(text)));
    *rsp.status_mut() = status;
    let headers = rsp.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    rsp
}

/// The answer of a health check.
pub(crate) fn healthy(status: &'static str) -> Response<Body> {
    json(StatusCode::OK, &serde_json::json!({ "status": status }))
}

/// The answer to a path that does not exist.
pub(crate) fn not_found() -> Response<Body> {
    let failure = Failure {
        error: "no such page",
        reason: None,
    };
    json(StatusCode::NOT_FOUND, &failure)
}

/// The answer to a method that a path does not take.
pub(crate) fn method_not_allowed() -> Response<Body> {
    let failure = Failure {
        error: "this path does not take that method",
        reason: None,
    };
    json(StatusCode::METHOD_NOT_ALLOWED, &failure)
}

#[cfg(test)]
mod tests;
