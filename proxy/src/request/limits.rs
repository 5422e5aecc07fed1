//! How large a request may be, how long a client may keep us waiting, and how its path is read.

use std::time::Duration;

use crate::request::path::Normalization;

/// Most header lines that can be allowed.
pub(crate) const HEADERS_MAX: usize = 256;

/// Limits of downstream connections, from flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest head of a request or of an upstream's answer, in bytes.
    pub head_bytes_max: usize,
    /// Most header lines of either.
    pub headers_max: usize,
    /// Longest request target, in bytes.
    pub target_bytes_max: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Longest pause of a client within the body of its request, or in taking its answer.
    pub stall_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// How far paths are brought to normal form.
    pub normalization: Normalization,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            headers_max: 128,
            target_bytes_max: 32 * 1024,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3_600),
            normalization: Normalization::Base,
        }
    }
}
