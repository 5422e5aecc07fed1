//! `Policy` and `MeshPolicy` of `authentication.istio.io` to `PeerAuthentication` and
//! `RequestAuthentication`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::documents::{Document, Retired};
use super::plan::Plan;
use super::specs;
use super::workloads::{Target, Workloads};
use crate::mesh::MeshSettings;
use crate::problem::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    targets: Vec<Named>,
    peers: Vec<Peer>,
    peer_is_optional: bool,
    origins: Vec<Origin>,
    origin_is_optional: bool,
    principal_binding: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    ports: Vec<Port>,
    labels: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    number: Option<u64>,
    name: Option<String>,
}

/// `mtls: {}` and `mtls: null` alike are mutual TLS.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Peer {
    mtls: Option<Mtls>,
    jwt: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mtls {
    mode: Option<Mode>,
    allow_tls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    Strict,
    Permissive,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Origin {
    jwt: Jwt,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Jwt {
    issuer: String,
    audiences: Vec<String>,
    #[serde(alias = "jwks_uri")]
    jwks_uri: Option<String>,
    jwks: Option<String>,
    #[serde(alias = "jwt_headers")]
    jwt_headers: Vec<String>,
    #[serde(alias = "jwt_params")]
    jwt_params: Vec<String>,
    #[serde(alias = "trigger_rules")]
    trigger_rules: Vec<Trigger>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Trigger {
    #[serde(alias = "excluded_paths")]
    excluded_paths: Vec<PathMatch>,
    #[serde(alias = "included_paths")]
    included_paths: Vec<PathMatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PathMatch {
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    regex: Option<String>,
}

/// What a policy is for, with the ports of the workload that it is for alone.
struct Place {
    target: Target,
    ports: Vec<u64>,
}

/// A policy and where it goes.
#[derive(Clone, Copy)]
struct Draft<'d> {
    at: usize,
    name: &'d str,
    namespace: &'d str,
    policy: &'d Policy,
}

/// Converts all policies.
pub(super) fn convert(
    documents: &[Document],
    workloads: &Workloads,
    plan: &mut Plan,
) -> Result<(), Vec<Problem>> {
    let is_policy = |it| matches!(it, Retired::AuthenticationPolicy | Retired::MeshPolicy);
    let policies: Vec<(usize, Policy)> = specs(documents, is_policy)?;
    let root = MeshSettings::default().root_namespace;
    for (at, policy) in &policies {
        let document = &documents[*at];
        let of_mesh = document.retired == Some(Retired::MeshPolicy);
        let draft = Draft {
            at: *at,
            name: &document.name,
            namespace: if of_mesh { &root } else { &document.namespace },
            policy,
        };
        if !of_mesh && document.namespace == root {
            plan.lose(
                *at,
                "a policy of the root namespace of the mesh counts for all namespaces",
            );
            if draft.mode() != Some(Mode::Strict) {
                continue;
            }
        }
        draft.losses(plan);
        for place in draft.places(workloads, plan) {
            draft.peers(&place, plan);
            draft.origins(&place, plan);
        }
    }
    Ok(())
}

// === impl Draft ===

impl Draft<'_> {
    fn losses(self, plan: &mut Plan) {
        let policy = self.policy;
        if policy.peers.iter().any(|peer| peer.jwt.is_some()) {
            plan.lose(
                self.at,
                "jwt of a peer: tokens are of requests; move it to origins",
            );
        }
        if policy
            .peers
            .iter()
            .any(|peer| peer.mtls.as_ref().is_some_and(|it| it.allow_tls))
        {
            plan.lose(
                self.at,
                "allowTls: TLS without a certificate of the peer is not taken",
            );
        }
        if policy.principal_binding.as_deref() == Some("USE_ORIGIN") {
            plan.note(
                self.at,
                "principalBinding: rules about who is asking must use requestPrincipals now",
            );
        }
    }

    fn places(self, workloads: &Workloads, plan: &mut Plan) -> Vec<Place> {
        if self.policy.targets.is_empty() {
            let target = Target::all();
            let ports = Vec::new();
            return vec![Place { target, ports }];
        }
        let mut places = Vec::new();
        for named in &self.policy.targets {
            let target = workloads.target(self.namespace, &named.name);
            if let Some(doubt) = target.doubt() {
                plan.note(self.at, doubt);
            }
            if named.labels.is_some() {
                plan.lose(self.at, format!("{}: labels of targets", named.name));
                continue;
            }
            let mut ports = Vec::new();
            for port in &named.ports {
                let asked = match (&port.number, &port.name) {
                    (Some(number), _) => json!(number),
                    (None, name) => json!(name),
                };
                match workloads.port(self.namespace, &named.name, &asked) {
                    Some(port) => ports.push(port),
                    None => plan.lose(
                        self.at,
                        format!("port {asked} of {}: add its Service with a numeric targetPort to the files", named.name),
                    ),
                }
            }
            if ports.len() == named.ports.len() {
                places.push(Place { target, ports });
            }
        }
        places
    }

    /// How connections were taken; `None` if nothing was said of mutual TLS.
    fn mode(self) -> Option<Mode> {
        let asks = |peer: &&Peer| peer.mtls.is_some() || peer.jwt.is_none();
        let peer = self.policy.peers.iter().find(asks)?;
        let mode = peer.mtls.as_ref().and_then(|mtls| mtls.mode);
        Some(match self.policy.peer_is_optional {
            true => Mode::Permissive,
            false => mode.unwrap_or(Mode::Strict),
        })
    }

    fn peers(self, place: &Place, plan: &mut Plan) {
        let mode = match self.mode() {
            Some(Mode::Strict) => "STRICT",
            Some(Mode::Permissive) => "PERMISSIVE",
            None => {
                plan.note(
                    self.at,
                    "asked for no mutual TLS: PERMISSIVE takes it as well as plain text",
                );
                "PERMISSIVE"
            }
        };
        let mtls = json!({ "mode": mode });
        let mut spec = Map::new();
        place.target.select(&mut spec);
        if place.ports.is_empty() {
            spec.insert("mtls".to_owned(), mtls);
        } else {
            let ports = place
                .ports
                .iter()
                .map(|port| (port.to_string(), mtls.clone()));
            spec.insert("portLevelMtls".to_owned(), Value::Object(ports.collect()));
        }
        plan.make(
            self.at,
            self.resource("PeerAuthentication", "", place, spec),
        );
    }

    fn origins(self, place: &Place, plan: &mut Plan) {
        if self.policy.origins.is_empty() {
            return;
        }
        let mut rules = Vec::new();
        let mut triggers = Vec::new();
        for Origin { jwt } in &self.policy.origins {
            rules.push(jwt.rule());
            triggers.extend(&jwt.trigger_rules);
        }
        let mut origins = self.policy.origins.iter();
        if origins.any(|it| it.jwt.trigger_rules.is_empty()) {
            // What one origin says of paths says nothing of those that ask for a token on all of them.
            triggers.clear();
        }
        let mut spec = Map::new();
        place.target.select(&mut spec);
        spec.insert("jwtRules".to_owned(), rules.into());
        plan.make(
            self.at,
            self.resource("RequestAuthentication", "", place, spec),
        );
        if self.policy.origin_is_optional {
            return;
        }
        let mut operation = Map::new();
        self.triggers(&triggers, &mut operation, plan);
        if !place.ports.is_empty() {
            let ports: Vec<String> = place.ports.iter().map(u64::to_string).collect();
            operation.insert("ports".to_owned(), json!(ports));
        }
        let mut rule = json!({ "from": [{ "source": { "notRequestPrincipals": ["*"] } }] });
        if !operation.is_empty() {
            rule["to"] = json!([{ "operation": operation }]);
        }
        let mut spec = Map::new();
        place.target.select(&mut spec);
        spec.insert("action".to_owned(), json!("DENY"));
        spec.insert("rules".to_owned(), json!([rule]));
        let resource = self.resource("AuthorizationPolicy", "-require-token", place, spec);
        plan.make(self.at, resource);
    }

    /// For which paths a token is required. What cannot be said makes it required for more.
    fn triggers(self, triggers: &[&Trigger], operation: &mut Map<String, Value>, plan: &mut Plan) {
        let [trigger] = triggers else {
            if triggers.len() > 1 {
                plan.lose(
                    self.at,
                    "several triggerRules: a token is required on every path",
                );
            }
            return;
        };
        let included: Vec<_> = trigger
            .included_paths
            .iter()
            .map(PathMatch::pattern)
            .collect();
        let excluded: Vec<_> = trigger
            .excluded_paths
            .iter()
            .map(PathMatch::pattern)
            .collect();
        if included.iter().chain(&excluded).any(Option::is_none) {
            plan.lose(
                self.at,
                "a path by regex: a token is required on more paths",
            );
        }
        if !included.is_empty() && included.iter().all(Option::is_some) {
            operation.insert("paths".to_owned(), json!(included));
        }
        let excluded: Vec<String> = excluded.into_iter().flatten().collect();
        if !excluded.is_empty() {
            operation.insert("notPaths".to_owned(), json!(excluded));
        }
    }

    fn resource(self, kind: &str, suffix: &str, place: &Place, spec: Map<String, Value>) -> Value {
        let of_target = |service: &String| match self.policy.targets.len() {
            0 | 1 => String::new(),
            _ => format!("-{service}"),
        };
        let service = place.target.service.as_ref().map(of_target);
        let name = format!("{}{}{suffix}", self.name, service.unwrap_or_default());
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": spec,
        })
    }
}

// === impl Jwt ===

impl Jwt {
    fn rule(&self) -> Value {
        let mut rule = Map::new();
        rule.insert("issuer".to_owned(), json!(self.issuer));
        if !self.audiences.is_empty() {
            rule.insert("audiences".to_owned(), json!(self.audiences));
        }
        for (name, text) in [("jwksUri", &self.jwks_uri), ("jwks", &self.jwks)] {
            if let Some(text) = text {
                rule.insert(name.to_owned(), json!(text));
            }
        }
        if !self.jwt_headers.is_empty() {
            let headers = self.jwt_headers.iter().map(|name| json!({ "name": name }));
            rule.insert("fromHeaders".to_owned(), headers.collect());
        }
        if !self.jwt_params.is_empty() {
            rule.insert("fromParams".to_owned(), json!(self.jwt_params));
        }
        // The old filter sent tokens on; today's takes them off unless told.
        rule.insert("forwardOriginalToken".to_owned(), json!(true));
        Value::Object(rule)
    }
}

// === impl PathMatch ===

impl PathMatch {
    /// The pattern of today; `None` for a regex.
    fn pattern(&self) -> Option<String> {
        match (&self.exact, &self.prefix, &self.suffix, &self.regex) {
            (_, _, _, Some(_)) | (None, None, None, None) => None,
            (Some(exact), ..) => Some(exact.clone()),
            (None, Some(prefix), ..) => Some(format!("{prefix}*")),
            (None, None, Some(suffix), _) => Some(format!("*{suffix}")),
        }
    }
}
