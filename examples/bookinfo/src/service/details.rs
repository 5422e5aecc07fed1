//! details: facts about the book.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Body, Instance, healthy, json, method_not_allowed, not_found};

/// The service.
pub(crate) struct Details {
    /// Who answers.
    pub(crate) instance: Instance,
}

/// What details answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BookDetails {
    /// Number of the book; there is only 0.
    pub(crate) id: u32,
    /// Who wrote it.
    pub(crate) author: String,
    /// Year of the first printing.
    pub(crate) year: u16,
    /// Kind of text.
    #[serde(rename = "type")]
    pub(crate) form: String,
    /// Pages of this edition.
    pub(crate) pages: u16,
    /// Who prints this edition.
    pub(crate) publisher: String,
    /// Language.
    pub(crate) language: String,
    /// Where it plays.
    pub(crate) place: String,
    /// Instance that answered.
    pub(crate) podname: String,
    /// Port of that instance.
    pub(crate) port: u16,
}

impl Details {
    /// Answers one request.
    pub(crate) fn answer(&self, req: &Request<Bytes>) -> Response<Body> {
        if req.method() != Method::GET {
            return method_not_allowed();
        }
        match req.uri().path() {
            "/health" => healthy("details is healthy"),
            "/details/0" => json(StatusCode::OK, &self.book()),
            _ => not_found(),
        }
    }

    fn book(&self) -> BookDetails {
        BookDetails {
            id: 0,
            author: "William Shakespeare".to_owned(),
            year: 1623,
            form: "Play in five acts".to_owned(),
            pages: 200,
            publisher: "The Loopback Press".to_owned(),
            language: "English".to_owned(),
            place: "Ephesus".to_owned(),
            podname: self.instance.workload.name.to_owned(),
            port: self.instance.addr.port(),
        }
    }
}
