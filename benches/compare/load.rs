//! The load generators, and how to read what they print.
//!
//! Every run is one process on the core of the load, with a deadline. An answer other than 200 or a
//! broken connection makes the run an error: figures of failed requests mean nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::grpc;
use crate::handshake;
use crate::identity::Identities;
use crate::preflight::{Tool, Tools};
use crate::process::pinned;
use crate::tcp;
use crate::work::{BODY_BYTES, REQUEST_PATH, REQUEST_RULE, RULE_HEADER, Work};

/// Connections of wrk and oha.
const CONNECTIONS: &str = "64";

/// How much longer than asked for a load generator may run.
const OVERTIME: Duration = Duration::from_secs(15);

/// Called by wrk at its end. Without this, its figures are rounded and meant for people only.
const WRK_SCRIPT: &str = r#"
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"us":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout,
    errors.status, latency:percentile(50), latency:percentile(99)))
end
"#;

/// Who sends the load, and to where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// The kind of work.
    pub(crate) work: Work,
    /// Port on loopback that gets the requests.
    pub(crate) port: u16,
    /// Core of the load generator.
    pub(crate) core: usize,
    /// Requests per second of [`Work::Latency`].
    pub(crate) rate: u32,
    /// Who clients are, where they must be somebody.
    pub(crate) identities: &'a Identities,
    /// The installed load generators.
    pub(crate) tools: &'a Tools,
    /// A folder to write into.
    pub(crate) folder: &'a Path,
}

/// What a run of a load generator has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Answered requests, or GiB that passed.
    pub(crate) requests: f64,
    /// How long the run took, in seconds.
    pub(crate) seconds: f64,
    /// Median and 99th percentile of the latency, in µs; h2load prints none.
    pub(crate) p50_p99_us: Option<(f64, f64)>,
}

// === impl Load ===

impl Load<'_> {
    /// Sends requests for `seconds`.
    ///
    /// # Errors
    /// When the load generator fails, takes too long, or any request fails.
    ///
    /// # Cancel safety
    /// Dropping the future kills the load generator.
    pub(crate) async fn run(&self, seconds: u64) -> Result<Outcome> {
        if self.work == Work::Handshake {
            return handshake::run(self, Duration::from_secs(seconds)).await;
        }
        if self.work == Work::Tcp {
            return tcp::run(self.core, self.port, Duration::from_secs(seconds)).await;
        }
        let read = |printed: &str| match self.work {
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Hop
            | Work::Handshake
            | Work::Tcp
            | Work::TcpIdle
            | Work::Idle => wrk_outcome(printed),
            Work::Http2ToHttp1 | Work::Http2ToHttp2 => h2load_outcome(printed, BODY_BYTES),
            Work::Grpc => h2load_outcome(printed, grpc::ANSWER.len()),
            Work::Latency => oha_outcome(printed),
        };
        let mut command = Command::from(self.command(seconds)?);
        command.kill_on_drop(true);
        let allowed = Duration::from_secs(seconds) + OVERTIME;
        let output = tokio::time::timeout(allowed, command.output())
            .await
            .with_context(|| format!("the load generator did not end within {allowed:?}"))?
            .context("run the load generator")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!(
                "the load generator failed ({}):\n{printed}{error}",
                output.status
            );
        }
        read(&printed).with_context(|| format!("read what the load generator printed:\n{printed}"))
    }

    fn command(&self, seconds: u64) -> Result<std::process::Command> {
        let path = match self.work {
            Work::Grpc => grpc::PATH,
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Http2ToHttp1
            | Work::Http2ToHttp2
            | Work::Hop
            | Work::Handshake
            | Work::Tcp
            | Work::TcpIdle
            | Work::Latency
            | Work::Idle => REQUEST_PATH,
        };
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let header = format!("{RULE_HEADER}: {REQUEST_RULE}");
        let start = |tool| anyhow::Ok(pinned(self.core, self.tools.path(tool)?));
        let mut command = match self.work {
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Hop
            | Work::Handshake
            | Work::Tcp
            | Work::TcpIdle
            | Work::Idle => {
                let script = self.folder.join("wrk.lua");
                fs::write(&script, WRK_SCRIPT).context("write the script for wrk")?;
                let mut wrk = start(Tool::Wrk)?;
                wrk.args(["-t1", "-c", CONNECTIONS, "-d", &seconds.to_string(), "-s"])
                    .arg(script);
                if self.work == Work::Connection {
                    wrk.args(["-H", "Connection: close"]);
                }
                wrk
            }
            Work::Http2ToHttp1 | Work::Http2ToHttp2 | Work::Grpc => {
                let mut h2load = start(Tool::H2load)?;
                h2load.args(["-t1", "-c8", "-m10", "-D", &seconds.to_string()]);
                if self.work == Work::Grpc {
                    let message = self.folder.join("message");
                    fs::write(&message, grpc::CALL).context("write the message for h2load")?;
                    h2load.arg("-d").arg(message);
                    h2load.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
                }
                h2load
            }
            Work::Latency => {
                let mut oha = start(Tool::Oha)?;
                oha.args([
                    "--no-tui",
                    "--output-format",
                    "json",
                    "--latency-correction",
                ]);
                oha.args(["-c", CONNECTIONS, "-q", &self.rate.to_string()]);
                oha.args(["-z", &format!("{seconds}s")]);
                oha
            }
        };
        command.args(["-H", &header]).arg(url);
        Ok(command)
    }
}

// === reading ===

fn wrk_outcome(printed: &str) -> Result<Outcome> {
    let line = printed
        .lines()
        .find(|line| line.starts_with('{'))
        .context("no line of JSON")?;
    let json: Value = serde_json::from_str(line)?;
    for error in ["connect", "read", "write", "timeout", "status"] {
        let count = number(&json, &[error])?;
        ensure!(count == 0.0, "{count} requests failed ({error})");
    }
    Ok(Outcome {
        requests: number(&json, &["requests"])?,
        seconds: number(&json, &["us"])? / 1e6,
        p50_p99_us: Some((number(&json, &["p50_us"])?, number(&json, &["p99_us"])?)),
    })
}

fn oha_outcome(printed: &str) -> Result<Outcome> {
    /// The requests that are on their way when the time is over; at most one per connection.
    const ENDED_BY_DEADLINE: &str = "aborted due to deadline";
    let json: Value = serde_json::from_str(printed)?;
    let counts = |name: &str| json[name].as_object().context("a missing distribution");
    let errors = counts("errorDistribution")?
        .iter()
        .find(|(name, _)| *name != ENDED_BY_DEADLINE);
    if let Some((error, count)) = errors {
        bail!("{count} requests failed: {error}");
    }
    let statuses = counts("statusCodeDistribution")?;
    ensure!(
        statuses.keys().all(|status| status == "200"),
        "statuses other than 200"
    );
    let percentile = |name| anyhow::Ok(number(&json, &["latencyPercentiles", name])? * 1e6);
    Ok(Outcome {
        requests: number(&json, &["statusCodeDistribution", "200"])?,
        seconds: number(&json, &["summary", "total"])?,
        p50_p99_us: Some((percentile("p50")?, percentile("p99")?)),
    })
}

/// `answer_bytes` is how long the body of every answer must be: h2load looks at the status only, and
/// an error of gRPC comes with the status 200.
fn h2load_outcome(printed: &str, answer_bytes: usize) -> Result<Outcome> {
    // finished in 4.00s, 30241.00 req/s, 31.93MB/s
    // requests: 120964 total, 121044 started, 120964 done, 120964 succeeded, 0 failed, 0 errored, …
    let after = |start: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(start));
        line.with_context(|| format!("no line that starts with {start:?}"))
    };
    let counts = after("requests: ")?;
    let count = |name: &str| -> Result<f64> {
        let part = counts.split(", ").find_map(|part| part.strip_suffix(name));
        Ok(part
            .with_context(|| format!("no count of {name}"))?
            .trim()
            .parse()?)
    };
    let failed = count("failed")?;
    ensure!(failed == 0.0, "{failed} requests failed");
    let seconds = after("finished in ")?
        .split_once("s,")
        .context("no time")?
        .0;
    let seconds = seconds.parse().context("a time that is not in seconds")?;
    let statuses = after("status codes: ")?;
    ensure!(
        statuses.ends_with("0 3xx, 0 4xx, 0 5xx"),
        "statuses other than 2xx"
    );
    // traffic: 4.17MB (4372056) total, 300.46KB (307672) headers (…), 3.60MB (3773440) data
    let data = after("traffic: ")?.strip_suffix(") data");
    let data = data.and_then(|counts| counts.rsplit_once('('));
    let data: f64 = data.context("no count of data")?.1.parse()?;
    let requests = count("succeeded")?;
    ensure!(
        data >= requests * answer_bytes as f64,
        "answers of {answer_bytes} bytes were asked for, but {requests} brought {data} bytes"
    );
    Ok(Outcome {
        requests,
        seconds,
        p50_p99_us: None,
    })
}

fn number(json: &Value, path: &[&str]) -> Result<f64> {
    let found = path.iter().try_fold(json, |value, key| value.get(key));
    found
        .and_then(Value::as_f64)
        .with_context(|| format!("no number at {}", path.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read_from_the_line_of_its_script() {
        let line = |status: u32| {
            format!(
                "Running 4s test @ http://127.0.0.1/\n  1 threads\n{{\"requests\":200,\"us\":4000000,\
                 \"connect\":0,\"read\":0,\"write\":0,\"timeout\":0,\"status\":{status},\
                 \"p50_us\":900,\"p99_us\":1500}}\n"
            )
        };

        let outcome = wrk_outcome(&line(0)).unwrap();

        let p50_p99_us = Some((900.0, 1500.0));
        assert_eq!(
            outcome,
            Outcome {
                requests: 200.0,
                seconds: 4.0,
                p50_p99_us
            }
        );
        assert!(
            wrk_outcome(&line(3))
                .unwrap_err()
                .to_string()
                .contains("3 requests failed")
        );
        assert!(wrk_outcome("Running 4s test\n").is_err());
    }

    #[test]
    fn oha_may_end_requests_at_the_deadline_but_none_may_fail() {
        let json = |errors: &str, status: &str| {
            format!(
                "{{\"summary\":{{\"total\":4.0}},\"latencyPercentiles\":{{\"p50\":0.0002,\"p99\":0.001}},\
                 \"statusCodeDistribution\":{{\"{status}\":32000}},\"errorDistribution\":{{{errors}}}}}"
            )
        };

        let outcome = oha_outcome(&json("\"aborted due to deadline\":3", "200")).unwrap();

        let p50_p99_us = Some((200.0, 1000.0));
        assert_eq!(
            outcome,
            Outcome {
                requests: 32000.0,
                seconds: 4.0,
                p50_p99_us
            }
        );
        assert!(oha_outcome(&json("\"connection closed\":1", "200")).is_err());
        assert!(oha_outcome(&json("", "503")).is_err());
    }

    #[test]
    fn h2load_is_read_from_its_summary() {
        let text = |failed: u32| {
            format!(
                "finished in 4.00s, 300.00 req/s, 1.2MB/s\nrequests: 1200 total, 1280 started, \
                 1200 done, 1200 succeeded, {failed} failed, 0 errored, 0 timeout\n\
                 status codes: 1200 2xx, 0 3xx, 0 4xx, 0 5xx\n\
                 traffic: 1.23MB (1289880) total, 28.00KB (28672) headers (space savings 96.23%), \
                 1.17MB (1228800) data\n"
            )
        };

        let outcome = h2load_outcome(&text(0), 1024).unwrap();

        assert_eq!(
            outcome,
            Outcome {
                requests: 1200.0,
                seconds: 4.0,
                p50_p99_us: None
            }
        );
        assert!(h2load_outcome(&text(2), 1024).is_err());
        let short = h2load_outcome(&text(0), 1025).unwrap_err().to_string();
        assert!(short.contains("1200 brought 1228800 bytes"), "{short}");
    }
}
