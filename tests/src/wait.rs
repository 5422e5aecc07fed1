//! Waiting for conditions.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long anything may take. Far more than it takes on a machine with nothing else to do: whoever
/// runs the tests on a busy one should see failures of the proxy only.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at a condition that cannot be subscribed to.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The output of `work`.
///
/// # Panics
///
/// If it is not there within [`PATIENCE`]; `what` says what was awaited.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// The first value of `look` that `accepts` takes.
///
/// # Panics
///
/// If there is none within [`PATIENCE`], with the last value.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    accepts: impl Fn(&T) -> bool,
) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = soon(what, look()).await;
        if accepts(&seen) {
            return seen;
        }
        assert!(
            Instant::now() < end,
            "{what}: not within {PATIENCE:?}, last seen: {seen:?}"
        );
        sleep(LOOK_INTERVAL).await;
    }
}
