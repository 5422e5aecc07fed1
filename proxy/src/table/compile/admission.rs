//! What traffic must satisfy that comes to this workload or to its gateways.

use std::sync::Arc;

use config::mesh::{Mesh, Viewer};

use crate::inbound::Admission;

/// The admission of this proxy; none where all may in.
pub(super) fn compile(_mesh: &Mesh, _viewer: &Viewer) -> Option<Arc<Admission>> {
    None
}
