//! Steps about edits of a live file: a weight, and a mistake.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::layout::replace;
use crate::scenario::Scenario;

use super::seen::{self, Seen};
use super::stage::{ASK_PAUSE, Stage};

/// How soon an edit must be seen by people.
const LIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a proxy may take to find a mistake.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many people reload the page without end meanwhile.
const READERS: usize = 4;
/// Edits, there and back.
const EDITS: usize = 8;
/// Requests after an edit, all of which must follow it.
const AFTER: u32 = 50;
/// How long a reader waits for the page.
const READER_TIMEOUT: Duration = Duration::from_secs(8);

/// Moves all traffic there and back while readers keep asking: quick, and nobody notices.
pub(crate) async fn under_load(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(&weights(100, 0)).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(read_on(
            stage.http.clone(),
            stage.bookinfo.page(),
            Arc::clone(&stop),
        ));
    }
    let edited = edit_there_and_back(stage).await;
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    while let Some(reader) = readers.join_next().await {
        requests += reader
            .context("a reader")?
            .context("a request of the running load")?;
    }
    let slowest = edited?;
    Ok(format!(
        "{EDITS} edits, the slowest after {} ms; {requests} requests meanwhile, none failed",
        slowest.as_millis()
    ))
}

/// A mistake leaves the page as it is, and `meshproxy check` names its place.
pub(crate) async fn broken(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::AllV1.yaml()).await?;
    let routes = stage.bookinfo.layout().routes();
    let good = weights(90, 10);
    let broken = good.replacen("weight: 90", "wieght: 90", 1);
    replace(&routes, &broken)?;
    let line = broken.lines().position(|line| line.contains("wieght"));
    let place = format!("routes.yaml:{}:", line.context("find the mistake")? + 1);

    noticed(stage).await?;
    for _ in 0..AFTER {
        let seen = stage.page_reviews(None).await?;
        ensure!(
            seen == Seen::NoStars,
            "somebody sees {seen:?} of the broken file"
        );
    }
    let verdict = stage.verdict().await?;
    ensure!(
        verdict.code == Some(1),
        "check exits with {:?}",
        verdict.code
    );
    let Some(problem) = verdict.text.lines().find(|line| line.contains(&place)) else {
        bail!("check does not say {place:?}: {}", verdict.text);
    };
    stage
        .play(&good)
        .await
        .context("after the mistake was mended")?;
    let short = problem
        .find("routes.yaml")
        .map_or(problem, |at| &problem[at..]);
    Ok(short.trim().to_owned())
}

/// The canary with other weights.
fn weights(v1: u32, v3: u32) -> String {
    Scenario::Canary
        .yaml()
        .replacen("weight: 90", &format!("weight: {v1}"), 1)
        .replacen("weight: 10\n", &format!("weight: {v3}\n"), 1)
}

/// The longest time between an edit and the first answer that follows it.
async fn edit_there_and_back(stage: &Stage) -> anyhow::Result<Duration> {
    let routes = stage.bookinfo.layout().routes();
    let mut slowest = Duration::ZERO;
    for edit in 0..EDITS {
        let (yaml, expected) = match edit % 2 {
            0 => (weights(0, 100), Seen::Red),
            _ => (weights(100, 0), Seen::NoStars),
        };
        // An edit of a weight, by which nothing vanishes: what does is taken after a rest only.
        let yaml = stage.marked(&yaml);
        let saved = Instant::now();
        // Some editors write a new file and rename it, others write into the old one, as `cp`.
        if edit % 4 < 2 {
            replace(&routes, &yaml)?;
        } else {
            fs::write(&routes, &yaml).context("write routes.yaml")?;
        }
        while stage.page_reviews(None).await? != expected {
            ensure!(
                saved.elapsed() < LIVE_TIMEOUT,
                "edit {edit} is not live after a second"
            );
            tokio::time::sleep(ASK_PAUSE).await;
        }
        slowest = slowest.max(saved.elapsed());
        for _ in 0..AFTER {
            let seen = stage.page_reviews(None).await?;
            ensure!(seen == expected, "{seen:?} after edit {edit} was live");
        }
    }
    ensure!(
        slowest < LIVE_TIMEOUT,
        "the slowest took {} ms",
        slowest.as_millis()
    );
    Ok(slowest)
}

/// Asks for the reviews until `stop`; the number of requests, or the first that failed.
async fn read_on(
    http: crate::service::neighbour::Http,
    page: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<u64> {
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        let req = Request::get("/api/v1/products/0/reviews").header(HOST, page.to_string());
        let rsp = http
            .send(page, req.body(Full::default())?, READER_TIMEOUT)
            .await?;
        let seen = seen::read(&rsp)?;
        ensure!(
            matches!(seen, Seen::NoStars | Seen::Red),
            "a reader sees {seen:?}"
        );
        requests += 1;
        tokio::task::yield_now().await;
    }
    Ok(requests)
}

/// Waits until it is seen that the files are not valid.
async fn noticed(stage: &Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + NOTICE_TIMEOUT;
    loop {
        let noticed = match stage.bookinfo.control() {
            None => !productpage_is_valid(stage).await?,
            Some(control) => control.refuses(&stage.http).await?,
        };
        if noticed {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the mistake was not noticed in time"
        );
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Whether productpage's sidecar has the configuration that is written.
async fn productpage_is_valid(stage: &Stage) -> anyhow::Result<bool> {
    let [page, ..] = stage.bookinfo.parts() else {
        bail!("there is no productpage");
    };
    let metrics = page.sidecar.metrics();
    let req = Request::get("/metrics").header(HOST, metrics.to_string());
    let req = req.body(Full::default())?;
    let rsp = stage.http.send(metrics, req, LIVE_TIMEOUT).await?;
    let text = String::from_utf8_lossy(rsp.body());
    let mut lines = text.lines();
    let valid = lines.find(|line| line.starts_with("meshproxy_config_valid"));
    match valid.and_then(|line| line.rsplit(' ').next()) {
        Some(value) => Ok(value != "0"),
        None => bail!("there is no metric meshproxy_config_valid"),
    }
}
