//! The limit of open files, which is the limit of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections: configuration, logs, event queues, listeners.
const OTHERS_MAX: u64 = 64;
/// Most connections of a worker unless told otherwise, so that a flood of idle ones is bounded in memory.
const CONNECTIONS_PER_WORKER: usize = 32_768;

/// Raises the limit of open files as far as the system lets us, and says what it is then; none if there
/// is none.
///
/// Shells and service managers start programs with 1024, for the sake of those that use `select`. Here
/// each request under way may need two, and a proxy that has none left serves nobody. Whoever wants
/// fewer sets the hard limit.
pub(super) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => {
            tracing::debug!(
                before = current,
                now = maximum,
                "limit of open files raised"
            );
            maximum
        }
        Err(error) => {
            tracing::warn!(%error, limit = current, "limit of open files not raised");
            current
        }
    }
}

/// How many connections may be open by a limit of open files: a quarter of them is left for connections
/// to upstreams, which are fewer, since idle clients have none.
pub(super) fn connections_max(files: Option<u64>, workers: usize) -> usize {
    let by_memory = workers.saturating_mul(CONNECTIONS_PER_WORKER);
    let by_files = files.map(|files| files.saturating_sub(OTHERS_MAX) / 4 * 3);
    let by_files = by_files.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    by_files.min(by_memory).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_their_upstreams_and_others() {
        assert_eq!(connections_max(Some(20_000), 2), 14_952);
        assert_eq!(connections_max(Some(1 << 20), 2), 65_536);
        assert_eq!(connections_max(None, 1), 32_768);
        assert_eq!(connections_max(Some(10), 1), 1);
    }
}
