//! What proxies need.

use super::*;
use crate::fixture::{demand, generation, proxy};

mod place;
mod reach;
mod secrets;
mod workload;

/// What a proxy of the namespace needs if it demands this, as `Kind/name`, or `Kind/namespace/name`
/// outside of `default`; sorted. Slices are left to their services.
fn needed(yaml: &str, proxy: &Proxy, demands: &[&str]) -> Vec<String> {
    let demands: Vec<Demand> = demands.iter().map(|it| demand(it)).collect();
    let generation = generation(yaml);
    let scope = scope(&generation, proxy, &demands);
    let mut names: Vec<String> = scope
        .resources
        .iter()
        .map(|name| name.to_string().replace("/default/", "/"))
        .collect();
    names.sort();
    names
}

fn found(yaml: &str, proxy: &Proxy, demanded: &str) -> bool {
    let generation = generation(yaml);
    let demanded = demand(demanded);
    scope(&generation, proxy, [&demanded]).found[&demanded]
}
