//! Names that the table does not have, where a control plane can be asked: whether the mesh does.

use std::time::Duration;

use tokio::time::timeout;

use super::judge::name_asked;
use crate::demand::Demands;
use crate::snapshot::Publisher;

/// Longest wait for the control plane. A client that gets no answer asks again, after a little more.
const HELD_MAX: Duration = Duration::from_secs(1);

/// Asks a control plane.
#[derive(Debug, Clone)]
pub struct Learn {
    /// Where it is asked.
    pub demands: Demands,
    /// What is in use.
    pub publisher: Publisher,
}

// === impl Learn ===

impl Learn {
    /// Asks whether the mesh has the name of a question; whether that may be another than before.
    pub(super) async fn learn(&self, packet: &[u8]) -> bool {
        let Some(name) = name_asked(packet) else {
            return false;
        };
        let answered = &self.publisher.current().answered;
        let Some(demand) = self.demands.of_host(answered, &name, 0) else {
            return false;
        };
        let is_answered = || self.publisher.current().answered.has(&demand);
        let held = self.demands.hold(&demand, is_answered);
        timeout(HELD_MAX, held).await.is_ok()
    }
}
