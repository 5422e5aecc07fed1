//! Configuration files as a proxy would use them, without being one: the same loader, mesh and
//! compiler, but no socket is opened and no name is resolved.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use config::mesh::{Mesh, MeshSettings, Viewer};
use config::{Loader, Problem, Resource, Severity, Spec};

use crate::bootstrap::Locality;
use crate::snapshot::{Publisher, Snapshot};
use crate::table::compile::{Compiler, Perspective};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::{Metrics, SERIES_MAX};
use crate::tls::certificates::Certificates;

/// Address of listeners that name none, as a proxy has it that is told nothing else.
const BIND: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Trust domain of a proxy that is told nothing else.
const TRUST_DOMAIN: &str = "cluster.local";
/// Cluster of a proxy that is told nothing else.
const CLUSTER: &str = "Kubernetes";

/// What the files hold.
#[derive(Debug)]
pub(crate) struct Offline {
    loader: Loader,
    /// All that is written.
    pub(crate) resources: Vec<Arc<Resource>>,
}

/// A workload, as the proxy beside it is told who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace and labels.
    pub viewer: Viewer,
    /// Where it is, if that is known.
    pub locality: Option<Locality>,
    /// Its service account.
    pub service_account: String,
}

/// The configuration as one proxy sees it.
#[derive(Debug)]
pub(crate) struct View {
    /// Who the proxy is beside.
    pub(crate) workload: Workload,
    /// What is written.
    pub(crate) mesh: Mesh,
    /// What is made of it.
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Which traffic of a proxy is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// All that it takes.
    All,
    /// What it sends for a workload: as if there were no gateway. A proxy that opens gateways has no
    /// outbound listener by itself.
    Mesh,
    /// The same where it is captured.
    Captured,
}

// === impl Offline ===

impl Offline {
    /// Loads files and folders; documents that name no namespace are in `namespace`.
    ///
    /// # Errors
    ///
    /// All problems if one of them is an error: a proxy would not start either.
    pub(crate) fn load(paths: &[PathBuf], namespace: &str) -> Result<Self, Vec<Problem>> {
        let mut loader = Loader::new(namespace);
        let loaded = loader.load(paths);
        match loaded.has_errors() {
            true => Err(loaded.problems),
            false => Ok(Self {
                loader,
                resources: loaded.resources,
            }),
        }
    }

    /// Compiles what concerns the proxy of `workload`.
    ///
    /// # Errors
    ///
    /// Certificates of its gateways that cannot be used.
    pub(crate) fn view(
        &mut self,
        workload: Workload,
        traffic: Traffic,
    ) -> Result<View, Vec<Problem>> {
        let viewer = &workload.viewer;
        let is_gateway = |it: &&Arc<Resource>| matches!(it.spec, Spec::Gateway(_));
        let all = self.resources.iter();
        let resources: Vec<Arc<Resource>> = match traffic {
            Traffic::All => all.cloned().collect(),
            Traffic::Mesh | Traffic::Captured => {
                all.filter(|it| !is_gateway(it)).cloned().collect()
            }
        };
        let mesh = Mesh::new(&resources, MeshSettings::default());
        // What is only thought of is not sent: what secures it is not looked at.
        let (certificates, findings) = Certificates::load(&mesh, viewer, [], None, None);
        let problems = self.loader.locate(findings);
        if problems.iter().any(|it| it.severity == Severity::Error) {
            return Err(problems);
        }
        let identity = Identity::of_workload(&viewer.labels, "", &viewer.namespace, CLUSTER);
        let perspective = Perspective {
            viewer: viewer.clone(),
            identity: identity.clone(),
            cluster: CLUSTER.to_owned(),
            locality: workload.locality.clone(),
            principal: format!(
                "spiffe://{TRUST_DOMAIN}/ns/{}/sa/{}",
                viewer.namespace, workload.service_account
            ),
            bind: BIND,
            captures: traffic == Traffic::Captured,
        };
        let mut compiler = Compiler::new(perspective, Metrics::new(identity, SERIES_MAX));
        let compiled = compiler.plan(&mesh, &certificates).commit();
        let snapshot = Publisher::default().publish(compiled.table, compiled.destinations);
        Ok(View {
            workload,
            mesh,
            snapshot,
        })
    }
}
