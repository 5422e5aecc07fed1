//! Tells a person in the terminal what the proxies think of an edit.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::layout::shown;
use crate::meshproxy::{Meshproxy, Verdict};
use crate::terminal::say;

/// How often the file is looked at. The proxies notice by themselves and sooner; this is only
/// for the message.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Looks at the file `routes` for ever and says what `meshproxy check` finds in the folder
/// `config` after each change.
///
/// # Cancel safety
///
/// Safe; nothing but the message in progress is lost.
pub(crate) async fn comment_edits(meshproxy: &Meshproxy, config: &Path, routes: &Path) {
    let mut known = stamp(routes);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = stamp(routes);
        if now == known {
            continue;
        }
        known = now;
        match meshproxy.check(&[config]).await {
            Ok(verdict) => say(&comment(&shown(routes), &verdict)),
            Err(error) => say(&format!("\ncannot check the edit: {error:#}")),
        }
    }
}

/// Time and size, which change with every save; `None` while there is no file.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn comment(path: &str, verdict: &Verdict) -> String {
    let headline = if verdict.code == Some(0) {
        "changed; no mistakes"
    } else {
        "has mistakes; the last good version stays in force"
    };
    let mut text = format!("\n{path} {headline}");
    for line in verdict.text.lines() {
        text += "\n  ";
        text += line;
    }
    text
}
