//! The proxy's own log, on stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// What changes the filter.
pub(super) type FilterHandle = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

/// Logs to stderr by a filter.
pub(super) fn log_to_stderr(filter: &str) -> FilterHandle {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // Only a second proxy in one process, as tests have, finds a subscriber in place.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    handle
}

/// Logs by another filter from now on.
pub(super) fn set_filter(handle: &FilterHandle, written: &str) {
    match EnvFilter::try_new(written) {
        Ok(filter) => {
            if handle.reload(filter).is_ok() {
                tracing::info!(filter = written, "log filter changed");
            }
        }
        Err(error) => tracing::warn!(%error, "log filter refused"),
    }
}
