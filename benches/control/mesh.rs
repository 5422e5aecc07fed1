//! The mesh that is simulated: services in namespaces, routes for them and for hosts outside.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Result, ensure};
use config::Resource;
use config::load::parse;
use control::event::Object;

/// Namespaces that everything is spread over.
pub(crate) const NAMESPACES: usize = 50;

/// Namespace of the real proxy; nobody else is there.
pub(crate) const MEASURED: &str = "measured";

/// How much of everything there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) endpoints_each: usize,
    /// Half of them are for services, the others for hosts outside.
    pub(crate) routes: usize,
    /// Where the real proxy listens for requests to everywhere.
    pub(crate) port: u16,
}

/// Namespace of the service with this number.
pub(crate) fn namespace(service: usize) -> String {
    format!("ns-{}", service % NAMESPACES)
}

/// Host of the service with this number, as every namespace may write it.
pub(crate) fn host(service: usize) -> String {
    format!("svc-{service}.{}.svc.cluster.local", namespace(service))
}

/// Name of the slice of a service on the wire.
pub(crate) fn slice_name(service: usize) -> String {
    format!("EndpointSlice/{}/svc-{service}-1", namespace(service))
}

/// Name of the routes of a service on the wire.
pub(crate) fn route_name(service: usize) -> String {
    format!("VirtualService/{}/svc-{service}", namespace(service))
}

/// Everything.
pub(crate) fn objects(size: Size) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for service in 0..size.services {
        objects.extend(read(&definition(service))?);
        objects.push(slice(service, size, 0)?);
    }
    for service in 0..size.services.min(size.routes) {
        objects.push(route(service, 0)?);
    }
    objects.push(sidecar(size.port)?);
    for outside in size.services..size.routes {
        objects.extend(read(&outside_route(outside))?);
    }
    Ok(objects)
}

/// The slice of a service; `turn` tells one form of it from the next.
pub(crate) fn slice(service: usize, size: Size, turn: usize) -> Result<Object> {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc-{service}-1, namespace: {}, labels: {{kubernetes.io/service-name: svc-{service}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
",
        namespace(service)
    );
    for endpoint in 0..size.endpoints_each {
        let number = service * size.endpoints_each + endpoint;
        let is_ready = endpoint > 0 || turn.is_multiple_of(2);
        let version = endpoint % 2 + 1;
        writeln!(
            text,
            "- {{addresses: [127.{}.{}.{}], hostname: turn-{turn}, conditions: {{ready: {is_ready}}}, \
             labels: {{app: svc-{service}, version: v{version}}}, serviceAccount: svc-{service}}}",
            // Within the machine, where nobody listens.
            1 + (number >> 16),
            number >> 8 & 255,
            number & 255,
        )?;
    }
    one(&text)
}

/// The routes of a service; `turn` tells one form of them from the next.
pub(crate) fn route(service: usize, turn: usize) -> Result<Object> {
    one(&format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: svc-{service}, namespace: {}}}
spec:
  hosts: [svc-{service}]
  http:
  - match: [{{headers: {{turn: {{exact: turn-{turn}}}}}}}]
    route: [{{destination: {{host: svc-{service}, subset: v2}}}}]
  - route: [{{destination: {{host: svc-{service}, subset: v1}}}}]
",
        namespace(service)
    ))
}

fn definition(service: usize) -> String {
    let (namespace, third, last) = (namespace(service), service >> 8, service & 255);
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: svc-{service}, namespace: {namespace}}}
spec:
  clusterIP: 10.200.{third}.{last}
  selector: {{app: svc-{service}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: svc-{service}, namespace: {namespace}}}
spec:
  host: svc-{service}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"
    )
}

fn sidecar(port: u16) -> Result<Object> {
    one(&format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {MEASURED}}}
spec:
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['*/*']
"
    ))
}

fn outside_route(number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: out-{number}, namespace: {}}}
spec:
  hosts: [api-{number}.example.com]
  http: [{{timeout: 5s, route: [{{destination: {{host: api-{number}.example.com}}}}]}}]
",
        namespace(number)
    )
}

fn one(text: &str) -> Result<Object> {
    let mut objects = read(text)?;
    ensure!(objects.len() == 1, "{} objects in {text}", objects.len());
    Ok(objects.remove(0))
}

fn read(text: &str) -> Result<Vec<Object>> {
    let loaded = parse("mesh.yaml", text, "default");
    ensure!(!loaded.has_errors(), "{:?}", loaded.problems);
    let object = |resource: Arc<Resource>| Object::Resource(resource);
    Ok(loaded.resources.into_iter().map(object).collect())
}
