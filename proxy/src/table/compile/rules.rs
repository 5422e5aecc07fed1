//! From the rules of a `VirtualService` to the rules of a virtual host.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use config::Resource;
use config::claims;
use config::fault::AnnotatedFaults;
use config::mesh::{Mesh, Routes};
use config::resource::virtual_service::{
    Destination as Written, HttpDirectResponse, HttpMatch, HttpRoute, HttpRouteDestination,
    RouteDestination,
};
use config::value::StringMatch;
use http::StatusCode;

use super::Perspective;
use super::destinations::{Host, Place, Registry, View};
use crate::table::cors::Cors;
use crate::table::edit::HeaderEdit;
use crate::table::elsewhere::{Elsewhere, Wants};
use crate::table::fault::Fault;
use crate::table::matcher::{Matcher, PathMatcher};
use crate::table::mirror::{self, Mirror};
use crate::table::redirect::Redirect;
use crate::table::retry::RetryPolicy;
use crate::table::rewrite::PathRewrite;
use crate::table::route::{Action, DirectResponse, Route};
use crate::table::rules::{
    Block, ClaimCondition, Conditions, HeaderCondition, Part, PartCondition, QueryCondition, Rule,
};
use crate::table::split::{DestinationByPort, Split, Sticky, Target};
use crate::upstream::destination::DestinationId;

/// Annotation with the sticky key of weighted splits.
const STICKY_BY: &str = "meshproxy.io/sticky-by";
/// Keys under `headers` that the API ignores: they have fields of their own.
const IGNORED_HEADER_KEYS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// Compiles the rules of one gateway or of the mesh.
pub(super) struct RuleCompiler<'c> {
    pub(super) mesh: &'c Mesh,
    pub(super) perspective: &'c Perspective,
    pub(super) registry: &'c mut Registry,
    /// `mesh`, or `namespace/name` of the gateway.
    pub(super) gateway: &'c str,
    /// From where the hosts of destinations are looked up.
    pub(super) view: View,
    /// Destinations that the rules lead to.
    pub(super) uses: Vec<(Arc<Host>, Place)>,
    /// Match blocks that were seen.
    pub(super) blocks: u32,
    /// Those of them that are for others.
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// A match block of a rule, and where it stands.
struct OwnBlock<'b> {
    at: u32,
    number: u32,
    written: &'b HttpMatch,
}

/// What annotations of a `VirtualService` say of its rules.
struct Annotated {
    sticky: Option<Sticky>,
    faults: AnnotatedFaults,
}

// === impl Annotated ===

impl Annotated {
    fn read(annotations: &BTreeMap<String, String>) -> Self {
        let sticky = annotations.get(STICKY_BY);
        Self {
            sticky: sticky.and_then(|written| Sticky::parse(written)),
            faults: AnnotatedFaults::read(annotations),
        }
    }
}

// === impl RuleCompiler ===

impl RuleCompiler<'_> {
    /// The rules of one `VirtualService` in order, none behind one that matches everything.
    pub(super) fn rules(&mut self, routes: &Routes) -> Vec<Rule> {
        let annotated = Annotated::read(&routes.annotations);
        let mut rules = Vec::new();
        for (position, written) in (0_u32..).zip(&routes.spec.http) {
            let everything = [HttpMatch::default()];
            let blocks = if written.matches.is_empty() {
                &everything
            } else {
                &*written.matches
            };
            let origin = routes.origin.get(position as usize);
            let blocks = self.ours(blocks, written, position, origin);
            if blocks.is_empty() {
                continue;
            }
            let mut route = self.route(written, &annotated);
            route.position = position;
            route.origin = origin.cloned();
            let own = Arc::new(route);
            for OwnBlock {
                at,
                number,
                written: block,
            } in blocks
            {
                let route = match &block.name {
                    Some(name) => self.named(written, &annotated, &own, name),
                    None => Arc::clone(&own),
                };
                let rule = Rule {
                    block: at,
                    number,
                    ..rule(block, &route)
                };
                let ends = is_catch_all(&rule);
                rules.push(rule);
                if ends {
                    return rules;
                }
            }
        }
        rules
    }

    /// The route again under the joined names of rule and match block.
    fn named(
        &mut self,
        written: &HttpRoute,
        annotated: &Annotated,
        route: &Route,
        block_name: &str,
    ) -> Arc<Route> {
        let mut named = self.route(written, annotated);
        named.position = route.position;
        named.origin.clone_from(&route.origin);
        named.name = match &written.name {
            Some(name) => format!("{name}.{block_name}").into(),
            None => block_name.into(),
        };
        Arc::new(named)
    }

    /// The match blocks that requests of this proxy can meet. The others are noted.
    fn ours<'b>(
        &mut self,
        blocks: &'b [HttpMatch],
        rule: &HttpRoute,
        position: u32,
        origin: Option<&Arc<Resource>>,
    ) -> Vec<OwnBlock<'b>> {
        let mut ours = Vec::with_capacity(blocks.len());
        for (at, written) in (0_u32..).zip(blocks) {
            let number = self.blocks;
            self.blocks += 1;
            let namespace = written.source_namespace.as_deref();
            match self.wants_others(&written.gateways, &written.source_labels, namespace) {
                None => ours.push(OwnBlock {
                    at,
                    number,
                    written,
                }),
                Some(wants) => self.elsewhere.push(Elsewhere {
                    name: rule.name.as_deref().unwrap_or("default").into(),
                    origin: origin.cloned(),
                    position,
                    block: at,
                    number,
                    wants,
                }),
            }
        }
        ours
    }

    /// Conditions on the caller and the gateway are the same for every request of this proxy: the
    /// first that does not hold. With `gateways` in a block the conditions on the caller do not count.
    pub(super) fn wants_others(
        &self,
        gateways: &[String],
        source_labels: &BTreeMap<String, String>,
        source_namespace: Option<&str>,
    ) -> Option<Wants> {
        if !gateways.is_empty() {
            let here = gateways.iter().any(|it| it == self.gateway);
            return (!here).then(|| Wants::Gateways(gateways.into()));
        }
        let viewer = &self.perspective.viewer;
        let mut labels = source_labels.iter();
        let label = labels.find(|(name, value)| viewer.labels.get(*name) != Some(value));
        let namespace = source_namespace;
        let namespace = namespace.filter(|it| !it.is_empty() && *it != viewer.namespace);
        match (label, namespace) {
            (Some((name, value)), _) => {
                Some(Wants::Label(name.as_str().into(), value.as_str().into()))
            }
            (None, Some(namespace)) => Some(Wants::Namespace(namespace.into())),
            (None, None) => None,
        }
    }

    fn route(&mut self, written: &HttpRoute, annotated: &Annotated) -> Route {
        let action = match (&written.redirect, &written.direct_response) {
            (Some(redirect), _) => Action::Redirect(Redirect::compile(redirect)),
            (None, Some(direct)) => Action::Direct(direct_response(direct)),
            (None, None) => Action::Forward(self.split(&written.route, annotated.sticky.clone())),
        };
        let (fault, mirrors) = match &action {
            Action::Forward(_) => (
                Fault::compile(written, &annotated.faults),
                self.mirrors(written),
            ),
            Action::Redirect(_) | Action::Direct(_) => (None, Box::default()),
        };
        let headers = written.headers.as_ref();
        let mut request_headers = HeaderEdit::compile(headers.and_then(|it| it.request.as_ref()));
        let rewrite = written.rewrite.as_ref();
        if let Some(authority) = rewrite.and_then(|rewrite| rewrite.authority.as_deref()) {
            request_headers.authority = authority.parse().ok();
        }
        let timeout = written.timeout.map(config::value::Duration::get);
        Route {
            name: written.name.as_deref().unwrap_or("default").into(),
            origin: None,
            position: 0,
            action,
            request_headers,
            response_headers: HeaderEdit::compile(headers.and_then(|it| it.response.as_ref())),
            fault: fault.map(Box::new),
            mirrors,
            cors: written
                .cors_policy
                .as_ref()
                .map(|policy| Box::new(Cors::compile(policy))),
            rewrite: rewrite.and_then(PathRewrite::compile),
            timeout: timeout.filter(|timeout| !timeout.is_zero()),
            retries: RetryPolicy::compile(written.retries.as_ref()),
        }
    }

    /// A single destination gets everything; among several those without weight get nothing.
    fn split(&mut self, written: &[HttpRouteDestination], sticky: Option<Sticky>) -> Split {
        let single = written.len() == 1;
        let weighted = written.iter().filter_map(|entry| {
            let weight = if single {
                1
            } else {
                u32::try_from(entry.weight).unwrap_or(0)
            };
            (weight > 0).then_some((entry, weight))
        });
        let targets = weighted
            .map(|(entry, weight)| self.target(entry, weight))
            .collect();
        Split::new(targets, sticky)
    }

    /// The same for connections.
    pub(super) fn opaque_split(&mut self, written: &[RouteDestination]) -> Split {
        let entries = written.iter().map(|entry| HttpRouteDestination {
            destination: entry.destination.clone(),
            weight: entry.weight,
            headers: None,
        });
        let entries: Vec<HttpRouteDestination> = entries.collect();
        self.split(&entries, None)
    }

    fn target(&mut self, entry: &HttpRouteDestination, weight: u32) -> Target {
        let unnamed = Written::default();
        let destination = entry.destination.as_ref().unwrap_or(&unnamed);
        let headers = entry.headers.as_ref();
        Target {
            host: destination.host.as_str().into(),
            subset: destination.subset.as_deref().map(Into::into),
            port: named_port(destination),
            weight,
            destination: self.destination(destination),
            request_headers: HeaderEdit::compile(headers.and_then(|it| it.request.as_ref())),
            response_headers: HeaderEdit::compile(headers.and_then(|it| it.response.as_ref())),
        }
    }

    fn mirrors(&mut self, written: &HttpRoute) -> Box<[Mirror]> {
        let compile = |(destination, share): (&Written, _)| Mirror {
            host: destination.host.as_str().into(),
            subset: destination.subset.as_deref().map(Into::into),
            port: named_port(destination),
            destination: self.destination(destination),
            share,
        };
        mirror::written(written).map(compile).collect()
    }

    fn destination(&mut self, written: &Written) -> DestinationByPort {
        let Some(host) = self.registry.host(self.mesh, self.view, &written.host) else {
            return DestinationByPort::Unknown;
        };
        let subset = written
            .subset
            .as_deref()
            .filter(|subset| !subset.is_empty());
        if subset.is_some_and(|subset| host.policy.subset(subset).is_none()) {
            return DestinationByPort::Unknown;
        }
        let ports: Vec<u16> = host.service.ports.iter().map(|port| port.number).collect();
        match (named_port(written), &*ports) {
            (Some(port), _) => match ports.contains(&port) {
                true => DestinationByPort::Fixed(self.use_port(&host, subset, port)),
                false => DestinationByPort::Unknown,
            },
            (_, [only]) => DestinationByPort::Fixed(self.use_port(&host, subset, *only)),
            (_, several) => {
                let by_port = several
                    .iter()
                    .map(|port| (*port, self.use_port(&host, subset, *port)));
                DestinationByPort::Addressed(by_port.collect())
            }
        }
    }

    fn use_port(&mut self, host: &Arc<Host>, subset: Option<&str>, port: u16) -> DestinationId {
        let place = host.place(subset, port);
        self.uses.push((Arc::clone(host), place.clone()));
        self.registry.host_destination(host, place)
    }

    /// Where connections to a port of a service go by themselves.
    pub(super) fn own_split(&mut self, host: &Arc<Host>, port: u16) -> Split {
        let target = Target {
            host: Arc::clone(&host.name),
            subset: None,
            port: Some(port),
            weight: 1,
            destination: DestinationByPort::Fixed(self.use_port(host, None, port)),
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
        };
        Split::new(vec![target], None)
    }

    /// The rule of a service that no `VirtualService` governs: to itself, by the addressed port.
    pub(super) fn default_rule(&mut self, host: &Arc<Host>, ports: &[u16]) -> Rule {
        let by_port = ports
            .iter()
            .map(|port| (*port, self.use_port(host, None, *port)))
            .collect();
        let target = Target {
            host: Arc::clone(&host.name),
            subset: None,
            port: None,
            weight: 1,
            destination: DestinationByPort::Addressed(by_port),
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
        };
        let action = Action::Forward(Split::new(vec![target], None));
        Rule {
            path: PathMatcher::Any,
            others: None,
            route: Arc::new(Route::new("default", action)),
            block: 0,
            number: self.blocks,
        }
    }
}

/// The port that a destination names.
fn named_port(written: &Written) -> Option<u16> {
    let port = written.port.as_ref()?;
    u16::try_from(port.number).ok().filter(|port| *port != 0)
}

/// Whether a rule matches every request.
pub(super) fn is_catch_all(rule: &Rule) -> bool {
    matches!(rule.path, PathMatcher::Any) && rule.others.is_none()
}

fn rule(block: &HttpMatch, route: &Arc<Route>) -> Rule {
    Rule {
        path: PathMatcher::compile(path(block), block.ignore_uri_case),
        others: conditions(block).map(Box::new),
        route: Arc::clone(route),
        block: 0,
        number: 0,
    }
}

/// The conditions of a block by themselves. Who the sender is may not be known before the request.
pub(super) fn block(written: &HttpMatch) -> Block {
    let path = PathMatcher::compile(path(written), written.ignore_uri_case);
    let mut block = Block::new(path, conditions(written).map(Box::new));
    let labels = written.source_labels.iter();
    block.source_labels = labels
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect();
    let namespace = written.source_namespace.as_deref();
    block.source_namespace = namespace.filter(|it| !it.is_empty()).map(Into::into);
    block
}

/// The condition on the path; none where it is one that every path meets.
fn path(block: &HttpMatch) -> Option<&StringMatch> {
    let everything = matches!(&block.uri, Some(StringMatch::Regex(regex)) if regex == ".*");
    block.uri.as_ref().filter(|_| !everything)
}

fn conditions(block: &HttpMatch) -> Option<Conditions> {
    let own = [
        (Part::Method, &block.method),
        (Part::Scheme, &block.scheme),
        (Part::Authority, &block.authority),
    ];
    let own = own.into_iter().filter_map(|(part, written)| match written {
        None | Some(StringMatch::Presence) => None,
        Some(written) => Some(PartCondition {
            part,
            matcher: Matcher::compile(written),
            inverted: false,
        }),
    });
    let headers = block
        .headers
        .iter()
        .map(|(name, written)| (name, written, false));
    let without = block
        .without_headers
        .iter()
        .map(|(name, written)| (name, written, true));
    let named: Vec<_> = headers
        .chain(without)
        .filter(|(name, ..)| !IGNORED_HEADER_KEYS.contains(&name.as_str()))
        .map(|(name, written, inverted)| (name, Matcher::compile(written), inverted))
        .collect();
    let pseudo = named.iter().filter_map(|(name, matcher, inverted)| {
        let part = part(name)?;
        Some(PartCondition {
            part,
            matcher: matcher.clone(),
            inverted: *inverted,
        })
    });
    let is_header = |name: &str| part(name).is_none() && claims::path(name).is_none();
    let ordinary = named.iter().filter(|(name, ..)| is_header(name));
    let headers = ordinary.filter_map(|(name, matcher, inverted)| {
        Some(HeaderCondition::new(
            name.parse().ok()?,
            matcher.clone(),
            *inverted,
        ))
    });
    let query = block
        .query_params
        .iter()
        .map(|(name, written)| QueryCondition {
            name: name.as_str().into(),
            matcher: Matcher::compile(written),
        });
    let conditions = Conditions {
        port: block
            .port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0),
        parts: own.chain(pseudo).collect(),
        headers: headers.collect(),
        query: query.collect(),
        claims: named.iter().filter_map(claim).collect(),
    };
    let none = conditions.port.is_none()
        && conditions.parts.is_empty()
        && conditions.headers.is_empty()
        && conditions.query.is_empty()
        && conditions.claims.is_empty();
    (!none).then_some(conditions)
}

/// The condition on a claim, if it is one.
fn claim((name, matcher, inverted): &(&String, Matcher, bool)) -> Option<ClaimCondition> {
    Some(ClaimCondition {
        path: claims::path(name)?.into_iter().map(Into::into).collect(),
        matcher: matcher.clone(),
        inverted: *inverted,
    })
}

/// The part of the request line that a pseudo-header stands for, or `host`, which HTTP/2 has no line
/// for. The scheme of a request is what its `x-forwarded-proto` says, which is added only on the way
/// out where a caller left it out.
fn part(name: &str) -> Option<Part> {
    match name {
        ":method" => Some(Part::Method),
        ":scheme" | "x-forwarded-proto" => Some(Part::Scheme),
        ":authority" | "host" => Some(Part::Authority),
        ":path" => Some(Part::Target),
        _ => None,
    }
}

fn direct_response(written: &HttpDirectResponse) -> DirectResponse {
    let status = u16::try_from(written.status)
        .ok()
        .and_then(|it| StatusCode::from_u16(it).ok());
    let body = written.body.as_ref();
    let text = body
        .and_then(|body| body.string.as_ref())
        .map(|text| Bytes::from(text.clone()));
    let decode = |bytes| base64::engine::general_purpose::STANDARD.decode(bytes).ok();
    let bytes = || {
        body.and_then(|body| body.bytes.as_ref())
            .and_then(decode)
            .map(Bytes::from)
    };
    DirectResponse {
        status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        body: text.or_else(bytes).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_protocol_is_the_scheme_also_where_no_caller_sent_it() {
        let https = StringMatch::Exact("https".to_owned());
        let block = HttpMatch {
            headers: [("x-forwarded-proto".to_owned(), https)].into(),
            ..HttpMatch::default()
        };

        let conditions = conditions(&block).expect("a condition");

        assert!(conditions.headers.is_empty());
        assert_eq!(conditions.parts.len(), 1);
        assert_eq!(conditions.parts[0].part, Part::Scheme);
    }

    #[test]
    fn claims_are_conditions_of_their_own_and_never_of_a_header() {
        let exact = StringMatch::Exact("admin".to_owned());
        let block = HttpMatch {
            headers: [("@request.auth.claims.realm.role".to_owned(), exact)].into(),
            without_headers: [(
                "@request.auth.claims[a.b]".to_owned(),
                StringMatch::Presence,
            )]
            .into(),
            ..HttpMatch::default()
        };

        let conditions = conditions(&block).expect("a condition");

        assert!(conditions.headers.is_empty());
        let [wanted, unwanted] = &*conditions.claims else {
            panic!("two claims: {conditions:?}");
        };
        assert_eq!(*wanted.path, ["realm".into(), "role".into()]);
        assert!(!wanted.inverted);
        assert_eq!(*unwanted.path, ["a.b".into()]);
        assert!(unwanted.inverted);
    }
}
