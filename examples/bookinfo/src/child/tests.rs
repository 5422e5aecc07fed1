use std::time::Instant;

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Waits until the child has written `text`, so that its traps are set.
async fn written(log: &Path, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(log).unwrap().contains(text) {
        assert!(Instant::now() < deadline, "the child never wrote {text:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_child_that_drains_ends_clean() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let child = Supervised::start("drains", shell(script), &log).unwrap();
    written(&log, "up").await;

    assert_eq!(child.stop().await, Stop::Clean);
}

#[tokio::test]
async fn a_child_without_a_drain_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let child = Supervised::start("fails", shell(script), &log).unwrap();
    written(&log, "up").await;

    assert_eq!(child.stop().await, Stop::Failed(Some(3)));
}

#[tokio::test]
async fn a_child_that_ends_by_itself_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "echo routes.yaml:3:1: unknown field >&2; exit 1";
    let mut child = Supervised::start("the meshproxy of reviews-v2", shell(script), &log).unwrap();

    let error = child.end().await.to_string();

    assert!(
        error.contains("the meshproxy of reviews-v2 ended"),
        "{error}"
    );
    assert!(error.contains("routes.yaml:3:1: unknown field"), "{error}");
    assert!(child.still_runs().is_err());
}

#[tokio::test]
async fn a_dropped_child_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "trap '' TERM; echo up; while :; do sleep 0.01; done";
    let child = Supervised::start("dropped", shell(script), &log).unwrap();
    written(&log, "up").await;
    let pid = i32::try_from(child.child.id().unwrap()).unwrap();

    drop(child);

    let deadline = Instant::now() + Duration::from_secs(10);
    while Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok() {
        assert!(Instant::now() < deadline, "the child still runs");
        tokio::task::yield_now().await;
    }
}
