//! Which rule a request meets: the first whose conditions all hold.
//!
//! Rules are tried in order. Where there are many, an index by path names the few that can match at
//! all, still in order, so that the answer is the same and the cost does not grow with the rules.

mod index;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::inbound::jwt::Token;
use crate::table::matcher::{Matcher, PathMatcher};
use crate::table::route::Route;
use index::PathIndex;

/// Header values remembered while the rules of one request are tried.
const REMEMBERED_HEADERS: usize = 8;
/// Number of rules from which the index pays.
const INDEXED_RULES_MIN: usize = 12;

/// The rules of one host, in order.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Box<[Rule]>,
    index: Option<PathIndex>,
}

/// One match block (or the absence of one) and the route it leads to.
#[derive(Debug)]
pub struct Rule {
    /// Condition on the path.
    pub path: PathMatcher,
    /// All other conditions; `None` where there are none, which is the common case.
    pub others: Option<Box<Conditions>>,
    /// What happens to the request.
    pub route: Arc<Route>,
    /// Position of the block in `match[]` of its rule; 0 if the rule has none.
    pub block: u32,
    /// Its number among all blocks that are written for the host, also those that are for others.
    pub number: u32,
}

/// The conditions of a match block by themselves, without a rule that they lead to.
#[derive(Debug)]
pub struct Block {
    /// Condition on the path.
    path: PathMatcher,
    /// All other conditions on the request.
    others: Option<Box<Conditions>>,
    /// Labels that the sender must have; whoever asks compares them.
    pub source_labels: Box<[(Box<str>, Box<str>)]>,
    /// Namespace that the sender must be of; whoever asks compares it.
    pub source_namespace: Option<Box<str>>,
}

/// Conditions beside the path; all must hold.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Port that is addressed.
    pub port: Option<u16>,
    /// Parts of the request line.
    pub parts: Box<[PartCondition]>,
    /// Headers.
    pub headers: Box<[HeaderCondition]>,
    /// Query parameters.
    pub query: Box<[QueryCondition]>,
    /// Claims of the token that the request was let in with.
    pub claims: Box<[ClaimCondition]>,
}

/// A part of the request line, or what stands for it in HTTP/2 (RFC 9113 §8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Method.
    Method,
    /// `http` or `https`.
    Scheme,
    /// Authority as sent.
    Authority,
    /// Path with query.
    Target,
}

/// A condition on a part of the request line.
#[derive(Debug)]
pub struct PartCondition {
    /// The part.
    pub part: Part,
    /// What it must be.
    pub matcher: Matcher,
    /// `withoutHeaders`: the condition holds when the matcher does not.
    pub inverted: bool,
}

/// A condition on one header.
#[derive(Debug)]
pub struct HeaderCondition {
    /// Header name.
    pub name: HeaderName,
    /// Place of the header among all that the rules ask for.
    slot: usize,
    /// Matches if any line of the header matches.
    pub matcher: Matcher,
    /// `withoutHeaders`: the condition holds when the matcher does not.
    pub inverted: bool,
}

/// A condition on one query parameter: its first value, as written.
#[derive(Debug)]
pub struct QueryCondition {
    /// Parameter name.
    pub name: Box<str>,
    /// Matches the value without decoding.
    pub matcher: Matcher,
}

/// A condition on one claim of a token.
#[derive(Debug)]
pub struct ClaimCondition {
    /// The names on the way to it.
    pub path: Box<[Box<str>]>,
    /// Matches if any value of the claim matches.
    pub matcher: Matcher,
    /// `withoutHeaders`: the condition holds when the matcher does not.
    pub inverted: bool,
}

/// Which condition of a rule did not hold.
#[derive(Debug, Clone, Copy)]
pub enum Mismatch<'a> {
    /// The path.
    Path(&'a PathMatcher),
    /// The addressed port should be this one.
    Port(u16),
    /// A part of the request line.
    Part(&'a PartCondition),
    /// A header.
    Header(&'a HeaderCondition),
    /// A query parameter.
    Query(&'a QueryCondition),
    /// A claim.
    Claim(&'a ClaimCondition),
}

/// What rules look at in a request.
#[derive(Debug)]
pub struct RequestView<'r> {
    /// Method.
    pub method: &'r str,
    /// Scheme; a client's `x-forwarded-proto` where there is one.
    pub scheme: &'r str,
    /// Authority as sent.
    pub authority: &'r str,
    /// Port that is addressed.
    pub port: u16,
    /// Normalised path with query.
    pub target: &'r str,
    /// Normalised path without query.
    pub path: &'r str,
    /// Query without `?`.
    pub query: Option<&'r str>,
    /// Headers.
    pub headers: &'r HeaderMap,
    /// The token that the request was let in with.
    pub token: Option<&'r Token>,
}

/// Header values looked up once per request, whatever the number of rules that ask.
struct Remembered<'r> {
    headers: &'r HeaderMap,
    values: [Lookup<'r>; REMEMBERED_HEADERS],
}

#[derive(Clone, Copy)]
enum Lookup<'r> {
    Unknown,
    Absent,
    One(&'r HeaderValue),
    Several,
}

// === impl Rule ===

impl Rule {
    /// Whether the rule is for this method by name, and not because it is for any.
    pub(crate) fn names_method(&self, method: &str) -> bool {
        let names = |part: &PartCondition| {
            let exact =
                matches!(&part.matcher, Matcher::Exact(name) if **name == *method.as_bytes());
            part.part == Part::Method && exact && !part.inverted
        };
        self.others
            .as_ref()
            .is_some_and(|others| others.parts.iter().any(names))
    }
}

// === impl Rules ===

impl Rules {
    /// Orders rules for matching.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        let conditions = rules
            .iter_mut()
            .filter_map(|rule| rule.others.as_deref_mut());
        place_headers(conditions);
        let index = (rules.len() >= INDEXED_RULES_MIN).then(|| PathIndex::new(&rules));
        Self {
            rules: rules.into(),
            index,
        }
    }

    /// The first rule that matches.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Rule> {
        let mut remembered = Remembered::new(request.headers);
        match &self.index {
            None => self
                .rules
                .iter()
                .find(|rule| rule.mismatch(request, &mut remembered).is_none()),
            Some(index) => index
                .candidates(request.path.as_bytes(), &mut remembered)
                .map(|at| &self.rules[at])
                .find(|rule| rule.mismatch(request, &mut remembered).is_none()),
        }
    }

    /// Every rule in order with the condition that kept the request from it, up to and including
    /// the rule that matches.
    pub fn trace<'a>(
        &'a self,
        request: &'a RequestView<'_>,
    ) -> impl Iterator<Item = (&'a Rule, Option<Mismatch<'a>>)> {
        let mut remembered = Remembered::new(request.headers);
        let mut found = false;
        self.rules.iter().map_while(move |rule| {
            if found {
                return None;
            }
            let mismatch = rule.mismatch(request, &mut remembered);
            found = mismatch.is_none();
            Some((rule, mismatch))
        })
    }

    /// All rules in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

// === impl Rule ===

impl Rule {
    fn mismatch<'r>(
        &self,
        request: &RequestView<'r>,
        remembered: &mut Remembered<'r>,
    ) -> Option<Mismatch<'_>> {
        if !self.path.matches(request.path.as_bytes()) {
            return Some(Mismatch::Path(&self.path));
        }
        self.others
            .as_deref()
            .and_then(|others| others.mismatch(request, remembered))
    }
}

// === impl Conditions ===

impl Conditions {
    fn mismatch<'r>(
        &self,
        request: &RequestView<'r>,
        remembered: &mut Remembered<'r>,
    ) -> Option<Mismatch<'_>> {
        if let Some(port) = self.port.filter(|port| *port != request.port) {
            return Some(Mismatch::Port(port));
        }
        if let Some(condition) = self.parts.iter().find(|part| !part.holds(request)) {
            return Some(Mismatch::Part(condition));
        }
        if let Some(header) = self.headers.iter().find(|header| !header.holds(remembered)) {
            return Some(Mismatch::Header(header));
        }
        let mut query = self.query.iter();
        if let Some(parameter) = query.find(|it| !it.holds(request.query)) {
            return Some(Mismatch::Query(parameter));
        }
        let mut claims = self.claims.iter();
        let claim = claims.find(|it| !it.holds(request.token))?;
        Some(Mismatch::Claim(claim))
    }
}

// === impl Part ===

impl Part {
    fn of<'r>(self, request: &RequestView<'r>) -> &'r str {
        match self {
            Self::Method => request.method,
            Self::Scheme => request.scheme,
            Self::Authority => request.authority,
            Self::Target => request.target,
        }
    }
}

/// Gives conditions on the same header one place, where its value is remembered.
fn place_headers<'c>(conditions: impl Iterator<Item = &'c mut Conditions>) {
    let mut names: Vec<HeaderName> = Vec::new();
    for condition in conditions.flat_map(|conditions| conditions.headers.iter_mut()) {
        let known = names.iter().position(|name| *name == condition.name);
        condition.slot = known.unwrap_or_else(|| {
            names.push(condition.name.clone());
            names.len() - 1
        });
    }
}

// === impl Block ===

impl Block {
    /// The conditions on a request; none on its sender.
    pub fn new(path: PathMatcher, mut others: Option<Box<Conditions>>) -> Self {
        place_headers(others.as_deref_mut().into_iter());
        Self {
            path,
            others,
            source_labels: Box::default(),
            source_namespace: None,
        }
    }

    /// Whether there is a condition on a header.
    pub(crate) fn looks_at_headers(&self) -> bool {
        let others = self.others.as_deref();
        others.is_some_and(|others| !others.headers.is_empty())
    }

    /// Whether a request meets all conditions on it.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path.as_bytes())
            && self.others.as_deref().is_none_or(|others| {
                let mut remembered = Remembered::new(request.headers);
                others.mismatch(request, &mut remembered).is_none()
            })
    }
}

// === impl PartCondition ===

impl PartCondition {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        let value = self.part.of(request);
        self.matcher.matches(value.as_bytes()) != self.inverted
    }
}

// === impl HeaderCondition ===

impl HeaderCondition {
    /// A condition on the header `name`.
    pub fn new(name: HeaderName, matcher: Matcher, inverted: bool) -> Self {
        Self {
            name,
            slot: 0,
            matcher,
            inverted,
        }
    }

    fn holds(&self, remembered: &mut Remembered<'_>) -> bool {
        let matched = match remembered.look_up(self.slot, &self.name) {
            Lookup::One(value) => self.matcher.matches(value.as_bytes()),
            Lookup::Several => remembered
                .lines(&self.name)
                .any(|value| self.matcher.matches(value.as_bytes())),
            // An inverted condition takes a missing header for an empty one, but for presence.
            Lookup::Absent | Lookup::Unknown => {
                self.inverted
                    && !matches!(self.matcher, Matcher::Presence)
                    && self.matcher.matches(b"")
            }
        };
        matched != self.inverted
    }
}

// === impl QueryCondition ===

impl QueryCondition {
    fn holds(&self, query: Option<&str>) -> bool {
        let value = first_parameter(query, &self.name);
        value.is_some_and(|value| self.matcher.matches(value.as_bytes()))
    }
}

// === impl ClaimCondition ===

impl ClaimCondition {
    /// Without a token there is no claim, whatever headers say.
    fn holds(&self, token: Option<&Token>) -> bool {
        let mut values = token.into_iter().flat_map(|it| it.claim(&self.path));
        values.any(|value| self.matcher.matches(value.as_bytes())) != self.inverted
    }
}

/// The first value of the query parameter `name`, as written.
fn first_parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    let mut parameters = query
        .unwrap_or_default()
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let found = parameters.find(|(candidate, _)| *candidate == name);
    found.map(|(_, value)| value)
}

// === impl Remembered ===

impl<'r> Remembered<'r> {
    fn new(headers: &'r HeaderMap) -> Self {
        Self {
            headers,
            values: [Lookup::Unknown; REMEMBERED_HEADERS],
        }
    }

    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &'r HeaderValue> + use<'r> {
        self.headers.get_all(name).iter()
    }

    fn look_up(&mut self, slot: usize, name: &HeaderName) -> Lookup<'r> {
        if let Some(known) = self.values.get(slot)
            && !matches!(known, Lookup::Unknown)
        {
            return *known;
        }
        let mut lines = self.lines(name);
        let found = match (lines.next(), lines.next()) {
            (None, _) => Lookup::Absent,
            (Some(value), None) => Lookup::One(value),
            (Some(_), Some(_)) => Lookup::Several,
        };
        if let Some(place) = self.values.get_mut(slot) {
            *place = found;
        }
        found
    }
}
