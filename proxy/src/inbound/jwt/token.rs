//! A token that was found valid, as policies and routes look at it.

use std::rc::Rc;
use std::slice;
use std::str::Split;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Claims whose text is always a list with spaces between (RFC 8693 §4.2, and what some issuers have
/// in its place).
const DELIMITED: [&str; 2] = ["scope", "permission"];

/// A token that was found valid: who a request is from, in the words of an issuer that is trusted.
#[derive(Debug, Clone)]
pub struct Token {
    payload: Rc<Payload>,
    /// Further claims whose text is a list with spaces between.
    delimited: Arc<[Box<str>]>,
}

/// What a token says, read once and shared by every request that carries it.
#[derive(Debug, Default)]
pub struct Payload {
    claims: Map<String, Value>,
    /// As it stands in the token, in base64url.
    encoded: Box<str>,
    /// `ISS/SUB`, if both are there.
    principal: Option<Box<str>>,
    audiences: Box<[Box<str>]>,
}

/// The values of a claim, each of which may be the one that is asked for.
#[derive(Debug, Clone)]
pub struct Values<'t>(Form<'t>);

#[derive(Debug, Clone)]
enum Form<'t> {
    None,
    Text(&'t str),
    Delimited(Split<'t, char>),
    List(slice::Iter<'t, Value>),
}

// === impl Token ===

impl Token {
    /// A token with these claims; of `delimited` the text is a list with spaces between.
    pub fn new(payload: Rc<Payload>, delimited: Arc<[Box<str>]>) -> Self {
        Self { payload, delimited }
    }

    /// A token with these claims, whatever they are, for tests.
    ///
    /// # Panics
    ///
    /// When it is no mapping.
    #[cfg(test)]
    pub(crate) fn of(claims: Value) -> Self {
        let Value::Object(claims) = claims else {
            panic!("claims are a mapping");
        };
        Self::new(Rc::new(Payload::new(claims, "")), Arc::default())
    }

    /// `ISS/SUB`; none where one of them is missing.
    pub fn principal(&self) -> Option<&str> {
        self.payload.principal.as_deref()
    }

    /// Whom it is for (`aud`).
    pub fn audiences(&self) -> &[Box<str>] {
        &self.payload.audiences
    }

    /// Who may show it (`azp`).
    pub fn presenter(&self) -> Option<&str> {
        self.payload.claims.get("azp").and_then(Value::as_str)
    }

    /// The values of the claim at `path`: a text is one, a list those of its items that are texts, and
    /// the text of `scope` and the like what stands between its spaces. Numbers and booleans are no
    /// texts and equal nothing, as in Istio.
    pub fn claim(&self, path: &[impl AsRef<str>]) -> Values<'_> {
        Values(match (self.payload.at(path), path) {
            (Some(Value::String(text)), [name]) if self.is_delimited(name.as_ref()) => {
                Form::Delimited(text.split(' '))
            }
            (Some(Value::String(text)), _) => Form::Text(text),
            (Some(Value::Array(items)), _) => Form::List(items.iter()),
            (
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None,
                _,
            ) => Form::None,
        })
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    fn is_delimited(&self, name: &str) -> bool {
        DELIMITED.contains(&name) || self.delimited.iter().any(|it| **it == *name)
    }
}

// === impl Payload ===

impl Payload {
    /// What a token with these claims says; `encoded` is how they stand in it.
    pub fn new(claims: Map<String, Value>, encoded: &str) -> Self {
        let text = |name| claims.get(name).and_then(Value::as_str);
        let principal = text("iss").zip(text("sub"));
        let principal = principal.map(|(issuer, subject)| format!("{issuer}/{subject}").into());
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => [one.as_str().into()].into(),
            Some(Value::Array(items)) => {
                let items = items.iter().filter_map(Value::as_str);
                items.map(Into::into).collect()
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                Box::default()
            }
        };
        Self {
            claims,
            encoded: encoded.into(),
            principal,
            audiences,
        }
    }

    /// Who made it; empty if it does not say.
    pub fn issuer(&self) -> &str {
        let issuer = self.claims.get("iss").and_then(Value::as_str);
        issuer.unwrap_or_default()
    }

    /// Whom it is for.
    pub fn audiences(&self) -> &[Box<str>] {
        &self.audiences
    }

    /// How the claims stand in the token, in base64url without padding.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// The claim at `path`, whatever it is.
    pub fn at(&self, path: &[impl AsRef<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let first = self.claims.get(first.as_ref())?;
        rest.iter()
            .try_fold(first, |value, name| value.as_object()?.get(name.as_ref()))
    }
}

// === impl Values ===

impl<'t> Iterator for Values<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        match &mut self.0 {
            Form::None => None,
            Form::Text(text) => {
                let text = *text;
                self.0 = Form::None;
                Some(text)
            }
            Form::Delimited(parts) => parts.find(|part| !part.is_empty()),
            Form::List(items) => items.find_map(Value::as_str),
        }
    }
}

#[cfg(test)]
mod tests;
