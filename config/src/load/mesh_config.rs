//! `MeshConfig` in the documents that carry it: text in the `ConfigMap` named `istio`, or a part of an
//! `IstioOperator`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::decode::path::Path;
use crate::decode::{Report, Unknown, decode};
use crate::resource::Spec;
use crate::resource::mesh_config::{Carrier, MeshConfig};
use crate::yaml;

/// Name of the `ConfigMap` that Istio's proxies are configured by.
const CONFIG_MAP: &str = "istio";
/// Fields of `MeshConfig` that count.
const USED: [&str; 7] = [
    "trustDomain",
    "trustDomainAliases",
    "rootNamespace",
    "pathNormalization",
    "extensionProviders",
    "outboundTrafficPolicy",
    "defaultConfig",
];
/// Fields of a provider that count.
const USED_OF_PROVIDER: [&str; 3] = ["name", "envoyExtAuthzHttp", "envoyExtAuthzGrpc"];

/// Reads the `MeshConfig` of the document `map` at `path`; none if it has none, which is a warning.
pub(super) fn read(
    carrier: Carrier,
    map: &Map<String, Value>,
    path: &Path<'_>,
    report: &Report,
) -> Option<Spec> {
    let name = map.get("metadata").and_then(|meta| meta.get("name"));
    let (outer, inner) = carrier.fields();
    let value = map.get(outer).and_then(|outer| outer.get(inner));
    let foreign = carrier == Carrier::ConfigMap && name.is_none_or(|name| name != CONFIG_MAP);
    let Some(value) = value.filter(|value| !foreign && !value.is_null()) else {
        let kind = match carrier {
            Carrier::ConfigMap => "ConfigMap",
            Carrier::Operator => "IstioOperator",
        };
        report.warning(
            &Path::Key(path, "kind"),
            format!("{kind} is not used by the proxy"),
        );
        return None;
    };
    let path = Path::Key(path, outer);
    let path = Path::Key(&path, inner);
    let value = match carrier {
        Carrier::Operator => Cow::Borrowed(value),
        Carrier::ConfigMap => match value.as_str().map(yaml::parse) {
            Some(Ok(Value::Null)) => Cow::Owned(Value::Object(Map::new())),
            Some(Ok(value)) => Cow::Owned(value),
            Some(Err(error)) => {
                let (line, message) = (error.place.line, error.message);
                report.error(&path, format!("in line {line} of its text: {message}"));
                return None;
            }
            None => {
                report.error(&path, "must be a text");
                return None;
            }
        },
    };
    let mut value = value.into_owned();
    set_aside_unused(&mut value, &path, report);
    let config: MeshConfig = decode(&value, &path, Unknown::Refuse, report)?;
    Some(Spec::MeshConfig(MeshConfig { carrier, ..config }))
}

/// Takes away every field that does nothing, and says so of each: what is left must be known.
fn set_aside_unused(value: &mut Value, path: &Path<'_>, report: &Report) {
    let unused = |value: &mut Value, path: &Path<'_>, used: &[&str], what: &str| {
        let Value::Object(fields) = value else {
            return;
        };
        fields.retain(|name, _| {
            let used = used.contains(&name.as_str());
            if !used {
                report.warning(&Path::Key(path, name), what);
            }
            used
        });
    };
    unused(value, path, &USED, "has no effect on this proxy");
    if let Some(config) = value.get_mut("defaultConfig") {
        let path = Path::Key(path, "defaultConfig");
        unused(
            config,
            &path,
            &[
                "gatewayTopology",
                "drainDuration",
                "terminationDrainDuration",
            ],
            "has no effect on this proxy",
        );
        if let Some(topology) = config.get_mut("gatewayTopology") {
            let path = Path::Key(&path, "gatewayTopology");
            if let Some(fields) = topology.as_object_mut()
                && fields.remove("proxyProtocol").is_some()
            {
                // It would be believed from everybody.
                let path = Path::Key(&path, "proxyProtocol");
                let what = "has no effect: --proxy-protocol-from names whose headers are believed";
                report.warning(&path, what);
            }
            unused(
                topology,
                &path,
                &["numTrustedProxies"],
                "has no effect on this proxy",
            );
        }
    }
    if let Some(policy) = value.get_mut("outboundTrafficPolicy") {
        let path = Path::Key(path, "outboundTrafficPolicy");
        unused(policy, &path, &["mode"], "has no effect on this proxy");
    }
    let path = Path::Key(path, "extensionProviders");
    let providers = value
        .get_mut("extensionProviders")
        .and_then(Value::as_array_mut);
    for (at, provider) in providers.into_iter().flatten().enumerate() {
        let path = Path::Index(&path, at);
        unused(
            provider,
            &path,
            &USED_OF_PROVIDER,
            "has no effect yet: this kind of provider",
        );
    }
}
