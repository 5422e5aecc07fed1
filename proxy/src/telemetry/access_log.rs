//! The access log: one line per request in Istio's default text format or as JSON with its names.
//!
//! Workers append to a bounded buffer that a thread writes out. When the output is too slow lines
//! are lost and counted; a request never waits for the log.

mod entry;
mod text;
mod time;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prometheus::IntCounter;

pub use crate::telemetry::access_log::entry::Entry;
pub use crate::telemetry::access_log::text::Text;

/// Bytes of lines that may wait for the output: about 2 000 lines, a second of stall at the rate of
/// a busy sidecar.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Bytes that are written at once without waiting for more.
const BATCH_BYTES: usize = 32 << 10;
/// How long a line waits for others, so that the writer wakes per batch and not per line.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Istio's default text format.
    Text,
    /// A JSON object with Istio's names and ours.
    Json,
}

/// Writes lines. Dropping it waits until all have been written.
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    dropped: IntCounter,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for the copy of one line, or for the exchange of the buffer.
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    closed: bool,
}

// === impl AccessLog ===

impl AccessLog {
    /// Starts a thread that writes lines of `format` to `output` and counts those that are lost.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn new(
        format: Format,
        output: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (written, lost) = (Arc::clone(&shared), dropped.clone());
        let writer = thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_out(&written, output, &lost))?;
        Ok(Self {
            format,
            dropped,
            shared,
            writer: Some(writer),
        })
    }

    /// Appends the line of one request; if there is no room it is lost and counted.
    pub fn write(&self, entry: &Entry<'_>) {
        let line = match self.format {
            Format::Text => entry.text(),
            Format::Json => entry.json(),
        };
        let mut waiting = self.shared.lock();
        let before = waiting.lines.len();
        let after = before + line.len() + 1;
        if after > WAITING_BYTES_MAX {
            drop(waiting);
            return self.dropped.inc();
        }
        waiting.lines.extend_from_slice(line.as_bytes());
        waiting.lines.push(b'\n');
        drop(waiting);
        // The writer waits for the first line and for a full batch; others need not wake it.
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer's output has been reported by the panic hook.
            let _ = writer.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Lines are appended whole, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges the waiting lines for `empty`; false when there are none and will be none.
    fn take(&self, empty: &mut Vec<u8>) -> bool {
        let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.closed;
        let waiting = self.changed.wait_while(self.lock(), idle);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let small = |waiting: &mut Waiting| waiting.lines.len() < BATCH_BYTES && !waiting.closed;
        let waiting = self.changed.wait_timeout_while(waiting, BATCH_DELAY, small);
        let (mut waiting, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.lines, empty);
        !empty.is_empty()
    }
}

/// Writes lines until the log is closed and all are written.
fn write_out(shared: &Shared, mut output: impl Write, dropped: &IntCounter) {
    let mut batch = Vec::new();
    while shared.take(&mut batch) {
        if output
            .write_all(&batch)
            .and_then(|()| output.flush())
            .is_err()
        {
            // Some of them may have been written; what matters is that the count is not 0.
            let lines = batch.iter().filter(|byte| **byte == b'\n').count();
            dropped.inc_by(lines as u64);
        }
        batch.clear();
        // A burst leaves no large buffer behind.
        batch.shrink_to(BATCH_BYTES * 2);
    }
}
