//! Puts the answers of the other services into the HTML page.
//!
//! The page is one file without outside assets. Whatever comes from a service or a user is
//! escaped here, in the only place where text becomes HTML.

use std::fmt::Write;

use crate::service::details::BookDetails;
use crate::service::reviews::{BookReviews, Rating, Review};

/// Page text with `{{name}}` where the values go.
const TEMPLATE: &str = include_str!("page.html");
/// Stars a rating is drawn out of.
const STARS_MAX: u8 = 5;

/// What the page says when reviews does not answer.
pub(crate) const REVIEWS_UNAVAILABLE: &str =
    "Sorry, product reviews are currently unavailable for this book.";
/// What the page says when details does not answer.
pub(crate) const DETAILS_UNAVAILABLE: &str =
    "Sorry, product details are currently unavailable for this book.";

/// Everything the page shows; an `Err` holds the reason for people.
pub(crate) struct Page<'a> {
    /// Signed-in user.
    pub(crate) user: Option<&'a str>,
    /// Answer of details.
    pub(crate) details: Result<BookDetails, String>,
    /// Answer of reviews.
    pub(crate) reviews: Result<BookReviews, String>,
    /// Instance and port that made this page.
    pub(crate) page_from: String,
    /// File to edit, as it is shown.
    pub(crate) routes_file: &'a str,
}

impl Page<'_> {
    /// The page as HTML.
    pub(crate) fn html(&self) -> String {
        let (badge, served_by) = match &self.reviews {
            Ok(answer) => (
                answer.version.as_str(),
                format!("{} · port {}", answer.podname, answer.port),
            ),
            Err(_) => ("down", "no answer".to_owned()),
        };
        let details_from = match &self.details {
            Ok(answer) => format!("{}, port {}", answer.podname, answer.port),
            Err(_) => "nobody".to_owned(),
        };
        let values = [
            ("sign_in", sign_in(self.user)),
            ("badge_attr", format!("data-version=\"{}\"", escape(badge))),
            ("served_by", escape(&served_by)),
            ("reviews", reviews(&self.reviews)),
            ("details", details(&self.details)),
            ("details_from", escape(&details_from)),
            ("page_from", escape(&self.page_from)),
            ("routes_file", escape(self.routes_file)),
        ];
        fill(TEMPLATE, &values)
    }
}

/// Replaces each `{{name}}` in one pass, so that a value is never searched for names itself.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut html = String::with_capacity(template.len() + 4096);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        html.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            rest = after;
            break;
        };
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            html.push_str(value);
        }
        rest = tail;
    }
    html.push_str(rest);
    html
}

fn sign_in(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<form method=\"post\" action=\"/logout\" class=\"plain\"><span class=\"hello\">\
             Signed in as <b>{}</b></span><button class=\"quiet\">Sign out</button></form>",
            escape(user)
        ),
        None => "<form method=\"post\" action=\"/login\" class=\"plain\"><input name=\"username\" \
                 aria-label=\"User name\" placeholder=\"jason, mia, …\" maxlength=\"40\" required \
                 pattern=\"[A-Za-z0-9._@\\-]+\" autocomplete=\"off\"><button>Sign in</button></form>"
            .to_owned(),
    }
}

fn details(answer: &Result<BookDetails, String>) -> String {
    let book = match answer {
        Ok(book) => book,
        Err(reason) => return sorry(DETAILS_UNAVAILABLE, reason),
    };
    let year = book.year.to_string();
    let pages = book.pages.to_string();
    let rows = [
        ("Author", book.author.as_str()),
        ("First printed", &year),
        ("Form", &book.form),
        ("Pages", &pages),
        ("Publisher", &book.publisher),
        ("Place", &book.place),
    ];
    let mut html = String::from("<dl>");
    for (name, value) in rows {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    html + "</dl>"
}

fn reviews(answer: &Result<BookReviews, String>) -> String {
    match answer {
        Ok(answer) => answer.reviews.iter().map(review).collect(),
        Err(reason) => sorry(REVIEWS_UNAVAILABLE, reason),
    }
}

fn review(review: &Review) -> String {
    let rating = match &review.rating {
        Some(Rating::Stars { stars, color }) => draw_stars(*stars, color),
        Some(Rating::Unavailable { error }) => {
            format!("<span class=\"notice\">{}</span>", escape(error))
        }
        None => String::new(),
    };
    format!(
        "<article class=\"review\"><blockquote>{}</blockquote><footer><span class=\"who\">– {}\
         </span>{rating}</footer></article>",
        escape(&review.text),
        escape(&review.reviewer)
    )
}

fn draw_stars(stars: u8, color: &str) -> String {
    let color = escape(color);
    let mut html = format!(
        "<span class=\"stars {color}\" role=\"img\" aria-label=\"{stars} of {STARS_MAX} {color} \
         stars\">"
    );
    for star in 0..STARS_MAX {
        let class = if star < stars { "on" } else { "off" };
        let _ = write!(html, "<svg class=\"{class}\"><use href=\"#star\"/></svg>");
    }
    html + "</span>"
}

fn sorry(what: &str, reason: &str) -> String {
    format!(
        "<div class=\"sorry\"><p>{what}</p><p class=\"reason plain\">{}</p></div>",
        escape(reason)
    )
}

/// Makes text safe inside HTML text and quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
