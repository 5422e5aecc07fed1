//! `RequestAuthentication`: for whom it is, and that each rule names an issuer and usable keys.

use crate::decode::words::quote;
use crate::jwks::KeySet;
use crate::resource::Metadata;
use crate::resource::request_authentication::{
    ClaimToHeader, JwtHeader, JwtRule, RequestAuthentication,
};
use crate::validate::findings::Findings;
use crate::validate::{field, header, selector};

/// Most rules of a policy: a token is held against those of its issuer.
const RULES_MAX: usize = 4_096;
/// Most claims of a rule whose text is a list.
const DELIMITED_MAX: usize = 64;
/// Longest address of keys, in bytes.
const URI_BYTES_MAX: usize = 2_048;
/// What is wrong with asking without TLS.
const PLAIN_TEXT: &str =
    "fetches keys in plain text: whoever is on the way can put in keys of their own; use https";
/// Headers that say how a message is framed or where it goes, which no claim may.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks a `RequestAuthentication`.
pub(crate) fn check(policy: &RequestAuthentication, meta: &Metadata, f: &mut Findings) {
    let (one, all) = (policy.target_ref.as_ref(), &policy.target_refs);
    selector::check(policy.selector.as_ref(), one, all, meta, f);
    if policy.jwt_rules.len() > RULES_MAX {
        f.error_in("jwtRules", format!("must have at most {RULES_MAX} items"));
    }
    f.each("jwtRules", &policy.jwt_rules, |f, rule| check_rule(rule, f));
}

fn check_rule(rule: &JwtRule, f: &mut Findings) {
    let uri = field::written(rule.jwks_uri.as_ref());
    let keys = field::written(rule.jwks.as_ref());
    if rule.issuer.is_empty() && uri.is_none() {
        f.error("must name an issuer or a jwksUri");
    }
    f.each("audiences", &rule.audiences, |f, it| require(it, f));
    if let Some(uri) = uri {
        f.field("jwksUri", |f| check_uri(uri, f));
    }
    if let Some(keys) = keys {
        f.field("jwks", |f| check_keys(keys, f));
    }
    match (uri, keys) {
        (Some(_), Some(_)) => f.error_in("jwks", "must not be set together with jwksUri"),
        (None, None) if !rule.issuer.is_empty() => f.field("issuer", |f| check_asked(rule, f)),
        (None, None) | (Some(_), None) | (None, Some(_)) => {}
    }
    check_places(rule, f);
    check_outputs(rule, f);
    field::duration("timeout", rule.timeout, f);
    if rule.space_delimited_claims.len() > DELIMITED_MAX {
        let message = format!("must have at most {DELIMITED_MAX} items");
        f.error_in("spaceDelimitedClaims", message);
    }
}

/// Checks an issuer that has to be asked where its keys are.
fn check_asked(rule: &JwtRule, f: &mut Findings) {
    match check_url(&rule.issuer) {
        Err(()) => f.warn(
            "is no URL that tells where its keys are, and neither jwks nor jwksUri is set: all \
             its tokens are refused",
        ),
        Ok(Scheme::Plain) => f.warn(PLAIN_TEXT),
        Ok(Scheme::Secure) => {}
    }
}

fn check_places(rule: &JwtRule, f: &mut Findings) {
    f.each(
        "fromHeaders",
        &rule.from_headers,
        |f, JwtHeader { name, .. }| {
            if name.is_empty() {
                f.error_in("name", "is required");
            } else if !header::is_token(name) {
                f.error_in(
                    "name",
                    format!("must be a header name, got {}", quote(name)),
                );
            }
        },
    );
    f.each("fromParams", &rule.from_params, |f, it| require(it, f));
    f.each("fromCookies", &rule.from_cookies, |f, it| require(it, f));
}

fn check_outputs(rule: &JwtRule, f: &mut Findings) {
    if let Some(name) = field::written(rule.output_payload_to_header.as_ref()) {
        f.field("outputPayloadToHeader", |f| check_output(name, f));
    }
    f.each(
        "outputClaimToHeaders",
        &rule.output_claim_to_headers,
        |f, it| {
            let ClaimToHeader { header, claim } = it;
            match header.is_empty() {
                true => f.error_in("header", "is required"),
                false => f.field("header", |f| check_output(header, f)),
            }
            if claim.is_empty() {
                f.error_in("claim", "is required");
            }
        },
    );
}

/// Checks the name of a header that a token sets.
fn check_output(name: &str, f: &mut Findings) {
    let frames = FRAMING.iter().any(|it| it.eq_ignore_ascii_case(name));
    if frames {
        f.error(format!("must not be {name}, which tokens have no say in"));
    } else {
        f.require(header::check_name(name));
    }
}

fn require(text: &str, f: &mut Findings) {
    if text.is_empty() {
        f.error("must not be empty");
    }
}

fn check_keys(text: &str, f: &mut Findings) {
    let set = match KeySet::parse(text.as_bytes()) {
        Ok(set) => set,
        Err(error) => return f.error(error.to_string()),
    };
    for (at, unusable) in &set.unusable {
        f.warn(format!("key number {at} is not used: it {unusable}"));
    }
    if set.keys.is_empty() {
        f.warn("has no key that can be used: all tokens are refused");
    }
}

fn check_uri(uri: &str, f: &mut Findings) {
    if uri.len() > URI_BYTES_MAX {
        return f.error(format!("must have at most {URI_BYTES_MAX} bytes"));
    }
    match check_url(uri) {
        Err(()) => f.error(format!(
            "must be a URL with scheme http or https, got {}",
            quote(uri)
        )),
        Ok(Scheme::Plain) => f.warn(PLAIN_TEXT),
        Ok(Scheme::Secure) => {}
    }
}

/// How a URL is fetched.
enum Scheme {
    Plain,
    Secure,
}

/// Checks an absolute URL as far as somebody can be asked for it.
fn check_url(url: &str) -> Result<Scheme, ()> {
    let (scheme, rest) = url.split_once("://").ok_or(())?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Plain,
        "https" => Scheme::Secure,
        _ => return Err(()),
    };
    let is_visible = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or(())?;
            ip.parse::<std::net::Ipv6Addr>().map_err(|_| ())?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(())?),
            };
            (ip, port)
        }
        None => authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let fits = !host.is_empty()
        && !authority.contains('@')
        && url.bytes().all(is_visible)
        && port.is_none_or(is_port);
    fits.then_some(scheme).ok_or(())
}

#[cfg(test)]
mod tests;
