//! What a person sees in an answer of reviews.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::Response;

use crate::service::reviews::{BookReviews, RATINGS_UNAVAILABLE, Rating};

/// What is beside the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: v1.
    NoStars,
    /// Black stars: v2.
    Black,
    /// Red stars: v3.
    Red,
    /// The note that ratings are unavailable.
    Unavailable,
}

/// Reads an answer, and finds whether version and stars belong together.
///
/// # Errors
///
/// When it is not a good answer of reviews.
pub(crate) fn read(rsp: &Response<Bytes>) -> anyhow::Result<Seen> {
    let text = String::from_utf8_lossy(rsp.body());
    ensure!(rsp.status().is_success(), "status {}: {text}", rsp.status());
    let answer: BookReviews = serde_json::from_slice(rsp.body()).context("read the reviews")?;
    ensure!(
        answer.reviews.len() == 2,
        "{} reviews",
        answer.reviews.len()
    );
    let mut seen = answer
        .reviews
        .iter()
        .map(|review| of(review.rating.as_ref()));
    let first = seen.next().context("no review")??;
    let second = seen.next().context("no second review")??;
    ensure!(first == second, "{first:?} beside {second:?}: {text}");
    let fits = match first {
        Seen::NoStars => answer.version == "v1",
        Seen::Black => answer.version == "v2",
        Seen::Red => answer.version == "v3",
        Seen::Unavailable => answer.version != "v1",
    };
    ensure!(fits, "{first:?} from {}", answer.version);
    Ok(first)
}

fn of(rating: Option<&Rating>) -> anyhow::Result<Seen> {
    match rating {
        None => Ok(Seen::NoStars),
        Some(Rating::Stars {
            stars: 1..=5,
            color,
        }) if color == "black" => Ok(Seen::Black),
        Some(Rating::Stars {
            stars: 1..=5,
            color,
        }) if color == "red" => Ok(Seen::Red),
        Some(Rating::Unavailable { error }) if error == RATINGS_UNAVAILABLE => {
            Ok(Seen::Unavailable)
        }
        Some(other) => bail!("a rating nobody gives: {other:?}"),
    }
}
