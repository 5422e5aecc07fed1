//! What rules with action `CUSTOM` cannot ask: the authorizer is asked before the peer and the tokens
//! of a request are known to Istio's proxies.

use crate::resource::authorization_policy::{AuthorizationRule, Source};
use crate::validate::findings::Findings;

const NOT_WITH_CUSTOM: &str = "is not supported with action CUSTOM";

/// Checks that a rule asks nothing of the kind.
pub(super) fn check(rule: &AuthorizationRule, f: &mut Findings) {
    f.each("from", &rule.from, |f, from| {
        let Some(source) = &from.source else {
            return;
        };
        f.field("source", |f| {
            for (name, values) in unsupported(source) {
                if !values.is_empty() {
                    f.error_in(name, NOT_WITH_CUSTOM);
                }
            }
        });
    });
    f.each("when", &rule.when, |f, condition| {
        let key = condition.key.as_str();
        let of_peer = [
            "source.namespace",
            "source.serviceAccount",
            "source.principal",
        ];
        if of_peer.contains(&key) || key.starts_with("request.auth.") {
            f.error_in("key", format!("{NOT_WITH_CUSTOM}, got \"{key}\""));
        }
    });
}

fn unsupported(source: &Source) -> [(&'static str, &[String]); 8] {
    [
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
    ]
}
