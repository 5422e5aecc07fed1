//! What the access log will say of a request, gathered while it passes. Only with a log, or for a
//! caller that asks what became of its request.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::spiffe::SpiffeId;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Version};

use crate::body::BodyError;
use crate::inbound::Admission;
use crate::inbound::authz::Notes;
use crate::request::explain::{Explanation, Millis};
use crate::request::headers::{X_FORWARDED_FOR, X_REQUEST_ID};
use crate::request::retry::Refusal;
use crate::request::{Downstream, Rejection};
use crate::table::rules::Rule;
use crate::telemetry::access_log::{Entry, Text};
use crate::telemetry::metrics::{Outcome, Sample};
use crate::upstream::Outgoing;
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;

/// Fields of one line, owned for the time of the request.
#[derive(Debug)]
pub(crate) struct LogFields {
    start_time: SystemTime,
    method: Box<str>,
    path: String,
    protocol: &'static str,
    downstream_local: Option<SocketAddr>,
    downstream_remote: Option<SocketAddr>,
    authority: Option<HeaderValue>,
    server_name: Box<str>,
    caller: Option<SpiffeId>,
    answerer: Option<SpiffeId>,
    user_agent: Option<HeaderValue>,
    x_forwarded_for: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    details: Cow<'static, str>,
    failure: String,
    route_name: Arc<str>,
    virtual_service: String,
    rule: Option<u32>,
    block: u32,
    timeout: Option<Duration>,
    upstream_host: String,
    upstream_cluster: String,
    destination_rule: Option<Arc<str>>,
    subset: Arc<str>,
    attempts: u32,
    retry_refused: &'static str,
    rate_limit: String,
    notes: Box<Notes>,
    service_time: Option<Duration>,
}

// === impl LogFields ===

impl LogFields {
    /// What a request's first line and headers say.
    pub(crate) fn new(downstream: &Downstream, head: &http::request::Parts) -> Self {
        let headers = &head.headers;
        let authority = head.uri.authority();
        let authority = authority.and_then(|it| HeaderValue::from_str(it.as_str()).ok());
        let target = head.uri.path_and_query();
        Self {
            method: head.method.as_str().into(),
            path: target.map_or_else(String::new, |target| target.as_str().to_owned()),
            protocol: match head.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            authority: authority.or_else(|| headers.get(header::HOST).cloned()),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            ..Self::unreadable(downstream)
        }
    }

    /// What can be said of a request that could not be read.
    pub(crate) fn unreadable(downstream: &Downstream) -> Self {
        Self {
            start_time: SystemTime::now(),
            method: "".into(),
            path: String::new(),
            protocol: "",
            downstream_local: downstream.addressed(),
            downstream_remote: downstream.peer,
            authority: None,
            server_name: downstream.server_name().unwrap_or_default().into(),
            caller: downstream
                .security
                .as_ref()
                .and_then(|it| it.principal.clone()),
            answerer: None,
            user_agent: None,
            x_forwarded_for: None,
            request_id: None,
            details: Cow::Borrowed("via_upstream"),
            failure: String::new(),
            route_name: "".into(),
            virtual_service: String::new(),
            rule: None,
            block: 0,
            timeout: None,
            upstream_host: String::new(),
            upstream_cluster: String::new(),
            destination_rule: None,
            subset: "".into(),
            attempts: 0,
            retry_refused: "",
            rate_limit: String::new(),
            notes: Box::default(),
            service_time: None,
        }
    }

    /// What policies of authorization say.
    pub(crate) fn judged(&mut self, notes: Box<Notes>) {
        self.notes = notes;
    }

    /// The policy that let it pass.
    fn authorization(&self) -> &str {
        &self.notes.allowed
    }

    /// The rule that was found.
    pub(crate) fn rule(&mut self, rule: &Rule) {
        let route = &rule.route;
        self.block = rule.block;
        self.timeout = route.timeout;
        self.route_name = Arc::clone(&route.name);
        if let Some(origin) = &route.origin {
            self.virtual_service = format!("{}/{}", origin.meta.namespace, origin.meta.name);
            self.rule = Some(route.position);
        }
    }

    /// The answer comes from the proxy itself, as a rule asks.
    pub(crate) fn answered_by(&mut self, detail: &'static str) {
        self.details = Cow::Borrowed(detail);
    }

    /// The answer comes from the proxy itself, because something is wrong.
    pub(crate) fn rejected(&mut self, detail: &'static str, rejection: &Rejection) {
        self.details = Cow::Borrowed(detail);
        if let Rejection::Denied(denial) = rejection {
            self.details = Cow::Owned(denial.to_string());
        }
        if let Rejection::Upstream(error) | Rejection::RetriesExhausted(error) = rejection {
            self.failure = chain(error);
        }
        if let Rejection::RateLimited(refused) = rejection {
            self.rate_limit = refused.limit.to_string();
        }
        if let Rejection::LimitUndecided(policy) = rejection {
            self.rate_limit = policy.to_string();
        }
    }

    /// The answer of the upstream ended before its end.
    pub(crate) fn broke_off(&mut self, detail: &'static str, error: &BodyError) {
        self.details = Cow::Borrowed(detail);
        self.failure = chain(error);
    }

    /// What was sent upstream, and how it went.
    pub(crate) fn upstream(
        &mut self,
        destination: &Destination,
        member: Option<&Member>,
        attempts: u32,
        elapsed: Duration,
    ) {
        self.upstream_cluster = destination.key.to_string();
        self.destination_rule.clone_from(&destination.rule);
        self.subset = Arc::clone(&destination.key.subset);
        self.upstream_host = member
            .map(|it| it.endpoint.addr.to_string())
            .unwrap_or_default();
        self.attempts = attempts;
        self.service_time = Some(elapsed);
    }

    /// Who answered, as he proved.
    pub(crate) fn answered_from(&mut self, peer: &SpiffeId) {
        self.answerer = Some(peer.clone());
    }

    /// Why there was no other attempt where the rule allows one.
    pub(crate) fn refused(&mut self, refusal: Option<Refusal>) {
        self.retry_refused = refusal.map_or("", Refusal::as_str);
    }

    /// The target as the log may show it: without what the admission holds for secret.
    pub(crate) fn conceal(&mut self, admission: &Admission) {
        let authentication = admission.authentication.as_ref();
        if let Some(shown) = authentication.and_then(|it| it.conceal(&self.path)) {
            self.path = shown;
        }
    }

    /// Headers as they are sent on.
    pub(crate) fn outgoing(&mut self, outgoing: &Outgoing) {
        let line = |headers: &HeaderMap, name| headers.get(name).cloned();
        self.x_forwarded_for = line(&outgoing.head.headers, &X_FORWARDED_FOR);
        self.request_id = line(&outgoing.head.headers, &X_REQUEST_ID);
    }

    /// What a caller learns that asks.
    pub(crate) fn explanation(&self) -> Explanation<'_> {
        Explanation {
            virtual_service: &self.virtual_service,
            http: self.rule,
            block: self.rule.map(|_| self.block),
            rule: &self.route_name,
            destination: &self.upstream_cluster,
            destination_rule: self.destination_rule.as_deref().unwrap_or_default(),
            rate_limit: &self.rate_limit,
            endpoint: &self.upstream_host,
            attempts: self.attempts,
            retry_refused: self.retry_refused,
            details: &self.details,
            authorization: self.authorization(),
            timeout: self.timeout.map(Millis),
            ..Explanation::default()
        }
    }

    /// The line.
    pub(crate) fn entry(&self, outcome: Outcome, sample: Sample) -> Entry<'_> {
        Entry {
            method: Text::from(&*self.method),
            path: Text::from(self.path.as_str()),
            protocol: Text::from(self.protocol),
            response_code: outcome.code,
            response_flags: outcome.flags,
            response_code_details: Text::from(&*self.details),
            upstream_transport_failure_reason: Text::from(self.failure.as_str()),
            bytes_received: sample.request_bytes,
            bytes_sent: sample.response_bytes,
            duration: sample.duration,
            upstream_service_time: self.service_time,
            x_forwarded_for: Text::from(self.x_forwarded_for.as_ref()),
            user_agent: Text::from(self.user_agent.as_ref()),
            request_id: Text::from(self.request_id.as_ref()),
            authority: Text::from(self.authority.as_ref()),
            upstream_host: Text::from(self.upstream_host.as_str()),
            upstream_cluster: Text::from(self.upstream_cluster.as_str()),
            downstream_local_address: self.downstream_local,
            downstream_remote_address: self.downstream_remote,
            requested_server_name: Text::from(&*self.server_name),
            downstream_peer_uri_san: Text::from(uri(self.caller.as_ref())),
            upstream_peer_uri_san: Text::from(uri(self.answerer.as_ref())),
            route_name: Text::from(&*self.route_name),
            virtual_service: Text::from(self.virtual_service.as_str()),
            rule: self.rule,
            destination_rule: Text::from(self.destination_rule.as_deref().unwrap_or_default()),
            subset: Text::from(&*self.subset),
            attempts: self.attempts,
            retry_refused: Text::from(self.retry_refused),
            rate_limit: Text::from(self.rate_limit.as_str()),
            authorization_policy: Text::from(self.notes.decided()),
            audit_policies: Text::from(self.notes.audited.as_str()),
            dry_run: Text::from(self.notes.tried.as_str()),
            ..Entry::at(self.start_time)
        }
    }
}

/// An identity as the log shows it.
pub(crate) fn uri(id: Option<&SpiffeId>) -> &str {
    id.map(SpiffeId::as_str).unwrap_or_default()
}

/// An error with all of its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
