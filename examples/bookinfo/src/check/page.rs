//! Steps about the page itself.

use anyhow::{Context, ensure};
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{Request, StatusCode};
use http_body_util::Full;

use super::seen::Seen;
use super::stage::Stage;

/// Paths of the JSON API with a word that their answer must contain.
const API: [(&str, &str); 5] = [
    ("/health", "healthy"),
    ("/api/v1/products", "The Comedy of Errors"),
    ("/api/v1/products/0", "William Shakespeare"),
    ("/api/v1/products/0/reviews", "reviews-v1"),
    ("/api/v1/products/0/ratings", "ratings-v1"),
];

/// The page comes, whole, and says who answered.
pub(crate) async fn shows(stage: &Stage) -> anyhow::Result<String> {
    let html = open(stage, None).await?;
    for part in [
        "The Comedy of Errors",
        "The Loopback Press",
        "A. Dromio",
        "reviews-v1 · port",
    ] {
        ensure!(html.contains(part), "the page does not show {part:?}");
    }
    Ok(format!(
        "{} bytes from http://{}/productpage",
        html.len(),
        stage.bookinfo.page()
    ))
}

/// Every path of the API answers, and an unknown one says so.
pub(crate) async fn api(stage: &Stage) -> anyhow::Result<String> {
    for (path, word) in API {
        let rsp = stage
            .browse(Request::get(path).body(Full::default())?)
            .await?;
        let text = String::from_utf8_lossy(rsp.body());
        ensure!(
            rsp.status() == StatusCode::OK,
            "{path}: {} {text}",
            rsp.status()
        );
        ensure!(text.contains(word), "{path}: no {word:?} in {text}");
    }
    let rsp = stage
        .browse(Request::get("/nowhere").body(Full::default())?)
        .await?;
    ensure!(
        rsp.status() == StatusCode::NOT_FOUND,
        "/nowhere: {}",
        rsp.status()
    );
    Ok(format!("{} paths", API.len()))
}

/// The sign-in box sets the user, and the user reaches the routes of the next services.
pub(crate) async fn sign_in(stage: &Stage) -> anyhow::Result<String> {
    let form = Request::post("/login")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from("username=jason"))?;
    let rsp = stage.browse(form).await?;
    ensure!(
        rsp.status() == StatusCode::SEE_OTHER,
        "sign-in: {}",
        rsp.status()
    );
    let cookie = rsp
        .headers()
        .get(SET_COOKIE)
        .context("the sign-in sets no cookie")?;
    let cookie = cookie.to_str().context("read the cookie")?;
    let user = cookie.split(';').next().context("read the cookie")?;

    let html = open(stage, Some(user)).await?;
    ensure!(
        html.contains("<b>jason</b>"),
        "the page does not greet jason"
    );
    ensure!(
        html.contains("class=\"stars black\""),
        "jason's page has no black stars"
    );
    let anonymous = open(stage, None).await?;
    ensure!(
        !anonymous.contains("class=\"stars "),
        "without a user there are stars"
    );
    let seen = stage.page_reviews(Some("mia")).await?;
    ensure!(seen == Seen::NoStars, "mia sees {seen:?}");
    Ok("black stars on jason's page, none on the others'".to_owned())
}

async fn open(stage: &Stage, cookie: Option<&str>) -> anyhow::Result<String> {
    let mut req = Request::get("/productpage").body(Full::default())?;
    if let Some(cookie) = cookie {
        req.headers_mut().insert(COOKIE, cookie.parse()?);
    }
    let rsp = stage.browse(req).await?;
    let html = String::from_utf8_lossy(rsp.body()).into_owned();
    ensure!(
        rsp.status() == StatusCode::OK,
        "the page: {} {html}",
        rsp.status()
    );
    Ok(html)
}
