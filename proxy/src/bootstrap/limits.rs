//! Flags that bound what a client may send, and how slowly.

use std::time::Duration;

use clap::Args;

use crate::request::limits::{HEADERS_MAX, Limits};
use crate::request::path::Normalization;

/// Largest head that can be allowed, in bytes.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Smallest head that can be asked for, in bytes: less would refuse ordinary browsers.
const HEAD_BYTES_MIN: usize = 4 * 1024;
/// Longest target that can be allowed, in bytes; the URI type has no room for more.
const TARGET_BYTES_MAX: usize = 65_534;

/// What a client may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of clients")]
pub(super) struct LimitArgs {
    /// Largest head of a request or an answer, in bytes; more is 431, or 502 from an upstream.
    #[arg(long, value_name = "BYTES", env = "MESHPROXY_MAX_HEADER_BYTES",
        default_value_t = Limits::default().head_bytes_max, value_parser = head_bytes)]
    max_header_bytes: usize,
    /// Most header lines of a request or an answer; more is 431, or 502 from an upstream.
    #[arg(long, value_name = "N", env = "MESHPROXY_MAX_HEADERS",
        default_value_t = Limits::default().headers_max, value_parser = headers)]
    max_headers: usize,
    /// Longest request target, in bytes; more is 414.
    #[arg(long, value_name = "BYTES", env = "MESHPROXY_MAX_TARGET_BYTES",
        default_value_t = Limits::default().target_bytes_max, value_parser = target_bytes)]
    max_target_bytes: usize,
    /// Time for a request's head, from its first byte; more is 408.
    #[arg(long, value_name = "TIME", env = "MESHPROXY_REQUEST_HEAD_TIMEOUT",
        default_value = "30s", value_parser = span)]
    request_head_timeout: Duration,
    /// Longest pause of a client within its request's body (408), or in taking its answer (a reset).
    #[arg(long, value_name = "TIME", env = "MESHPROXY_CLIENT_STALL_TIMEOUT",
        default_value = "1m", value_parser = span)]
    client_stall_timeout: Duration,
    /// How long a client's connection may be open without a request.
    #[arg(long, value_name = "TIME", env = "MESHPROXY_CLIENT_IDLE_TIMEOUT",
        default_value = "1h", value_parser = span)]
    client_idle_timeout: Duration,
    /// How far paths are brought to normal form before rules and upstreams see them.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "MESHPROXY_PATH_NORMALIZATION",
        default_value = "base"
    )]
    path_normalization: Normalization,
}

// === impl LimitArgs ===

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            head_bytes_max: self.max_header_bytes,
            headers_max: self.max_headers,
            target_bytes_max: self.max_target_bytes,
            head_timeout: self.request_head_timeout,
            stall_timeout: self.client_stall_timeout,
            idle_timeout: self.client_idle_timeout,
            normalization: self.path_normalization,
        }
    }
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("must be a number from {least} to {most}")),
    }
}

fn head_bytes(text: &str) -> Result<usize, String> {
    number(text, HEAD_BYTES_MIN, HEAD_BYTES_MAX)
}

fn headers(text: &str) -> Result<usize, String> {
    number(text, 16, HEADERS_MAX)
}

fn target_bytes(text: &str) -> Result<usize, String> {
    number(text, 256, TARGET_BYTES_MAX)
}

/// A duration as Istio writes it, at least a second: waits are looked at once a second.
fn span(text: &str) -> Result<Duration, String> {
    let written: config::value::Duration = text
        .parse()
        .map_err(|error: config::value::DurationError| error.to_string())?;
    let span = written.get();
    match span >= Duration::from_secs(1) {
        true => Ok(span),
        false => Err("must be at least 1s".to_owned()),
    }
}
