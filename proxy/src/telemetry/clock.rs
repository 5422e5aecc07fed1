//! The date in answers (RFC 9110 §6.6.1), written as text once a second at most.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// One worker's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    written: RefCell<Written>,
}

#[derive(Debug, Default)]
struct Written {
    second: u64,
    line: String,
}

// === impl Clock ===

impl Clock {
    /// Writes a `date` line into `out`.
    pub(crate) fn write_date(&self, out: &mut Vec<u8>) {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let written = &mut *self.written.borrow_mut();
        if written.second != second || written.line.is_empty() {
            written.second = second;
            written.line = format!("date: {}\r\n", httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(written.line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_line_that_can_be_read() {
        let mut out = Vec::new();
        let clock = Clock::default();

        clock.write_date(&mut out);

        let line = String::from_utf8(out).expect("text");
        let date = line
            .strip_prefix("date: ")
            .and_then(|it| it.strip_suffix("\r\n"));
        let date = httpdate::parse_http_date(date.expect("a line")).expect("a date");
        let age = SystemTime::now().duration_since(date).expect("no future");
        assert!(age.as_secs() < 60);
    }
}
