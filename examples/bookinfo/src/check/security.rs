//! Steps about who may call whom.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use crate::workload::{RATINGS, SERVICE_PORT};

use super::stage::{ASK_TIMEOUT, Stage};

/// What somebody learns who is not allowed something.
const REFUSAL: &[u8] = b"RBAC: access denied";

/// Ratings answers reviews, and not details, although both have a proxy with a certificate.
pub(crate) async fn strangers(stage: &Stage) -> anyhow::Result<String> {
    let before = served(stage)?;
    let details = ratings_by(stage, "details-v1").await?;
    ensure!(
        details.status() == StatusCode::FORBIDDEN && details.body() == REFUSAL,
        "details got {} {:?}",
        details.status(),
        details.body()
    );
    ensure!(served(stage)? == before, "ratings saw the request");
    let reviews = ratings_by(stage, "reviews-v2").await?;
    ensure!(
        reviews.status() == StatusCode::OK,
        "reviews got {} {:?}",
        reviews.status(),
        reviews.body()
    );
    Ok(format!("details: {}, reviews: 200", details.status()))
}

/// Who goes to the proxy of ratings itself, without a certificate, gets no answer.
pub(crate) async fn plain_text(stage: &Stage) -> anyhow::Result<String> {
    let before = served(stage)?;
    let ratings = stage.bookinfo.part("ratings-v1");
    let ingress = ratings.context("there is no ratings-v1")?.place.ingress;
    if let Ok(rsp) = ask(stage, ingress).await {
        anyhow::bail!("the proxy of ratings answers: {}", rsp.status());
    }
    ensure!(served(stage)? == before, "ratings saw the request");
    Ok(format!("{ingress} does not answer without a certificate"))
}

/// Requests that ratings itself has seen.
fn served(stage: &Stage) -> anyhow::Result<u64> {
    let ratings = stage.bookinfo.part("ratings-v1");
    Ok(ratings.context("there is no ratings-v1")?.served())
}

/// What `caller` gets from ratings, through its own proxy.
async fn ratings_by(stage: &Stage, caller: &str) -> anyhow::Result<Response<Bytes>> {
    let part = stage.bookinfo.part(caller);
    let part = part.with_context(|| format!("there is no {caller}"))?;
    ask(stage, part.place.egress).await
}

async fn ask(stage: &Stage, addr: SocketAddr) -> anyhow::Result<Response<Bytes>> {
    let mut req = Request::get("/ratings/0").body(Full::default())?;
    let authority = format!("{RATINGS}:{SERVICE_PORT}");
    req.headers_mut().insert(HOST, authority.parse()?);
    stage.http.send(addr, req, ASK_TIMEOUT).await
}
