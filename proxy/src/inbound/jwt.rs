//! Tokens of requests (JWT, RFC 7519): who a request is from, by the word of an issuer.
//!
//! A request without a token passes, and is from nobody; one with a token that is not valid does not
//! pass. Rules are tried in order. A rule whose places hold tokens is satisfied if all of them are
//! valid by it: of a good and a bad one, who is behind us might take the bad one. The first rule that
//! is satisfied says who the request is from. If none is and there are tokens, they are refused.
//!
//! The body of a request is never looked at, and nothing here waits: keys that have to be fetched are
//! there, or their tokens are refused.

mod algorithm;
mod compact;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod judge;
pub(crate) mod keys;
mod memory;
mod output;
mod place;
mod refusal;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::resource::request_authentication::JwtRule;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

use crate::inbound::Arrival;
use crate::jwks::Issuer;
use crate::request::Rejection;
use crate::upstream::Outgoing;
use judge::Judge;
use keys::Keys;
pub(crate) use memory::Memory;
use output::Outputs;
use place::Place;
pub use refusal::{Refusal, Unauthenticated};
pub use token::{Payload, Token, Values};

/// What a browser asks with before a request of another origin (Fetch, "CORS-preflight request").
static ASKED_METHOD: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;

/// The rules for tokens of this proxy.
#[derive(Debug, Default)]
pub struct Authentication {
    rules: Box<[Rule]>,
    /// Every place of a rule, once.
    places: Box<[Place]>,
    /// Every header that a rule sets.
    outputs: Box<[HeaderName]>,
}

/// An issuer that is trusted, and for what.
#[derive(Debug)]
struct Rule {
    /// Empty takes any.
    issuer: Box<str>,
    /// Without scheme and slash at the end; empty takes any.
    audiences: Box<[Box<str>]>,
    keys: KeySource,
    /// Positions among all places.
    places: Box<[usize]>,
    outputs: Outputs,
    /// Whether the token goes on to the upstream.
    forwards: bool,
    /// Claims whose text is a list with spaces between.
    delimited: Arc<[Box<str>]>,
}

/// Where the keys of an issuer are from.
#[derive(Debug)]
pub enum KeySource {
    /// The rule.
    Written(Arc<Keys>),
    /// The issuer.
    Fetched(Arc<Issuer>),
}

/// Whom a request is from, and by which rule.
struct Admitted<'a> {
    rule: &'a Rule,
    token: Token,
}

// === impl Authentication ===

impl Authentication {
    /// These rules in order, each with its keys; none if there is no rule.
    pub fn new<'w>(rules: impl Iterator<Item = (&'w JwtRule, KeySource)>) -> Option<Self> {
        let mut places: Vec<Place> = Vec::new();
        let rules: Box<[Rule]> = rules
            .map(|(written, keys)| Rule::compile(written, keys, &mut places))
            .collect();
        let mut outputs: Vec<HeaderName> = Vec::new();
        for name in rules.iter().flat_map(|rule| rule.outputs.names()) {
            if !outputs.contains(name) {
                outputs.push(name.clone());
            }
        }
        (!rules.is_empty()).then(|| Self {
            rules,
            places: places.into(),
            outputs: outputs.into(),
        })
    }

    /// Finds out who a request is from.
    ///
    /// # Errors
    ///
    /// If it has tokens and no rule takes them.
    pub(crate) fn authenticate(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let worker = arrival.worker;
        let examined = self.examine(outgoing, &worker.tokens, SystemTime::now());
        examined.map_err(|refusal| {
            worker.count_refused_token(refusal.cause());
            tracing::debug!(cause = refusal.cause(), "token refused");
            let scheme = match arrival.downstream.security {
                Some(_) => "https",
                None => "http",
            };
            self.rejection(refusal, scheme, outgoing)
        })
    }

    /// Finds out who a request is from, at a time.
    ///
    /// # Errors
    ///
    /// What is wrong with its tokens.
    pub(crate) fn examine(
        &self,
        outgoing: &mut Outgoing,
        memory: &Memory,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let now = now.duration_since(UNIX_EPOCH);
        let judge = Judge {
            rules: &self.rules,
            places: &self.places,
            memory,
            now: now.map_or(0, |since: Duration| since.as_secs()),
        };
        let admitted = match is_preflight(&outgoing.head.method, &outgoing.head.headers) {
            true => None,
            false => judge.judge(outgoing)?,
        };
        output::clear(&self.outputs, &mut outgoing.head.headers);
        if let Some(Admitted { rule, token }) = admitted {
            if !rule.forwards {
                let places = rule.places.iter().map(|at| &self.places[*at]);
                let used: Vec<&Place> = places
                    .filter(|place| !place.tokens(outgoing).is_empty())
                    .collect();
                used.iter().for_each(|place| place.clear(outgoing));
            }
            rule.outputs.add(&token, &mut outgoing.head.headers);
            outgoing.token = Some(Box::new(token));
        }
        Ok(())
    }

    /// What the client is told.
    pub(crate) fn rejection(
        &self,
        refusal: Refusal,
        scheme: &str,
        outgoing: &Outgoing,
    ) -> Rejection {
        let authority = outgoing.authority.to_str().unwrap_or_default();
        let target = self.conceal(outgoing.target());
        let target = target.as_deref().unwrap_or_else(|| outgoing.target());
        let url = format!("{scheme}://{authority}{target}");
        Rejection::Unauthenticated(Box::new(Unauthenticated::new(refusal, &url)))
    }

    /// The target of a request without the tokens in it; none if there is none.
    pub(crate) fn conceal(&self, target: &str) -> Option<String> {
        let mut shown: Option<String> = None;
        for place in &self.places {
            let concealed = place.conceal(shown.as_deref().unwrap_or(target));
            shown = concealed.or(shown);
        }
        shown
    }

    /// The issuers whose keys have to be fetched.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.rules.iter().filter_map(|rule| match &rule.keys {
            KeySource::Written(_) => None,
            KeySource::Fetched(issuer) => Some(issuer),
        })
    }
}

// === impl Rule ===

impl Rule {
    /// Compiles a rule, whose places join those that are known.
    fn compile(written: &JwtRule, keys: KeySource, places: &mut Vec<Place>) -> Self {
        let own = place::of_rule(written).into_iter().map(|place| {
            let known = places.iter().position(|it| *it == place);
            known.unwrap_or_else(|| {
                places.push(place);
                places.len() - 1
            })
        });
        let audiences = written.audiences.iter();
        let delimited = written.space_delimited_claims.iter();
        Self {
            issuer: written.issuer.as_str().into(),
            places: own.collect(),
            audiences: audiences.map(|it| judge::bare(it).into()).collect(),
            keys,
            outputs: Outputs::of_rule(written),
            forwards: written.forward_original_token.unwrap_or_default(),
            delimited: delimited.map(|it| it.as_str().into()).collect(),
        }
    }
}

/// Whether a browser asks if it may send a request, to which it adds no token.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName| headers.get(name).is_some_and(|value| !value.is_empty());
    *method == Method::OPTIONS && says(&header::ORIGIN) && says(&ASKED_METHOD)
}

#[cfg(test)]
mod tests;
