//! What became of a request, on its answer: for callers that may know.
//!
//! A caller asks with `x-meshproxy-explain: 1`. What is told is what the record of the request has
//! seen happen, the same that the access log would say; nothing is worked out a second time. From
//! everybody else the header is taken away, so that the next proxy, to which this one is an allowed
//! caller, does not answer in our place.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use crate::telemetry::flags::Flags;

/// The question in a request and the answer in a response. A response that passed several proxies
/// has a line of each that was asked, the one next to the upstream first.
pub(crate) static X_EXPLAIN: HeaderName = HeaderName::from_static("x-meshproxy-explain");

/// Longest line of an answer, in bytes.
const EXPLANATION_BYTES_MAX: usize = 4_096;
/// Characters that are left of each text of a line that would be longer: with six bytes for each, as
/// an escape takes, eight texts and the rest still fit.
const CUT_CHARS: usize = 64;

/// Networks from which callers may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers(Box<[Network]>);

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

/// What is told of a request. Empty texts are left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation<'e> {
    /// `namespace/name` of the `VirtualService`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) virtual_service: &'e str,
    /// Position of the rule in `http[]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<u32>,
    /// Position of the match block in the rule.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(crate) block: Option<u32>,
    /// Name of the rule.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) rule: &'e str,
    /// Destination in the form of the access log.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) destination: &'e str,
    /// `namespace/name` of the `DestinationRule`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) destination_rule: &'e str,
    /// The last endpoint that was tried.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) endpoint: &'e str,
    /// How often it was sent.
    pub(crate) attempts: u32,
    /// Why there was no other attempt where the rule allows one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) retry_refused: &'e str,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Why the answer is not simply the upstream's.
    pub(crate) flags: Flags,
    /// Who decided the status and why.
    pub(crate) details: &'e str,
    /// The rule's limit of the whole request.
    #[serde(rename = "timeoutMs", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Millis>,
    /// Until the head of the answer.
    #[serde(rename = "elapsedMs")]
    pub(crate) elapsed: Millis,
}

/// A span in milliseconds, with three decimals.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Millis(pub(crate) Duration);

// === impl Explanation ===

impl Explanation<'_> {
    /// The value of the header: JSON in ASCII.
    fn line(&self) -> Option<HeaderValue> {
        let line = ascii(&serde_json::to_string(self).ok()?);
        let line = match line.len() <= EXPLANATION_BYTES_MAX {
            true => line,
            false => ascii(&serde_json::to_string(&self.cut()).ok()?),
        };
        HeaderValue::try_from(line).ok()
    }

    /// The same with short texts.
    fn cut(&self) -> Self {
        Self {
            virtual_service: cut(self.virtual_service),
            rule: cut(self.rule),
            destination: cut(self.destination),
            destination_rule: cut(self.destination_rule),
            endpoint: cut(self.endpoint),
            ..*self
        }
    }

    /// Adds the line to an answer, behind those of proxies nearer to the upstream.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(line) = self.line() {
            headers.append(X_EXPLAIN.clone(), line);
        }
    }
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(CUT_CHARS);
    end.map_or(text, |(at, _)| &text[..at])
}

/// JSON with every character beyond ASCII as an escape; they only stand within texts.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() && char != '\u{7f}' {
            out.push(char);
            continue;
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

// === impl Millis ===

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = u32::try_from(self.0.as_micros()).unwrap_or(u32::MAX);
        serializer.serialize_f64(f64::from(micros) / 1_000.0)
    }
}

// === impl Callers ===

impl Callers {
    /// Who may ask; none if nobody may.
    pub fn new(networks: &[Network]) -> Option<Self> {
        (!networks.is_empty()).then(|| Self(networks.into()))
    }

    /// Whether a caller may know what became of its request and asks for it.
    pub(crate) fn asks(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        let asked = headers.get(&X_EXPLAIN).is_some_and(|value| value == "1");
        let allowed = |peer: SocketAddr| self.0.iter().any(|it| it.contains(peer.ip()));
        asked && peer.is_some_and(allowed)
    }
}

// === impl Network ===

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.first, addr.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(addr)) => {
                (u32::from(first) ^ u32::from(addr)).leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(addr)) => {
                (u128::from(first) ^ u128::from(addr)).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The same network by its addresses of IPv4, if they are written as IPv6 ones: callers are
    /// compared that way.
    fn canonical(self) -> Self {
        match (self.first.to_canonical(), self.bits.checked_sub(96)) {
            (first @ IpAddr::V4(_), Some(bits)) if self.first.is_ipv6() => Self { first, bits },
            _ => self,
        }
    }

    /// Whether no bit is set beyond those that count.
    fn is_first(&self) -> bool {
        match self.first {
            IpAddr::V4(first) => first.to_bits().trailing_zeros() + self.bits >= 32,
            IpAddr::V6(first) => first.to_bits().trailing_zeros() + self.bits >= 128,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be such as 10.0.0.0/8 or ::1, got \"{text}\"");
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = addr.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        let network = Self { first, bits };
        if bits > most {
            return Err(wrong());
        }
        match network.is_first() {
            true => Ok(network.canonical()),
            false => Err(format!(
                "must be the first address of a network, got \"{text}\""
            )),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, addr, within) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "10.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:0:0/96", "203.0.113.9", true),
        ] {
            let addr = addr.parse().expect(addr);
            assert_eq!(
                self::network(network).contains(addr),
                within,
                "{network} {addr}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_callers_of_the_networks_ask_and_only_with_the_header() {
        let callers = Callers::new(&[network("10.0.0.0/8")]).expect("one network");
        let asking: HeaderMap = [(X_EXPLAIN.clone(), HeaderValue::from_static("1"))]
            .into_iter()
            .collect();
        let near = Some(SocketAddr::from(([10, 0, 0, 1], 1)));
        let far = Some(SocketAddr::from(([192, 0, 2, 1], 1)));

        assert!(callers.asks(near, &asking));
        assert!(!callers.asks(far, &asking));
        assert!(!callers.asks(None, &asking));
        assert!(!callers.asks(near, &HeaderMap::new()));
        assert_eq!(Callers::new(&[]), None);
    }

    #[test]
    fn a_line_is_json_in_ascii_and_bounded() {
        let long = "\u{e4}\"\u{1f600}".repeat(2_000);
        let explanation = Explanation {
            virtual_service: &long,
            rule: &long,
            destination: &long,
            destination_rule: &long,
            endpoint: &long,
            http: Some(3),
            ..Explanation::default()
        };

        let line = explanation.line().expect("a header value");

        assert!(line.len() <= EXPLANATION_BYTES_MAX, "{}", line.len());
        let text = line.to_str().expect("visible ASCII");
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(json["http"], 3);
        assert!(json["rule"].as_str().is_some_and(|it| long.starts_with(it)));
    }

    #[test]
    fn lines_of_proxies_further_on_stay() {
        let mut headers: HeaderMap = [(X_EXPLAIN.clone(), HeaderValue::from_static("{}"))]
            .into_iter()
            .collect();

        Explanation::default().add_to(&mut headers);

        let lines: Vec<_> = headers.get_all(&X_EXPLAIN).iter().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "{}");
    }
}
