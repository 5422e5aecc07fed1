//! `--check`: the tour that a person would make, made by the program.
//!
//! Each step does what a person does (copy a scenario, edit a weight, sign in, reload the page)
//! and looks at what a person would see. A step that fails does not stop the tour.

use crate::child::Stop;
use crate::launch::Programs;
use crate::layout::Layout;
use crate::port::Reservation;

use self::report::Report;
use self::stage::Stage;

mod edit;
mod page;
mod report;
mod security;
mod seen;
mod share;
mod split;
mod stage;
mod trouble;

/// Makes the tour with everything in `layout`; says whether all was as it should be.
///
/// # Errors
///
/// When Bookinfo does not start, so that there is nothing to look at.
pub(crate) async fn run(programs: &Programs, layout: Layout) -> anyhow::Result<bool> {
    let mut report = Report::new();
    let page = Reservation::any()?;
    let mut stage = Stage::open(programs, page, layout).await?;
    let ready = match stage.bookinfo.control() {
        None => "six services and seven proxies are ready",
        Some(_) => "six services, seven proxies and a control plane are ready",
    };
    report.note(ready, stage.opened());

    report.note(
        "the page shows book, reviews and who answered",
        page::shows(&stage).await,
    );
    report.note("the JSON API answers", page::api(&stage).await);
    report.note(
        "all-v1: nobody ever sees stars",
        split::all_v1(&mut stage).await,
    );
    report.note(
        "90-10: red stars once in ten",
        split::canary(&mut stage).await,
    );
    report.note(
        "50-50-sticky: a user stays with a version",
        split::sticky(&mut stage).await,
    );
    report.note(
        "50-50-sticky: an edited weight moves only whom it must",
        split::moved(&mut stage).await,
    );
    report.note(
        "jason-v2: jason sees black stars, others none",
        split::jason(&mut stage).await,
    );
    report.note(
        "signing in as jason on the page does the same",
        page::sign_in(&stage).await,
    );
    report.note(
        "an edited weight is live within a second",
        edit::under_load(&mut stage).await,
    );
    report.note(
        "a broken file changes nothing, and is explained",
        edit::broken(&mut stage).await,
    );
    report.note("mirror: v1 answers", trouble::mirror(&mut stage).await);
    report.note(
        "delay-abort: ratings in trouble",
        trouble::faults(&mut stage).await,
    );

    report.note(
        "breaker: hanging ratings do not slow the page down",
        trouble::breaker(&mut stage).await,
    );
    report.note(
        "rate-limit: one version of a caller is limited",
        trouble::rate_limit(&mut stage).await,
    );

    report.note(
        "details cannot call ratings",
        security::strangers(&stage).await,
    );
    report.note(
        "nobody gets in without a certificate",
        security::plain_text(&stage).await,
    );
    report.note("everything stops cleanly", close(stage).await);
    Ok(report.finish())
}

/// Stops everything and says how it ended.
async fn close(stage: Stage) -> anyhow::Result<String> {
    let ends = stage.close().await;
    let bad: Vec<_> = ends.iter().filter(|(_, end)| *end != Stop::Clean).collect();
    match bad.is_empty() {
        true => Ok(format!("{} processes", ends.len())),
        false => Err(anyhow::anyhow!("{bad:?}")),
    }
}
