//! Whom a change of a resource may concern.
//!
//! Everybody, unless the kind of resource says that only those can tell the difference who look at a host
//! or a namespace that it names. What a proxy looks at is in its scope: a kind may be narrowed here only
//! by what every scope that reads it depends on.

use std::sync::Arc;

use config::mesh::Mesh;
use config::{Resource, Spec};

use super::{Change, Touched};

/// The gateway that stands for all sidecars.
const SIDECARS: &str = "mesh";

// === impl Change ===

impl Change {
    /// Notes that a resource came or went, or changed from one of its forms to the other: both are noted.
    pub(super) fn concern(&mut self, resource: &Resource, mesh: &Mesh) {
        let namespace = &resource.meta.namespace;
        match &resource.spec {
            // Routes of gateways are looked up by gateway, delegates by name.
            Spec::VirtualService(routes)
                if !routes.hosts.is_empty() && routes.gateways.iter().all(|it| it == SIDECARS) =>
            {
                self.hosts(&routes.hosts, namespace, mesh);
            }
            Spec::DestinationRule(rule) => {
                self.hosts(std::slice::from_ref(&rule.host), namespace, mesh);
            }
            Spec::Sidecar(_)
            | Spec::PeerAuthentication(_)
            | Spec::RequestAuthentication(_)
            | Spec::AuthorizationPolicy(_)
                if *namespace != mesh.settings().root_namespace =>
            {
                let namespace = Arc::from(namespace.as_str());
                self.touched.insert(Touched::Namespace(namespace));
            }
            Spec::VirtualService(_)
            | Spec::Gateway(_)
            | Spec::ServiceEntry(_)
            | Spec::WorkloadEntry(_)
            | Spec::Sidecar(_)
            | Spec::PeerAuthentication(_)
            | Spec::RequestAuthentication(_)
            | Spec::AuthorizationPolicy(_)
            | Spec::RateLimitPolicy(_)
            | Spec::MeshConfig(_)
            | Spec::Service(_)
            | Spec::EndpointSlice(_)
            | Spec::Secret(_) => self.everybody = true,
        }
    }

    /// Hosts as a namespace writes them. What a wildcard covers is not looked up by the wildcard.
    fn hosts(&mut self, hosts: &[String], namespace: &str, mesh: &Mesh) {
        self.everybody |= hosts.iter().any(|host| host.starts_with('*'));
        let hosts = hosts.iter().map(|host| mesh.resolve(host, namespace));
        self.touched.extend(hosts.map(|host| Touched::host(&host)));
        self.touched.insert(Touched::AnyHost);
    }
}

#[cfg(test)]
mod tests {
    use config::mesh::MeshSettings;

    use super::*;
    use crate::fixture::resources;

    fn change(yaml: &str) -> Change {
        let mesh = Mesh::new(&[], MeshSettings::default());
        let mut change = Change::default();
        for resource in resources(yaml) {
            change.concern(&resource, &mesh);
        }
        change
    }

    #[test]
    fn routes_of_sidecars_and_rules_concern_those_who_look_at_their_hosts() {
        for (yaml, hosts) in [
            (
                "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: shop}, \
                 spec: {hosts: [Web, api.example.com], gateways: [mesh], \
                 http: [{route: [{destination: {host: web}}]}]}}",
                vec!["web.shop.svc.cluster.local", "api.example.com"],
            ),
            (
                "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, namespace: shop}, \
                 spec: {host: web}}",
                vec!["web.shop.svc.cluster.local"],
            ),
        ] {
            let hosts = hosts.into_iter().map(Touched::host);
            let touched = hosts.chain([Touched::AnyHost]).collect();

            let change = change(yaml);

            assert!(!change.everybody);
            assert_eq!(change.touched, touched);
        }
    }

    #[test]
    fn what_may_be_looked_at_in_another_way_concerns_everybody() {
        for spec in [
            "kind: VirtualService, spec: {hosts: ['*.example.com'], http: [{route: [{destination: {host: a}}]}]}",
            "kind: VirtualService, spec: {hosts: [a], gateways: [mesh, edge], \
             http: [{route: [{destination: {host: a}}]}]}",
            "kind: VirtualService, spec: {http: [{route: [{destination: {host: a}}]}]}",
            "kind: DestinationRule, spec: {host: '*.example.com'}",
            "kind: ServiceEntry, spec: {hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}]}",
        ] {
            let head = "apiVersion: networking.istio.io/v1, metadata: {name: a, namespace: shop}";

            assert!(change(&format!("{{{head}, {spec}}}")).everybody, "{spec}");
        }
    }

    #[test]
    fn policies_concern_their_namespace_and_those_of_the_root_namespace_everybody() {
        let policy = |namespace: &str| {
            change(&format!(
                "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, \
                 metadata: {{name: a, namespace: {namespace}}}, spec: {{}}}}"
            ))
        };

        let (own, root) = (policy("shop"), policy("istio-system"));

        let shop = Touched::Namespace("shop".into());
        assert_eq!(
            (own.everybody, own.touched),
            (false, [shop].into_iter().collect())
        );
        assert!(root.everybody);
    }
}
