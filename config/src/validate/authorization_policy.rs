//! `AuthorizationPolicy`: for whom it is, and that its rules say something that can be held.

use crate::resource::Metadata;
use crate::resource::authorization_policy::AuthorizationPolicy;
use crate::validate::findings::Findings;
use crate::validate::selector;

/// Checks an `AuthorizationPolicy`.
pub(crate) fn check(policy: &AuthorizationPolicy, meta: &Metadata, f: &mut Findings) {
    let (one, all) = (policy.target_ref.as_ref(), &policy.target_refs);
    selector::check(policy.selector.as_ref(), one, all, meta, f);
}
