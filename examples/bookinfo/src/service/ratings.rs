//! ratings: how many stars each reader gave.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Body, Instance, healthy, json, method_not_allowed, not_found};

/// The service.
pub(crate) struct Ratings {
    /// Who answers.
    pub(crate) instance: Instance,
}

/// What ratings answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BookRatings {
    /// Number of the book; there is only 0.
    pub(crate) id: u32,
    /// Stars by reader, 1–5.
    pub(crate) ratings: BTreeMap<String, u8>,
    /// Instance that answered.
    pub(crate) podname: String,
}

impl Ratings {
    /// Answers one request.
    pub(crate) fn answer(&self, req: &Request<Bytes>) -> Response<Body> {
        if req.method() != Method::GET {
            return method_not_allowed();
        }
        match req.uri().path() {
            "/health" => healthy("ratings is healthy"),
            "/ratings/0" => json(StatusCode::OK, &self.book()),
            _ => not_found(),
        }
    }

    fn book(&self) -> BookRatings {
        let given = [("Nell, twin and night reader", 5), ("A. Dromio", 4)];
        BookRatings {
            id: 0,
            ratings: given.map(|(who, stars)| (who.to_owned(), stars)).into(),
            podname: self.instance.workload.name.to_owned(),
        }
    }
}
