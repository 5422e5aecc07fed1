//! Steps about mirrors, faults, breakers and limits.

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
/// How long reviews waits for ratings that hang, as the scenario's `timeout` says.
const HANG: Duration = Duration::from_secs(1);
/// Where the scenario's last document begins.
const BREAKER: &str = "---\n# The breaker.";
/// Pages that may be slow before the breaker opens: it takes two errors in a row.
const SLOW_MAX: usize = 3;
/// Pages that must be quick afterwards.
const QUICK: usize = 20;
/// How long jason's limit may keep him waiting: five seconds, and as much for a busy machine.
const STARS_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Without a breaker every page waits for ratings, with one only the first.
pub(crate) async fn breaker(stage: &mut Stage) -> anyhow::Result<String> {
    let yaml = Scenario::Breaker.yaml();
    let (without, _) = yaml.split_once(BREAKER).context("find the breaker")?;
    stage.play(without).await?;
    for _ in 0..SLOW_MAX {
        let (seen, took) = timed(stage, "nell").await?;
        ensure!(
            seen == Seen::Unavailable && took >= HANG,
            "without a breaker: {seen:?} after {took:?}"
        );
    }
    stage.play(yaml).await?;
    let mut slow = 0;
    while timed(stage, "nell").await?.1 >= HANG {
        slow += 1;
        ensure!(slow <= SLOW_MAX, "the page is still slow after {slow}");
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..QUICK {
        let (seen, took) = timed(stage, "nell").await?;
        ensure!(
            seen == Seen::Unavailable && took < HANG,
            "with a breaker: {seen:?} after {took:?}"
        );
        slowest = slowest.max(took);
    }
    Ok(format!(
        "{slow} slow pages, then {QUICK} of at most {} ms",
        slowest.as_millis()
    ))
}

/// jason has his stars once in five seconds, the others always.
pub(crate) async fn rate_limit(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::RateLimit.yaml()).await?;
    let first = stage.page_reviews(Some("jason")).await?;
    let second = stage.page_reviews(Some("jason")).await?;
    ensure!(
        (first, second) == (Seen::Red, Seen::Unavailable),
        "jason sees {first:?}, then {second:?}"
    );
    for _ in 0..QUICK {
        let seen = stage.page_reviews(Some("nell")).await?;
        ensure!(seen == Seen::Black, "nell sees {seen:?}");
    }
    let limited = Instant::now();
    while stage.page_reviews(Some("jason")).await? != Seen::Red {
        let waited = limited.elapsed();
        ensure!(waited < STARS_TIMEOUT, "jason has no stars for {waited:?}");
        tokio::time::sleep(ASK_PAUSE).await;
    }
    Ok(format!(
        "jason had stars again after {:.1} s",
        limited.elapsed().as_secs_f64()
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
