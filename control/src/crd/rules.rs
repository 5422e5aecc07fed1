//! Common mistakes that the API server can find by itself (CEL), also where no webhook is asked: one
//! table, in the words in which `meshproxy check` tells them.
//!
//! Only what costs little for each object is here: an API server refuses a definition whose rules might
//! cost too much in the largest object that it takes.

use serde_json::{Value, json};

/// At each value that `path` names in the `spec` of `kind`, `rule` must hold.
struct Row {
    kind: &'static str,
    /// Fields with a dot between, `[]` behind those of which each item is meant; empty for all of it.
    path: &'static str,
    rule: &'static str,
    message: &'static str,
}

const VS: &str = "VirtualService";
const DR: &str = "DestinationRule";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(VS, "", "has(self.http) && self.http.size() > 0 || has(self.tls) && self.tls.size() > 0 || has(self.tcp) && self.tcp.size() > 0", "must have at least one rule in http, tls or tcp"),
    row(VS, "http[]", "has(self.route) && self.route.size() > 0 || has(self.redirect) || has(self.directResponse) || has(self.delegate)", "must have one of route, redirect, directResponse and delegate"),
    row(VS, "http[]", "!(has(self.redirect) && has(self.directResponse))", "directResponse: must not be set together with redirect"),
    row(VS, "http[].route[]", "!has(self.weight) || self.weight >= 0", "weight: must not be negative"),
    row(VS, "http[].match[].uri", ONE_MATCHER, ONE_MATCHER_MESSAGE),
    row(VS, "http[].match[].method", ONE_MATCHER, ONE_MATCHER_MESSAGE),
    row(VS, "http[].match[].authority", ONE_MATCHER, ONE_MATCHER_MESSAGE),
    row("Gateway", "servers[]", "has(self.port)", "port: is required"),
    row("Gateway", "servers[]", "has(self.hosts) && self.hosts.size() > 0", "hosts: must have at least one host"),
    row(DR, "subsets[]", "has(self.name) && self.name != ''", "name: is required"),
    row(DR, "", "has(self.host) && self.host != ''", "host: is required"),
    row(DR, "trafficPolicy.loadBalancer", "!(has(self.simple) && has(self.consistentHash))", "consistentHash: must not be set together with simple"),
    row("ServiceEntry", "", "has(self.hosts) && self.hosts.size() > 0", "hosts: must have at least one host"),
    row("RequestAuthentication", "", ONE_TARGET, ONE_TARGET_MESSAGE),
    row("AuthorizationPolicy", "", ONE_TARGET, ONE_TARGET_MESSAGE),
    row("AuthorizationPolicy", "", "!(has(self.action) && self.action == 'CUSTOM') || has(self.provider)", "provider.name: is required for CUSTOM"),
    row("AuthorizationPolicy", "", "!(has(self.action) && self.action in ['DENY', 'CUSTOM']) || has(self.rules) && self.rules.size() > 0", "rules: is required for this action: without rules nothing is ever matched; write the rule {} for every request"),
    row("PeerAuthentication", "", "!has(self.portLevelMtls) || has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0", "portLevelMtls: must not be set without a selector with labels"),
    row("RateLimitPolicy", "", "!(has(self.selector) && has(self.targetRefs) && self.targetRefs.size() > 0)", "targetRefs: must not be set together with selector"),
    row("RateLimitPolicy", "", "(has(self.scope) && self.scope == 'SHARED') == has(self.service)", "service: is required with scope SHARED, and must not be set without"),
];

const ONE_TARGET: &str = "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) && self.targetRefs.size() > 0 ? 1 : 0) <= 1";
const ONE_TARGET_MESSAGE: &str = "must have only one of selector, targetRef and targetRefs";

const ONE_MATCHER: &str =
    "(has(self.exact) ? 1 : 0) + (has(self.prefix) ? 1 : 0) + (has(self.regex) ? 1 : 0) <= 1";
const ONE_MATCHER_MESSAGE: &str = "must have exactly one of exact, prefix and regex";

const fn row(
    kind: &'static str,
    path: &'static str,
    rule: &'static str,
    message: &'static str,
) -> Row {
    Row {
        kind,
        path,
        rule,
        message,
    }
}

/// Adds the rules of a kind to the schema of its `spec`.
pub(super) fn add(kind: &str, spec: &mut Value) {
    for row in TABLE.iter().filter(|row| row.kind == kind) {
        let rule = json!({"rule": row.rule, "message": row.message});
        let at = row.find(spec);
        debug_assert!(at.is_some(), "{kind} has no {}", row.path);
        let Some(Value::Object(schema)) = at else {
            continue;
        };
        let rules = schema
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(rule);
        }
    }
}

// === impl Row ===

impl Row {
    fn find<'s>(&self, spec: &'s mut Value) -> Option<&'s mut Value> {
        let mut at = spec;
        for step in self.path.split('.').filter(|step| !step.is_empty()) {
            let name = step.strip_suffix("[]").unwrap_or(step);
            at = at.get_mut("properties")?.get_mut(name)?;
            if name.len() < step.len() {
                at = at.get_mut("items")?;
            }
        }
        Some(at)
    }
}
