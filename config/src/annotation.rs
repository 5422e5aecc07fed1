//! Values of our own annotations that have more than one part: `WHAT;NAME=VALUE;NAME=VALUE`.
//!
//! They say of a `DestinationRule` what the API has no field for. What parses is legal, so that
//! whoever compiles them need not look twice.

mod health_check;
mod success_rate;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::value::Duration;

pub use health_check::{HealthCheck, Probe};
pub use success_rate::SuccessRate;

/// What is wrong with the value of an annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AnnotationError(String);

/// The pairs `NAME=VALUE` of `text`, each name once and among `known`.
fn options<'t>(text: &'t str, known: &[&str]) -> Result<Vec<(&'t str, &'t str)>, AnnotationError> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for option in text.split(';').map(str::trim) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let (name, value) = (name.trim(), value.trim());
        if !known.contains(&name) || value.is_empty() {
            return Err(AnnotationError(format!(
                "must have only {} with values, separated by \";\", got \"{option}\"",
                known.join(", ")
            )));
        }
        if pairs.iter().any(|(before, _)| *before == name) {
            return Err(AnnotationError(format!("{name} must be there once")));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// A number within `range`.
fn number<T>(name: &str, value: &str, range: RangeInclusive<T>) -> Result<T, AnnotationError>
where
    T: FromStr + PartialOrd + Display,
{
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        AnnotationError(format!(
            "{name} must be from {} to {}, got \"{value}\"",
            range.start(),
            range.end()
        ))
    })
}

/// A span of time within `range`.
fn span(
    name: &str,
    value: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, AnnotationError> {
    let span: Duration = value
        .parse()
        .map_err(|error| AnnotationError(format!("{name} {error}")))?;
    if range.contains(&span) {
        return Ok(span);
    }
    Err(AnnotationError(format!(
        "{name} must be from {} to {}, got {span}",
        range.start(),
        range.end()
    )))
}

#[cfg(test)]
mod tests;
