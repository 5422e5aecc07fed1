//! Which tokens prove who a request is from, to this workload or its gateways.

use std::sync::Arc;

use config::resource::request_authentication::{JwtRule, RequestAuthentication};
use config::value::Duration;

use crate::inbound::jwt::keys::Keys;
use crate::inbound::jwt::{Authentication, KeySource};
use crate::jwks::{Issuers, Origin, TIMEOUT_DEFAULT};

/// The rules of all policies in their order; none if there is no rule.
pub(super) fn compile<'m>(
    policies: impl IntoIterator<Item = &'m RequestAuthentication>,
    issuers: &mut Issuers,
) -> Option<Arc<Authentication>> {
    let rules = policies.into_iter().flat_map(|policy| &policy.jwt_rules);
    let rules = rules.map(|rule| (rule, keys(rule, issuers)));
    Authentication::new(rules).map(Arc::new)
}

/// Where the keys of a rule are from. Without any that can be used no token is valid.
fn keys(rule: &JwtRule, issuers: &mut Issuers) -> KeySource {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(text) = written(&rule.jwks) {
        let keys = Keys::parse(text.as_bytes()).unwrap_or_else(|_| Keys::none());
        return KeySource::Written(Arc::new(keys));
    }
    let origin = Origin {
        issuer: rule.issuer.as_str().into(),
        uri: written(&rule.jwks_uri).map(Into::into),
        timeout: rule.timeout.map_or(TIMEOUT_DEFAULT, Duration::get),
    };
    KeySource::Fetched(issuers.hold(&origin))
}
