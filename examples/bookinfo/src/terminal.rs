//! What a person reads: lines on standard output.

use std::io::Write;

/// Writes one line. A closed output is no reason to stop serving.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
