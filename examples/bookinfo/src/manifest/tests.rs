//! The generated files and the scenarios, read by the same code as in the proxies.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use config::analyze::analyze;
use config::load::parse;
use config::mesh::{Mesh, MeshSettings, Viewer};
use config::validate::validate;
use config::{Resource, Severity, Spec};

use crate::scenario::Scenario;
use crate::workload::WORKLOADS;

use super::*;

fn places() -> Vec<Place> {
    let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    WORKLOADS
        .iter()
        .zip((40_000..).step_by(10))
        .map(|(workload, port)| Place {
            workload,
            app: addr(port),
            ingress: addr(port + 1),
            egress: addr(port + 2),
        })
        .collect()
}

/// The resources of a text that must be right.
fn resources(name: &str, text: &str) -> Vec<Arc<Resource>> {
    let loaded = parse(name, text, NAMESPACE);
    let problems = loaded.problems.iter();
    let errors: Vec<_> = problems
        .filter(|problem| problem.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{text}");
    for resource in &loaded.resources {
        let findings = validate(resource);
        let wrong = findings.iter().any(|it| it.severity == Severity::Error);
        assert!(!wrong, "{name}: {findings:#?}\n{text}");
    }
    loaded.resources
}

/// Everything that the proxies read, with `routes` in the place of `routes.yaml`.
fn everything(routes: &str) -> Vec<Arc<Resource>> {
    let places = places();
    let page = SocketAddr::from((Ipv4Addr::LOCALHOST, 9080));
    let mut all = resources("registry.yaml", &registry(&places));
    all.extend(resources("gateway.yaml", &gateway(page)));
    all.extend(resources("security.yaml", SECURITY));
    all.extend(resources("routes.yaml", routes));
    for place in &places {
        all.extend(resources("sidecar.yaml", &sidecar(place)));
    }
    all
}

fn mesh(resources: &[Arc<Resource>]) -> Mesh {
    Mesh::new(resources, MeshSettings::default())
}

fn viewer(labels: &str) -> Viewer {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels: BTreeMap<_, _> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Viewer {
        namespace: NAMESPACE.to_owned(),
        labels,
    }
}

#[test]
fn every_scenario_fits_the_rest_without_a_remark() {
    for scenario in Scenario::ALL {
        let all = everything(scenario.yaml());

        let found = analyze(&mesh(&all), &all);

        assert!(found.is_empty(), "{}: {found:#?}", scenario.file());
    }
}

#[test]
fn every_scenario_says_on_top_what_one_will_see_and_is_in_the_folder() {
    for scenario in Scenario::ALL {
        assert!(scenario.yaml().starts_with("# "), "{}", scenario.file());
        let path = std::path::Path::new(crate::scenario::FOLDER).join(scenario.file());
        assert_eq!(std::fs::read_to_string(path).unwrap(), scenario.yaml());
    }
}

#[test]
fn a_sidecar_finds_its_own_listeners_and_no_other() {
    let mesh = mesh(&everything(Scenario::AllV1.yaml()));

    for place in places() {
        let found = mesh.sidecar(&viewer(&place.workload.labels())).unwrap();
        let Spec::Sidecar(found) = &found.spec else {
            panic!("{found:?}");
        };
        let ingress = found.ingress[0].port.as_ref().unwrap();
        assert_eq!(ingress.number, u32::from(place.ingress.port()));
        let endpoint = found.ingress[0].default_endpoint.as_deref();
        assert_eq!(endpoint, Some(place.app.to_string().as_str()));
        let egress = found.egress[0].port.as_ref().unwrap();
        assert_eq!(egress.number, u32::from(place.egress.port()));
    }
    assert!(mesh.sidecar(&viewer(GATEWAY_LABELS)).is_none());
}

#[test]
fn only_the_gateway_opens_the_port_of_the_page() {
    let mesh = mesh(&everything(Scenario::AllV1.yaml()));

    assert_eq!(mesh.gateways(&viewer(GATEWAY_LABELS)).len(), 1);
    for place in places() {
        let viewer = viewer(&place.workload.labels());
        assert!(mesh.gateways(&viewer).is_empty(), "{}", place.workload.name);
    }
}

#[test]
fn the_registry_leads_to_the_inbound_listeners_with_their_versions() {
    let mesh = mesh(&everything(Scenario::Canary.yaml()));
    let viewer = viewer("app=productpage,version=v1");

    let host = mesh.resolve("reviews", NAMESPACE);
    let reviews = mesh.service(&viewer, &host).unwrap();

    let found: Vec<_> = reviews
        .endpoints
        .iter()
        .map(|endpoint| {
            (
                endpoint.ports.get(SERVICE_PORT),
                endpoint.labels["version"].as_str(),
            )
        })
        .collect();
    let expected: Vec<_> = places()
        .iter()
        .filter(|place| place.workload.app.host() == "reviews")
        .map(|place| (Some(place.ingress.port()), place.workload.version))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 3);
}

#[test]
fn a_mark_can_be_added_to_any_scenario() {
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    for scenario in Scenario::ALL {
        let mut all = everything(&(scenario.yaml().to_owned() + &mark(3)));
        all.extend(resources("mark.yaml", &mark_service(endpoint)));

        let found = analyze(&mesh(&all), &all);

        assert!(found.is_empty(), "{}: {found:#?}", scenario.file());
    }
}
