//! The output of a child process, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// Lines that were written so far; complete ones only.
#[derive(Debug, Clone)]
pub struct Lines {
    seen: watch::Receiver<Vec<String>>,
}

// === impl Lines ===

impl Lines {
    /// Reads `output` until it ends.
    pub fn of(output: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (seen, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                seen.send_modify(|seen| seen.push(without_colours(&line)));
            }
        });
        Self { seen: receiver }
    }

    /// The first line that `accepts` takes, now or later.
    ///
    /// # Panics
    ///
    /// If it does not come, with all that came.
    pub async fn line(&self, what: &str, accepts: impl Fn(&str) -> bool) -> String {
        self.nth(0, what, accepts).await
    }

    /// The line after `before` others that `accepts` takes, now or later.
    ///
    /// # Panics
    ///
    /// If it does not come, with all that came.
    pub async fn nth(&self, before: usize, what: &str, accepts: impl Fn(&str) -> bool) -> String {
        let mut seen = self.seen.clone();
        let found =
            |lines: &Vec<String>| lines.iter().filter(|line| accepts(line)).count() > before;
        // Whether the output ended or the time did, what came up to then tells more.
        let _ = timeout(PATIENCE, seen.wait_for(found)).await.is_ok();
        let lines = self.all();
        match lines.iter().filter(|line| accepts(line)).nth(before) {
            Some(line) => line.clone(),
            None => panic!("{what}: not in the output:\n{}", lines.join("\n")),
        }
    }

    /// Everything up to now.
    pub fn all(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }
}

/// `line` without the escape sequences that colour it.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = escape.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &escape[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(
            without_colours("\u{1b}[2ma\u{1b}[0m b\u{1b}[1;31mc"),
            "a bc"
        );
        assert_eq!(without_colours("plain"), "plain");
    }

    #[tokio::test]
    async fn a_line_is_found_before_and_after_it_was_written() {
        let lines = Lines::of(&b"one\ntwo\n"[..]);

        assert_eq!(lines.line("two", |line| line == "two").await, "two");
        assert_eq!(lines.line("one", |line| line == "one").await, "one");
    }
}
