//! What the control thread does when the proxy runs: one thing after another, as it is told.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::{getpid, getppid, set_child_subreaper};
use system::settle::Trigger;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::log::{FilterHandle, set_filter};
use super::reload::Configuration;
use super::signals::{Signal, Signals};
use super::successor::Line;
use super::supervise::Heir;
use super::upgrade::{Upgrade, UpgradeError};
use crate::admin::{AdminState, Command, Lifecycle};
use crate::bootstrap;
use crate::dns_proxy::Serving;
use crate::drain::Scope;
use crate::drain::plan::{Manner, Plan, Stage, Times};
use crate::handover::{Channel, HandoverError, Sockets};
use crate::telemetry::metrics::Metrics;
use crate::upstream::dns::Update;

/// How long a drain may last if nobody says so: as long as Istio's.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);
/// The process that containers begin and end with.
const PROCESS_1: u32 = 1;

/// What the control thread acts on.
pub(super) struct Control {
    pub(super) configuration: Configuration,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    pub(super) admin: Arc<AdminState>,
    pub(super) metrics: Arc<Metrics>,
    filter: FilterHandle,
    asked: bootstrap::Lifecycle,
    /// How the proxy stops.
    pub(super) plan: Plan,
    /// When to look again at what is still going on; none while nothing stops.
    pub(super) look_at: Option<Instant>,
    /// Sockets beside listeners, to be handed over.
    held: Sockets,
    /// Answers names to the workload, if it is to, until the end.
    names: Option<Serving>,
    /// The line to process 1, if that waits for the end of those that took its place.
    line: Option<Line>,
    /// The near end of that line, if this is process 1.
    near: Option<Channel>,
    /// A process on its way to take this one's place.
    upgrade: Option<Upgrade>,
    /// The process that has taken it, if this one has to outlive it.
    heir: Option<Heir>,
    /// Whether it was told to end since then.
    ends_with_heir: bool,
    /// Whether a signal told the proxy to stop.
    is_told: bool,
}

/// What it begins with.
pub(super) struct Parts {
    pub(super) configuration: Configuration,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    pub(super) filter: FilterHandle,
    pub(super) held: Sockets,
    pub(super) line: Option<Line>,
    pub(super) admin: Arc<AdminState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) names: Option<Serving>,
}

/// What the control thread listens to.
pub(super) struct Inputs {
    pub(super) signals: Signals,
    pub(super) reloads: mpsc::Receiver<()>,
    pub(super) resolved: mpsc::Receiver<Update>,
    pub(super) commands: mpsc::Receiver<Command>,
}

// === impl Control ===

impl Control {
    pub(super) fn new(asked: &bootstrap::Lifecycle, parts: Parts) -> Self {
        let Parts {
            configuration,
            lifecycle,
            filter,
            held,
            line,
            admin,
            metrics,
            names,
        } = parts;
        let times = Times {
            timeout: DRAIN_TIMEOUT,
            minimum: asked.minimum_drain,
            ends_when_idle: asked.ends_when_idle,
        };
        Self {
            configuration,
            lifecycle,
            admin,
            metrics,
            filter,
            asked: *asked,
            plan: Plan::new(Instant::now(), times),
            look_at: None,
            held,
            names,
            line,
            near: None,
            upgrade: None,
            heir: None,
            ends_with_heir: false,
            is_told: false,
        }
    }

    /// Waits for the next thing to do and does it.
    pub(super) async fn obey(&mut self, inputs: &mut Inputs) -> ControlFlow<()> {
        let is_free = self.is_free();
        self.configuration.listeners_mut().bind_while(is_free);
        let takes_in = is_free || self.configuration.is_told();
        tokio::select! {
            signal = inputs.signals.next() => return self.signalled(signal).await,
            Some(()) = inputs.reloads.recv(), if takes_in => {
                self.configuration.reload(Trigger::Files).await;
            }
            Some(update) = inputs.resolved.recv() => self.configuration.resolved(&update),
            Some(command) = inputs.commands.recv() => match command {
                Command::Drain(scope) => self.stop(scope, Manner::Now, false).await,
                Command::Quit if self.plan.exits() => {}
                Command::Quit => self.stop(Scope::All, Manner::Orderly, true).await,
                Command::SetLogFilter(written) => set_filter(&self.filter, &written),
            },
            () = until(self.look_at) => return self.look().await,
            outcome = outcome(&mut self.upgrade) => self.upgraded(outcome).await,
            () = until(self.configuration.retry_at()), if is_free => {
                self.configuration.retry().await;
            }
            () = until(self.configuration.settled_at()), if is_free => {
                self.configuration.reload(Trigger::Settled).await;
            }
        }
        ControlFlow::Continue(())
    }

    async fn signalled(&mut self, signal: Signal) -> ControlFlow<()> {
        if let Some(heir) = &mut self.heir {
            heir.pass_on(signal);
            if heir.has_ended() {
                tracing::error!("the process that took this one's place has ended");
                return ControlFlow::Break(());
            }
            return self.ends_too(signal);
        }
        match signal {
            // Only a second signal is in a hurry: what else began to stop goes on in its time.
            Signal::Terminate | Signal::Interrupt if self.is_told => {
                return ControlFlow::Break(());
            }
            Signal::Terminate => {
                self.is_told = true;
                self.stop(Scope::All, Manner::Orderly, true).await;
            }
            Signal::Interrupt => {
                self.is_told = true;
                self.stop(Scope::All, Manner::Now, true).await;
            }
            Signal::Reload if self.is_free() => {
                self.configuration.reload(Trigger::Operator).await;
            }
            Signal::Reload => {}
            Signal::Upgrade => self.begin_upgrade(),
            // Who ended says so by its channel.
            Signal::Child => {}
        }
        ControlFlow::Continue(())
    }

    /// Whether this process has to hurry by a signal that was for the one that took its place: by the
    /// second that tells that one to end.
    fn ends_too(&mut self, signal: Signal) -> ControlFlow<()> {
        match signal {
            Signal::Terminate | Signal::Interrupt => {
                match std::mem::replace(&mut self.ends_with_heir, true) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
            Signal::Reload | Signal::Upgrade | Signal::Child => ControlFlow::Continue(()),
        }
    }

    /// Whether the files are this process's to follow, and new ports its to bind. Another one that is on
    /// its way, or has taken its place, reads and binds them, too. What a control plane tells is taken in
    /// all the same: requests wait for it.
    fn is_free(&self) -> bool {
        self.upgrade.is_none() && *self.lifecycle.borrow() != Lifecycle::Replaced
    }

    /// Starts the program anew, unless this one is on its way out.
    fn begin_upgrade(&mut self) {
        if self.plan.is_begun() || self.upgrade.is_some() {
            tracing::warn!("not started anew: the proxy drains, or is about to be replaced");
            return;
        }
        let limit = self.asked.upgrade_timeout;
        let begun = self
            .sockets()
            .map_err(UpgradeError::Handover)
            .and_then(|sockets| Upgrade::begin(sockets, limit));
        match begun {
            Ok(upgrade) => {
                tracing::info!(
                    pid = upgrade.pid(),
                    "started anew; waiting until it is ready"
                );
                self.upgrade = Some(upgrade);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Everything that is handed over.
    fn sockets(&mut self) -> Result<Sockets, HandoverError> {
        if is_init() && self.near.is_none() {
            // The successors of successors become its children, too, as they do by themselves under
            // process 1.
            if let Err(error) = set_child_subreaper(Some(getpid())) {
                tracing::warn!(%error, "the end of later successors will not be seen");
            }
            let (near, line) = Line::pair()?;
            self.near = Some(near);
            self.line = Some(line);
        }
        let all = || {
            let mut sockets = self.held.duplicate()?;
            sockets.extend(self.configuration.handed_over()?);
            if let Some(line) = &self.line {
                line.add_to(&mut sockets)?;
            }
            Ok(sockets)
        };
        all().map_err(|source| HandoverError::Io {
            doing: "hold the sockets",
            source,
        })
    }

    /// The other process is ready, or it will not be.
    async fn upgraded(&mut self, outcome: Result<(), UpgradeError>) {
        let Some(upgrade) = self.upgrade.take() else {
            return;
        };
        if let Err(error) = outcome {
            let ended = upgrade.give_up().await;
            tracing::debug!(?ended, "the other process");
            return self.failed(&error);
        }
        let pid = upgrade.pid();
        tracing::info!(pid, "replaced; finishing what there is");
        self.metrics.process.upgrades.ok.inc();
        match (self.near.take(), &self.line) {
            (Some(near), _) => self.heir = Heir::new(pid, near),
            (None, Some(line)) => {
                if let Err(error) = line.succeed(pid) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "process 1 does not know who took this one's place");
                }
            }
            (None, None) => {}
        }
        self.lifecycle.send_replace(Lifecycle::Replaced);
        self.held = Sockets::default();
        // What is asked from now on is the other one's to answer.
        self.names = None;
        self.stop(Scope::All, Manner::Now, true).await;
    }

    /// The process that is on its way to take this one's place, if there is one.
    pub(super) fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// Another process did not take this one's place.
    fn failed(&self, error: &UpgradeError) {
        self.metrics.process.upgrades.failed.inc();
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "not replaced; this process goes on");
    }

    /// How long the parts of a drain may last.
    pub(super) fn times(&self) -> Times {
        let configured = self.configuration.drain_timeout();
        let asked = self.asked.drain_timeout;
        Times {
            timeout: asked.or(configured).unwrap_or(DRAIN_TIMEOUT),
            minimum: self.asked.minimum_drain,
            ends_when_idle: self.asked.ends_when_idle,
        }
    }

    /// Shows how far the proxy is with stopping.
    pub(super) fn show(&self, stage: Stage) {
        let shown = self.admin.stage.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// With which code the process ends, and, if it has to outlive others, when.
    pub(super) async fn end(mut self, signals: Signals) -> ExitCode {
        let heir = self.heir.take();
        // Whoever only waits does nothing else.
        drop(self);
        match heir {
            Some(heir) => heir.outlive(signals).await,
            None => ExitCode::SUCCESS,
        }
    }
}

/// Whether the end of this process is the end of its container: it is process 1, or its parent is not
/// there to be seen.
fn is_init() -> bool {
    std::process::id() == PROCESS_1 || getppid().is_none()
}

/// Waits for a time; forever for none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits for what becomes of an upgrade; forever for none.
async fn outcome(upgrade: &mut Option<Upgrade>) -> Result<(), UpgradeError> {
    match upgrade {
        Some(upgrade) => upgrade.outcome().await,
        None => std::future::pending().await,
    }
}
