//! What traffic must satisfy that comes to this workload or to its gateways.

use std::sync::Arc;

use config::mesh::Mesh;

use super::destinations::Registry;
use super::{Perspective, authorization};
use crate::inbound::Admission;

/// The admission of this proxy; none where all may in.
pub(super) fn compile(
    mesh: &Mesh,
    perspective: &Perspective,
    registry: &mut Registry,
) -> Option<Arc<Admission>> {
    let authorization = authorization::compile(mesh, perspective, registry)?;
    Some(Arc::new(Admission {
        authentication: None,
        authorization: Some(authorization),
    }))
}
