//! What limits look at in a request, and what they tell requests apart by.

use std::borrow::Cow;

use config::resource::rate_limit_policy::Dimension as Written;
use http::HeaderValue;
use http::header::{self, HeaderName};

use super::source::Source;
use crate::table::rules::{Block, RequestView};

/// What limits look at in a request.
#[derive(Debug)]
pub struct Facts<'r> {
    /// The request as rules see it.
    pub view: RequestView<'r>,
    /// Who sent it.
    pub source: &'r Source,
    /// Whom the sender proved to be, of what comes in.
    pub principal: Option<&'r str>,
    /// The address that its connection comes from; empty for a Unix socket.
    pub source_ip: &'r str,
    /// The host that it is for.
    pub host: Cow<'r, str>,
}

/// What requests are told apart by.
#[derive(Debug, Clone)]
pub struct Dimension {
    /// As it was written.
    pub name: Box<str>,
    part: Part,
}

#[derive(Debug, Clone)]
enum Part {
    Workload,
    Version,
    Namespace,
    Principal,
    Ip,
    Host,
    Method,
    Path,
    /// `host`, which HTTP/2 says otherwise.
    Authority,
    Header(HeaderName),
}

// === impl Facts ===

impl Facts<'_> {
    /// Whether the request meets all conditions of a block.
    pub fn meet(&self, block: &Block) -> bool {
        self.source
            .meets(&block.source_labels, block.source_namespace.as_deref())
            && block.matches(&self.view)
    }
}

// === impl Dimension ===

impl Dimension {
    /// Compiles a dimension; none for what validation should have refused.
    pub fn compile(name: &str) -> Option<Self> {
        let part = match Written::parse(name)? {
            Written::SourceWorkload => Part::Workload,
            Written::SourceVersion => Part::Version,
            Written::SourceNamespace => Part::Namespace,
            Written::SourcePrincipal => Part::Principal,
            Written::SourceIp => Part::Ip,
            Written::DestinationHost => Part::Host,
            Written::RequestMethod => Part::Method,
            Written::RequestPath => Part::Path,
            Written::RequestHeader(name) => match name.parse().ok()? {
                header::HOST => Part::Authority,
                name => Part::Header(name),
            },
        };
        Some(Self {
            name: name.into(),
            part,
        })
    }

    /// A value as requests have it: IP addresses have many spellings.
    pub fn normalize(&self, value: &str) -> Box<str> {
        match (&self.part, value.parse::<std::net::IpAddr>()) {
            (Part::Ip, Ok(ip)) => ip.to_canonical().to_string().into(),
            _ => value.into(),
        }
    }

    /// Its value in a request. A header that is missing is empty, several lines of one are joined by
    /// commas.
    pub fn value<'r>(&self, facts: &'r Facts<'_>) -> Cow<'r, [u8]> {
        let text = match &self.part {
            Part::Workload => &facts.source.workload,
            Part::Version => &facts.source.version,
            Part::Namespace => &facts.source.namespace,
            Part::Principal => facts.principal.unwrap_or(&facts.source.principal),
            Part::Ip => facts.source_ip,
            Part::Host => &facts.host,
            Part::Method => facts.view.method,
            Part::Path => facts.view.path,
            Part::Authority => facts.view.authority,
            Part::Header(name) => return lines(facts, name),
        };
        Cow::Borrowed(text.as_bytes())
    }

    /// Whether a request has this value. A workload may be called by the name of its service or by
    /// its own.
    pub fn is(&self, value: &str, facts: &Facts<'_>) -> bool {
        let by_own_name =
            matches!(self.part, Part::Workload) && facts.source.own_name.as_deref() == Some(value);
        by_own_name || *self.value(facts) == *value.as_bytes()
    }

    /// Whether it needs to know whose address a connection comes from.
    pub fn is_of_peer(&self) -> bool {
        match self.part {
            Part::Workload | Part::Version | Part::Namespace => true,
            Part::Principal | Part::Ip | Part::Host => false,
            Part::Method | Part::Path | Part::Authority | Part::Header(_) => false,
        }
    }

    /// Whether it is a header, perhaps one that the proxy adds.
    pub fn is_header(&self) -> bool {
        matches!(self.part, Part::Header(_))
    }
}

fn lines<'r>(facts: &'r Facts<'_>, name: &HeaderName) -> Cow<'r, [u8]> {
    let mut lines = facts.view.headers.get_all(name).iter();
    let (first, mut rest) = match (lines.next(), lines.next()) {
        (None, _) => return Cow::Borrowed(b""),
        (Some(only), None) => return Cow::Borrowed(only.as_bytes()),
        (Some(first), Some(second)) => (first, std::iter::once(second).chain(lines)),
    };
    let mut joined = first.as_bytes().to_vec();
    rest.by_ref().map(HeaderValue::as_bytes).for_each(|line| {
        joined.push(b',');
        joined.extend_from_slice(line);
    });
    Cow::Owned(joined)
}
