use crate::service::reviews::RATINGS_UNAVAILABLE;

use super::*;

fn reviews_of(version: &str, rating: Option<Rating>) -> BookReviews {
    BookReviews {
        id: 0,
        podname: format!("reviews-{version}"),
        clustername: "bookinfo".to_owned(),
        version: version.to_owned(),
        port: 4321,
        reviews: vec![Review {
            reviewer: "Nell <b>".to_owned(),
            text: "fine & {{user}}".to_owned(),
            rating,
        }],
    }
}

fn html(user: Option<&str>, reviews: Result<BookReviews, String>) -> String {
    Page {
        user,
        details: Err("details answered 503 (<no endpoint>)".to_owned()),
        reviews,
        page_from: "productpage-v1, port 1".to_owned(),
        routes_file: "config/routes.yaml",
    }
    .html()
}

#[test]
fn four_black_stars_are_four_filled_and_one_empty() {
    let rating = Rating::Stars {
        stars: 4,
        color: "black".to_owned(),
    };

    let html = html(None, Ok(reviews_of("v2", Some(rating))));

    assert_eq!(html.matches("<svg class=\"on\">").count(), 4);
    assert_eq!(html.matches("<svg class=\"off\">").count(), 1);
    assert!(html.contains("class=\"stars black\""));
    assert!(html.contains("data-version=\"v2\"><span class=\"dot\">"));
    assert!(html.contains("reviews-v2 · port 4321"));
}

#[test]
fn a_version_without_stars_shows_none() {
    let html = html(None, Ok(reviews_of("v1", None)));

    assert!(!html.contains("<svg class=\"on\">"));
    assert!(!html.contains(RATINGS_UNAVAILABLE));
}

#[test]
fn missing_services_are_named_with_the_reason() {
    let rating = Rating::Unavailable {
        error: RATINGS_UNAVAILABLE.to_owned(),
    };
    let without_ratings = html(None, Ok(reviews_of("v3", Some(rating))));
    assert!(without_ratings.contains(RATINGS_UNAVAILABLE));
    assert!(without_ratings.contains(DETAILS_UNAVAILABLE));
    assert!(without_ratings.contains("details answered 503 (&lt;no endpoint&gt;)"));

    let without_reviews = html(None, Err("no answer within 6000 ms".to_owned()));
    assert!(without_reviews.contains(REVIEWS_UNAVAILABLE));
    assert!(without_reviews.contains("no answer within 6000 ms"));
}

#[test]
fn text_of_others_never_becomes_markup_or_a_placeholder() {
    let html = html(Some("x\"><script>"), Ok(reviews_of("v1", None)));

    assert!(html.contains("Nell &lt;b&gt;"));
    assert!(html.contains("fine &amp; {{user}}"));
    assert!(html.contains("<b>x&quot;&gt;&lt;script&gt;</b>"));
}

#[test]
fn the_template_has_no_place_that_nobody_fills_and_no_outside_asset() {
    let html = html(None, Ok(reviews_of("v1", None)));

    assert_eq!(html.matches("{{").count(), 1, "only the one of the review");
    assert!(!html.contains("<link rel=\"stylesheet\""));
    assert!(!html.contains("src=\"http"));
    assert!(!html.contains("href=\"http"));
}
