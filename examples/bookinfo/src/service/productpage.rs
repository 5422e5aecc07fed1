//! productpage: the page people look at, its sign-in box, and the same as JSON.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION};
use http::header::{REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json as value;

use crate::page::{DETAILS_UNAVAILABLE, Page, REVIEWS_UNAVAILABLE};
use crate::workload::{DETAILS, RATINGS, REVIEWS};

use super::details::BookDetails;
use super::neighbour::{END_USER, Neighbours};
use super::ratings::BookRatings;
use super::reviews::{BookReviews, RATINGS_UNAVAILABLE};
use super::{Body, Failure, Instance, healthy, json, method_not_allowed, not_found};

/// How long the page waits for details and for ratings.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the page waits for reviews: longer than reviews waits for ratings.
const REVIEWS_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest user name, in bytes.
const USER_BYTES_MAX: usize = 40;
/// Cookie that holds the signed-in user.
const USER_COOKIE: &str = "user";
/// The page brings everything it needs itself, so nothing else may be loaded.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src \
     'unsafe-inline'; img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

/// The service.
pub(crate) struct ProductPage {
    instance: Instance,
    neighbours: Neighbours,
    routes_file: String,
}

impl ProductPage {
    /// The page of `instance`; `routes_file` is shown as the file to edit.
    pub(crate) fn new(instance: Instance, neighbours: Neighbours, routes_file: &str) -> Self {
        Self {
            instance,
            neighbours,
            routes_file: routes_file.to_owned(),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut req: Request<Bytes>) -> Response<Body> {
        let user = user(req.headers());
        if let Some(name) = user.as_deref().and_then(|name| name.parse().ok()) {
            req.headers_mut().insert(END_USER, name);
        }
        let path = req.uri().path();
        match (path, req.method() == Method::POST) {
            ("/login", true) => return sign_in(req.body()),
            ("/logout", true) => return see_page(Some(&cookie("", "; Max-Age=0"))),
            _ => {}
        }
        if req.method() != Method::GET && req.method() != Method::HEAD {
            return method_not_allowed();
        }
        match path {
            "/" => see_page(None),
            "/productpage" => self.page(user.as_deref(), req.headers()).await,
            "/health" => healthy("Product page is healthy"),
            "/api/v1/products" => json(StatusCode::OK, &value!([product()])),
            "/api/v1/products/0" => self.details_json(req.headers()).await,
            "/api/v1/products/0/reviews" => self.reviews_json(req.headers()).await,
            "/api/v1/products/0/ratings" => self.ratings_json(req.headers()).await,
            _ => not_found(),
        }
    }

    async fn page(&self, user: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let (details, reviews) = tokio::join!(self.details(headers), self.reviews(headers));
        let page = Page {
            user,
            details: details.map_err(|error| format!("{error:#}")),
            reviews: reviews.map_err(|error| format!("{error:#}")),
            page_from: format!(
                "{}, port {}",
                self.instance.workload.name,
                self.instance.addr.port()
            ),
            routes_file: &self.routes_file,
        };
        let mut rsp = Response::new(Full::new(Bytes::from(page.html())));
        let headers = rsp.headers_mut();
        let mut set = |name, text| headers.insert(name, HeaderValue::from_static(text));
        set(CONTENT_TYPE, "text/html; charset=utf-8");
        set(CACHE_CONTROL, "no-store");
        set(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(REFERRER_POLICY, "no-referrer");
        rsp
    }

    async fn details(&self, headers: &HeaderMap) -> anyhow::Result<BookDetails> {
        let ask = self
            .neighbours
            .get(DETAILS, "/details/0", headers, SHORT_TIMEOUT);
        ask.await
    }

    async fn reviews(&self, headers: &HeaderMap) -> anyhow::Result<BookReviews> {
        let ask = self
            .neighbours
            .get(REVIEWS, "/reviews/0", headers, REVIEWS_TIMEOUT);
        ask.await
    }

    async fn details_json(&self, headers: &HeaderMap) -> Response<Body> {
        match self.details(headers).await {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(error) => unavailable(DETAILS_UNAVAILABLE, &error),
        }
    }

    async fn reviews_json(&self, headers: &HeaderMap) -> Response<Body> {
        match self.reviews(headers).await {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(error) => unavailable(REVIEWS_UNAVAILABLE, &error),
        }
    }

    async fn ratings_json(&self, headers: &HeaderMap) -> Response<Body> {
        let ask = self
            .neighbours
            .get::<BookRatings>(RATINGS, "/ratings/0", headers, SHORT_TIMEOUT);
        match ask.await {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(error) => unavailable(RATINGS_UNAVAILABLE, &error),
        }
    }
}

fn product() -> serde_json::Value {
    value!({
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "Two pairs of twins, one town and one day: Shakespeare&rsquo;s \
                            shortest play, about what happens when nobody checks who answers.",
    })
}

fn unavailable(what: &str, error: &anyhow::Error) -> Response<Body> {
    let reason = format!("{error:#}");
    let failure = Failure {
        error: what,
        reason: Some(&reason),
    };
    json(StatusCode::SERVICE_UNAVAILABLE, &failure)
}

/// Sets the user that the form names.
fn sign_in(form: &[u8]) -> Response<Body> {
    let named = form
        .split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"username="));
    match named.and_then(unquote).filter(|name| is_user_name(name)) {
        Some(name) => see_page(Some(&cookie(&name, ""))),
        None => json(
            StatusCode::BAD_REQUEST,
            &Failure {
                error: "a user name has 1 to 40 letters, digits or any of . _ - @",
                reason: None,
            },
        ),
    }
}

/// Decodes the only escape that a valid name needs (`@` as `%40`); others make no valid name.
fn unquote(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    Some(text.replace("%40", "@"))
}

fn is_user_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    !name.is_empty() && name.len() <= USER_BYTES_MAX && name.bytes().all(allowed)
}

/// The signed-in user. A cookie that we would not have set counts as none.
fn user(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == USER_COOKIE && is_user_name(value))
        .map(|(_, value)| value.to_owned())
}

fn cookie(user: &str, more: &str) -> String {
    format!("{USER_COOKIE}={user}; Path=/; HttpOnly; SameSite=Lax{more}")
}

/// Sends the browser to the page.
fn see_page(set_cookie: Option<&str>) -> Response<Body> {
    let mut rsp = Response::new(Full::default());
    *rsp.status_mut() = StatusCode::SEE_OTHER;
    let headers = rsp.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/productpage"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(text) = set_cookie.and_then(|text| text.parse().ok()) {
        headers.insert(SET_COOKIE, text);
    }
    rsp
}
