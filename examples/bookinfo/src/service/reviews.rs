//! reviews: what readers say. v1 shows text, v2 adds black stars, v3 red ones.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::workload::{RATINGS, Stars};

use super::neighbour::Neighbours;
use super::ratings::BookRatings;
use super::{Body, Instance, healthy, json, method_not_allowed, not_found};

/// How long reviews waits for ratings before it answers without stars. Shorter than what the
/// page waits for reviews, so that slow ratings never cost the texts.
const RATINGS_TIMEOUT: Duration = Duration::from_millis(2500);
/// What stands in the place of the stars when ratings does not answer.
pub(crate) const RATINGS_UNAVAILABLE: &str = "Ratings are currently unavailable";

/// Readers and their words.
const TEXTS: [(&str, &str); 2] = [
    (
        "Nell, twin and night reader",
        "I have an identical sister, so I read this as a documentary. The scene at the locked \
         door made me laugh until the neighbours knocked. It has the speed of a door swinging \
         both ways, and for two hours you forgive everyone everything.",
    ),
    (
        "A. Dromio",
        "Beaten by the wrong master, sent home by the right one, and nobody checks a name. \
         Short, loud and kinder than it looks. The last page, with its two brothers who walk \
         out hand in hand, is worth every mistake on the way.",
    ),
];

/// The service.
pub(crate) struct Reviews {
    /// Who answers.
    pub(crate) instance: Instance,
    /// What this version shows.
    pub(crate) stars: Stars,
    /// Way to ratings.
    pub(crate) neighbours: Neighbours,
}

/// What reviews answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BookReviews {
    /// Number of the book; there is only 0.
    pub(crate) id: u32,
    /// Instance that answered.
    pub(crate) podname: String,
    /// Cluster of that instance.
    pub(crate) clustername: String,
    /// Version of that instance.
    pub(crate) version: String,
    /// Port of that instance.
    pub(crate) port: u16,
    /// The reviews.
    pub(crate) reviews: Vec<Review>,
}

/// One review.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Review {
    /// Who wrote it.
    pub(crate) reviewer: String,
    /// What was written.
    pub(crate) text: String,
    /// The stars; v1 has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rating: Option<Rating>,
}

/// The stars of a review, or why they are missing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rating {
    /// Given stars.
    Stars {
        /// How many, 1–5.
        stars: u8,
        /// `black` or `red`.
        color: String,
    },
    /// ratings did not answer.
    Unavailable {
        /// What to show instead.
        error: String,
    },
}

impl Reviews {
    /// Answers one request.
    pub(crate) async fn answer(&self, req: &Request<Bytes>) -> Response<Body> {
        if req.method() != Method::GET {
            return method_not_allowed();
        }
        match req.uri().path() {
            "/health" => healthy("reviews is healthy"),
            "/reviews/0" => json(StatusCode::OK, &self.book(req.headers()).await),
            _ => not_found(),
        }
    }

    async fn book(&self, headers: &HeaderMap) -> BookReviews {
        let ratings = match self.stars.color() {
            Some(color) => Some((color, self.ratings(headers).await)),
            None => None,
        };
        let reviews = TEXTS.map(|(reviewer, text)| Review {
            reviewer: reviewer.to_owned(),
            text: text.to_owned(),
            rating: ratings
                .as_ref()
                .map(|(color, ratings)| rating(ratings.as_ref(), reviewer, color)),
        });
        BookReviews {
            id: 0,
            podname: self.instance.workload.name.to_owned(),
            clustername: "bookinfo".to_owned(),
            version: self.instance.workload.version.to_owned(),
            port: self.instance.addr.port(),
            reviews: reviews.into(),
        }
    }

    /// The ratings, or nothing: the texts matter more than why the stars are missing.
    async fn ratings(&self, headers: &HeaderMap) -> Option<BookRatings> {
        let ask = self
            .neighbours
            .get(RATINGS, "/ratings/0", headers, RATINGS_TIMEOUT);
        ask.await.ok()
    }
}

fn rating(ratings: Option<&BookRatings>, reviewer: &str, color: &str) -> Rating {
    match ratings.and_then(|answer| answer.ratings.get(reviewer)) {
        Some(stars) => Rating::Stars {
            stars: *stars,
            color: color.to_owned(),
        },
        None => Rating::Unavailable {
            error: RATINGS_UNAVAILABLE.to_owned(),
        },
    }
}
