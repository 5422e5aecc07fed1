//! The list of ✓ and ✗.

use std::time::Instant;

use crate::terminal::say;

/// Steps so far.
pub(crate) struct Report {
    started: Instant,
    last: Instant,
    passed: usize,
    failed: usize,
}

impl Report {
    /// Nothing so far.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last: now,
            passed: 0,
            failed: 0,
        }
    }

    /// Notes and says how the step `what` went: what was seen, or why it failed.
    pub(crate) fn note(&mut self, what: &str, result: anyhow::Result<String>) {
        let took = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        match result {
            Ok(seen) => {
                self.passed += 1;
                say(&format!("✓ {what} ({took:.1} s)\n    {seen}"));
            }
            Err(error) => {
                self.failed += 1;
                say(&format!("✗ {what} ({took:.1} s)\n    {error:#}"));
            }
        }
    }

    /// Says the sum; true when nothing failed.
    pub(crate) fn finish(self) -> bool {
        let took = self.started.elapsed().as_secs_f64();
        let sum = if self.failed == 0 {
            format!("all {} steps passed in {took:.1} s", self.passed)
        } else {
            let all = self.passed + self.failed;
            format!("{} of {all} steps failed in {took:.1} s", self.failed)
        };
        say(&format!("\n{sum}"));
        self.failed == 0
    }
}
