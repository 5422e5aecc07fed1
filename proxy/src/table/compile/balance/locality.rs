//! Locality preferences: which endpoints are asked first, seen from this proxy.

use std::collections::BTreeMap;

use config::mesh::Endpoint;
use config::resource::destination_rule::{
    LoadBalancer, LocalityDistribute, LocalityFailover, LocalityLb, ZoneAwareLb,
};

use crate::bootstrap::Locality;
use crate::upstream::balance::{Group, Layout, Level, Spread};

/// Endpoints that the own region must have before zones count, when nothing else is said.
const ZONE_AWARE_MIN: u64 = 6;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const NETWORK: &str = "topology.istio.io/network";
const CLUSTER: &str = "topology.istio.io/cluster";

/// What is known of this proxy.
#[derive(Debug, Clone, Copy)]
pub(in crate::table::compile) struct Here<'p> {
    /// Where it is.
    pub(in crate::table::compile) place: Option<Place<'p>>,
    /// Labels of its workload.
    pub(in crate::table::compile) labels: &'p BTreeMap<String, String>,
    /// Its cluster, and as far as it knows that of its peers.
    pub(in crate::table::compile) cluster: &'p str,
}

/// A locality from wide to narrow; unknown parts are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::table::compile) struct Place<'p> {
    region: &'p str,
    zone: &'p str,
    subzone: &'p str,
}

/// How far away an endpoint is, less being nearer; only the order counts. By labels first.
type Rank = (usize, u8);

/// Where endpoints stand. `fails_over` says whether endpoints that fail are noticed: only then there
/// are levels.
pub(super) fn layout(
    endpoints: &[&Endpoint],
    balancer: &LoadBalancer,
    fails_over: bool,
    here: &Here<'_>,
) -> Layout {
    let zone_aware = balancer.zone_aware_lb_setting.as_ref();
    if let Some(setting) = zone_aware.filter(|it| it.enabled != Some(false)) {
        return by_zone(endpoints, setting, fails_over, here);
    }
    let standard = LocalityLb::default();
    let setting = balancer.locality_lb_setting.as_ref().unwrap_or(&standard);
    if setting.enabled == Some(false) {
        return Layout::flat(endpoints.len());
    }
    if !setting.distribute.is_empty() {
        let shares = here
            .place
            .and_then(|place| shares(&setting.distribute, place));
        return match shares {
            Some(shares) => distributed(endpoints, shares),
            None => Layout::flat(endpoints.len()),
        };
    }
    if !fails_over {
        return Layout::flat(endpoints.len());
    }
    let rank = |endpoint: &Endpoint| {
        let (failover, labels) = (&setting.failover, &setting.failover_priority);
        let by_place = labels.is_empty() || !failover.is_empty();
        let distance = by_place.then(|| distance(endpoint, failover, here));
        (label_rank(endpoint, labels, here), distance.unwrap_or(0))
    };
    let levels = levels(endpoints, rank).into_iter().map(Level::whole);
    Layout::of(levels.collect())
}

/// Positions of endpoints by rank, the nearest first.
fn levels(endpoints: &[&Endpoint], rank: impl Fn(&Endpoint) -> Rank) -> Vec<Vec<u32>> {
    let mut levels: BTreeMap<Rank, Vec<u32>> = BTreeMap::new();
    for (position, endpoint) in (0..).zip(endpoints) {
        levels.entry(rank(endpoint)).or_default().push(position);
    }
    levels.into_values().collect()
}

/// How many of the labels are left when the first one differs: 0 if all are equal.
fn label_rank(endpoint: &Endpoint, labels: &[String], here: &Here<'_>) -> usize {
    let same = |label: &&String| match label.split_once('=') {
        Some((name, value)) => label_of(endpoint, name, here) == value,
        None => label_of(endpoint, label, here) == here.label(label),
    };
    labels.len() - labels.iter().take_while(same).count()
}

/// A label of an endpoint; what is known otherwise counts as its label. Empty if it has none.
fn label_of<'e>(endpoint: &'e Endpoint, name: &str, here: &Here<'e>) -> &'e str {
    if let Some(value) = endpoint.labels.get(name) {
        return value;
    }
    match name {
        CLUSTER => here.cluster,
        NETWORK => endpoint.network.as_deref().unwrap_or_default(),
        _ => Place::of(endpoint).label(name),
    }
}

/// How far the place of an endpoint is away. Where we are not known to be anywhere, all are alike.
fn distance(endpoint: &Endpoint, failover: &[LocalityFailover], here: &Here<'_>) -> u8 {
    let (Some(own), place) = (here.place, Place::of(endpoint)) else {
        return 0;
    };
    if place.region == own.region {
        return match (place.zone == own.zone, place.subzone == own.subzone) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        };
    }
    let written = failover.iter().find(|it| it.from == own.region);
    match written {
        Some(written) if written.to != place.region => 4,
        Some(_) | None => 3,
    }
}

/// The shares that are written for callers at `place`.
fn shares<'s>(
    distribute: &'s [LocalityDistribute],
    place: Place<'_>,
) -> Option<&'s BTreeMap<String, u32>> {
    let written = distribute.iter().find(|it| place.is_within(&it.from))?;
    Some(&written.to)
}

/// Fixed shares of localities, which do not overlap; who is in none of them gets nothing.
fn distributed(endpoints: &[&Endpoint], shares: &BTreeMap<String, u32>) -> Layout {
    let group = |locality: &String| {
        let within = endpoints.iter().map(|it| Place::of(it).is_within(locality));
        let members = (0..).zip(within).filter(|(_, within)| *within);
        Group::new(
            Some(locality.as_str().into()),
            members.map(|(position, _)| position).collect(),
        )
    };
    let level = Level {
        groups: shares.keys().map(group).collect(),
        spread: Spread::Shares(shares.values().copied().collect()),
    };
    Layout::of(vec![level])
}

/// Levels by region, and zones within the first.
fn by_zone(
    endpoints: &[&Endpoint],
    setting: &ZoneAwareLb,
    fails_over: bool,
    here: &Here<'_>,
) -> Layout {
    let rank = |endpoint: &Endpoint| {
        let (failover, labels) = (&setting.failover, &setting.failover_priority);
        let by_place = labels.is_empty() || !failover.is_empty();
        // Zones of the own region are alike here.
        let distance = by_place.then(|| distance(endpoint, failover, here).max(2));
        match fails_over {
            true => (label_rank(endpoint, labels, here), distance.unwrap_or(2)),
            false => (0, 2),
        }
    };
    let mut levels: Vec<Level> = levels(endpoints, rank)
        .into_iter()
        .map(Level::whole)
        .collect();
    if let Some(own) = here.place
        && let Some(first) = levels.first_mut()
    {
        let local = endpoints
            .iter()
            .filter(|it| Place::of(it).region == own.region);
        let least = setting
            .min_cluster_size
            .map_or(ZONE_AWARE_MIN, |size| size.0);
        if !own.zone.is_empty() && local.count() as u64 >= least {
            *first = zones(endpoints, first, own);
        }
    }
    Layout::of(levels)
}

/// A level cut into zones. The own one is among them also without endpoints.
fn zones(endpoints: &[&Endpoint], level: &Level, own: Place<'_>) -> Level {
    let mut zones: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    zones.insert((own.region, own.zone), Vec::new());
    for position in level.groups.iter().flat_map(|group| &group.members) {
        let place = Place::of(endpoints[*position as usize]);
        zones
            .entry((place.region, place.zone))
            .or_default()
            .push(*position);
    }
    let is_own = |zone: &(&str, &str)| *zone == (own.region, own.zone);
    let own = zones.keys().position(is_own).unwrap_or(0);
    let groups = zones.into_iter().map(|((region, zone), members)| {
        Group::new(Some(format!("{region}/{zone}").into()), members)
    });
    Level {
        groups: groups.collect(),
        spread: Spread::Zones { own },
    }
}

// === impl Here ===

impl<'p> Here<'p> {
    /// A label of this proxy; what is known otherwise counts as its label. Empty if it has none.
    fn label(&self, name: &str) -> &'p str {
        if let Some(value) = self.labels.get(name) {
            return value;
        }
        match name {
            CLUSTER => self.cluster,
            _ => self.place.map_or("", |place| place.label(name)),
        }
    }
}

// === impl Place ===

impl<'p> Place<'p> {
    /// Where a proxy is that was told.
    pub(in crate::table::compile) fn here(told: &'p Locality) -> Self {
        Self {
            region: &told.region,
            zone: &told.zone,
            subzone: &told.subzone,
        }
    }

    fn of(endpoint: &'p Endpoint) -> Self {
        Self::parse(endpoint.locality.as_deref().unwrap_or_default())
    }

    fn parse(locality: &'p str) -> Self {
        let mut parts = locality.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        Self {
            region: part(),
            zone: part(),
            subzone: part(),
        }
    }

    /// Whether it is what `pattern` says, `region[/zone[/subzone]]`; a part that is `*` or left out
    /// stands for any.
    fn is_within(&self, pattern: &str) -> bool {
        let pattern = Place::parse(pattern);
        let fits = |pattern: &str, part: &str| matches!(pattern, "" | "*") || pattern == part;
        fits(pattern.region, self.region)
            && fits(pattern.zone, self.zone)
            && fits(pattern.subzone, self.subzone)
    }

    fn label(&self, name: &str) -> &'p str {
        match name {
            REGION => self.region,
            ZONE => self.zone,
            SUBZONE => self.subzone,
            _ => "",
        }
    }
}
