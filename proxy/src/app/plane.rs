//! A control plane in the place of files: what is configured, and who the workload is.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use config::spiffe::SpiffeId;
use tokio::sync::mpsc;

use crate::bootstrap::Settings;
use crate::demand::{Answered, Demands};
use crate::handover::Sockets;
use crate::snapshot::Publisher;
use crate::source::control::certificate::Keeper;
use crate::source::control::{Around, Source, Subject, Supplied, View};
use crate::telemetry::metrics::Metrics;

/// A control plane that is followed.
#[derive(Debug)]
pub(super) struct Plane {
    source: Source,
    /// Keeps certificates that come from there, if they do.
    keeper: Option<Keeper>,
    demands: Demands,
}

// === impl Plane ===

impl Plane {
    /// Begins to follow it, from what the process before left in `inherited`, if there was one; none if
    /// files configure the proxy.
    ///
    /// # Errors
    ///
    /// What keeps it from that.
    pub(super) fn start(
        settings: &Settings,
        reload: mpsc::Sender<()>,
        publisher: &Publisher,
        metrics: &Metrics,
        inherited: &mut Sockets,
    ) -> anyhow::Result<Option<Self>> {
        let Some(control) = &settings.control else {
            return Ok(None);
        };
        let counters = metrics.control();
        let keeper = match settings.asks_for_certificates() {
            true => {
                let id = asked_identity(settings)?;
                let keeper = Keeper::start(control, id, counters.clone());
                Some(keeper.context("make a folder for certificates")?)
            }
            false => None,
        };
        let demands = Demands::new(control.demand_timeout, counters.demand.clone());
        let identity = keeper.as_ref().map(Keeper::identity_dir);
        let around = Around {
            reload,
            demands: demands.clone(),
            publisher: publisher.clone(),
            counters,
        };
        let identity = identity.or_else(|| settings.identity_dir.clone());
        Ok(Some(Self {
            source: Source::start(control, subject(settings, identity), around, inherited),
            keeper,
            demands,
        }))
    }

    /// Waits until there is something to begin with.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub(super) async fn ready(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.ready().await;
        }
        self.source.ready().await;
    }

    /// The folder of the identity, if it comes from there.
    pub(super) fn identity_dir(&self) -> Option<PathBuf> {
        self.keeper.as_ref().map(Keeper::identity_dir)
    }

    /// Where it is asked what the table does not know.
    pub(super) fn demands(&self) -> Demands {
        self.demands.clone()
    }

    /// What it told by now.
    pub(super) fn supplied(&self) -> Supplied {
        self.source.supplied()
    }

    /// Adds what it told to what goes to the process that takes this one's place.
    pub(super) fn hand_over(&self, sockets: &mut Sockets) {
        self.source.hand_over(sockets);
    }

    /// These answers are in use.
    pub(super) fn published(&self, answered: &Arc<Answered>) {
        self.demands.published(answered);
    }

    /// How it goes, for people.
    pub(super) fn view(&self) -> View {
        self.source.view()
    }
}

/// Who certificates are asked for.
///
/// # Errors
///
/// If the flags name nobody that there can be.
pub(super) fn asked_identity(settings: &Settings) -> anyhow::Result<SpiffeId> {
    let (domain, account) = (&settings.trust_domain, &settings.service_account);
    SpiffeId::workload(domain, &settings.namespace, account)
        .context("--trust-domain, --namespace and --service-account name no identity")
}

fn subject(settings: &Settings, identity: Option<PathBuf>) -> Subject {
    let locality = settings.locality.clone().unwrap_or_default();
    Subject {
        name: settings.pod.clone(),
        namespace: settings.namespace.clone(),
        service_account: settings.service_account.clone(),
        trust_domain: settings.trust_domain.clone(),
        cluster: settings.cluster.clone(),
        labels: settings.labels.clone(),
        locality: [locality.region, locality.zone, locality.subzone],
        identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Invocation;

    #[test]
    fn a_control_plane_knows_a_workload_by_its_pod() {
        let of = |more: &[&str]| {
            let typed = [
                "meshproxy",
                "--control",
                "http://127.0.0.1:1",
                "--name",
                "reviews-v1",
            ];
            let invocation = Invocation::parse(typed.iter().chain(more)).expect("it is right");
            let Invocation::Run(settings) = invocation else {
                panic!("it runs the proxy");
            };
            subject(&settings, None).name
        };

        assert_eq!(of(&["--pod", "reviews-v1-x2b4"]), "reviews-v1-x2b4");
        assert_eq!(of(&[]), "reviews-v1");
    }
}
