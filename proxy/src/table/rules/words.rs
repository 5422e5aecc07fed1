//! Conditions in words for people: what a rule asks for, and what a request has in its place.

use std::fmt;

use crate::table::matcher::PathMatcher;
use crate::table::rules::{
    ClaimCondition, Conditions, HeaderCondition, Mismatch, Part, PartCondition, QueryCondition,
    RequestView, Rule, first_parameter,
};

/// Text of a request, which may be any bytes.
fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

// === impl Rule ===

impl Rule {
    /// Its conditions, each as a phrase, in the order in which they are tried; none means every
    /// request.
    pub fn conditions(&self) -> Vec<String> {
        let path = match &self.path {
            PathMatcher::Any => None,
            asked => Some(asked.to_string()),
        };
        let others = self.others.iter().flat_map(|others| others.phrases());
        path.into_iter().chain(others).collect()
    }
}

// === impl Conditions ===

impl Conditions {
    fn phrases(&self) -> Vec<String> {
        let port = self.port.map(|port| Mismatch::Port(port).to_string());
        port.into_iter()
            .chain(self.parts.iter().map(PartCondition::to_string))
            .chain(self.headers.iter().map(HeaderCondition::to_string))
            .chain(self.query.iter().map(QueryCondition::to_string))
            .chain(self.claims.iter().map(ClaimCondition::to_string))
            .collect()
    }
}

// === impl Mismatch ===

impl Mismatch<'_> {
    /// What the request has where the condition looks; `None` if it has nothing there.
    pub fn found(&self, request: &RequestView<'_>) -> Option<String> {
        match self {
            Self::Path(_) => Some(request.path.to_owned()),
            Self::Port(_) => Some(request.port.to_string()),
            Self::Part(condition) => Some(condition.part.of(request).to_owned()),
            Self::Header(condition) => {
                let lines = request.headers.get_all(&condition.name).iter();
                let lines: Vec<String> = lines.map(|line| lossy(line.as_bytes())).collect();
                (!lines.is_empty()).then(|| lines.join(", "))
            }
            Self::Query(condition) => {
                first_parameter(request.query, &condition.name).map(str::to_owned)
            }
            Self::Claim(condition) => {
                let values = request.token?.claim(&condition.path);
                let values: Vec<&str> = values.collect();
                (!values.is_empty()).then(|| values.join(", "))
            }
        }
    }
}

impl fmt::Display for Mismatch<'_> {
    /// The condition that does not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(asked) => asked.fmt(f),
            Self::Port(port) => write!(f, "port is {port}"),
            Self::Part(condition) => condition.fmt(f),
            Self::Header(condition) => condition.fmt(f),
            Self::Query(condition) => condition.fmt(f),
            Self::Claim(condition) => condition.fmt(f),
        }
    }
}

// === impl Part ===

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "method",
            Self::Scheme => "scheme",
            Self::Authority => "authority",
            Self::Target => "path with query",
        })
    }
}

// === impl PartCondition ===

impl fmt::Display for PartCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.inverted { "not: " } else { "" };
        write!(f, "{not}{} {}", self.part, self.matcher)
    }
}

// === impl HeaderCondition ===

impl fmt::Display for HeaderCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.inverted { "not: " } else { "" };
        write!(f, "{not}header {} {}", self.name, self.matcher)
    }
}

// === impl QueryCondition ===

impl fmt::Display for QueryCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query parameter {} {}", self.name, self.matcher)
    }
}

// === impl ClaimCondition ===

impl fmt::Display for ClaimCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.inverted { "not: " } else { "" };
        let name = self.path.join(".");
        write!(f, "{not}claim {name} {}", self.matcher)
    }
}
