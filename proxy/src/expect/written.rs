//! A file of tests as people write it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum as _;
use config::mesh::Viewer;
use config::spiffe::SpiffeId;
use config::value::Duration;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::bootstrap::Locality;
use crate::explain::asked::{self, Asked, Url};
use crate::explain::listener::Wanted;
use crate::offline::Workload;
use crate::request::path::Normalization;

/// Service account of callers that name none.
const SERVICE_ACCOUNT: &str = "default";

/// A file of tests.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Suite {
    /// Files and folders with the configuration, from the folder of this file.
    pub(super) config: Vec<PathBuf>,
    /// Namespace of documents and callers that name none [default: `default`].
    pub(super) namespace: Option<String>,
    /// As `--path-normalization` of the proxy [default: `base`].
    #[serde(deserialize_with = "normalization")]
    pub(super) path_normalization: Normalization,
    /// The tests, in order.
    pub(super) tests: Vec<Test>,
}

/// One request and what is expected of it. Fields that must be there are looked for afterwards: one
/// with a mistake is not told to be missing, too.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Test {
    /// A sentence for people.
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) expect: Expect,
}

/// A request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Request {
    /// [default: GET]
    #[serde(deserialize_with = "method")]
    method: Option<Method>,
    #[serde(deserialize_with = "parsed")]
    url: Option<Url>,
    #[serde(deserialize_with = "headers")]
    headers: HeaderMap,
    pub(super) from: From,
    /// As `--listener` of `meshproxy explain`.
    #[serde(deserialize_with = "parsed")]
    pub(super) listener: Option<Wanted>,
}

/// Who makes the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct From {
    labels: BTreeMap<String, String>,
    namespace: Option<String>,
    /// [default: `default`]
    service_account: Option<String>,
    /// As `--locality` of the proxy beside it.
    #[serde(deserialize_with = "parsed")]
    locality: Option<Locality>,
    #[serde(deserialize_with = "parsed")]
    address: Option<IpAddr>,
    /// Whom it proves to be to the listener, such as `cluster.local/ns/a/sa/b`.
    #[serde(deserialize_with = "parsed")]
    principal: Option<Principal>,
}

/// An identity, with or without its `spiffe://`.
#[derive(Debug, Clone)]
struct Principal(SpiffeId);

/// What is expected; what is left out is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Expect {
    /// `name` or `namespace/name` of the `VirtualService` that has the rule.
    pub(super) virtual_service: Option<String>,
    /// Name of the rule.
    pub(super) rule: Option<String>,
    /// Host to which the request goes, short or complete.
    pub(super) destination: Option<String>,
    /// Subset to which it goes.
    pub(super) subset: Option<String>,
    /// Shares by subset, or by host where there is none: percent, or any weights.
    pub(super) split: Option<BTreeMap<String, u32>>,
    /// Status of an answer that the proxy makes: redirect, direct response, or error.
    pub(super) status: Option<u16>,
    /// `x-meshproxy-error` of an error.
    pub(super) error: Option<String>,
    /// Where a redirect leads.
    pub(super) location: Option<String>,
    /// Path and query as the upstream gets them.
    pub(super) path: Option<String>,
    /// Authority as the upstream gets it.
    pub(super) host: Option<String>,
    /// Headers as the upstream gets them.
    #[serde(deserialize_with = "headers")]
    pub(super) request_headers: HeaderMap,
    /// Headers that the upstream does not get.
    #[serde(deserialize_with = "header_names")]
    pub(super) without_request_headers: Vec<HeaderName>,
    /// Headers that the proxy puts into the response.
    #[serde(deserialize_with = "headers")]
    pub(super) response_headers: HeaderMap,
    /// Headers that the proxy takes out of the response.
    #[serde(deserialize_with = "header_names")]
    pub(super) without_response_headers: Vec<HeaderName>,
    /// Limit of the whole request, or `none`.
    #[serde(deserialize_with = "parsed")]
    pub(super) timeout: Option<Limit>,
    /// Attempts after the first; 0 if there are none.
    pub(super) retries: Option<u32>,
    /// Limit of each attempt, or `none`.
    #[serde(deserialize_with = "parsed")]
    pub(super) per_try_timeout: Option<Limit>,
    /// Faults that the rule injects.
    pub(super) fault: Fault,
    /// All mirrors by subset, or by host where there is none, with their shares in percent; `{}` if
    /// there are none.
    pub(super) mirrors: Option<BTreeMap<String, f64>>,
    /// All limits that count the request: `limit`, `policy/limit` or `namespace/policy/limit`; `[]` if
    /// there are none.
    pub(super) rate_limits: Option<Vec<String>>,
    /// Address of the endpoint that is asked first, where a key decides or there is only one.
    pub(super) endpoint: Option<String>,
}

/// Faults that the rule injects; what is left out is not looked at, and 0 % is none.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Fault {
    /// How long requests wait.
    #[serde(deserialize_with = "parsed")]
    pub(super) delay: Option<Limit>,
    pub(super) delay_percent: Option<f64>,
    /// Status of the error.
    pub(super) abort: Option<u16>,
    /// Its status for callers that speak gRPC.
    pub(super) abort_grpc_status: Option<u16>,
    pub(super) abort_percent: Option<f64>,
    pub(super) reset_percent: Option<f64>,
    pub(super) slow_body_bytes_per_second: Option<u64>,
    pub(super) slow_body_percent: Option<f64>,
    /// What they meet.
    pub(super) scope: Option<Scope>,
}

/// What faults meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Scope {
    Request,
    Attempt,
}

/// A limit of time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<std::time::Duration>);

// === impl Request ===

impl Request {
    /// The request as it is explained; none without a URL.
    pub(super) fn asked(&self, normalization: Normalization) -> Option<Asked> {
        Some(Asked {
            method: self.method.clone().unwrap_or_default(),
            url: self.url.clone()?,
            headers: self.headers.clone(),
            source: self.from.address,
            principal: self.from.principal.clone().map(|it| it.0),
            normalization,
        })
    }
}

// === impl Principal ===

impl FromStr for Principal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        asked::principal(text).map(Self)
    }
}

// === impl From ===

impl From {
    /// Who this is, in `namespace` if nothing else is said.
    pub(super) fn workload(&self, namespace: &str) -> Workload {
        let account = self.service_account.as_deref();
        let locality = self.locality.clone();
        Workload {
            viewer: Viewer {
                namespace: self.namespace.as_deref().unwrap_or(namespace).to_owned(),
                labels: self.labels.clone(),
            },
            locality: locality.filter(|it| !it.region.is_empty()),
            service_account: account.unwrap_or(SERVICE_ACCOUNT).to_owned(),
        }
    }
}

// === impl Expect ===

impl Expect {
    /// Whether nothing is expected, so that the test cannot fail.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.virtual_service,
            &self.rule,
            &self.destination,
            &self.subset,
            &self.error,
            &self.location,
            &self.path,
            &self.host,
            &self.endpoint,
        ];
        texts.into_iter().all(Option::is_none)
            && self.split.is_none()
            && self.status.is_none()
            && self.timeout.is_none()
            && self.retries.is_none()
            && self.per_try_timeout.is_none()
            && self.fault == Fault::default()
            && self.mirrors.is_none()
            && self.rate_limits.is_none()
            && self.request_headers.is_empty()
            && self.response_headers.is_empty()
            && self.without_request_headers.is_empty()
            && self.without_response_headers.is_empty()
    }
}

// === impl Scope ===

impl Scope {
    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Attempt => "attempt",
        }
    }
}

// === impl Limit ===

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let span: Result<Duration, _> = text.parse();
        let span = span.map_err(|_| "must be a duration such as \"2s\", or \"none\"")?;
        Ok(Self(Some(span.get())))
    }
}

/// A text that means a `T`.
fn parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn normalization<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Normalization, D::Error> {
    let text = String::deserialize(deserializer)?;
    Normalization::from_str(&text, false).map_err(|_| {
        let all = Normalization::value_variants().iter();
        let names = all.filter_map(|it| Some(it.to_possible_value()?.get_name().to_owned()));
        let names: Vec<String> = names.collect();
        D::Error::custom(format_args!("must be one of {}", names.join(", ")))
    })
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Method>, D::Error> {
    let text = String::deserialize(deserializer)?;
    asked::method(&text).map(Some).map_err(D::Error::custom)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    let written: BTreeMap<String, String> = BTreeMap::deserialize(deserializer)?;
    let pairs = written.iter().map(|(name, value)| {
        let pair = (asked::header_name(name)?, asked::header_value(value)?);
        Ok::<(HeaderName, HeaderValue), String>(pair)
    });
    pairs.collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn header_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let written: Vec<String> = Vec::deserialize(deserializer)?;
    let names = written.iter().map(|name| asked::header_name(name));
    names.collect::<Result<_, _>>().map_err(D::Error::custom)
}
