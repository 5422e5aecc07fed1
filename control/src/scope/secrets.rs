//! Which secrets a proxy gets: those that its gateways name, of its own namespace, if it is who it says.
//!
//! Labels decide which gateways a proxy opens, and what a proxy says of its labels proves nothing. Where
//! pods are known, the labels of its pod count, and its pod is one that runs under the account that it
//! proved: whoever has taken over one workload learns no key of another's gateway. A pod without labels
//! is no gateway; only a proxy of a folder without labels opens all.

use std::sync::Arc;

use config::mesh::Viewer;
use config::resource::gateway::{Gateway, ServerTls};
use config::wire::Name;
use config::{Resource, Spec};

use super::{Proxy, pod_key};
use crate::index::Generation;

/// The secrets for a proxy.
pub(super) fn of(generation: &Generation, proxy: &Proxy) -> Vec<Arc<Resource>> {
    let Some(viewer) = proven(generation, proxy) else {
        return Vec::new();
    };
    let gateways = generation.mesh.gateways(&viewer);
    let specs = gateways.into_iter().filter_map(|it| match &it.spec {
        Spec::Gateway(gateway) => Some(gateway),
        _ => None,
    });
    let names = specs.flat_map(names);
    let secrets = names.filter_map(|name| {
        let name = Name::new("Secret", &viewer.namespace, &name);
        generation.entries.get(&name)
    });
    secrets.map(|entry| Arc::clone(&entry.resource)).collect()
}

/// The proxy as far as it is proven who it is.
fn proven(generation: &Generation, proxy: &Proxy) -> Option<Viewer> {
    let account = proxy.account.as_deref()?;
    if generation.pods.is_empty() {
        // A folder knows no pods: there is nothing that could contradict it.
        return Some(proxy.viewer.clone());
    }
    let pod = generation.pods.get(&pod_key(proxy))?;
    let is_own = pod.service_account == *account && !pod.labels.is_empty();
    is_own.then(|| Viewer {
        namespace: proxy.viewer.namespace.clone(),
        labels: pod.labels.clone(),
    })
}

/// Names of the secrets that a gateway asks for.
fn names(gateway: &Gateway) -> Vec<String> {
    let servers = gateway.servers.iter();
    let tls = servers.filter_map(|server| server.tls.as_ref());
    tls.flat_map(names_of_server).collect()
}

fn names_of_server(tls: &ServerTls) -> Vec<String> {
    let mut names = Vec::new();
    for written in tls.credential_name.iter().chain(&tls.credential_names) {
        let name = bare(written);
        names.push(format!("{name}-cacert"));
        names.push(name.to_owned());
    }
    let authorities = tls.ca_cert_credential_name.iter();
    names.extend(authorities.map(|written| bare(written).to_owned()));
    names
}

/// A secret may be named with where it is kept.
fn bare(written: &str) -> &str {
    written.strip_prefix("kubernetes://").unwrap_or(written)
}
