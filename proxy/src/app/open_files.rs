//! The limit of open files, which is the limit of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system lets us.
///
/// Shells and service managers start programs with 1024, for the sake of those that use `select`. Here
/// each request under way may need two, and a proxy that has none left serves nobody. Whoever wants
/// fewer sets the hard limit.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => tracing::debug!(
            before = current,
            now = maximum,
            "limit of open files raised"
        ),
        Err(error) => tracing::warn!(%error, limit = current, "limit of open files not raised"),
    }
}
