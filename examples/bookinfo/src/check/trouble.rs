//! Steps about mirrors and faults.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::scenario::Scenario;

use super::seen::Seen;
use super::stage::{ASK_PAUSE, Stage};

/// Requests to mirror.
const REQUESTS: u64 = 200;
/// How long the last copies may take.
const COPY_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay in the scenario.
const DELAY: Duration = Duration::from_secs(2);

/// v1 answers everybody; v3 gets the copies.
pub(crate) async fn mirror(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::Mirror.yaml()).await?;
    let before = copies(stage)?;
    for _ in 0..REQUESTS {
        let seen = stage.reviews(None).await?;
        ensure!(seen == Seen::NoStars, "somebody sees {seen:?}");
    }
    let deadline = Instant::now() + COPY_TIMEOUT;
    while copies(stage)? - before < REQUESTS {
        let got = copies(stage)? - before;
        ensure!(
            Instant::now() < deadline,
            "v3 got {got} copies of {REQUESTS} requests"
        );
        tokio::time::sleep(ASK_PAUSE).await;
    }
    let got = copies(stage)? - before;
    ensure!(
        got == REQUESTS,
        "v3 got {got} copies of {REQUESTS} requests"
    );
    Ok(format!("v3 got a copy of each of {REQUESTS} requests"))
}

/// jason waits, mia has no stars, others notice nothing.
pub(crate) async fn faults(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::DelayAbort.yaml()).await?;
    let (jason, jason_took) = timed(stage, "jason").await?;
    let (mia, _) = timed(stage, "mia").await?;
    let (other, other_took) = timed(stage, "nell").await?;
    ensure!(jason == Seen::Black, "jason sees {jason:?}");
    ensure!(
        other == Seen::Black && other_took < DELAY,
        "nell: {other:?}, {other_took:?}"
    );
    ensure!(
        jason_took >= DELAY,
        "jason waited only {} ms",
        jason_took.as_millis()
    );
    ensure!(mia == Seen::Unavailable, "mia sees {mia:?}");
    Ok(format!(
        "jason waited {} ms, mia had no stars",
        jason_took.as_millis()
    ))
}

/// Requests that v3 got; in these scenarios only copies.
fn copies(stage: &Stage) -> anyhow::Result<u64> {
    let part = stage
        .bookinfo
        .part("reviews-v3")
        .context("there is no reviews-v3")?;
    Ok(part.served())
}

async fn timed(stage: &Stage, user: &str) -> anyhow::Result<(Seen, Duration)> {
    let asked = Instant::now();
    let seen = stage.page_reviews(Some(user)).await?;
    Ok((seen, asked.elapsed()))
}
