//! What became of a request, on its answer: for callers that may know.
//!
//! A caller asks with `x-meshproxy-explain: 1`. What is told is what the record of the request has
//! seen happen, the same that the access log would say; nothing is worked out a second time. From
//! everybody else the header is taken away, so that the next proxy, to which this one is an allowed
//! caller, does not answer in our place.

mod account;
mod callers;

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use crate::telemetry::flags::Flags;
pub(crate) use account::{Account, Tried};
pub use callers::{Callers, Network};

/// The question in a request and the answer in a response. A response that passed several proxies
/// has a line of each that was asked, the one next to the upstream first.
pub(crate) static X_EXPLAIN: HeaderName = HeaderName::from_static("x-meshproxy-explain");

/// Longest line of an answer, in bytes.
const EXPLANATION_BYTES_MAX: usize = 4_096;
/// Characters that are left of each text of a line that would be longer, and lists are left out: with
/// six bytes for each, as an escape takes, eight texts and the rest still fit.
const CUT_CHARS: usize = 64;

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
    /// Share of the destination among the targets of its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<f64>,
    /// Limit that refused it, as `namespace/policy/limit`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) rate_limit: &'e str,
    /// Policy that let it pass, as `namespace/policy[rule]`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) authorization: &'e str,
    /// Faults that were injected, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<String>,
    /// Destinations of copies that were sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mirrors: Vec<String>,
    /// The last endpoint that was tried.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) endpoint: &'e str,
    /// Endpoints of all attempts, in order, and how each ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tried: Vec<Tried>,
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

    /// The same with short texts and without lists.
    fn cut(&self) -> Self {
        Self {
            faults: Vec::new(),
            mirrors: Vec::new(),
            tried: Vec::new(),
            rate_limit: cut(self.rate_limit),
            authorization: cut(self.authorization),
            details: cut(self.details),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_in_ascii_and_bounded() {
        let long = "\u{e4}\"\u{1f600}".repeat(2_000);
        let explanation = Explanation {
            virtual_service: &long,
            rule: &long,
            destination: &long,
            destination_rule: &long,
            endpoint: &long,
            rate_limit: &long,
            mirrors: vec![long.clone()],
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
