//! What traffic must satisfy that comes to this workload or to its gateways.

use std::sync::Arc;

use config::mesh::Mesh;

use super::destinations::Registry;
use super::{Perspective, authentication, authorization};
use crate::inbound::Admission;
use crate::jwks::Issuers;

/// The admission of this proxy; none where all may in.
pub(super) fn compile(
    mesh: &Mesh,
    perspective: &Perspective,
    registry: &mut Registry,
    issuers: &mut Issuers,
) -> Option<Arc<Admission>> {
    let admission = Admission {
        authentication: authentication::compile(mesh, &perspective.viewer, issuers),
        authorization: authorization::compile(mesh, perspective, registry),
    };
    let is_needed = admission.authentication.is_some() || admission.authorization.is_some();
    is_needed.then(|| Arc::new(admission))
}
