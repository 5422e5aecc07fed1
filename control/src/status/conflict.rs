//! Which resource goes first where two want the same.

use std::sync::{Arc, Mutex, PoisonError};

use config::analyze::conflicts;
use config::mesh::Mesh;
use config::wire::Name;
use rustc_hash::FxHashMap;

use crate::index::Generation;

/// What is ignored of each resource because of another one: `path: what goes first`.
pub type Conflicts = FxHashMap<Name, Vec<String>>;

/// Conflicts of the mesh that was asked for last: they cost a walk over all of it, and change with it
/// only.
#[derive(Debug, Default)]
pub struct Last {
    last: Mutex<Option<(Arc<Mesh>, Arc<Conflicts>)>>,
}

// === impl Last ===

impl Last {
    /// The conflicts of a generation. It may take as long as indexing does.
    pub fn of(&self, generation: &Generation) -> Arc<Conflicts> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((mesh, conflicts)) = &*last
            && Arc::ptr_eq(mesh, &generation.mesh)
        {
            return Arc::clone(conflicts);
        }
        // Two that ask at once may both walk; nobody waits for a lock meanwhile.
        drop(last);
        let found = Arc::new(find(generation));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Arc::clone(&generation.mesh), Arc::clone(&found)));
        found
    }
}

fn find(generation: &Generation) -> Conflicts {
    let entries = generation.entries.iter();
    let entries = entries.filter(|(name, _)| !name.is_endpoints());
    let mut resources: Vec<_> = entries.map(|(_, it)| Arc::clone(&it.resource)).collect();
    // So that what is said does not depend on the order of a map.
    resources.sort_by(|a, b| {
        let key =
            |it: &config::Resource| (it.kind(), it.meta.namespace.clone(), it.meta.name.clone());
        key(a).cmp(&key(b))
    });
    let mut found = Conflicts::default();
    for (resource, finding) in conflicts(&generation.mesh, &resources) {
        let message = format!("{}: {}", finding.path, finding.message);
        found.entry(Name::of(&resource)).or_default().push(message);
    }
    found
}
