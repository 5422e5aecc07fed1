//! Values of flags: what parses can be used, and what does not says what could.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// Most worker threads that can be asked for.
const WORKERS_MAX: usize = 1_024;

/// Longest namespace, as Kubernetes has it.
const NAMESPACE_CHARS_MAX: usize = 63;

/// Shortest duration of a flag: less would keep workers busy with looking.
const SPAN_MIN: Duration = Duration::from_millis(100);
/// Longest duration of a flag, a year.
const SPAN_MAX: Duration = Duration::from_secs(8_760 * 3_600);

/// Where a workload is, from wide to narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone within the region; empty if not known.
    pub zone: String,
    /// Part of the zone; empty if not known.
    pub subzone: String,
}

// === impl Locality ===

impl Locality {
    /// From parts with slashes between them, of which any may be empty.
    pub(crate) fn from_parts(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self {
            region: part(),
            zone: part(),
            subzone: part(),
        }
    }
}

impl FromStr for Locality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let part = |at: usize| {
            parts
                .get(at)
                .map(|part| (*part).to_owned())
                .unwrap_or_default()
        };
        let gap = parts
            .windows(2)
            .any(|pair| pair[0].is_empty() && !pair[1].is_empty());
        if parts.len() > 3 || gap {
            return Err("must be region, region/zone or region/zone/subzone".to_owned());
        }
        Ok(Self {
            region: part(0),
            zone: part(1),
            subzone: part(2),
        })
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = [&self.zone, &self.subzone];
        f.write_str(&self.region)?;
        let mut inner = inner.into_iter().filter(|part| !part.is_empty());
        inner.try_for_each(|part| write!(f, "/{part}"))
    }
}

pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    match config::spiffe::is_trust_domain(text) {
        true => Ok(text.to_owned()),
        false => Err("must be a trust domain of lower-case letters, digits and .-_".to_owned()),
    }
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let legal = !text.is_empty()
        && text.len() <= NAMESPACE_CHARS_MAX
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if !legal {
        return Err(format!(
            "must be 1 to {NAMESPACE_CHARS_MAX} lower-case letters, digits and inner hyphens"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    if text.is_empty() || !text.chars().all(legal) {
        return Err("must be letters, digits and any of - _ . : /".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!(
                "must be key=value pairs with commas between, got \"{pair}\""
            ));
        };
        if key.trim().is_empty() {
            return Err(format!("must have a key before \"=\", got \"{pair}\""));
        }
        if labels
            .insert(key.trim().to_owned(), value.trim().to_owned())
            .is_some()
        {
            return Err(format!("has the key \"{}\" twice", key.trim()));
        }
    }
    Ok(labels)
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroUsize| number.get() <= WORKERS_MAX);
    number.ok_or_else(|| format!("must be 1 to {WORKERS_MAX}"))
}

/// A duration as the configuration writes them, or 0; longer ones than can be told from for ever are
/// not taken.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed: Result<config::value::Duration, _> = text.parse();
    let span = parsed.map_err(|error| error.to_string())?.get();
    if span > SPAN_MAX || (!span.is_zero() && span < SPAN_MIN) {
        return Err("must be 0, or from 100ms to 8760h".to_owned());
    }
    Ok(span)
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "must be such as \"info\" or \"info,proxy=debug\": {error}"
        )),
    }
}
