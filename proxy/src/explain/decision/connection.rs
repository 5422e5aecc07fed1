//! What would become of a connection that is not HTTP.

use std::collections::BTreeMap;

use config::mesh::Viewer;
use serde::Serialize;

/// What would become of a captured connection, and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    /// As it was asked for.
    pub(crate) connection: String,
    pub(crate) caller: Caller,
    /// The address that it goes to, as far as that is known without DNS.
    pub(crate) address: Option<String>,
    /// Name of the listener that stands for the address.
    pub(crate) listener: String,
    /// What the listener takes it to speak.
    pub(crate) speaks: &'static str,
    /// The rule that takes it first.
    pub(crate) rules: Vec<Rule>,
    #[serde(flatten)]
    pub(crate) end: End,
}

/// Who connects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Caller {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A rule, and why it does not take the connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) matched: bool,
    pub(crate) why: Option<String>,
}

/// What becomes of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum End {
    /// It goes no further, and why.
    Refused(String),
    /// It goes to one of these.
    Forwarded(Vec<Target>),
}

/// One target of a split.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) subset: Option<String>,
    pub(crate) percent: f64,
    /// None if there is no such host, port or subset.
    pub(crate) destination: Option<String>,
    pub(crate) destination_rule: Option<String>,
    pub(crate) balancing: Option<&'static str>,
    pub(crate) endpoints: Vec<String>,
    /// Why it fails for certain.
    pub(crate) fails: Option<String>,
}

// === impl Caller ===

impl From<Viewer> for Caller {
    fn from(viewer: Viewer) -> Self {
        let Viewer { namespace, labels } = viewer;
        Self { namespace, labels }
    }
}
