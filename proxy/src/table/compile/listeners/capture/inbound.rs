//! What captured connections to the workload meet, by its ports: those of the `Sidecar`'s `ingress`,
//! else those of the services that it serves, and all others.

use std::sync::Arc;

use config::Spec;
use config::resource::destination_rule::ConnectionPool;
use config::resource::sidecar::Sidecar;

use super::super::Plan;
use super::super::sidecar::Inbound;
use crate::table::Listener;
use crate::table::capture::Captured;

// === impl Plan ===

impl<'p> Plan<'p> {
    pub(super) fn captured_inbound(&mut self) -> Captured {
        let sidecar = self.own_sidecar();
        let pool = sidecar.and_then(|it| it.inbound_connection_pool.as_ref());
        let mut captured = Captured::new(Arc::new(self.unknown_port(0, pool)));
        // What policies demand of a port they demand whatever is there.
        let policy = self.mesh.mutual_tls(&self.perspective.viewer);
        for port in policy.ports.keys().copied() {
            let listener = self.unknown_port(port, pool);
            captured.ports.insert(port, Arc::new(listener));
        }
        let ingress = sidecar.map_or(&[][..], |it| &it.ingress);
        for ingress in ingress.iter().filter(|it| !it.is_explicit()) {
            if let Some(inbound) = self.ingress_port(ingress, pool) {
                let port = inbound.port;
                captured.ports.insert(port, Arc::new(self.inbound(inbound)));
            }
        }
        // Whoever writes `ingress` says what there is.
        if !ingress.is_empty() {
            return captured;
        }
        for own in self.mesh.own_ports(&self.perspective.viewer) {
            let service = (own.service.host.clone(), own.service.namespace.clone());
            let listener = self.inbound(Inbound {
                name: format!("inbound {}:{}", own.service.host, own.port.number),
                port: own.target,
                is_known: true,
                spoken: Some(own.port.protocol),
                addr: None,
                service: Some(service),
                pool: pool.cloned().unwrap_or_default(),
            });
            captured.ports.insert(own.target, Arc::new(listener));
        }
        captured
    }

    /// A port that nobody told us of; 0 for all others.
    fn unknown_port(&mut self, port: u16, pool: Option<&ConnectionPool>) -> Listener {
        self.inbound(Inbound {
            name: "inbound passthrough".to_owned(),
            port,
            is_known: false,
            spoken: None,
            addr: None,
            service: None,
            pool: pool.cloned().unwrap_or_default(),
        })
    }

    fn own_sidecar(&self) -> Option<&'p Sidecar> {
        let resource = self.mesh.sidecar(&self.perspective.viewer)?;
        match &resource.spec {
            Spec::Sidecar(sidecar) => Some(sidecar),
            _ => None,
        }
    }
}
