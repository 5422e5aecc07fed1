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
    let users = visits(stage).await?;
    let red = reds(&users, 0.5)?;
    Ok(format!(
        "{USERS} users, {VISITS} visits each, never a change; {red} see red stars"
    ))
}

/// With a smaller share of red, some move to black and nobody the other way; and back.
pub(crate) async fn moved(stage: &mut Stage) -> anyhow::Result<String> {
    let yaml = Scenario::Sticky.yaml();
    stage.play(yaml).await?;
    let before = visits(stage).await?;
    let fewer =
        yaml.replacen("weight: 50", "weight: 80", 1)
            .replacen("weight: 50", "weight: 20", 1);
    stage.play(&fewer).await?;
    let between = visits(stage).await?;
    stage.play(yaml).await?;
    let after = visits(stage).await?;

    let red = reds(&between, 0.2)?;
    for (user, (was, is)) in before.iter().zip(&between).enumerate() {
        let stayed = was == is || *is == Seen::Black;
        ensure!(stayed, "reader-{user} moved from {was:?} to {is:?}");
    }
    ensure!(before == after, "somebody is not where he was before");
    let moved = before.iter().zip(&between).filter(|(a, b)| a != b).count();
    Ok(format!(
        "red from 50 to 20 %: {moved} users moved to black, none the other way, {red} stayed \
         red; and back"
    ))
}

/// What each user sees at every one of his visits.
async fn visits(stage: &Stage) -> anyhow::Result<Vec<Seen>> {
    let mut users = Vec::new();
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
        users.push(first);
    }
    Ok(users)
}

/// How many of `users` see red stars, if chance explains it for this `share`.
fn reds(users: &[Seen], share: f64) -> anyhow::Result<u32> {
    let red = users.iter().map(|seen| u32::from(*seen == Seen::Red)).sum();
    let (low, high) = expected(USERS, share);
    ensure!(
        (low..=high).contains(&red),
        "{red} of {USERS} users see red stars, not {low} to {high}"
    );
    Ok(red)
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
