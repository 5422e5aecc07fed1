//! Acts on the plan by which the proxy stops.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

use super::control::Control;
use crate::admin::Lifecycle;
use crate::drain::Scope;
use crate::drain::plan::{Action, Manner};
use crate::worker::Command;

/// Time between two looks at what is still going on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

// === impl Control ===

impl Control {
    /// Begins to stop the listeners of `scope`, and with `exits` the proxy.
    pub(super) async fn stop(&mut self, scope: Scope, manner: Manner, exits: bool) {
        if let Some(upgrade) = self.take_upgrade() {
            let ended = upgrade.give_up().await;
            tracing::warn!(
                ?ended,
                "the process that was to take this one's place is given up"
            );
        }
        self.plan.retime(self.times());
        let actions = self.plan.begin(Instant::now(), scope, manner, exits);
        let stage = self.plan.stage();
        tracing::info!(?scope, ?manner, exits, timeout = ?self.times().timeout, "draining");
        if scope.with(Scope::Inbound) == scope {
            self.lifecycle.send_if_modified(|lifecycle| {
                let is_new = *lifecycle != Lifecycle::Replaced;
                if is_new {
                    *lifecycle = Lifecycle::Draining;
                }
                is_new
            });
        }
        self.look_at.get_or_insert_with(Instant::now);
        self.show(stage);
        // The end has not come before anybody looked.
        let _ = self.act(actions).await;
    }

    /// Looks at what is still going on.
    pub(super) async fn look(&mut self) -> ControlFlow<()> {
        self.look_at = Some(Instant::now() + LOOK_INTERVAL);
        let actions = self.plan.look(Instant::now(), &self.admin.loads);
        self.show(self.plan.stage());
        self.act(actions).await
    }

    async fn act(&mut self, actions: Vec<Action>) -> ControlFlow<()> {
        for action in actions {
            let listeners = self.configuration.listeners_mut();
            match action {
                Action::Tell(scope) => listeners.tell(|| Command::Tell(scope)).await,
                Action::Close(scope) => {
                    listeners.release();
                    listeners.tell(|| Command::Close(scope)).await;
                }
                Action::Cut(_, 0) => {}
                Action::Cut(scope, left) => {
                    tracing::warn!(
                        ?scope,
                        left,
                        "connections left at the end of the drain are closed"
                    );
                    let direction = match scope {
                        Scope::Outbound => "outbound",
                        Scope::Inbound | Scope::All => "inbound",
                    };
                    let cut = &self.metrics.process.drain_cut;
                    cut.with_label_values(&[direction]).inc_by(left as u64);
                    listeners.tell(|| Command::Cut(scope)).await;
                }
                Action::Exit => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}
