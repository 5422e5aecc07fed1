//! What is measured: the kinds of work, with the request and the routing rules of each.

use clap::ValueEnum;

/// Path that the load generators ask for.
pub(crate) const REQUEST_PATH: &str = "/target/item";

/// Bytes in the body of every answer that is not gRPC.
pub(crate) const BODY_BYTES: usize = 1024;

/// Header that the rules look at. Every request carries it, with a value that no rule has.
pub(crate) const RULE_HEADER: &str = "x-rule";

/// Value of [`RULE_HEADER`] in the requests.
pub(crate) const REQUEST_RULE: &str = "none";

/// Rules in front of the one that matches in [`Work::Http1Rules`].
const RULES_BEFORE: usize = 99;

/// One kind of work. The order is the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Work {
    /// HTTP/1.1 keep-alive, 64 connections, one rule
    #[value(name = "http1")]
    Http1,
    /// the same request behind 99 other path and header rules
    #[value(name = "http1-100")]
    Http1Rules,
    /// the same request where faults, mirrors, limits, outlier detection, hashing, localities and rate
    /// limits are in use, and none of them strikes
    #[value(name = "http1-guarded")]
    Http1Guarded,
    /// one connection per request
    Connection,
    /// HTTP/2 without TLS from the client, HTTP/1.1 to the upstream; 8 connections with 10 streams
    #[value(name = "http2-http1", alias = "http2")]
    Http2ToHttp1,
    /// HTTP/2 without TLS on both sides
    #[value(name = "http2-http2")]
    Http2ToHttp2,
    /// unary gRPC without TLS on both sides
    Grpc,
    /// HTTP/1.1 keep-alive through two proxies with mutual TLS 1.3 between them
    Hop,
    /// a full handshake of mutual TLS 1.3 per request
    Handshake,
    /// bytes both ways on connections that are not HTTP, 8 at once
    Tcp,
    /// memory of 10 000 connections that are not HTTP and rest
    TcpIdle,
    /// HTTP/1.1 at a fixed rate: p50 and p99, also without a proxy
    Latency,
    /// memory of a proxy that has just started
    Idle,
}

/// The protocol of one side of a proxy, within TLS if there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// gRPC, over HTTP/2 as above.
    Grpc,
    /// Nothing that a proxy knows.
    Opaque,
}

// === impl Work ===

impl Work {
    /// Name on the command line and in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Http1 => "http1",
            Work::Http1Rules => "http1-100",
            Work::Http1Guarded => "http1-guarded",
            Work::Connection => "connection",
            Work::Http2ToHttp1 => "http2-http1",
            Work::Http2ToHttp2 => "http2-http2",
            Work::Grpc => "grpc",
            Work::Hop => "hop",
            Work::Handshake => "handshake",
            Work::Tcp => "tcp",
            Work::TcpIdle => "tcp-idle",
            Work::Latency => "latency",
            Work::Idle => "idle",
        }
    }

    /// What the client speaks to the proxy.
    pub(crate) fn downstream(self) -> Spoken {
        match self {
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Hop
            | Work::Handshake
            | Work::Latency
            | Work::Idle => Spoken::Http1,
            Work::Tcp | Work::TcpIdle => Spoken::Opaque,
            Work::Http2ToHttp1 | Work::Http2ToHttp2 => Spoken::Http2,
            Work::Grpc => Spoken::Grpc,
        }
    }

    /// What the proxy speaks to the upstream.
    pub(crate) fn upstream(self) -> Spoken {
        match self {
            Work::Http2ToHttp1 => Spoken::Http1,
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Http2ToHttp2
            | Work::Grpc
            | Work::Hop
            | Work::Handshake
            | Work::Tcp
            | Work::TcpIdle
            | Work::Latency
            | Work::Idle => self.downstream(),
        }
    }

    /// The rules that a request has to pass before the one that forwards it.
    pub(crate) fn rules_before(self) -> Vec<Rule> {
        match self {
            Work::Http1Rules => (0..RULES_BEFORE).map(Rule::number).collect(),
            Work::Http1
            | Work::Http1Guarded
            | Work::Connection
            | Work::Http2ToHttp1
            | Work::Http2ToHttp2
            | Work::Grpc
            | Work::Hop
            | Work::Handshake
            | Work::Tcp
            | Work::TcpIdle
            | Work::Latency
            | Work::Idle => Vec::new(),
        }
    }
}

/// A rule that never matches the request: path prefix and header value must both fit.
///
/// Every second rule has the path of the request and only the header differs, so that neither an
/// index over paths nor a failing first condition makes the rules free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Prefix of the path.
    pub(crate) prefix: String,
    /// Exact value of [`RULE_HEADER`].
    pub(crate) value: String,
}

// === impl Spoken ===

impl Spoken {
    /// Whether the connections are HTTP/2.
    pub(crate) fn is_http2(self) -> bool {
        match self {
            Spoken::Http1 | Spoken::Opaque => false,
            Spoken::Http2 | Spoken::Grpc => true,
        }
    }
}

// === impl Rule ===

impl Rule {
    fn number(n: usize) -> Rule {
        let prefix = if n.is_multiple_of(2) {
            format!("/rule-{n}/")
        } else {
            "/target/".to_owned()
        };
        Rule {
            prefix,
            value: format!("rule-{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_matches_the_request_and_half_of_them_have_its_path() {
        let rules = Work::Http1Rules.rules_before();

        assert_eq!(rules.len(), 99);
        assert!(rules.iter().all(|rule| rule.value != REQUEST_RULE));
        let same_path = rules
            .iter()
            .filter(|rule| REQUEST_PATH.starts_with(&rule.prefix));
        assert_eq!(same_path.count(), 49);
    }

    #[test]
    fn names_on_the_command_line_are_the_names_in_the_output() {
        for work in Work::value_variants() {
            let value = work
                .to_possible_value()
                .map(|value| value.get_name().to_owned());
            assert_eq!(value.as_deref(), Some(work.name()));
        }
    }
}
