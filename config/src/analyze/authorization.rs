//! Authorization policies that can never do what they say: for nobody that is known, by identities
//! that nobody has, by authorizers that cannot be asked.

mod paths;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, Report};
use crate::mesh::{Protocol, Viewer};
use crate::resource::authorization_policy::{
    Action, Attribute, AuthorizationPolicy, AuthorizationRule,
};
use crate::resource::mesh_config::Authorizer;
use crate::resource::peer_authentication::MutualTlsMode;
use crate::resource::{Resource, Spec};

pub(super) fn check(
    context: &Context<'_>,
    resources: &[Arc<Resource>],
    resource: &Arc<Resource>,
    policy: &AuthorizationPolicy,
    report: &mut Report,
) {
    check_selector(context, resources, resource, policy, report);
    if !policy.is_by_selector() {
        return;
    }
    check_identities(context, resources, resource, policy, report);
    paths::check(context, resource, policy, report);
    check_remote(context, resource, policy, report);
    let provider = policy.provider.as_ref().map(|it| it.name.as_str());
    if policy.action == Some(Action::Custom)
        && let Some(name) = provider.filter(|name| !name.is_empty())
    {
        check_provider(context, resource, name, report);
    }
}

/// What is known of workloads is what entries and services say; a selector that fits none of it may be
/// misspelt.
fn check_selector(
    context: &Context<'_>,
    resources: &[Arc<Resource>],
    resource: &Arc<Resource>,
    policy: &AuthorizationPolicy,
    report: &mut Report,
) {
    let selector = policy.selector.as_ref().map(|it| &it.match_labels);
    let Some(selector) = selector.filter(|labels| !labels.is_empty()) else {
        return;
    };
    let namespace = &resource.meta.namespace;
    let everywhere = *namespace == context.mesh.settings().root_namespace;
    let near = resources
        .iter()
        .filter(|it| everywhere || it.meta.namespace == *namespace);
    let known: Vec<&BTreeMap<String, String>> = near.flat_map(|it| labels_of(&it.spec)).collect();
    if !known.is_empty() && !known.iter().any(|labels| may_be_same(selector, labels)) {
        let message = format!(
            "selects nothing that is known in namespace \"{namespace}\": no entry and no service has \
             these labels"
        );
        report.warn(resource, "spec.selector", message);
    }
}

/// Sets of labels of workloads that a resource speaks of.
fn labels_of(spec: &Spec) -> Vec<&BTreeMap<String, String>> {
    let mut all: Vec<&BTreeMap<String, String>> = match spec {
        Spec::WorkloadEntry(entry) => vec![&entry.labels],
        Spec::ServiceEntry(entry) => entry.endpoints.iter().map(|it| &it.labels).collect(),
        Spec::Service(service) => vec![&service.spec.selector],
        Spec::Gateway(gateway) => vec![&gateway.selector],
        _ => Vec::new(),
    };
    all.retain(|labels| !labels.is_empty());
    all
}

/// Whether a workload with `labels`, and perhaps more of them, can be selected.
fn may_be_same(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    let mut shared = false;
    for (name, value) in selector {
        match labels.get(name) {
            Some(known) if known != value => return false,
            Some(_) => shared = true,
            None => {}
        }
    }
    shared
}

/// Rules that ask for identities where peers can show none.
fn check_identities(
    context: &Context<'_>,
    resources: &[Arc<Resource>],
    resource: &Arc<Resource>,
    policy: &AuthorizationPolicy,
    report: &mut Report,
) {
    if policy.action.unwrap_or(Action::Allow) != Action::Allow {
        return;
    }
    let Some(disabling) = disabling(context, resources, resource, policy) else {
        return;
    };
    for (at, rule) in policy.rules.iter().enumerate() {
        if asks_for_identity(rule) {
            let message = format!(
                "never matches: {disabling} turns mutual TLS off, so that no peer has an identity"
            );
            report.warn(resource, format!("spec.rules[{at}].from"), message);
        }
    }
}

/// Whether no peer without identity can meet the rule.
fn asks_for_identity(rule: &AuthorizationRule) -> bool {
    let mut sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    !rule.from.is_empty()
        && sources.all(|source| {
            let asked = [
                &source.principals,
                &source.namespaces,
                &source.service_accounts,
                &source.trust_domains,
            ];
            asked.iter().any(|values| !values.is_empty())
        })
}

/// The `PeerAuthentication` by which the workloads of a policy speak plain text: one for the same
/// workloads, else for their namespace, else for the mesh.
fn disabling<'r>(
    context: &Context<'_>,
    resources: &'r [Arc<Resource>],
    resource: &Resource,
    policy: &AuthorizationPolicy,
) -> Option<&'r Resource> {
    let root = &context.mesh.settings().root_namespace;
    let modes = |namespace: &str, selector: Option<&BTreeMap<String, String>>| {
        resources.iter().find_map(|it| match &it.spec {
            Spec::PeerAuthentication(peers) if it.meta.namespace == namespace => {
                let selected = peers.selector.as_ref().map(|it| &it.match_labels);
                let mode = peers.mtls.as_ref().and_then(|it| it.mode);
                let mode = mode.filter(|it| *it != MutualTlsMode::Unset)?;
                let same = selected.filter(|it| !it.is_empty()) == selector;
                (same && peers.port_level_mtls.is_none()).then_some((&**it, mode))
            }
            _ => None,
        })
    };
    let selector = policy.selector.as_ref().map(|it| &it.match_labels);
    let own = selector.filter(|it| !it.is_empty());
    let namespace = resource.meta.namespace.as_str();
    let found = own
        .and_then(|labels| modes(namespace, Some(labels)))
        .or_else(|| modes(namespace, None))
        .or_else(|| modes(root, None));
    let (peers, mode) = found?;
    (mode == MutualTlsMode::Disable).then_some(peers)
}

/// Addresses of clients behind other proxies, where no proxy is believed.
fn check_remote(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    policy: &AuthorizationPolicy,
    report: &mut Report,
) {
    if context.mesh.settings().trusted_proxies > 0 {
        return;
    }
    let mut warn = |place: String| {
        let message = "is the address of the connection, which may be that of a proxy in front: \
                       numTrustedProxies of MeshConfig says how many are believed"
            .to_owned();
        report.warn(resource, place, message);
    };
    for (at, rule) in policy.rules.iter().enumerate() {
        for (from, source) in rule.from.iter().enumerate() {
            let source = source.source.as_ref();
            let looks = |values: &[String]| !values.is_empty();
            let place = format!("spec.rules[{at}].from[{from}].source");
            if source.is_some_and(|it| looks(&it.remote_ip_blocks)) {
                warn(format!("{place}.remoteIpBlocks"));
            }
            if source.is_some_and(|it| looks(&it.not_remote_ip_blocks)) {
                warn(format!("{place}.notRemoteIpBlocks"));
            }
        }
        for (when, condition) in rule.when.iter().enumerate() {
            if Attribute::parse(&condition.key) == Ok(Attribute::RemoteIp) {
                warn(format!("spec.rules[{at}].when[{when}].key"));
            }
        }
    }
}

fn check_provider(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    name: &str,
    report: &mut Report,
) {
    let path = "spec.provider.name";
    let shut = "every request that a rule matches is refused";
    let Some((provider, namespace)) = context.mesh.provider(name) else {
        let known = context.mesh.provider_names();
        let near = context.suggestion(name, known);
        let message = format!("no provider \"{name}\" is known: {shut}{near}");
        return report.warn(resource, path, message);
    };
    let Some(authorizer) = provider.authorizer() else {
        let message = format!("provider \"{name}\" is no authorizer: {shut}");
        return report.warn(resource, path, message);
    };
    let namespace = authorizer.namespace().unwrap_or(namespace);
    let viewer = Viewer {
        namespace: resource.meta.namespace.clone(),
        ..Viewer::default()
    };
    let host = context.mesh.resolve(authorizer.host(), namespace);
    let (_, number) = authorizer.service();
    let service = context.mesh.gateway_service(&viewer, &host);
    let port = u16::try_from(number).ok();
    let port = service.and_then(|it| it.port(port?));
    let message = match (service, port.map(|it| it.protocol), authorizer) {
        (None, _, _) => format!("no service \"{host}\" is known: it cannot be asked"),
        (Some(_), None, _) => {
            format!("service \"{host}\" has no port {number}: it cannot be asked")
        }
        (Some(_), Some(Protocol::Grpc | Protocol::Http2 | Protocol::Auto), _)
        | (Some(_), Some(Protocol::Http), Authorizer::Http(_)) => return,
        (Some(_), Some(_), Authorizer::Grpc(_)) => {
            format!("port {number} of \"{host}\" should be of protocol GRPC or HTTP2")
        }
        (Some(_), Some(_), Authorizer::Http(_)) => {
            format!("port {number} of \"{host}\" should be of protocol HTTP")
        }
    };
    report.warn(resource, path, message);
}
