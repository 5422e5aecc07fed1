//! What is known at this moment.

use std::sync::Arc;

use super::conflict::Last;
use super::resource::View;
use super::{Proxies, Resources};
use crate::hub::Hub;

/// Whoever can tell what became of resources and proxies.
#[derive(Debug)]
pub struct Known {
    hub: Arc<Hub>,
    replica: String,
    conflicts: Last,
}

// === impl Known ===

impl Known {
    /// What a hub knows, under the name of this replica.
    pub fn new(hub: Arc<Hub>, replica: String) -> Self {
        Self {
            hub,
            replica,
            conflicts: Last::default(),
        }
    }

    /// The proxies that are connected here.
    pub fn proxies(&self) -> Proxies {
        Proxies {
            replica: self.replica.clone(),
            generation: self.hub.latest().map_or(0, |it| it.number),
            proxies: self.hub.proxies(),
        }
    }

    /// All resources. It takes a walk over them, and over what every proxy has.
    pub fn resources(&self) -> Resources {
        let Some(generation) = self.hub.latest() else {
            return Resources {
                replica: self.replica.clone(),
                ..Resources::default()
            };
        };
        let view = View {
            conflicts: self.conflicts.of(&generation),
            spread: self.hub.spread(),
            proxies: self.hub.proxies(),
            generation,
        };
        Resources {
            replica: self.replica.clone(),
            generation: view.generation.number,
            counts: view.counts(),
            resources: view.resources(),
        }
    }

    /// Those that somebody should look at.
    pub fn troubled(&self) -> Resources {
        let mut all = self.resources();
        all.resources.retain(super::ResourceStatus::is_troubled);
        all
    }
}

#[cfg(test)]
mod tests;
