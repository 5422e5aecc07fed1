//! How it goes with the control plane, as people read it on the admin page.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::State;

/// Most demands and most rejected resources that are shown.
const SHOWN_MAX: usize = 1_000;

/// How it goes with the control plane.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The one that is followed; none if there is none.
    pub connected: Option<String>,
    /// For how many seconds.
    pub connected_seconds: Option<u64>,
    /// Why there was none the last time.
    pub last_error: Option<String>,
    /// Resources by name, with their versions.
    pub versions: BTreeMap<String, String>,
    /// Resources that cannot be used, and why; their last good forms are in use.
    pub rejected: BTreeMap<String, String>,
    /// What was demanded, and whether there is such a thing; `null` while there is no answer.
    pub demands: BTreeMap<String, Option<bool>>,
}

// === impl Shown ===

impl Shown {
    pub(super) fn of(state: &State) -> Self {
        let connected = state.standing.connected.as_ref();
        let since = |since: &SystemTime| SystemTime::now().duration_since(*since);
        let rejected = state.store.rejected().iter().take(SHOWN_MAX);
        let versions = state.store.iter().take(SHOWN_MAX);
        let demands = state.book.iter().take(SHOWN_MAX);
        Self {
            connected: connected.map(|(name, _)| name.clone()),
            connected_seconds: connected.map(|(_, at)| since(at).unwrap_or_default().as_secs()),
            last_error: state.standing.last_error.clone(),
            versions: versions
                .map(|(name, held)| (name.to_string(), held.version.to_string()))
                .collect(),
            rejected: rejected
                .map(|(name, why)| (name.to_string(), why.clone()))
                .collect(),
            demands: demands
                .map(|(demand, found)| (demand.to_string(), found))
                .collect(),
        }
    }
}
