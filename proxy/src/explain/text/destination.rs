//! The destination of a target for people: lines only for what is configured.

use std::io::{self, Write};

use super::{inner, key, pairs, then};
use crate::explain::decision::destination::{Destination, Endpoint, Group, Limits};

/// Who answers, and how one of them is picked.
pub(super) fn destination(out: &mut impl Write, destination: &Destination) -> io::Result<()> {
    inner(out, "destination", &destination.key)?;
    let rule = destination.destination_rule.as_deref();
    let rule = rule.map_or_else(|| "none".to_owned(), |it| format!("DestinationRule {it}"));
    inner(out, "policy", rule)?;
    if !destination.labels.is_empty() {
        inner(out, "labels", pairs(&destination.labels))?;
    }
    if let Some(tls) = &destination.tls {
        inner(out, "tls", tls)?;
    }
    inner(out, "balancing", destination.algorithm)?;
    if let Some(affinity) = &destination.affinity {
        let key = key(affinity.key, affinity.cookie.as_deref());
        inner(out, "key", format_args!("{}: {key}", affinity.by))?;
    }
    if let Some(limits) = limits(&destination.limits) {
        inner(out, "limits", limits)?;
    }
    inner(out, "retry limit", &destination.retry_limit)?;
    for (name, words) in [
        ("outliers", &destination.outlier_detection),
        ("checks", &destination.health_check),
    ] {
        if let Some(words) = words {
            inner(out, name, words)?;
        }
    }
    groups(out, &destination.groups)?;
    for endpoint in &destination.endpoints {
        self::endpoint(out, endpoint, destination)?;
    }
    if destination.goes_anywhere {
        inner(
            out,
            "endpoint",
            "the address that was asked for, once it is captured",
        )?;
    }
    for name in &destination.names {
        inner(
            out,
            "endpoint",
            format_args!("{name}, by DNS while the proxy runs"),
        )?;
    }
    Ok(())
}

fn limits(limits: &Limits) -> Option<String> {
    let Limits {
        connections,
        pending,
        requests,
    } = limits;
    let told: Vec<String> = [
        connections.map(|most| format!("{most} connections")),
        pending.map(|most| format!("{most} requests waiting for one")),
        requests.map(|most| format!("{most} requests under way")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!told.is_empty()).then(|| format!("at most {}", told.join(", ")))
}

/// Levels and localities, where there is more than one.
fn groups(out: &mut impl Write, groups: &[Group]) -> io::Result<()> {
    if groups.len() < 2 {
        return Ok(());
    }
    for Group {
        level,
        name,
        percent,
        endpoints,
    } in groups
    {
        let name = then(name.as_deref());
        let endpoints = endpoints.join(", ");
        inner(
            out,
            "group",
            format_args!("{percent} %, level {level}{name}: {endpoints}"),
        )?;
    }
    Ok(())
}

fn endpoint(
    out: &mut impl Write,
    endpoint: &Endpoint,
    destination: &Destination,
) -> io::Result<()> {
    let Endpoint {
        address,
        weight,
        locality,
        level,
        state,
    } = endpoint;
    let locality = then(locality.as_deref());
    let never = match level {
        Some(_) => "",
        None => ", never asked from here",
    };
    // That the only one is the one goes without saying.
    let several = destination.endpoints.len() > 1;
    let picked = match destination.endpoint.as_ref() == Some(address) && several {
        true => ", this request",
        false => "",
    };
    inner(
        out,
        "endpoint",
        format_args!("{address}, weight {weight}{locality}, {state}{never}{picked}"),
    )
}
