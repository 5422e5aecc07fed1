//! `/listeners` and `/routes`: the table as people read it.

mod beside;

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Resource;
use serde_json::{Value, json};

use crate::snapshot::Snapshot;
use crate::table::host::VirtualHost;
use crate::table::opaque::{OpaqueRoutes, Told};
use crate::table::redirect::{Original, Redirect};
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::rules::Rule;
use crate::table::split::{DestinationByPort, Split, Sticky, Target};
use crate::table::{Listener, PortRule, Table, UnknownHost};
use crate::upstream::destination::{DestinationId, Destinations};

/// All listeners, and what stands behind those that take captured connections.
pub(super) fn listeners(table: &Table) -> Vec<Value> {
    let describe = |listener: &Listener| {
        let mut shown = json!({
            "address": listener.bind.to_string(),
            "name": listener.name,
            "direction": listener.direction,
            "tls": listener.transport.is_tls(),
            "speaks": listener.speaks.as_str(),
            "port": match listener.port_rule {
                PortRule::Listener(port) => json!(port),
                PortRule::Authority => json!("of the authority"),
            },
            "unknownHost": match listener.unknown_host {
                UnknownHost::NotFound => 404,
                UnknownHost::BadGateway => 502,
            },
            "hosts": listener.all_hosts().count(),
        });
        if let Some(peers) = listener.transport.peers() {
            shown["peers"] = json!(peers);
            shown["shut"] = json!(listener.transport.is_shut());
        }
        shown
    };
    let with_captured = |listener: &Arc<Listener>| {
        let mut shown = describe(listener);
        if let Some(captured) = &listener.captured {
            let behind = captured.stands().into_iter().map(|(listener, places)| {
                let mut shown = describe(listener);
                shown["address"] = Value::Null;
                shown["standsFor"] = json!(places);
                shown
            });
            shown["captured"] = behind.collect();
        }
        shown
    };
    table.listeners.iter().map(with_captured).collect()
}

/// All listeners with their hosts and rules.
pub(super) fn routes(snapshot: &Snapshot) -> Vec<Value> {
    let describe = |listener: &Listener| {
        json!({
            "listener": listener.bind.to_string(),
            "name": listener.name,
            "direction": listener.direction,
            "hosts": hosts(listener, &snapshot.destinations),
            "connections": connections(listener, &snapshot.destinations),
        })
    };
    let with_captured = |listener: &Arc<Listener>| {
        let mut shown = vec![describe(listener)];
        let captured = listener.captured.iter();
        let behind = captured.flat_map(|it| it.stands()).map(|(it, places)| {
            let mut shown = describe(it);
            shown["standsFor"] = json!(places);
            shown
        });
        shown.extend(behind);
        shown
    };
    let listeners = snapshot.table.listeners.iter();
    listeners.flat_map(with_captured).collect()
}

/// Rules for connections that are not HTTP, as they are tried.
fn connections(listener: &Listener, destinations: &Destinations) -> Vec<Value> {
    let rules = listener.all_opaque().flat_map(OpaqueRoutes::iter);
    let describe = |rule: Told<'_>| {
        let mut shown = json!({
            "when": rule.conditions(),
            "then": {"forward": forward(&rule.route.split, destinations)},
        });
        if let Some(origin) = &rule.route.origin {
            shown["origin"] = self::origin(origin, rule.route.position);
            shown["origin"]["list"] = json!(rule.list());
        }
        shown
    };
    rules.map(describe).collect()
}

/// Where a rule is written.
fn origin(origin: &Resource, position: u32) -> Value {
    json!({
        "resource": origin.to_string(),
        "position": position,
        "source": format!("{}:{}", origin.source.file.display(), origin.source.line),
    })
}

fn forward(split: &Split, destinations: &Destinations) -> Vec<Value> {
    let targets = split.targets().iter();
    targets.map(|to| target(to, split, destinations)).collect()
}

/// Hosts in the order of their first name; those that share rules are one entry with all names.
fn hosts(listener: &Listener, destinations: &Destinations) -> Vec<Value> {
    let mut by_host: BTreeMap<*const VirtualHost, (Vec<String>, &VirtualHost)> = BTreeMap::new();
    for (name, host) in listener.all_hosts() {
        by_host
            .entry(Arc::as_ptr(host))
            .or_insert_with(|| (Vec::new(), host))
            .0
            .push(name);
    }
    let mut hosts: Vec<(Vec<String>, &VirtualHost)> = by_host.into_values().collect();
    hosts
        .iter_mut()
        .for_each(|(names, _)| names.sort_unstable());
    hosts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let describe = |(names, host): (Vec<String>, &VirtualHost)| {
        json!({
            "names": names,
            "definedBy": &*host.name,
            "ports": host.ports,
            "rules": host.rules.iter().map(|rule| self::rule(rule, destinations)).collect::<Vec<_>>(),
        })
    };
    hosts.into_iter().map(describe).collect()
}

fn rule(rule: &Rule, destinations: &Destinations) -> Value {
    let route = &rule.route;
    let mut value = json!({
        "name": &*route.name,
        "when": rule.conditions(),
        "then": action(route, destinations),
        "timeout": route.timeout.map(|timeout| format!("{timeout:?}")),
        "retries": retries(&route.retries),
    });
    if let Some(fault) = &route.fault {
        value["fault"] = beside::fault(fault);
    }
    if !route.mirrors.is_empty() {
        let mirrors = route.mirrors.iter();
        value["mirrors"] = mirrors.map(|it| beside::mirror(it, destinations)).collect();
    }
    if let Some(origin) = &route.origin {
        value["origin"] = self::origin(origin, route.position);
    }
    value
}

fn retries(policy: &RetryPolicy) -> Value {
    if policy.attempts == 0 {
        return json!({"attempts": 0});
    }
    json!({
        "attempts": policy.attempts,
        "on": policy.conditions(),
        "perTryTimeout": policy.per_try_timeout.map(|limit| format!("{limit:?}")),
    })
}

fn action(route: &Route, destinations: &Destinations) -> Value {
    match &route.action {
        Action::Forward(split) => json!({
            "forward": forward(split, destinations),
            "stickyBy": split.sticky.as_ref().map(Sticky::to_string),
        }),
        Action::Redirect(redirect) => json!({
            "redirect": {"status": redirect.status.as_u16(), "location": location(redirect)},
        }),
        Action::Direct(direct) => json!({
            "answer": {"status": direct.status.as_u16(), "bodyBytes": direct.body.len()},
        }),
    }
}

fn target(target: &Target, split: &Split, destinations: &Destinations) -> Value {
    json!({
        "host": &*target.host,
        "subset": target.subset.as_deref(),
        "percent": percent(split.share(target)),
        "destination": leads_to(&target.destination, destinations),
    })
}

fn leads_to(by_port: &DestinationByPort, destinations: &Destinations) -> Value {
    let key = |id: &DestinationId| {
        destinations
            .get(*id)
            .map(|destination| destination.key.to_string())
    };
    match by_port {
        DestinationByPort::Fixed(id) => json!(key(id)),
        DestinationByPort::Addressed(ports) => ports
            .iter()
            .map(|(port, id)| (port.to_string(), json!(key(id))))
            .collect(),
        DestinationByPort::Unknown => Value::Null,
    }
}

/// A share in percent with two decimals.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

/// Where a request would be sent, with its own parts as placeholders.
fn location(redirect: &Redirect) -> String {
    const PATH: &str = "{path}";
    redirect.location(Original {
        scheme: "{scheme}",
        authority: "{authority}",
        port: 80,
        path: PATH,
        query: None,
        matched_len: 0,
    })
}
