//! Looks a few times a second how much memory is in use, and has new work refused where it is too much.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus::IntGauge;
use tokio::task::AbortHandle;

use crate::pressure::{HighWater, LOOK_INTERVAL, Memory, Pressure};
use crate::telemetry::metrics::Metrics;

/// Begins to look at what is asked for; none where that is nothing. The task looks, and the pressure
/// tells workers.
///
/// # Errors
///
/// If that is a share of a limit, and there is none.
pub(super) fn watch(
    asked: HighWater,
    metrics: &Metrics,
) -> anyhow::Result<Option<(AbortHandle, Arc<Pressure>)>> {
    let memory = Memory::of(asked).context("watch the memory (--memory-high-water)")?;
    Ok(memory.map(|memory| {
        let pressure = Pressure::new();
        tracing::debug!(mark = memory.mark, "memory is watched");
        let shown = metrics.process.memory_pressure.clone();
        let task = tokio::spawn(look(memory, Arc::clone(&pressure), shown));
        (task.abort_handle(), pressure)
    }))
}

async fn look(memory: Memory, pressure: Arc<Pressure>, shown: IntGauge) {
    let mark = memory.mark;
    loop {
        // Where the system does not say, nothing is refused for it.
        let used = memory.used().unwrap_or(0);
        if pressure.note(used, mark) {
            shown.set(i64::from(pressure.is_high()));
            match pressure.is_high() {
                true => tracing::warn!(
                    used,
                    mark,
                    "too much memory in use: new requests and connections are refused"
                ),
                false => tracing::info!(used, mark, "new requests and connections are taken again"),
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
