//! What must hold of policies, whatever they say and whoever asks: compiled, they say what a plain
//! evaluator says.

mod naive;

use std::sync::Arc;

use config::resource::authorization_policy::{
    AuthorizationRule, From, Operation, PathTemplate, Source, To,
};
use config::spiffe::SpiffeId;
use http::HeaderMap;
use prometheus::IntCounter;

use super::RuleCompiler;
use crate::inbound::authz::facts::{Facts, Request};
use crate::inbound::authz::judge::Judgement;
use crate::inbound::authz::policy::{Action, Matched, Policy, PolicyId};
use crate::inbound::authz::{Authorization, Denial, Tried};

/// Most values of all policies: more only make the search slower.
const VALUES_MAX: usize = 64;
/// Trust domains that are one.
const TRUST_DOMAINS: [&str; 2] = ["cluster.local", "td2"];

/// A request.
#[derive(Debug, Default)]
struct World<'t> {
    method: &'t str,
    path: &'t str,
    host: &'t str,
    peer: Option<SpiffeId>,
    server_name: &'t str,
}

/// A policy as it is written.
#[derive(Debug, Default)]
struct Written {
    denies: bool,
    rules: Vec<AuthorizationRule>,
}

/// Judges a request by policies. Each line is one word of either, by its first letter:
///
/// - of the request `m` method, `p` path, `h` host, `i` identity of the peer, `s` name asked for in TLS;
/// - values, after a `!` those of the `not` form: `M` methods, `P` paths, `H` hosts, `I` principals, `N`
///   namespaces, `A` service accounts, `T` trust domains;
/// - `=` begins a policy that allows, `-` one that denies, `+` a rule, `,` another source and operation.
pub(crate) fn policies(text: &str) {
    let mut world = World::default();
    let mut written: Vec<Written> = Vec::new();
    for line in text.lines().take(VALUES_MAX) {
        let mut letters = line.chars();
        let letter = letters.next();
        let value = letters.as_str();
        match letter {
            Some('m') => world.method = value,
            Some('p') => world.path = value,
            Some('h') => world.host = value,
            Some('i') => world.peer = SpiffeId::parse(&format!("spiffe://{value}")).ok(),
            Some('s') => world.server_name = value,
            Some('=' | '-') => written.push(Written {
                denies: letter == Some('-'),
                rules: vec![AuthorizationRule::default()],
            }),
            Some(letter) => {
                if let Some(policy) = written.last_mut() {
                    policy.add(letter, value);
                }
            }
            None => {}
        }
    }
    let compiled = told(&authorization(&written).judge(&facts(&world, &HeaderMap::new())));
    assert_eq!(
        compiled,
        naive::judge(&written, &world),
        "{written:?}, {world:?}"
    );
}

// === impl Written ===

impl Written {
    fn add(&mut self, letter: char, value: &str) {
        if letter == '+' {
            return self.rules.push(AuthorizationRule::default());
        }
        let Some(rule) = self.rules.last_mut() else {
            return;
        };
        if rule.from.is_empty() || letter == ',' {
            rule.from.push(From {
                source: Some(Source::default()),
            });
            rule.to.push(To {
                operation: Some(Operation::default()),
            });
        }
        let source = rule.from.last_mut().and_then(|it| it.source.as_mut());
        let operation = rule.to.last_mut().and_then(|it| it.operation.as_mut());
        let (Some(source), Some(operation)) = (source, operation) else {
            return;
        };
        let (negated, letter, value) = match letter {
            '!' => {
                let mut letters = value.chars();
                (true, letters.next().unwrap_or_default(), letters.as_str())
            }
            letter => (false, letter, value),
        };
        let list = match (letter, negated) {
            ('M', false) => &mut operation.methods,
            ('M', true) => &mut operation.not_methods,
            ('P', false) => &mut operation.paths,
            ('P', true) => &mut operation.not_paths,
            ('H', false) => &mut operation.hosts,
            ('H', true) => &mut operation.not_hosts,
            ('I', false) => &mut source.principals,
            ('I', true) => &mut source.not_principals,
            ('N', false) => &mut source.namespaces,
            ('N', true) => &mut source.not_namespaces,
            ('A', false) => &mut source.service_accounts,
            ('A', true) => &mut source.not_service_accounts,
            ('T', false) => &mut source.trust_domains,
            ('T', true) => &mut source.not_trust_domains,
            _ => return,
        };
        // What validation refuses is never compiled.
        let is_refused = letter == 'P' && PathTemplate::parse(value).is_err();
        if !value.is_empty() && !is_refused {
            list.push(value.to_owned());
        }
    }
}

fn authorization(written: &[Written]) -> Authorization {
    let counter = || IntCounter::new("matched", "matched").expect("a counter");
    let of = |denies: bool| {
        let own = written.iter().enumerate();
        let own = own.filter(move |(_, it)| it.denies == denies);
        own.map(|(at, it)| policy(at, it, counter())).collect()
    };
    Authorization {
        custom: Box::default(),
        deny: of(true),
        allow: of(false),
        audit: Box::default(),
        tried: Tried::default(),
        not_allowed: counter(),
        would_not_allow: counter(),
        looks_at_headers: false,
        trusted_hops: 0,
        trust_domains: TRUST_DOMAINS.map(Box::from).into(),
    }
}

fn policy(at: usize, written: &Written, matched: IntCounter) -> Policy {
    let compiler = RuleCompiler {
        namespace: "default",
        allows: !written.denies,
        trust_domains: &TRUST_DOMAINS.map(str::to_owned),
    };
    let action = match written.denies {
        true => Action::Deny,
        false => Action::Allow,
    };
    Policy {
        id: Arc::new(PolicyId {
            namespace: "default".into(),
            name: at.to_string().into(),
        }),
        action,
        dry_run: false,
        rules: written.rules.iter().map(|it| compiler.rule(it)).collect(),
        matched,
    }
}

fn facts<'r>(world: &'r World<'_>, headers: &'r HeaderMap) -> Facts<'r> {
    Facts {
        peer: world.peer.as_ref(),
        source_ip: None,
        remote_ip: None,
        destination_ip: None,
        destination_port: 80,
        server_name: world.server_name,
        request: Some(Request {
            method: world.method,
            target: world.path,
            authority: world.host,
            secure: true,
            headers,
            token: None,
        }),
    }
}

/// `allow`, `allow N[R]`, `deny N[R]` or `deny none`, by positions of policies and rules.
fn told(judgement: &Judgement) -> String {
    let by = |matched: &Matched| format!("{}[{}]", matched.policy.name, matched.rule);
    match judgement {
        Judgement::Allowed(None) => "allow".to_owned(),
        Judgement::Allowed(Some(matched)) => format!("allow {}", by(matched)),
        Judgement::Denied(Denial::Matched(matched) | Denial::Unasked(matched)) => {
            format!("deny {}", by(matched))
        }
        Judgement::Denied(Denial::NotAllowed) => "deny none".to_owned(),
    }
}
