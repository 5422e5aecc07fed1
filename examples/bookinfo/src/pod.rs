//! One workload alone, as the container of a pod runs it. Its proxy is the mesh's affair: connections
//! are captured, so that the service calls others by their names as if there were none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::service::neighbour::{Http, Neighbours};
use crate::service::{Instance, Service, server};
use crate::terminal::say;
use crate::workload::{WORKLOADS, Workload};

/// What the page says instead of the file to edit.
const ROUTES: &str = "kubectl edit virtualservice reviews";

/// Serves the workload of this name until `stopped`.
///
/// # Errors
///
/// When there is no such workload, or its port is not free.
pub(crate) async fn serve(
    name: &str,
    port: u16,
    stopped: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<()> {
    let workload = find(name)?;
    let listener = listen(port).await?;
    let addr = listener.local_addr().context("read the port just opened")?;
    let neighbours = Neighbours::by_name(Http::new());
    let service = Service::new(Instance { workload, addr }, neighbours, ROUTES);
    say(&format!("{name} listens at {addr}"));
    tokio::select! {
        () = stopped => {}
        () = server::serve(listener, service, Arc::new(AtomicU64::new(0))) => {}
    }
    Ok(())
}

fn find(name: &str) -> anyhow::Result<&'static Workload> {
    let found = WORKLOADS.iter().find(|workload| workload.name == name);
    found.with_context(|| {
        let names = WORKLOADS.each_ref().map(|workload| workload.name);
        format!("no workload `{name}`; there are {}", names.join(", "))
    })
}

/// Opens `port` for both families of addresses, or for IPv4 where there is no other.
async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let both = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if let Ok(listener) = TcpListener::bind((both, port)).await {
        return Ok(listener);
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    listener.with_context(|| format!("open port {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_run_every_workload_with_its_labels_and_account() {
        let manifests = include_str!("../kubernetes/bookinfo.yaml");

        for workload in &WORKLOADS {
            let deployment = manifests
                .split("\n---\n")
                .find(|document| document.contains(&format!("args: [--serve={}]", workload.name)));
            let deployment = deployment.expect(workload.name);
            for line in [
                format!("serviceAccountName: {}\n", workload.service_account()),
                format!(
                    "        app: {}\n        version: {}\n",
                    workload.app.host(),
                    workload.version
                ),
            ] {
                assert!(deployment.contains(&line), "{}: {line}", workload.name);
            }
        }
    }

    #[test]
    fn every_workload_can_be_served_and_a_misspelt_one_is_answered_with_their_names() {
        for workload in &WORKLOADS {
            assert_eq!(find(workload.name).unwrap(), workload);
        }

        let said = find("reviews").unwrap_err().to_string();

        assert!(
            said.contains("`reviews`") && said.contains("reviews-v3"),
            "{said}"
        );
    }
}
