//! `PeerAuthentication`: for whom it is, and that its ports are ports.

use crate::resource::Metadata;
use crate::resource::peer_authentication::PeerAuthentication;
use crate::validate::findings::Findings;
use crate::validate::selector;

/// Checks a `PeerAuthentication`.
pub(crate) fn check(policy: &PeerAuthentication, meta: &Metadata, f: &mut Findings) {
    selector::check(policy.selector.as_ref(), None, &[], meta, f);
}
