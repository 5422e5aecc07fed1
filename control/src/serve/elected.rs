//! What only one of several replicas does: it tells workloads and the API server what to believe, and
//! resources what became of them.

use std::sync::Arc;

use kube::Client;
use tokio::task::JoinSet;

use super::mesh::Mesh;
use super::stop::Stop;
use super::{Ground, TrustReceiver};
use crate::admission::bundle::{self, Configurations};
use crate::cli::ServeArgs;
use crate::lease::{self, Leadership, Timing};
use crate::signer::announce::Announcer;
use crate::signer::trust::Trust;
use crate::status::writer::{self, Metrics};

/// Name of the lease.
const LEASE: &str = "meshcontrol";

/// Contends to be the one, until it is time to stop; then the next one need not wait.
pub(super) fn contend(
    client: &Client,
    arguments: &ServeArgs,
    replica: &str,
    mut stop: Stop,
    ports: &mut JoinSet<()>,
) -> Leadership {
    let settings = lease::Settings {
        namespace: arguments.namespace.clone(),
        name: LEASE.to_owned(),
        // One that is started anew under the same name is another.
        identity: format!("{replica}_{:016x}", fastrand::u64(..)),
        timing: Timing::default(),
    };
    let (contender, leadership) = lease::contend(client.clone(), settings);
    ports.spawn(contender.run(async move { stop.drain().await }));
    leadership
}

/// Starts all of it; it rests while another replica is the one.
pub(super) fn start(
    ground: &mut Ground<'_>,
    mesh: &Mesh,
    trust: &TrustReceiver,
) -> anyhow::Result<()> {
    let (Some(client), Some(leadership)) = (&ground.client, &ground.leadership) else {
        return Ok(());
    };
    let own = &ground.arguments.namespace;
    let announcer = Announcer::new(client.clone(), own, trust.clone(), leadership.clone());
    ground.work.spawn(announcer.run());
    let configurations = Configurations::of(&ground.arguments.service, own);
    let pem = |trust: &Option<Arc<Trust>>| trust.as_ref().map(|trust| trust.roots_pem());
    ground.work.spawn(bundle::keep(
        client.clone(),
        configurations,
        trust.clone(),
        pem,
        leadership.clone(),
    ));
    let metrics = Metrics::register(&ground.registry)?;
    let known = Arc::clone(&mesh.known);
    let (client, leadership) = (client.clone(), leadership.clone());
    ground
        .work
        .spawn(writer::run(client, known, leadership, metrics));
    Ok(())
}
