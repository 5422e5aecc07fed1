//! `RequestAuthentication`: for whom it is, and that each rule names an issuer and usable keys.

use crate::resource::Metadata;
use crate::resource::request_authentication::RequestAuthentication;
use crate::validate::findings::Findings;
use crate::validate::selector;

/// Checks a `RequestAuthentication`.
pub(crate) fn check(policy: &RequestAuthentication, meta: &Metadata, f: &mut Findings) {
    let (one, all) = (policy.target_ref.as_ref(), &policy.target_refs);
    selector::check(policy.selector.as_ref(), one, all, meta, f);
}
