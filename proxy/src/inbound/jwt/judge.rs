//! The tokens of one request before the rules.

use std::borrow::Cow;

use super::compact::{self, Compact, Statement, TOKEN_BYTES_MAX};
use super::keys::{Fingerprint, Keys, fingerprint};
use super::memory::{Memory, Remembered};
use super::place::Place;
use super::refusal::Refusal;
use super::token::Token;
use super::{Admitted, KeySource, Rule};
use crate::upstream::Outgoing;

/// Most tokens of a request: nobody has more than one for each of a few issuers.
const TOKENS_MAX: usize = 8;

/// What tokens are judged by.
pub(super) struct Judge<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) places: &'a [Place],
    pub(super) memory: &'a Memory,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// A token of the request, and what is known of it.
struct Seen<'r> {
    /// Position among all places.
    place: usize,
    token: &'r [u8],
    hash: Fingerprint,
    known: Known<'r>,
}

/// A token that was read, now or before.
enum Known<'r> {
    Remembered(Remembered),
    Read(Compact<'r>),
    Wrong(Refusal),
}

// === impl Judge ===

impl<'a> Judge<'a> {
    /// Who a request is from; nobody if it has no token.
    pub(super) fn judge(&self, outgoing: &Outgoing) -> Result<Option<Admitted<'a>>, Refusal> {
        let found: Vec<(usize, Cow<'_, [u8]>)> = self
            .places
            .iter()
            .enumerate()
            .flat_map(|(at, place)| place.tokens(outgoing).into_iter().map(move |it| (at, it)))
            .take(TOKENS_MAX + 1)
            .collect();
        if found.is_empty() {
            return Ok(None);
        }
        if found.len() > TOKENS_MAX {
            return Err(Refusal::TooMany);
        }
        let seen: Vec<Seen<'_>> = found
            .iter()
            .map(|(place, token)| self.see(*place, token))
            .collect();
        let mut refusal: Option<Refusal> = None;
        for rule in self.rules {
            match self.satisfies(rule, &seen) {
                Some(Ok(statement)) => {
                    let payload = statement.payload.clone();
                    let token = Token::new(payload, rule.delimited.clone());
                    return Ok(Some(Admitted { rule, token }));
                }
                Some(Err(own)) => refusal = Some(more_telling(refusal, own)),
                None => {}
            }
        }
        // Every place belongs to a rule, so that there is a refusal.
        Err(refusal.unwrap_or(Refusal::UnknownIssuer))
    }

    /// Reads a token, or remembers it.
    fn see<'r>(&self, place: usize, token: &'r [u8]) -> Seen<'r> {
        if token.len() > TOKEN_BYTES_MAX {
            return Seen {
                place,
                token,
                hash: Fingerprint::default(),
                known: Known::Wrong(Refusal::TooLong),
            };
        }
        let hash = fingerprint(token);
        let known = match self.memory.find(&hash) {
            Some(remembered) => Known::Remembered(remembered),
            None => match compact::read(token) {
                Ok(read) => Known::Read(read),
                Err(refusal) => Known::Wrong(refusal),
            },
        };
        Seen {
            place,
            token,
            hash,
            known,
        }
    }

    /// Whether all tokens at the places of a rule are valid by it, and what the first of them says;
    /// none if there is none.
    fn satisfies<'s>(
        &self,
        rule: &Rule,
        seen: &'s [Seen<'_>],
    ) -> Option<Result<&'s Statement, Refusal>> {
        let mut own = rule
            .places
            .iter()
            .flat_map(|at| seen.iter().filter(move |token| token.place == *at));
        let first = self.check(rule, own.next()?);
        let others: Result<(), Refusal> = own.try_for_each(|it| self.check(rule, it).map(drop));
        Some(first.and_then(|statement| others.map(|()| statement)))
    }

    /// Checks a token by a rule, cheapest first.
    fn check<'s>(&self, rule: &Rule, seen: &'s Seen<'_>) -> Result<&'s Statement, Refusal> {
        let statement = match &seen.known {
            Known::Wrong(refusal) => return Err(*refusal),
            Known::Remembered(remembered) => &remembered.statement,
            Known::Read(read) => &read.statement,
        };
        let payload = &statement.payload;
        if !rule.issuer.is_empty() && *rule.issuer != *payload.issuer() {
            return Err(Refusal::UnknownIssuer);
        }
        if let Err(refusal) = statement.check_time(self.now) {
            self.memory.forget(&seen.hash);
            return Err(refusal);
        }
        if !takes(&rule.audiences, payload.audiences()) {
            return Err(Refusal::Audience);
        }
        match &rule.keys {
            KeySource::Written(keys) => self.check_signature(keys, seen)?,
            KeySource::Fetched(issuer) => issuer.read(|keys| match keys {
                Some(keys) => self.check_signature(keys, seen).inspect_err(|refusal| {
                    // The issuer may have a new key that we do not know yet.
                    if *refusal == Refusal::NoMatchingKey {
                        issuer.ask_again();
                    }
                }),
                None => Err(Refusal::NotFetched),
            })?,
        }
        Ok(statement)
    }

    fn check_signature(&self, keys: &Keys, seen: &Seen<'_>) -> Result<(), Refusal> {
        let by = keys.fingerprint();
        let check = |read: &Compact<'_>| {
            let id = read.key_id.as_deref();
            keys.check(id, read.algorithm, read.signed, &read.signature)?;
            let length = seen.token.len();
            self.memory.note(seen.hash, length, &read.statement, by);
            Ok(())
        };
        match &seen.known {
            Known::Wrong(refusal) => Err(*refusal),
            Known::Remembered(remembered) if remembered.holds_by(&by) => Ok(()),
            Known::Remembered(_) => check(&compact::read(seen.token)?),
            Known::Read(read) => check(read),
        }
    }
}

/// Of two refusals by two rules the one that says more: that a token is not for a rule says nothing.
fn more_telling(before: Option<Refusal>, now: Refusal) -> Refusal {
    match before {
        Some(before) if now == Refusal::UnknownIssuer => before,
        Some(_) | None => now,
    }
}

/// Whether one of the audiences of a token is wanted.
fn takes(wanted: &[Box<str>], audiences: &[Box<str>]) -> bool {
    wanted.is_empty()
        || audiences
            .iter()
            .any(|it| wanted.iter().any(|wanted| **wanted == *bare(it)))
}

/// An audience as it is compared: a URL without its scheme and the slash at its end.
pub(super) fn bare(audience: &str) -> &str {
    let schemes = ["https://", "http://"];
    let rest = schemes.iter().find_map(|it| audience.strip_prefix(it));
    let rest = rest.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}
