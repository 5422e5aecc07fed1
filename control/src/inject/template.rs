//! What is added to a pod, with names for what depends on the pod: `${NAME}` within scalars.

use std::path::Path;
use std::sync::Arc;

use config::strict;
use config::{Problem, Severity};
use serde_json::Value;

use super::PROXY;
use super::values::{NAMES, Values};

/// The template of the chart.
const DEFAULT: &str = include_str!("../../../charts/meshproxy/files/injection-template.yaml");

/// A part of a pod in which every name is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Value);

/// A text in pieces.
enum Piece<'t> {
    Text(&'t str),
    /// The name between `${` and `}`.
    Name(&'t str),
}

// === impl Template ===

impl Template {
    /// Reads a template as if it were the file `path`.
    ///
    /// # Errors
    ///
    /// Every problem of it: no YAML, names that are not known, or no container for the proxy.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let document = strict::parse::<Value>(path, text)?;
        let mut problems = Vec::new();
        let mut unknown = Vec::new();
        collect_unknown(&document.value, &mut unknown);
        for name in unknown {
            let line = line_of(text, &format!("${{{name}"));
            problems.push(problem(path, line, format!("`${{{name}}}` is not known")));
        }
        let containers = document.value["spec"]["containers"].as_array();
        let mut names = containers.into_iter().flatten().map(|it| &it["name"]);
        if !names.any(|name| name == PROXY) {
            let message = format!("spec.containers: must have one with the name {PROXY}");
            problems.push(problem(path, 1, message));
        }
        match problems.is_empty() {
            true => Ok(Self(document.value)),
            false => Err(problems),
        }
    }

    /// The template with values for its names.
    pub(super) fn fill(&self, values: &Values) -> Value {
        filled(&self.0, values).unwrap_or_default()
    }
}

impl Default for Template {
    fn default() -> Self {
        Self::parse(Path::new("injection-template.yaml"), DEFAULT)
            .expect("a test reads the template that is compiled in")
    }
}

/// A value with its names filled in; none if it is nothing but a name that is not set.
fn filled(value: &Value, values: &Values) -> Option<Value> {
    match value {
        Value::String(text) => filled_text(text, values),
        Value::Array(items) => Some(Value::Array(
            items
                .iter()
                .filter(|item| !lacks_value(item, values))
                .filter_map(|item| filled(item, values))
                .collect(),
        )),
        Value::Object(fields) => Some(Value::Object(
            fields
                .iter()
                .filter_map(|(name, field)| {
                    let field = filled(field, values)?;
                    let field = match (name.as_str(), field) {
                        // That of a variable: it is a text also where it says a number.
                        ("value", Value::Number(number)) => Value::String(number.to_string()),
                        (_, field) => field,
                    };
                    Some((name.clone(), field))
                })
                .collect(),
        )),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.clone()),
    }
}

/// Whether an item has a `value` that is not set: it goes as a whole.
fn lacks_value(item: &Value, values: &Values) -> bool {
    let value = item.get("value").and_then(Value::as_str);
    value.is_some_and(|text| filled_text(text, values).is_none())
}

fn filled_text(text: &str, values: &Values) -> Option<Value> {
    let pieces = pieces(text);
    if let [Piece::Name(name)] = pieces.as_slice() {
        return values.get(name).cloned();
    }
    let mut whole = String::with_capacity(text.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => whole.push_str(text),
            Piece::Name(name) => match values.get(name) {
                Some(Value::String(value)) => whole.push_str(value),
                Some(value) => whole.push_str(&value.to_string()),
                None => {}
            },
        }
    }
    Some(Value::String(whole))
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${")
        && let Some((name, after)) = behind.split_once('}')
    {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

fn collect_unknown<'t>(value: &'t Value, unknown: &mut Vec<&'t str>) {
    match value {
        Value::String(text) => {
            for piece in pieces(text) {
                match piece {
                    Piece::Name(name) if !NAMES.contains(&name) => unknown.push(name),
                    Piece::Name(_) | Piece::Text(_) => {}
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| collect_unknown(it, unknown)),
        Value::Object(fields) => fields.values().for_each(|it| collect_unknown(it, unknown)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The line of the first mention of a text, from 1.
fn line_of(text: &str, mention: &str) -> u32 {
    let at = text.lines().position(|line| line.contains(mention));
    at.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(1)
}

fn problem(path: &Path, line: u32, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: Arc::from(path),
        line,
        column: 1,
        resource: String::new(),
        path: String::new(),
        message,
    }
}
