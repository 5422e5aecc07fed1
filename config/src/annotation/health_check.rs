//! `meshproxy.io/health-check`: requests by which the proxy itself finds out whether an endpoint
//! works.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration as Span;

use super::{AnnotationError, number, options, span};
use crate::value::Duration;

/// Shortest interval and time limit.
const SPAN_MIN: Duration = Duration::from_std(Span::from_millis(100));
/// Longest interval.
const INTERVAL_MAX: Duration = Duration::from_std(Span::from_secs(3_600));
/// Longest time limit: as long a check that hangs takes one of the places that all checks share.
const TIMEOUT_MAX: Duration = Duration::from_std(Span::from_secs(60));
/// Interval where none is written.
const INTERVAL: Duration = Duration::from_std(Span::from_secs(10));
/// Time limit where none is written.
const TIMEOUT: Duration = Duration::from_std(Span::from_secs(1));
/// Most results in a row.
const RUN_MAX: u32 = 100;
/// Longest path, and longest name of a gRPC service, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// How the endpoints of a destination are checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked, and what answer passes.
    pub probe: Probe,
    /// `interval`: from the beginning of a check to the next one; 100 ms–1 h, unset means 10 s.
    pub interval: Duration,
    /// `timeout`: what takes longer has failed; 100 ms–60 s, unset means 1 s. Where it is longer than
    /// the interval, a check that takes longer delays the next.
    pub timeout: Duration,
    /// `unhealthy`: failures in a row that take an endpoint out; 1–100, unset means 3.
    pub unhealthy: u32,
    /// `healthy`: passed checks in a row that bring it back; 1–100, unset means 2.
    pub healthy: u32,
    /// `port`: where to ask; unset means where requests go. Unix sockets have none.
    pub port: Option<u16>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Probe {
    /// `tcp`: a connection that is taken passes.
    Tcp,
    /// `http:PATH`: the status of a `GET`.
    Http {
        /// Path and query.
        path: String,
        /// `status`: statuses that pass; 100–599, unset means 200–399.
        statuses: RangeInclusive<u16>,
    },
    /// `grpc` or `grpc:SERVICE`: `grpc.health.v1.Health/Check` that answers `SERVING`.
    Grpc {
        /// Name of the service; empty asks for the server as a whole.
        service: String,
    },
}

// === impl HealthCheck ===

impl HealthCheck {
    /// Name of the annotation.
    pub const ANNOTATION: &str = "meshproxy.io/health-check";

    const OPTIONS: [&str; 6] = [
        "interval",
        "timeout",
        "unhealthy",
        "healthy",
        "port",
        "status",
    ];

    fn of(probe: Probe) -> Self {
        Self {
            probe,
            interval: INTERVAL,
            timeout: TIMEOUT,
            unhealthy: 3,
            healthy: 2,
            port: None,
        }
    }

    /// Takes an option.
    fn set(&mut self, name: &str, value: &str) -> Result<(), AnnotationError> {
        match name {
            "interval" => self.interval = span(name, value, SPAN_MIN..=INTERVAL_MAX)?,
            "timeout" => self.timeout = span(name, value, SPAN_MIN..=TIMEOUT_MAX)?,
            "unhealthy" => self.unhealthy = number(name, value, 1..=RUN_MAX)?,
            "healthy" => self.healthy = number(name, value, 1..=RUN_MAX)?,
            "port" => self.port = Some(number(name, value, 1..=u16::MAX)?),
            _ => match &mut self.probe {
                Probe::Http { statuses, .. } => *statuses = range(name, value)?,
                Probe::Tcp | Probe::Grpc { .. } => {
                    return Err(AnnotationError(format!("{name} is for http only")));
                }
            },
        }
        Ok(())
    }
}

impl FromStr for HealthCheck {
    type Err = AnnotationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (probe, written) = text
            .split_once(';')
            .map_or((text, None), |(probe, rest)| (probe, Some(rest)));
        if let Some(name) = Self::OPTIONS.into_iter().find(|name| {
            let wrong = |part: &str| part.split('=').next().map(str::trim) == Some(name);
            probe.split(',').skip(1).any(wrong)
        }) {
            return Err(AnnotationError(format!(
                "must have \";\" before {name}, got \",\""
            )));
        }
        let mut check = Self::of(probe.trim().parse()?);
        let pairs = written.map_or(Ok(Vec::new()), |it| options(it, &Self::OPTIONS))?;
        for (name, value) in pairs {
            check.set(name, value)?;
        }
        Ok(check)
    }
}

impl fmt::Display for HealthCheck {
    /// All of it, as it could be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            probe,
            interval,
            timeout,
            unhealthy,
            healthy,
            port,
        } = self;
        write!(f, "{probe};interval={interval};timeout={timeout}")?;
        write!(f, ";unhealthy={unhealthy};healthy={healthy}")?;
        if let Some(port) = port {
            write!(f, ";port={port}")?;
        }
        match probe {
            Probe::Http { statuses, .. } => {
                write!(f, ";status={}-{}", statuses.start(), statuses.end())
            }
            Probe::Tcp | Probe::Grpc { .. } => Ok(()),
        }
    }
}

/// `200`, or `200-399`.
fn range(name: &str, value: &str) -> Result<RangeInclusive<u16>, AnnotationError> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let first: u16 = number(name, first.trim(), 100..=599)?;
    let last = number(name, last.trim(), first..=599)?;
    Ok(first..=last)
}

// === impl Probe ===

impl FromStr for Probe {
    type Err = AnnotationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, argument) = text
            .split_once(':')
            .map_or((text, None), |(kind, argument)| (kind, Some(argument)));
        match (kind, argument) {
            ("tcp", None) => Ok(Self::Tcp),
            ("http", Some(path)) if is_path(path) => Ok(Self::Http {
                path: path.to_owned(),
                statuses: 200..=399,
            }),
            ("grpc", None) => Ok(Self::Grpc {
                service: String::new(),
            }),
            ("grpc", Some(service)) if is_service(service) => Ok(Self::Grpc {
                service: service.to_owned(),
            }),
            _ => Err(AnnotationError(format!(
                "must begin with http:/PATH, grpc, grpc:SERVICE or tcp, got \"{text}\""
            ))),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Http { path, .. } => write!(f, "http:{path}"),
            Self::Grpc { service } if service.is_empty() => f.write_str("grpc"),
            Self::Grpc { service } => write!(f, "grpc:{service}"),
        }
    }
}

/// Whether it can stand in a request line as it is: no space, no control character, no fragment, and
/// of the rest only what a URI may have (RFC 3986 §3.3, §3.4).
fn is_path(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%/?".contains(&byte);
    text.starts_with('/') && text.len() <= TEXT_BYTES_MAX && text.bytes().all(fits)
}

fn is_service(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.chars().all(fits)
}
