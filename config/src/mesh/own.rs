//! What a workload serves itself: the ports of its services that lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kubernetes::numeric_target;
use super::service::{Port, Service};
use super::{Mesh, Viewer, name};
use crate::resource::{Resource, Spec};

/// A port of a workload at which it serves a service.
#[derive(Debug, Clone, Copy)]
pub struct OwnPort<'m> {
    /// The service.
    pub service: &'m Arc<Service>,
    /// The port by which callers address it.
    pub port: &'m Port,
    /// The port of the workload.
    pub target: u16,
}

// === impl Mesh ===

impl Mesh {
    /// The ports at which a workload serves its services, in the order of these: those of its namespace
    /// that select it by its labels, or have an endpoint whose labels it has. Of several services at
    /// one port the first counts.
    pub fn own_ports(&self, workload: &Viewer) -> Vec<OwnPort<'_>> {
        let mut ports: BTreeMap<u16, OwnPort<'_>> = BTreeMap::new();
        let services = self.services();
        for service in services.filter(|service| is_served_by(service, workload)) {
            for port in &service.ports {
                for target in targets(service, port, workload) {
                    ports.entry(target).or_insert(OwnPort {
                        service,
                        port,
                        target,
                    });
                }
            }
        }
        ports.into_values().collect()
    }
}

/// Whether a workload is one of those that serve a service.
pub(super) fn is_served_by(service: &Service, workload: &Viewer) -> bool {
    let mut endpoints = service.endpoints.iter();
    service.namespace == workload.namespace
        && (service.sources.iter().any(|it| selects(it, workload))
            || endpoints.any(|it| is_us(&it.labels, workload)))
}

/// Whether the resource that defines a service selects a workload. One without selector selects nothing,
/// not everything.
fn selects(definition: &Resource, workload: &Viewer) -> bool {
    let selector = match &definition.spec {
        Spec::Service(service) => Some(&service.spec.selector),
        Spec::ServiceEntry(entry) => entry.workload_selector.as_ref().map(|it| &it.labels),
        _ => None,
    };
    selector.is_some_and(|it| !it.is_empty() && name::selects(it, &workload.labels))
}

/// Whether the labels of an endpoint are such as the workload has.
fn is_us(labels: &BTreeMap<String, String>, workload: &Viewer) -> bool {
    !labels.is_empty() && name::selects(labels, &workload.labels)
}

/// Where a workload serves a port: as the endpoints say that are like it, else as all others do, else as
/// the service says.
fn targets(service: &Service, port: &Port, workload: &Viewer) -> Vec<u16> {
    let of = |ours: bool| {
        let endpoints = service.endpoints.iter();
        let endpoints = endpoints.filter(move |it| !ours || is_us(&it.labels, workload));
        let mut targets: Vec<u16> = endpoints
            .filter_map(|it| it.ports.get(port.number))
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    };
    let known = [of(true), of(false)].into_iter().find(|it| !it.is_empty());
    known.unwrap_or_else(|| vec![written_target(service, port)])
}

fn written_target(service: &Service, port: &Port) -> u16 {
    let number = u32::from(port.number);
    let written = service.sources.iter().find_map(|it| match &it.spec {
        Spec::Service(written) => {
            let mut ports = written.spec.ports.iter();
            numeric_target(ports.find(|it| it.port == number)?)
        }
        Spec::ServiceEntry(entry) => {
            let mut ports = entry.ports.iter();
            let port = ports.find(|it| it.number == number)?;
            u16::try_from(port.target_port.filter(|it| *it != 0)?).ok()
        }
        _ => None,
    });
    written.unwrap_or(port.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::parse;
    use crate::mesh::MeshSettings;

    const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-admin, port: 9000, targetPort: admin}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: tcp-admin, port: 9901}]
endpoints: [{addresses: [10.0.0.9]}]
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: everyone}
spec: {ports: [{port: 82}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 3306, name: mysql, protocol: MYSQL}, {number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: shop}, ports: {mysql: 13306, http: 8080}}
  - {address: 10.0.0.2, labels: {app: shop, version: v2}, ports: {mysql: 23306}}
";

    fn ports(labels: &[(&str, &str)], namespace: &str) -> Vec<String> {
        let loaded = parse("m.yaml", SERVICES, "default");
        assert!(!loaded.has_errors(), "{:?}", loaded.problems);
        let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
        let labels = labels.iter();
        let workload = Viewer {
            namespace: namespace.to_owned(),
            labels: labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let told =
            |own: &OwnPort<'_>| format!("{} {}:{}", own.target, own.service.name, own.port.number);
        mesh.own_ports(&workload).iter().map(told).collect()
    }

    #[test]
    fn a_workload_serves_what_selects_it_or_has_an_endpoint_like_it() {
        assert_eq!(
            ports(&[("app", "shop")], "default"),
            ["8080 web:80", "9901 web:9000", "13306 db:3306"]
        );
    }

    #[test]
    fn others_serve_nothing_of_it() {
        assert!(ports(&[("app", "cart")], "default").is_empty());
        assert!(ports(&[], "default").is_empty());
        assert!(ports(&[("app", "shop")], "elsewhere").is_empty());
    }
}
