//! One list of values of a rule: whether something has one of them.

use std::borrow::Cow;
use std::net::IpAddr;

use config::ip_block::IpBlock;
use config::resource::authorization_policy::PathTemplate;
use config::spiffe::SpiffeId;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::facts::{Facts, Request};
use super::pattern::{Glob, HostPattern, Pattern, Patterns, TokenPattern, host_of};

/// What is looked at, and the values of which it must have one.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Principal(Patterns),
    Namespace(Box<[Glob]>),
    /// Namespace and account.
    Account(Box<[(Box<str>, Box<str>)]>),
    TrustDomain(Patterns),
    SourceIp(Box<[IpBlock]>),
    RemoteIp(Box<[IpBlock]>),
    DestinationIp(Box<[IpBlock]>),
    DestinationPort(Box<[u16]>),
    ServerName(Patterns),
    RequestPrincipal(Box<[TokenPattern]>),
    Audience(Patterns),
    Presenter(Patterns),
    Claim(Box<[String]>, Patterns),
    Header(Field, Patterns),
    Host(Box<[HostPattern]>),
    Method(Patterns),
    Path(Box<[PathPattern]>),
}

/// A header, or what HTTP/2 has in the place of the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Named(HeaderName),
    Authority,
    Method,
    Scheme,
    Target,
}

/// A path without query.
#[derive(Debug, Clone)]
pub(crate) enum PathPattern {
    Plain(Pattern),
    Template(PathTemplate),
}

// === impl Check ===

impl Check {
    /// Whether what is looked at has one of the values. What is absent has none.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let request = facts.request.as_ref();
        match self {
            Self::Principal(patterns) => of(facts.peer, |it| patterns.match_one(it.principal())),
            Self::Namespace(globs) => of(facts.peer.and_then(SpiffeId::namespace), |it| {
                globs.iter().any(|glob| glob.matches(it))
            }),
            Self::Account(accounts) => of(
                facts.peer.and_then(SpiffeId::account),
                |(namespace, account)| {
                    let mut accounts = accounts.iter();
                    accounts.any(|(in_, name)| **in_ == *namespace && **name == *account)
                },
            ),
            Self::TrustDomain(patterns) => {
                of(facts.peer, |it| patterns.match_one(it.trust_domain()))
            }
            Self::SourceIp(blocks) => within(facts.source_ip, blocks),
            Self::RemoteIp(blocks) => within(facts.remote_ip, blocks),
            Self::DestinationIp(blocks) => within(facts.destination_ip, blocks),
            Self::DestinationPort(ports) => ports.contains(&facts.destination_port),
            Self::ServerName(patterns) => patterns.match_one(facts.server_name),
            Self::RequestPrincipal(_)
            | Self::Audience(_)
            | Self::Presenter(_)
            | Self::Claim(..)
            | Self::Header(..)
            | Self::Host(_)
            | Self::Method(_)
            | Self::Path(_) => of(request, |request| self.holds_of(request)),
        }
    }

    /// The same for what only requests have.
    fn holds_of(&self, request: &Request<'_>) -> bool {
        match self {
            Self::RequestPrincipal(patterns) => has_principal(request, patterns),
            Self::Audience(patterns) => of(request.token, |token| {
                token.audiences().iter().any(|it| patterns.match_one(it))
            }),
            Self::Presenter(patterns) => of(request.token, |token| {
                token.claim(&["azp"]).any(|it| patterns.match_one(it))
            }),
            Self::Claim(path, patterns) => of(request.token, |token| {
                token.claim(path).any(|it| patterns.match_one(it))
            }),
            Self::Header(field, patterns) => {
                of(field.value(request), |value| patterns.match_present(&value))
            }
            Self::Host(patterns) => {
                let host = host_of(request.authority);
                let mut patterns = patterns.iter();
                patterns.any(|it| it.matches(request.authority, host))
            }
            Self::Method(patterns) => patterns.match_one(request.method),
            Self::Path(patterns) => {
                let path = request.path();
                patterns.iter().any(|pattern| pattern.matches(path))
            }
            Self::Principal(_)
            | Self::Namespace(_)
            | Self::Account(_)
            | Self::TrustDomain(_)
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::ServerName(_) => false,
        }
    }

    /// Whether only requests have what is looked at.
    pub(crate) fn is_of_http(&self) -> bool {
        match self {
            Self::RequestPrincipal(_)
            | Self::Audience(_)
            | Self::Presenter(_)
            | Self::Claim(..)
            | Self::Header(..)
            | Self::Host(_)
            | Self::Method(_)
            | Self::Path(_) => true,
            Self::Principal(_)
            | Self::Namespace(_)
            | Self::Account(_)
            | Self::TrustDomain(_)
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::ServerName(_) => false,
        }
    }

    /// Whether it looks at a header, perhaps one that the proxy adds.
    pub(crate) fn looks_at_headers(&self) -> bool {
        matches!(self, Self::Header(Field::Named(_), _) | Self::RemoteIp(_))
    }

    /// What was found where it looks, for people; none if there is nothing.
    pub(crate) fn found(&self, facts: &Facts<'_>) -> Option<String> {
        let request = facts.request.as_ref();
        let token = request.and_then(|it| it.token);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string());
        match self {
            Self::Principal(_) | Self::Namespace(_) | Self::Account(_) | Self::TrustDomain(_) => {
                facts.peer.map(|it| it.principal().to_owned())
            }
            Self::SourceIp(_) => ip(facts.source_ip),
            Self::RemoteIp(_) => ip(facts.remote_ip),
            Self::DestinationIp(_) => ip(facts.destination_ip),
            Self::DestinationPort(_) => Some(facts.destination_port.to_string()),
            Self::ServerName(_) => text(facts.server_name),
            Self::RequestPrincipal(_) => token?.principal().and_then(text),
            Self::Audience(_) => text(&token?.audiences().join(", ")),
            Self::Presenter(_) => text(&token?.claim(&["azp"]).collect::<Vec<_>>().join(", ")),
            Self::Claim(path, _) => text(&token?.claim(path).collect::<Vec<_>>().join(", ")),
            Self::Header(field, _) => {
                let value = field.value(request?)?;
                Some(String::from_utf8_lossy(&value).into_owned())
            }
            Self::Host(_) => text(request?.authority),
            Self::Method(_) => text(request?.method),
            Self::Path(_) => text(request?.path()),
        }
    }
}

/// Whether something is there, and is so.
fn of<T>(value: Option<T>, is: impl FnOnce(T) -> bool) -> bool {
    value.is_some_and(is)
}

fn within(ip: Option<IpAddr>, blocks: &[IpBlock]) -> bool {
    of(ip, |ip| blocks.iter().any(|block| block.contains(ip)))
}

fn has_principal(request: &Request<'_>, patterns: &[TokenPattern]) -> bool {
    let payload = request.token.map(|token| token.payload());
    let text = |name| payload.and_then(|it| it.at(&[name])?.as_str());
    match (text("iss"), text("sub")) {
        (Some(issuer), Some(subject)) => patterns.iter().any(|it| it.matches(issuer, subject)),
        (None, _) | (_, None) => false,
    }
}

// === impl Field ===

impl Field {
    /// A header or pseudo-header by its lower-case name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            ":authority" | "host" => Self::Authority,
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            ":path" => Self::Target,
            _ => Self::Named(name.parse().ok()?),
        })
    }

    fn value<'r>(&self, request: &Request<'r>) -> Option<Cow<'r, [u8]>> {
        let text = match self {
            Self::Named(name) => return lines(request.headers, name),
            Self::Authority => request.authority,
            Self::Method => request.method,
            Self::Scheme if request.secure => "https",
            Self::Scheme => "http",
            Self::Target => request.target,
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }
}

/// All lines of a header as one value, joined by commas; borrowed in the usual case of a single one.
fn lines<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<Cow<'r, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(Cow::Borrowed(first));
    };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
    Some(Cow::Owned(all.join(&b',')))
}

// === impl PathPattern ===

impl PathPattern {
    pub(crate) fn new(text: &str) -> Self {
        // What is no template by the rules was refused by validation.
        match PathTemplate::parse(text) {
            Ok(Some(template)) => Self::Template(template),
            Ok(None) | Err(_) => Self::Plain(Pattern::new(text)),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Plain(pattern) => pattern.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}
