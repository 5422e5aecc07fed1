//! What is accepted but has no effect yet, and what is deprecated: one table.
//!
//! A field that is not implemented is a warning, not an error: configuration written for Istio is
//! taken as it is, and says itself what of it does nothing.

use serde_json::Value;

use crate::decode::Report;
use crate::decode::path::Path;

/// One row: when `when` holds for a field that `pattern` names in the spec of `kind`, say `say`.
///
/// In a pattern `[]` stands for every item of a list, `{level}` for the traffic policy of a
/// `DestinationRule` and of its subsets, `{policy}` for these and their port-level settings,
/// `{headers}` for the header changes of a `VirtualService`'s rules and of their destinations.
struct Row {
    kind: &'static str,
    pattern: &'static str,
    when: When,
    say: Say,
}

/// When a row applies. A field that is absent, null or an empty list is not there.
enum When {
    /// The field is there.
    Present,
    /// The field is there and a text among these, in any case.
    OneOf(&'static [&'static str]),
    /// The field is a list as text, with this between its commas.
    ListHas(&'static str),
    /// The field is a mapping, and a text in it has a `%NAME%` expression.
    Expression,
}

enum Say {
    /// It has no effect yet: what it would do.
    NoEffect(&'static str),
    /// It is deprecated: what to write instead.
    Deprecated(&'static str),
}

use Say::{Deprecated, NoEffect};
use When::{Expression, ListHas, OneOf, Present};

const VS: &str = "VirtualService";
const DR: &str = "DestinationRule";
const SE: &str = "ServiceEntry";
const WE: &str = "WorkloadEntry";
const SC: &str = "Sidecar";
const RA: &str = "RequestAuthentication";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(VS, "http[].retries.retryOn", ListHas("retriable-headers"), NoEffect("retriable-headers; there is no place to name headers")),
    row(VS, "http[].retries.retryOn", ListHas("http3-post-connect-failure"), NoEffect("HTTP/3")),
    row(VS, "http[].match[].statPrefix", Present, NoEffect("statistics prefix")),
    row(VS, "{headers}.request.set", Expression, NoEffect("an expression; it is sent as written")),
    row(VS, "{headers}.request.add", Expression, NoEffect("an expression; it is sent as written")),
    row(VS, "{headers}.response.set", Expression, NoEffect("an expression; it is sent as written")),
    row(VS, "{headers}.response.add", Expression, NoEffect("an expression; it is sent as written")),
    row(VS, "http[].mirror_percent", Present, Deprecated("mirrorPercentage")),
    row(VS, "http[].mirrorPercent", Present, Deprecated("mirrorPercentage")),
    row(VS, "http[].fault.delay.percent", Present, Deprecated("percentage")),
    row(VS, "http[].fault.abort.percent", Present, Deprecated("percentage")),
    row(VS, "http[].corsPolicy.allowOrigin", Present, Deprecated("allowOrigins")),

    row(DR, "{policy}.tls.credentialName", Present, NoEffect("credentials from a secret; no connection is opened")),
    row(DR, "{level}.tunnel", Present, NoEffect("tunnelling")),
    row(DR, "{policy}.outlierDetection.consecutiveErrors", Present, Deprecated("consecutive5xxErrors")),
    row(DR, "{policy}.loadBalancer.simple", OneOf(&["LEAST_CONN"]), Deprecated("LEAST_REQUEST")),
    row(DR, "{policy}.loadBalancer.warmupDurationSecs", Present, Deprecated("warmup.duration")),
    row(DR, "{policy}.loadBalancer.consistentHash.minimumRingSize", Present, Deprecated("ringHash.minimumRingSize")),

    row(SE, "resolution", OneOf(&["DYNAMIC_DNS"]), NoEffect("resolution DYNAMIC_DNS")),
    row(SE, "endpoints[].network", Present, NoEffect("networks")),

    row(WE, "network", Present, NoEffect("networks")),

    row(RA, "targetRef", Present, NoEffect("a policy for a resource by name, so that no token is looked at; workloads and gateways are chosen by selector")),
    row(RA, "targetRefs", Present, NoEffect("a policy for resources by name, so that no token is looked at; workloads and gateways are chosen by selector")),
    row(RA, "jwtRules[].presence", Present, NoEffect("requests without a token pass; an AuthorizationPolicy with requestPrincipals ['*'] asks for one")),

    row(SC, "ingress[].tls", Present, NoEffect("TLS of a sidecar listener")),
    row(SC, "outboundTrafficPolicy.egressProxy", Present, NoEffect("egress proxy")),
];

const fn row(kind: &'static str, pattern: &'static str, when: When, say: Say) -> Row {
    Row {
        kind,
        pattern,
        when,
        say,
    }
}

/// Adds a warning for each field of `spec`, which stands at `path`, that a row speaks of.
pub(crate) fn warn(kind: &str, spec: &Value, path: &Path<'_>, report: &Report) {
    for row in TABLE.iter().filter(|row| row.kind == kind) {
        for steps in row.patterns() {
            row.walk(&steps, Some(spec), path, report);
        }
    }
}

/// What the group at the beginning of a pattern stands for; the empty prefix if there is none.
fn prefixes(pattern: &str) -> &'static [&'static str] {
    const POLICIES: [&str; 4] = [
        "trafficPolicy",
        "subsets[].trafficPolicy",
        "trafficPolicy.portLevelSettings[]",
        "subsets[].trafficPolicy.portLevelSettings[]",
    ];
    const HEADERS: [&str; 2] = ["http[].headers", "http[].route[].headers"];
    if pattern.starts_with("{headers}") {
        &HEADERS
    } else if pattern.starts_with("{policy}") {
        &POLICIES
    } else if pattern.starts_with("{level}") {
        &POLICIES[..2]
    } else {
        &[""]
    }
}

// === impl Row ===

impl Row {
    /// The steps of the pattern, once for each thing that its group stands for.
    fn patterns(&self) -> impl Iterator<Item = Vec<String>> {
        let rest = self
            .pattern
            .split_once("}.")
            .map_or(self.pattern, |(_, rest)| rest);
        prefixes(self.pattern).iter().map(move |prefix| {
            let steps = prefix.split('.').chain(rest.split('.'));
            steps
                .filter(|step| !step.is_empty())
                .map(str::to_owned)
                .collect()
        })
    }

    fn walk(&self, steps: &[String], value: Option<&Value>, path: &Path<'_>, report: &Report) {
        let Some((step, rest)) = steps.split_first() else {
            if self.when.holds(value) {
                report.warning(path, self.say.text());
            }
            return;
        };
        let Some(Value::Object(map)) = value else {
            return;
        };
        let name = step.strip_suffix("[]").unwrap_or(step);
        let path = Path::Key(path, name);
        let field = map.get(name).filter(|field| !field.is_null());
        if name.len() == step.len() {
            return self.walk(rest, field, &path, report);
        }
        let Some(Value::Array(items)) = field else {
            return;
        };
        for (index, item) in items.iter().enumerate() {
            self.walk(rest, Some(item), &Path::Index(&path, index), report);
        }
    }
}

// === impl When ===

impl When {
    fn holds(&self, value: Option<&Value>) -> bool {
        let among = |texts: &[&str], value: &Value| {
            value
                .as_str()
                .is_some_and(|text| texts.iter().any(|t| t.eq_ignore_ascii_case(text)))
        };
        match (self, value) {
            (_, None) => false,
            (Self::Present, Some(Value::Array(items))) => !items.is_empty(),
            (Self::Present, Some(_)) => true,
            (Self::OneOf(texts), Some(value)) => among(texts, value),
            (Self::Expression, Some(value)) => value.as_object().is_some_and(|map| {
                let mut texts = map.values().filter_map(Value::as_str);
                texts.any(|text| text.replace("%%", "").contains('%'))
            }),
            (Self::ListHas(item), Some(value)) => value
                .as_str()
                .is_some_and(|list| list.split(',').any(|it| it == *item)),
        }
    }
}

// === impl Say ===

impl Say {
    fn text(&self) -> String {
        match self {
            Self::NoEffect(what) => format!("has no effect yet: {what}"),
            Self::Deprecated(instead) => format!("deprecated, use {instead}"),
        }
    }
}

#[cfg(test)]
mod tests;
