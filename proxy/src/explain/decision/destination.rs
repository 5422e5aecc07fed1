//! Where a target leads: who answers, and how one of them is picked.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::StickyKey;

/// Where a target leads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Destination {
    /// As in access log and `/destinations`.
    pub(crate) key: String,
    /// Host, complete.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `namespace/name` of the `DestinationRule`; none if there is none.
    pub(crate) destination_rule: Option<String>,
    /// Labels that make up the subset.
    pub(crate) labels: BTreeMap<String, String>,
    /// How endpoints are spoken to below HTTP, in words; none where no rule says anything.
    pub(crate) tls: Option<String>,
    pub(crate) algorithm: &'static str,
    /// Present where a key ties requests to endpoints.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) retry_limit: String,
    pub(crate) limits: Limits,
    /// When an endpoint is taken out, in words.
    pub(crate) outlier_detection: Option<String>,
    /// How endpoints are checked, in words.
    pub(crate) health_check: Option<String>,
    /// As at `/destinations`.
    pub(crate) policy: Value,
    /// Who is asked while all work: those that get traffic first, then those that stand by.
    pub(crate) groups: Vec<Group>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Whether it goes to whatever address a captured caller asked for.
    pub(crate) goes_anywhere: bool,
    /// Names of endpoints, whose addresses a running proxy asks DNS for.
    pub(crate) names: Vec<String>,
    /// The endpoint that the request gets at its first attempt, where that is not drawn.
    pub(crate) endpoint: Option<String>,
}

/// What ties requests to endpoints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Affinity {
    /// Where the key comes from.
    pub(crate) by: String,
    pub(crate) key: StickyKey,
    /// The `set-cookie` line of a key that is made.
    pub(crate) cookie: Option<String>,
}

/// Limits of what may be under way at once; none where there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) connections: Option<u32>,
    /// Requests that wait for a connection.
    pub(crate) pending: Option<u32>,
    pub(crate) requests: Option<u32>,
}

/// Endpoints that are equally preferred, or one locality of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    /// Level of preference, from 0.
    pub(crate) level: usize,
    /// What it is known by; none if it is the whole level.
    pub(crate) name: Option<String>,
    pub(crate) percent: f64,
    pub(crate) endpoints: Vec<String>,
}

/// An endpoint, and whether it takes requests.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) locality: Option<String>,
    /// Level of preference, from 0; none if it is never asked.
    pub(crate) level: Option<usize>,
    pub(crate) state: &'static str,
}
