//! Programs of the system: run to their end within a time, with an error that says enough.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take. It waits for others that change rules.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<&'static str>,
}

/// Why a program did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("{call}: cannot be run: {source}")]
    Start { call: String, source: io::Error },
    #[error("{call}: {status}{}{}", at(.rule.as_deref()), said(.stderr))]
    Failed {
        call: String,
        status: ExitStatus,
        /// The line of the input that it did not take, if it says.
        rule: Option<String>,
        stderr: String,
    },
    #[error("{call}: no end within {RUN_TIMEOUT:?}")]
    Slow { call: String },
}

// === impl Call ===

impl Call {
    /// Runs it with `input` and gives what it prints.
    ///
    /// # Errors
    ///
    /// If it cannot be started, fails, or takes too long.
    pub(super) fn run(&self, input: &str) -> Result<String, ProgramError> {
        let start = |source| ProgramError::Start {
            call: self.to_string(),
            source,
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            // What it says is searched for the line that it did not take.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let stdin = child.stdin.take();
        let (ended, end) = mpsc::channel();
        let text = input.to_owned();
        thread::spawn(move || {
            // A program that ends before it read everything says why.
            let _ = stdin.map(|mut stdin| stdin.write_all(text.as_bytes()));
            // Nobody waits any more if it took too long.
            let _ = ended.send(child.wait_with_output());
        });
        match end.recv_timeout(RUN_TIMEOUT) {
            Ok(output) => self.outcome(output.map_err(start)?, input),
            Err(_) => {
                // If it has ended by now, all the better.
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
                let call = self.to_string();
                Err(ProgramError::Slow { call })
            }
        }
    }

    fn outcome(&self, output: Output, input: &str) -> Result<String, ProgramError> {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let rule = line_of(&stderr).and_then(|number| input.lines().nth(number.checked_sub(1)?));
        Err(ProgramError::Failed {
            call: self.to_string(),
            status: output.status,
            rule: rule.map(|rule| rule.trim().to_owned()),
            stderr,
        })
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.display())?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// The number of the line that a program complains of: `nft` begins with the place, programs of
/// iptables name the line.
fn line_of(stderr: &str) -> Option<usize> {
    let number = |text: &str| {
        let end = text.find(|it: char| !it.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse().ok()
    };
    let behind = |mark: &str| stderr.split(mark).skip(1).find_map(number);
    ["/dev/stdin:", "line ", "line: "]
        .into_iter()
        .find_map(behind)
}

fn at(rule: Option<&str>) -> String {
    rule.map_or(String::new(), |rule| format!(" at \"{rule}\""))
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &'static str) -> Call {
        Call {
            program: "/bin/sh".into(),
            arguments: vec!["-c", script],
        }
    }

    #[test]
    fn a_program_gets_its_input_and_gives_its_output() {
        let output = shell("tr a-z A-Z").run("some rules\n");

        assert_eq!(output.expect("it ends well"), "SOME RULES\n");
    }

    #[test]
    fn a_failure_names_program_rule_and_reason() {
        let call = shell("cat >/dev/null; echo 'iptables-restore: line 2 failed' >&2; exit 4");

        let error = call
            .run("*nat\n  -A OUTPUT -j X\nCOMMIT\n")
            .expect_err("it fails");

        let text = error.to_string();
        assert!(text.starts_with("/bin/sh -c cat"), "{text}");
        let rest = "exit status: 4 at \"-A OUTPUT -j X\": iptables-restore: line 2 failed";
        assert!(text.ends_with(rest), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let call = Call {
            program: "/nowhere/nft".into(),
            arguments: vec!["-f", "-"],
        };

        let text = call.run("").expect_err("it is not there").to_string();

        assert!(
            text.starts_with("/nowhere/nft -f -: cannot be run: "),
            "{text}"
        );
    }

    #[test]
    fn the_line_is_found_in_what_each_program_says() {
        for (stderr, expected) in [
            (
                "/dev/stdin:12:3-20: Error: No such file\n\t\tredirect",
                Some(12),
            ),
            (
                "iptables-restore v1.8.9 (nf_tables): \nline 5: CHAIN_ADD failed",
                Some(5),
            ),
            ("iptables-restore: line 7 failed\n", Some(7)),
            ("Bad argument `x'\nError occurred at line: 3\n", Some(3)),
            ("Permission denied (you must be root)", None),
            ("in line with that", None),
            ("", None),
        ] {
            assert_eq!(line_of(stderr), expected, "{stderr}");
        }
    }
}
