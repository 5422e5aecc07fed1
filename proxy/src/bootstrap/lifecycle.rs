//! Flags that say how the proxy comes and goes, and how much it may take.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::value::span;
use crate::pressure::HighWater;

/// Smallest high-water mark of memory, in bytes: what an idle proxy occupies is near it.
const MEMORY_BYTES_MIN: u64 = 8 << 20;

/// How a proxy stops and is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    /// How long a drain may last; none leaves it to the configuration.
    pub drain_timeout: Option<Duration>,
    /// For how long new inbound connections are served while the proxy drains.
    pub minimum_drain: Duration,
    /// Whether it exits as soon as nothing is left.
    pub ends_when_idle: bool,
    /// Whether it exits with the workload.
    pub exit_with_app: bool,
    /// How long the process that takes its place may take to be ready.
    pub upgrade_timeout: Duration,
}

/// How much a proxy may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections from clients; none leaves it to the limit of open files.
    pub connections_max: Option<NonZeroUsize>,
    /// Connections of one client; none leaves it to the kind of listener, 0 is no limit.
    pub connections_per_client: Option<u32>,
    /// Memory above which new work is refused.
    pub memory: HighWater,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Coming and going")]
pub(super) struct LifecycleArgs {
    /// How long a drain may last; what is left then is closed [default: terminationDrainDuration or
    /// drainDuration of MeshConfig, else 45s].
    #[arg(long, value_name = "DURATION", env = "MESHPROXY_DRAIN_TIMEOUT", value_parser = span)]
    drain_timeout: Option<Duration>,
    /// For how long new inbound connections are served after SIGTERM, for callers who have not heard
    /// of it yet.
    #[arg(long, value_name = "DURATION", env = "MESHPROXY_MINIMUM_DRAIN",
        default_value = "5s", value_parser = span)]
    minimum_drain: Duration,
    /// Exit as soon as no connection is left, rather than at the end of --drain-timeout.
    #[arg(long, value_name = "BOOL", env = "MESHPROXY_EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
        default_value_t = true, action = ArgAction::Set)]
    exit_on_zero_active_connections: bool,
    /// Drain and exit once the application has gone, so that a Job can complete. Needs a shared
    /// process namespace.
    #[arg(long, env = "MESHPROXY_EXIT_WITH_APP")]
    exit_with_app: bool,
    /// How long the process that SIGUSR2 starts may take to be ready.
    #[arg(long, value_name = "DURATION", env = "MESHPROXY_UPGRADE_TIMEOUT",
        default_value = "1m", value_parser = span)]
    upgrade_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of this process")]
pub(super) struct CapacityArgs {
    /// Most connections from clients [default: three quarters of the limit of open files, at most
    /// 32768 for each worker].
    #[arg(long, value_name = "N", env = "MESHPROXY_MAX_CONNECTIONS")]
    max_connections: Option<NonZeroUsize>,
    /// Most connections of one client address (IPv6: of its /64), at gateways and at the workload's
    /// ports, but not from this machine; 0 for no limit [default: at gateways half of
    /// --max-connections].
    #[arg(long, value_name = "N", env = "MESHPROXY_MAX_CONNECTIONS_PER_CLIENT")]
    max_connections_per_client: Option<u32>,
    /// Memory above which new requests and connections are refused: bytes (512Mi), a share of the
    /// control group's limit (80%), or off [default: 90% where there is a limit, else off].
    #[arg(long, value_name = "BYTES|PERCENT|off", env = "MESHPROXY_MEMORY_HIGH_WATER",
        value_parser = high_water)]
    memory_high_water: Option<HighWater>,
}

// === impl LifecycleArgs ===

impl LifecycleArgs {
    pub(super) fn lifecycle(&self) -> Lifecycle {
        Lifecycle {
            drain_timeout: self.drain_timeout,
            minimum_drain: self.minimum_drain,
            ends_when_idle: self.exit_on_zero_active_connections,
            exit_with_app: self.exit_with_app,
            upgrade_timeout: self.upgrade_timeout,
        }
    }
}

// === impl CapacityArgs ===

impl CapacityArgs {
    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            connections_max: self.max_connections,
            connections_per_client: self.max_connections_per_client,
            memory: self.memory_high_water.unwrap_or(HighWater::Default),
        }
    }
}

fn high_water(text: &str) -> Result<HighWater, String> {
    let wrong = || {
        format!(
            "must be off, 1% to 99%, or bytes from {}Mi, such as 512Mi",
            MEMORY_BYTES_MIN >> 20
        )
    };
    if text == "off" {
        return Ok(HighWater::Off);
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.parse().ok().filter(|it| (1..=99).contains(it));
        return percent.map(HighWater::Percent).ok_or_else(wrong);
    }
    let (digits, shift) = match text.as_bytes() {
        [.., b'K', b'i'] => (&text[..text.len() - 2], 10),
        [.., b'M', b'i'] => (&text[..text.len() - 2], 20),
        [.., b'G', b'i'] => (&text[..text.len() - 2], 30),
        _ => (text, 0),
    };
    let bytes: Option<u64> = digits.parse().ok();
    let bytes = bytes.and_then(|it| it.checked_mul(1 << shift));
    let bytes = bytes.filter(|bytes| *bytes >= MEMORY_BYTES_MIN);
    bytes.map(HighWater::Bytes).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_memory_are_bytes_shares_or_off() {
        for (text, expected) in [
            ("off", HighWater::Off),
            ("90%", HighWater::Percent(90)),
            ("8388608", HighWater::Bytes(8 << 20)),
            ("8192Ki", HighWater::Bytes(8 << 20)),
            ("64Mi", HighWater::Bytes(64 << 20)),
            ("2Gi", HighWater::Bytes(2 << 30)),
        ] {
            assert_eq!(high_water(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "0%",
            "100%",
            "1024",
            "7Mi",
            "64MB",
            "-1",
            "Mi",
            "99999999999999999999",
            "18446744073709551615Ki",
        ] {
            assert!(high_water(wrong).is_err(), "{wrong}");
        }
    }
}
