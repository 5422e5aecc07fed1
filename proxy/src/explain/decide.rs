//! What would become of a request: the way of `request::pipeline` up to the point where something is
//! sent, taken with the same functions on the same table.

use std::time::SystemTime;

use http::{HeaderMap, Response, header};
use http_body::Body as _;

use super::asked::Asked;
use super::decision::authorization::Authorization;
use super::decision::beside::{Faults, RateLimit};
use super::decision::{
    Answer, Caller, Decision, Failure, Forward, Host, Listener as Entry, Outcome, Request, Retries,
    RetryOn, Sticky, StickyKey, Tried,
};
use super::{authorization, beside, target, tried};
use crate::body::Body;
use crate::inbound::jwt::{Memory, Refusal};
use crate::offline::{View, Workload};
use crate::request::cors::Verdict;
use crate::request::forward::{Stickiness, User, stickiness};
use crate::request::headers::{self, Reception};
use crate::request::limits::Limits;
use crate::request::pipeline::{answer_here, judge_origin};
use crate::request::reply::{self, is_grpc};
use crate::request::retry::is_idempotent;
use crate::request::route::{self, Routed, Unserved};
use crate::request::{Downstream, Rejection};
use crate::table::retry::Asked as RetriesAsked;
use crate::table::route::{Action, Route};
use crate::table::split::{Split, Sticky as SplitKey};
use crate::table::{Listener, NoHosts};
use crate::upstream::Outgoing;

/// Hosts that are named where the one that was asked for does not exist.
const HOSTS_TOLD_MAX: usize = 10;

/// A request that is thought through at one listener.
pub(super) struct Walk<'w> {
    pub(super) view: &'w View,
    pub(super) listener: &'w Listener,
    pub(super) asked: &'w Asked,
    pub(super) downstream: Downstream,
}

/// What was found on the way of a request.
struct Found {
    host: Option<Host>,
    rules: Vec<Tried>,
    rules_not_tried: usize,
    faults: Option<Faults>,
    rate_limits: Vec<RateLimit>,
    outcome: Outcome,
}

/// What would become of `asked` at `listener`.
pub(crate) fn decide(view: &View, listener: &Listener, asked: &Asked) -> Decision {
    let walk = Walk {
        view,
        listener,
        asked,
        downstream: asked.downstream(listener),
    };
    walk.decision()
}

// === impl Found ===

impl Found {
    /// The request did not come as far as a host.
    fn nothing(outcome: Outcome) -> Self {
        Self {
            host: None,
            rules: Vec::new(),
            rules_not_tried: 0,
            faults: None,
            rate_limits: Vec::new(),
            outcome,
        }
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn decision(&self) -> Decision {
        let mut authorization = None;
        let Found {
            host,
            rules,
            rules_not_tried,
            faults,
            rate_limits,
            outcome,
        } = match self.entered() {
            Ok(mut outgoing) => match self.admitted(&mut outgoing) {
                Ok(()) => self.judged(&mut outgoing, &mut authorization),
                Err(refused) => Found::nothing(*refused),
            },
            Err(rejection) => Found::nothing(self.refused(&rejection, rejection.to_string())),
        };
        Decision {
            request: self.request(),
            caller: self.caller(),
            listener: Entry {
                address: self.listener.bind.to_string(),
                name: self.listener.name.clone(),
                direction: self.listener.direction,
            },
            authorization,
            host,
            rules,
            rules_not_tried,
            faults,
            rate_limits,
            outcome,
        }
    }

    fn caller(&self) -> Caller {
        let Workload {
            viewer,
            locality,
            service_account,
        } = &self.view.workload;
        Caller {
            namespace: viewer.namespace.clone(),
            labels: viewer.labels.clone(),
            service_account: service_account.clone(),
            locality: locality.as_ref().map(ToString::to_string),
            address: self.asked.source.map(|ip| ip.to_string()),
        }
    }

    /// The request, if its connection is one that the listener takes requests of: who asks in TLS is
    /// thought of as one who proves who he is.
    fn entered(&self) -> Result<Outgoing, Rejection> {
        let is_plain = self.downstream.security.is_none() && self.asked.principal.is_none();
        match is_plain && self.listener.demands_more_than(None) {
            true => Err(Rejection::PlainText),
            false => self.received(),
        }
    }

    /// The request as the pipeline has it before it looks for a rule. The id that it would get is
    /// left out: it is another one each time.
    pub(super) fn received(&self) -> Result<Outgoing, Rejection> {
        let table = &self.view.snapshot.table;
        let reception = Reception {
            downstream: &self.downstream,
            direction: self.listener.direction,
            limits: &Limits::default(),
            normalization: table.normalization(self.asked.normalization),
            explains: false,
        };
        let mut outgoing = headers::receive(self.asked.arrived(), Body::Empty, &reception, || 0)?;
        outgoing.own.id = None;
        Ok(outgoing)
    }

    /// Whether the policies of the listener let it in. Nothing is fetched.
    fn admitted(&self, outgoing: &mut Outgoing) -> Result<(), Box<Outcome>> {
        let admission = self.listener.admission.as_ref();
        let Some(authentication) = admission.and_then(|it| it.authentication.as_ref()) else {
            return Ok(());
        };
        let examined = authentication.examine(outgoing, &Memory::default(), SystemTime::now());
        examined.map_err(|refusal| {
            let scheme = if self.asked.url.secure {
                "https"
            } else {
                "http"
            };
            let rejection = authentication.rejection(refusal, scheme, outgoing);
            let reason = match refusal {
                Refusal::NotFetched => {
                    "the keys of the token's issuer would have to be fetched".to_owned()
                }
                told => told.text().to_owned(),
            };
            Box::new(self.refused(&rejection, reason))
        })
    }

    /// What becomes of it by the policies of the listener; notes what they say.
    fn judged(&self, outgoing: &mut Outgoing, told: &mut Option<Authorization>) -> Found {
        let (judged, rejection) = authorization::judge(self, outgoing).unzip();
        *told = judged;
        match rejection.flatten() {
            None => self.find(outgoing),
            Some(rejection) => Found::nothing(self.refused(&rejection, rejection.to_string())),
        }
    }

    fn find(&self, outgoing: &Outgoing) -> Found {
        let server_name = self.downstream.server_name();
        let authority = outgoing.authority.to_str().unwrap_or_default().to_owned();
        let sought = match route::seek(self.listener, server_name, outgoing) {
            Ok(sought) => sought,
            Err(unserved) => {
                let reason = self.unserved(&unserved);
                let rejection = unserved.rejection(self.listener);
                let host = Host {
                    authority,
                    served_by: None,
                    port: None,
                    problem: Some(reason.clone()),
                };
                return Found {
                    host: Some(host),
                    ..Found::nothing(self.refused(&rejection, reason))
                };
            }
        };
        let tried = sought.host.rules.trace(&sought.view).count();
        let routed = sought.rule();
        let (faults, rate_limits, outcome) = match &routed {
            Ok(routed) => {
                let route = &routed.rule.route;
                let (outcome, rate_limits) = self.act(routed, outgoing);
                (beside::faults(self, route), rate_limits, outcome)
            }
            Err(rejection) => {
                let outcome = self.refused(rejection, sought.no_rule().to_owned());
                (None, Vec::new(), outcome)
            }
        };
        Found {
            host: Some(Host {
                authority,
                served_by: Some(sought.host.name.to_string()),
                port: Some(sought.view.port),
                problem: None,
            }),
            rules: tried::rules(&sought, &self.view.workload.viewer),
            rules_not_tried: sought.host.rules.iter().count() - tried,
            faults,
            rate_limits,
            outcome,
        }
    }

    /// What becomes of a request that meets a rule, and the limits that count it on its way there.
    fn act(&self, routed: &Routed<'_>, outgoing: &Outgoing) -> (Outcome, Vec<RateLimit>) {
        let route = &*routed.rule.route;
        let origin = match judge_origin(route, outgoing) {
            Verdict::Answered(response) => {
                return (answered(&response, "cors_response"), Vec::new());
            }
            Verdict::Allowed(origin) => Some(origin),
            Verdict::Silent => None,
        };
        let mark = |headers: &mut HeaderMap| {
            if let (Some(origin), Some(policy)) = (&origin, &route.cors) {
                crate::request::cors::mark(policy, origin.clone(), headers);
            }
        };
        let rate_limits = beside::rate_limits(self, routed);
        let outcome = match &route.action {
            Action::Forward(split) => {
                let mut forward = self.forward(split, routed, outgoing);
                for target in &mut forward.targets {
                    mark(&mut target.response_headers);
                }
                Outcome::Forwarded(Box::new(forward))
            }
            Action::Redirect(_) | Action::Direct(_) => {
                let (mut response, kind) = answer_here(routed, outgoing, self.is_grpc());
                mark(response.headers_mut());
                answered(&response, kind)
            }
        };
        (outcome, rate_limits)
    }

    fn forward(&self, split: &Split, routed: &Routed<'_>, outgoing: &Outgoing) -> Forward {
        let route = &*routed.rule.route;
        let source = route::source(&self.downstream);
        // As on the way of a request, headers that the proxy adds can be the key.
        let settles = split
            .sticky
            .as_ref()
            .is_some_and(SplitKey::looks_at_headers);
        let settled = settles.then(|| self.received().ok()).flatten();
        let settled = settled.map(|mut outgoing| {
            outgoing.settle_headers();
            outgoing.head.headers
        });
        let headers = settled.as_ref().unwrap_or(&outgoing.head.headers);
        let token = outgoing.token.as_deref();
        let user = User {
            headers,
            source,
            token,
        };
        let Stickiness { key, cookie } = stickiness(split, user, || 0);
        // A key that is made decides as it falls.
        let decided = key.filter(|_| cookie.is_none());
        let certain = split.targets().len() == 1 || decided.is_some();
        let chosen = split.choose(decided, 0).filter(|_| certain);
        let targets = split.targets().iter();
        let targets = targets.map(|target| target::describe(self, routed, split, target, chosen));
        let key = match (decided, &cookie) {
            (Some(_), _) => StickyKey::Present,
            (None, Some(_)) => StickyKey::Made,
            (None, None) => StickyKey::Absent,
        };
        let sticky = |sticky: &SplitKey| Sticky {
            by: sticky.to_string(),
            key,
            cookie: cookie.as_ref().map(beside::made_cookie),
        };
        Forward {
            timeout: route.timeout.map(|timeout| format!("{timeout:?}")),
            retries: self.retries(route),
            sticky: split.sticky.as_ref().map(sticky),
            mirrors: beside::mirrors(self, routed, outgoing),
            targets: targets.collect(),
        }
    }

    fn retries(&self, route: &Route) -> Retries {
        let policy = &route.retries;
        let asked = RetriesAsked {
            idempotent: is_idempotent(&self.asked.method),
            grpc: self.is_grpc(),
        };
        let retries = policy.retries(asked);
        let on = policy.meanings().into_iter();
        let on = on.map(|(condition, meaning)| RetryOn { condition, meaning });
        Retries {
            attempts: if retries { policy.attempts } else { 0 },
            per_try_timeout: policy.per_try_timeout.map(|limit| format!("{limit:?}")),
            idempotent: asked.idempotent,
            on: on.filter(|_| retries).collect(),
        }
    }

    fn request(&self) -> Request {
        Request {
            method: self.asked.method.to_string(),
            url: self.asked.url.to_string(),
            grpc: self.is_grpc(),
        }
    }

    pub(super) fn is_grpc(&self) -> bool {
        is_grpc(&self.asked.headers)
    }

    /// What the proxy answers when it goes no further.
    pub(super) fn failure(&self, rejection: &Rejection, reason: String) -> Failure {
        let response = reply::rejected(rejection, self.is_grpc());
        Failure::of(&response, rejection.flags().to_string(), reason)
    }

    fn refused(&self, rejection: &Rejection, reason: String) -> Outcome {
        Outcome::Refused(self.failure(rejection, reason))
    }

    fn unserved(&self, unserved: &Unserved<'_>) -> String {
        match unserved {
            Unserved::Connection(NoHosts::Misdirected) => {
                "the host is another server's than the name in TLS".to_owned()
            }
            Unserved::Connection(NoHosts::Tls) => {
                let listens = self.listener.transport.is_tls();
                match (listens, self.asked.url.secure) {
                    (false, _) => "the listener does not terminate TLS".to_owned(),
                    (true, false) => "the listener expects TLS".to_owned(),
                    (true, true) => {
                        "no server of the listener answers to this name in TLS by HTTP".to_owned()
                    }
                }
            }
            Unserved::Port(host, port, _) => {
                let ports: Vec<String> = host.ports.iter().map(u16::to_string).collect();
                format!("{} has no port {port}, but {}", host.name, ports.join(", "))
            }
            Unserved::Host => {
                let hosts = self.listener.all_hosts();
                let mut names: Vec<String> = hosts.map(|(_, it)| it.name.to_string()).collect();
                names.sort_unstable();
                names.dedup();
                let more = names.len().saturating_sub(HOSTS_TOLD_MAX);
                names.truncate(HOSTS_TOLD_MAX);
                match (names.is_empty(), more) {
                    (true, _) => "the listener serves no host".to_owned(),
                    (false, 0) => format!("the listener serves {}", names.join(", ")),
                    (false, more) => {
                        format!("the listener serves {} and {more} more", names.join(", "))
                    }
                }
            }
        }
    }
}

fn answered(response: &Response<Body>, kind: &'static str) -> Outcome {
    let mut headers = response.headers().clone();
    headers.remove(header::DATE);
    Outcome::Answered(Answer {
        kind,
        status: response.status().as_u16(),
        headers,
        body_bytes: response.body().size_hint().exact().unwrap_or(0),
    })
}
