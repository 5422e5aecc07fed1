//! A filled-in template and a pod: what the pod says itself wins.

use serde_json::{Map, Value};

use super::PROXY;

/// Lists that are completed item by item, and the field by which items are the same.
const KEYED: [(&str, &str); 6] = [
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
];

/// Where the proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the init containers, running as long as the pod.
    Native,
    /// Before other containers, which wait for it.
    First,
    /// After them.
    Last,
}

/// Adds the part to the pod.
pub(super) fn into(pod: &mut Value, mut part: Value, place: Place) {
    let mut init = take_list(&mut part, "initContainers");
    let mut containers = take_list(&mut part, "containers");
    let mut own_init = take_list(pod, "initContainers");
    let mut own = take_list(pod, "containers");
    for container in init.iter_mut().chain(&mut containers) {
        let found = take_named(&mut own_init, container);
        if let Some(mut found) = found.or_else(|| take_named(&mut own, container)) {
            complete(&mut found, container.take());
            *container = found;
        }
    }
    let at = containers.iter().position(|it| it["name"] == PROXY);
    let proxy = at.map(|at| arranged(containers.remove(at), place));
    // Native sidecars stand in front, so that all that comes after them has the mesh. Elsewhere traffic
    // is only captured once the pod's own init containers are done: there is no proxy before.
    let (own_init, own) = match place {
        Place::Native => (
            joined([init, Vec::from_iter(proxy), own_init]),
            joined([own, containers]),
        ),
        Place::First => (
            joined([own_init, init]),
            joined([Vec::from_iter(proxy), own, containers]),
        ),
        Place::Last => (
            joined([own_init, init]),
            joined([own, containers, Vec::from_iter(proxy)]),
        ),
    };
    complete(pod, part);
    if !own_init.is_empty() {
        pod["spec"]["initContainers"] = Value::Array(own_init);
    }
    pod["spec"]["containers"] = Value::Array(own);
}

/// The proxy with what it needs to stand at its place.
fn arranged(mut proxy: Value, place: Place) -> Value {
    match place {
        Place::Native => proxy["restartPolicy"] = "Always".into(),
        Place::First => return proxy,
        Place::Last => {}
    }
    // Nothing waits for its end: the startup probe does the same for native sidecars.
    if let Some(Value::Object(hooks)) = proxy.get_mut("lifecycle") {
        hooks.shift_remove("postStart");
        if hooks.is_empty()
            && let Some(proxy) = proxy.as_object_mut()
        {
            proxy.shift_remove("lifecycle");
        }
    }
    proxy
}

/// Adds to `own` what only `part` says.
fn complete(own: &mut Value, part: Value) {
    match (own, part) {
        (Value::Object(own), Value::Object(part)) => {
            for (name, part) in part {
                complete_field(own, &name, part);
            }
        }
        (own @ Value::Null, part) => *own = part,
        (_, _) => {}
    }
}

fn complete_field(own: &mut Map<String, Value>, name: &str, part: Value) {
    let Some(written) = own.get_mut(name) else {
        own.insert(name.to_owned(), part);
        return;
    };
    // Istio's word for the image of the template.
    if name == "image" && written == "auto" {
        *written = part;
        return;
    }
    let key = KEYED.iter().find(|(list, _)| *list == name);
    match (key, written, part) {
        (Some((_, key)), Value::Array(own), Value::Array(part)) => {
            for item in part {
                if !own.iter().any(|it| it[key] == item[key]) {
                    own.push(item);
                }
            }
        }
        (_, written, part) => complete(written, part),
    }
}

fn take_list(pod: &mut Value, name: &str) -> Vec<Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut);
    match spec.and_then(|spec| spec.get_mut(name)).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The container of the same name, taken out.
fn take_named(containers: &mut Vec<Value>, like: &Value) -> Option<Value> {
    let at = containers
        .iter()
        .position(|it| it["name"] == like["name"])?;
    Some(containers.remove(at))
}

fn joined<const N: usize>(lists: [Vec<Value>; N]) -> Vec<Value> {
    lists.into_iter().flatten().collect()
}
