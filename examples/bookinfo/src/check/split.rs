//! Steps about who gets which version.

use anyhow::ensure;

use crate::scenario::Scenario;

use super::seen::Seen;
use super::share::expected;
use super::stage::Stage;

/// Requests of a step that allows no exception.
const FEW: u32 = 200;
/// Requests of a step about shares.
const MANY: u32 = 4000;
/// Users of the sticky step.
const USERS: u32 = 200;
/// How often each of them asks.
const VISITS: u32 = 5;

/// Nobody sees stars.
pub(crate) async fn all_v1(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::AllV1.yaml()).await?;
    let stars_before = stars_served(stage);
    for turn in 0..FEW {
        let user = format!("user-{turn}");
        let seen = stage.page_reviews(Some(&user)).await?;
        ensure!(seen == Seen::NoStars, "{user} sees {seen:?}");
    }
    let stars = stars_served(stage) - stars_before;
    ensure!(stars == 0, "{stars} requests reached v2 or v3");
    Ok(format!("{FEW} requests, all answered by v1"))
}

/// One in ten sees red stars, within the bounds of chance.
pub(crate) async fn canary(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::Canary.yaml()).await?;
    let mut red = 0;
    for turn in 0..MANY {
        // Mostly where the choice is made, now and then the whole way from the page.
        let seen = if turn % 10 == 0 {
            stage.page_reviews(None).await?
        } else {
            stage.reviews(None).await?
        };
        ensure!(
            matches!(seen, Seen::NoStars | Seen::Red),
            "somebody sees {seen:?}"
        );
        red += u32::from(seen == Seen::Red);
    }
    let (low, high) = expected(MANY, 0.1);
    ensure!(
        (low..=high).contains(&red),
        "{red} of {MANY}, not {low} to {high}"
    );
    Ok(format!(
        "{red} of {MANY} requests ({low} to {high} are believable)"
    ))
}

/// A user always sees the same; half of them black, half red.
pub(crate) async fn sticky(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::Sticky.yaml()).await?;
    let mut red = 0;
    for number in 0..USERS {
        let user = format!("reader-{number}");
        let first = stage.page_reviews(Some(&user)).await?;
        ensure!(
            matches!(first, Seen::Black | Seen::Red),
            "{user} sees {first:?}"
        );
        for _ in 1..VISITS {
            let again = stage.reviews(Some(&user)).await?;
            ensure!(again == first, "{user} sees {first:?}, then {again:?}");
        }
        red += u32::from(first == Seen::Red);
    }
    let (low, high) = expected(USERS, 0.5);
    ensure!(
        (low..=high).contains(&red),
        "{red} of {USERS} users, not {low} to {high}"
    );
    Ok(format!(
        "{USERS} users, {VISITS} visits each, never a change; {red} see red stars"
    ))
}

/// jason sees v2, all others v1.
pub(crate) async fn jason(stage: &mut Stage) -> anyhow::Result<String> {
    stage.play(Scenario::Jason.yaml()).await?;
    let users = [
        (Some("jason"), Seen::Black),
        (Some("Jason"), Seen::NoStars),
        (Some("jasonx"), Seen::NoStars),
        (Some("mia"), Seen::NoStars),
        (None, Seen::NoStars),
    ];
    for _ in 0..FEW / 5 {
        for (user, expected) in users {
            for seen in [stage.reviews(user).await?, stage.page_reviews(user).await?] {
                ensure!(seen == expected, "{user:?} sees {seen:?}, not {expected:?}");
            }
        }
    }
    Ok(format!(
        "{FEW} requests to the sidecar and as many to the page"
    ))
}

/// Requests that reached the versions with stars.
fn stars_served(stage: &Stage) -> u64 {
    ["reviews-v2", "reviews-v3"]
        .iter()
        .filter_map(|name| stage.bookinfo.part(name))
        .map(|part| part.served())
        .sum()
}
