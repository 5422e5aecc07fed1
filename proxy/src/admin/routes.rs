//! `/listeners` and `/routes`: the table as people read it.

mod beside;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::snapshot::Snapshot;
use crate::table::host::VirtualHost;
use crate::table::redirect::{Original, Redirect};
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::rules::Rule;
use crate::table::split::{DestinationByPort, Split, Sticky, Target};
use crate::table::{Listener, PortRule, Table, UnknownHost};
use crate::upstream::destination::{DestinationId, Destinations};

/// All listeners.
pub(super) fn listeners(table: &Table) -> Vec<Value> {
    let describe = |listener: &Arc<Listener>| {
        let mut shown = json!({
            "address": listener.bind.to_string(),
            "name": listener.name,
            "direction": listener.direction,
            "tls": listener.transport.is_tls(),
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
    table.listeners.iter().map(describe).collect()
}

/// All listeners with their hosts and rules.
pub(super) fn routes(snapshot: &Snapshot) -> Vec<Value> {
    let describe = |listener: &Arc<Listener>| {
        json!({
            "listener": listener.bind.to_string(),
            "name": listener.name,
            "direction": listener.direction,
            "hosts": hosts(listener, &snapshot.destinations),
        })
    };
    snapshot.table.listeners.iter().map(describe).collect()
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
        value["origin"] = json!({
            "resource": origin.to_string(),
            "position": route.position,
            "source": format!("{}:{}", origin.source.file.display(), origin.source.line),
        });
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
            "forward": split.targets().iter().map(|to| target(to, split, destinations)).collect::<Vec<_>>(),
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
