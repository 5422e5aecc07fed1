//! `RequestAuthentication`: which tokens (JWT, RFC 7519) prove who a request is from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::{LabelSelector, TargetRef};
use crate::schema::also_spelt;
use crate::value::Duration;

/// `security.istio.io` `RequestAuthentication` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthentication {
    /// Workloads it is for; unset means all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<LabelSelector>,
    /// One resource it is for.
    pub target_ref: Option<TargetRef>,
    /// Resources it is for.
    pub target_refs: Vec<TargetRef>,
    /// A token must satisfy one of them. A request without a token passes.
    pub jwt_rules: Vec<JwtRule>,
}

/// An issuer, its keys, and where its tokens are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = also_spelt("jwksUri", "jwks_uri"))]
pub struct JwtRule {
    /// What `iss` must be.
    pub issuer: String,
    /// `aud` must have one of them; empty takes any.
    pub audiences: Vec<String>,
    /// Where to fetch the keys.
    #[serde(alias = "jwks_uri")]
    pub jwks_uri: Option<String>,
    /// The keys (RFC 7517); excludes `jwksUri`.
    pub jwks: Option<String>,
    /// Headers that may hold a token; with nothing named, `Authorization: Bearer` and the query
    /// parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that may hold a token.
    pub from_params: Vec<String>,
    /// Cookies that may hold a token.
    pub from_cookies: Vec<String>,
    /// A header that takes the payload of a valid token, in base64url.
    pub output_payload_to_header: Option<String>,
    /// Claims of a valid token that go into headers.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// Whether the token goes on to the upstream; unset means no.
    pub forward_original_token: Option<bool>,
    /// Limit of fetching keys; unset means 5 s.
    pub timeout: Option<Duration>,
    /// Whether there must be a token. Has no effect: one that is missing is asked for by policies.
    pub presence: Option<String>,
    /// Claims whose text is a list with spaces between, beside `scope` and `permission`.
    pub space_delimited_claims: Vec<String>,
}

/// A header that may hold a token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token.
    pub prefix: Option<String>,
}

/// A claim that goes into a header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimToHeader {
    /// Name of the header.
    pub header: String,
    /// Name of the claim; `a.b` for `b` within `a`.
    pub claim: String,
}

// === impl RequestAuthentication ===

impl RequestAuthentication {
    /// Whether it is for workloads by their labels, and not for resources by name.
    pub fn is_by_selector(&self) -> bool {
        self.target_ref.is_none() && self.target_refs.is_empty()
    }
}
