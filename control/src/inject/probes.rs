//! Probes of the application, led to the proxy: kubelet has no certificate, so that it cannot ask an
//! application which demands mutual TLS.
//!
//! A probe by HTTP, TCP or gRPC becomes one by HTTP at the proxy's health server, and the proxy is told
//! what it was. Probes that run a program stay, and so do those whose port has a name that nobody gave.

use serde_json::{Map, Value, json};

use super::{INIT, PROXY};

/// The probes and hooks of a container, and the last step of the path that each is led to.
const LED: [(&[&str], &str); 5] = [
    (&["livenessProbe"], "app-health/{}/livez"),
    (&["readinessProbe"], "app-health/{}/readyz"),
    (&["startupProbe"], "app-health/{}/startupz"),
    (&["lifecycle", "preStop"], "app-lifecycle/{}/prestopz"),
    (&["lifecycle", "postStart"], "app-lifecycle/{}/poststartz"),
];
/// Most probes that a proxy takes.
const PROBES_MAX: usize = 256;

/// Leads the probes of a pod to `port`, and says what they were, by path.
pub(super) fn lead(pod: &mut Value, port: u16) -> Map<String, Value> {
    let mut written = Map::new();
    let ports = ports(pod);
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            lead_container(container, port, &ports, &mut written);
        }
    }
    written
}

/// A port by its name, and the container that has it.
struct Named {
    container: String,
    name: String,
    number: Value,
}

fn lead_container(
    container: &mut Value,
    port: u16,
    ports: &[Named],
    written: &mut Map<String, Value>,
) {
    let Some(name) = container["name"].as_str().map(str::to_owned) else {
        return;
    };
    if name == PROXY || name == INIT {
        return;
    }
    for (steps, form) in LED {
        let at = steps
            .iter()
            .try_fold(&mut *container, |at, step| at.get_mut(*step));
        let Some(Value::Object(probe)) = at else {
            continue;
        };
        let path = format!("/{}", form.replace("{}", &name));
        if written.len() < PROBES_MAX
            && let Some(was) = taken(probe, &name, ports)
        {
            probe.insert("httpGet".to_owned(), json!({"path": path, "port": port}));
            written.insert(path, was);
        }
    }
}

/// Takes what a probe asks out of it, with numbers for ports, in the form that the proxy reads.
fn taken(probe: &mut Map<String, Value>, container: &str, ports: &[Named]) -> Option<Value> {
    let kinds = ["httpGet", "tcpSocket", "grpc"];
    let kind = kinds.into_iter().find(|kind| probe.contains_key(*kind))?;
    let number = number(&probe[kind]["port"], container, ports)?;
    let mut asked = probe.shift_remove(kind)?;
    asked["port"] = number;
    let mut was = Map::new();
    was.insert(kind.to_owned(), asked);
    if let Some(timeout) = probe.get("timeoutSeconds") {
        was.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    Some(Value::Object(was))
}

/// The number of a port that is given as such or by name: that of the container first, else of another.
fn number(port: &Value, container: &str, ports: &[Named]) -> Option<Value> {
    let legal = |number: u64| (1..=65_535).contains(&number).then(|| json!(number));
    match port {
        Value::Number(number) => legal(number.as_u64()?),
        Value::String(text) => match text.parse() {
            Ok(number) => legal(number),
            Err(_) => {
                let named = || ports.iter().filter(|port| port.name == *text);
                let own = named().find(|port| port.container == container);
                own.or_else(|| named().next())
                    .map(|port| port.number.clone())
            }
        },
        _ => None,
    }
}

fn ports(pod: &Value) -> Vec<Named> {
    let lists = ["containers", "initContainers"];
    let containers = lists
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    let named = |container: &Value| -> Vec<Named> {
        let ports = container["ports"].as_array().into_iter().flatten();
        let named = |port: &Value| {
            Some(Named {
                container: container["name"].as_str()?.to_owned(),
                name: port["name"].as_str()?.to_owned(),
                number: port["containerPort"].clone(),
            })
        };
        ports.filter_map(named).collect()
    };
    containers.flat_map(named).collect()
}
