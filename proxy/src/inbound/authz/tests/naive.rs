//! Authorization once more, straight from the written policies and with the plainest means: what is
//! compiled must agree. It shares nothing with it but the written types.

use std::net::IpAddr;

use config::resource::authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationRule, Condition, Operation, Source,
};
use serde_json::Value;

/// A connection, and the request on it if there is one.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub(super) peer: Option<String>,
    pub(super) ip: IpAddr,
    pub(super) to: IpAddr,
    pub(super) port: u16,
    pub(super) sni: String,
    pub(super) http: Option<Http>,
}

#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) claims: Option<Value>,
}

/// Trust domains that are one.
pub(super) const TRUST_DOMAINS: [&str; 2] = ["cluster.local", "td2"];

/// As cases are told: `allow`, `allow N[R]`, `deny N[R]` or `deny none`, by positions of the policies.
pub(super) fn judge(policies: &[AuthorizationPolicy], world: &World) -> String {
    let action = |policy: &AuthorizationPolicy| policy.action.unwrap_or(Action::Allow);
    for (at, policy) in policies.iter().enumerate() {
        if action(policy) == Action::Deny
            && let Some(rule) = matching(policy, world)
        {
            return format!("deny p{at}[{rule}]");
        }
    }
    let mut any = false;
    for (at, policy) in policies.iter().enumerate() {
        if action(policy) == Action::Allow {
            any = true;
            if let Some(rule) = matching(policy, world) {
                return format!("allow p{at}[{rule}]");
            }
        }
    }
    if any { "deny none" } else { "allow" }.to_owned()
}

fn matching(policy: &AuthorizationPolicy, world: &World) -> Option<usize> {
    let allows = policy.action.unwrap_or(Action::Allow) == Action::Allow;
    policy.rules.iter().position(|rule| {
        if world.http.is_none() && allows && mentions_http(rule) {
            return false;
        }
        let from = rule.from.is_empty()
            || rule
                .from
                .iter()
                .any(|it| it.source.as_ref().is_none_or(|it| source(it, world)));
        let to = rule.to.is_empty()
            || rule
                .to
                .iter()
                .any(|it| it.operation.as_ref().is_none_or(|it| operation(it, world)));
        from && to && rule.when.iter().all(|it| condition(it, world))
    })
}

fn mentions_http(rule: &AuthorizationRule) -> bool {
    rule.from
        .iter()
        .filter_map(|it| it.source.as_ref())
        .any(|it| !it.request_principals.is_empty() || !it.not_request_principals.is_empty())
        || rule
            .to
            .iter()
            .filter_map(|it| it.operation.as_ref())
            .any(|it| {
                !it.hosts.is_empty()
                    || !it.not_hosts.is_empty()
                    || !it.methods.is_empty()
                    || !it.not_methods.is_empty()
                    || !it.paths.is_empty()
                    || !it.not_paths.is_empty()
            })
        || rule
            .when
            .iter()
            .any(|it| it.key.starts_with("request.") && says_something(it))
}

/// Validation lets no other pass.
fn says_something(it: &Condition) -> bool {
    !it.values.is_empty() || !it.not_values.is_empty()
}

/// Both lists of a field: one of the first, if there are any, and none of the second.
fn both(yes: &[String], no: &[String], is: impl Fn(&str) -> bool) -> bool {
    (yes.is_empty() || yes.iter().any(|it| is(it))) && !no.iter().any(|it| is(it))
}

fn source(it: &Source, world: &World) -> bool {
    both(&it.principals, &it.not_principals, |v| principal(v, world))
        && both(&it.namespaces, &it.not_namespaces, |v| namespace(v, world))
        && both(&it.service_accounts, &it.not_service_accounts, |v| {
            account(v, world)
        })
        && both(&it.trust_domains, &it.not_trust_domains, |v| {
            trust_domain(v, world)
        })
        && both(&it.ip_blocks, &it.not_ip_blocks, |v| in_block(v, world.ip))
        && both(&it.remote_ip_blocks, &it.not_remote_ip_blocks, |v| {
            in_block(v, world.ip)
        })
        && world.http.as_ref().is_none_or(|http| {
            let (yes, no) = (&it.request_principals, &it.not_request_principals);
            both(yes, no, |v| request_principal(v, http))
        })
}

fn operation(it: &Operation, world: &World) -> bool {
    both(&it.ports, &it.not_ports, |v| v == world.port.to_string())
        && world.http.as_ref().is_none_or(|http| {
            both(&it.hosts, &it.not_hosts, |v| host(v, &http.host))
                && both(&it.methods, &it.not_methods, |v| like(v, &http.method))
                && both(&it.paths, &it.not_paths, |v| like(v, &http.path))
        })
}

fn condition(it: &Condition, world: &World) -> bool {
    let is = |v: &str| match it.key.as_str() {
        "source.ip" | "remote.ip" => in_block(v, world.ip),
        "destination.ip" => in_block(v, world.to),
        "destination.port" => v == world.port.to_string(),
        "source.namespace" => namespace(v, world),
        "source.principal" => principal(v, world),
        "source.serviceAccount" => account(v, world),
        "source.trustDomain" => trust_domain(v, world),
        "connection.sni" => like(v, &world.sni),
        key => world
            .http
            .as_ref()
            .is_some_and(|http| of_http(key, v, http)),
    };
    let lost = world.http.is_none() && it.key.starts_with("request.");
    lost || both(&it.values, &it.not_values, is)
}

fn of_http(key: &str, v: &str, http: &Http) -> bool {
    if let Some(name) = key.strip_prefix("request.headers[") {
        let name = name.trim_end_matches(']');
        let lines = http
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        return !lines.is_empty() && (v == "*" || like(v, &lines.join(",")));
    }
    let Some(claims) = &http.claims else {
        return false;
    };
    let value = match key {
        "request.auth.principal" => return request_principal(v, http),
        "request.auth.audiences" => &claims["aud"],
        "request.auth.presenter" => &claims["azp"],
        "request.auth.claims[groups]" => &claims["groups"],
        _ => panic!("{key}"),
    };
    match value {
        Value::String(text) => like(v, text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).any(|it| like(v, it)),
        _ => false,
    }
}

/// `*` at one end.
fn like(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        !text.is_empty()
    } else if let Some(end) = pattern.strip_prefix('*') {
        text.ends_with(end)
    } else if let Some(beginning) = pattern.strip_suffix('*') {
        text.starts_with(beginning)
    } else {
        pattern == text
    }
}

fn host(pattern: &str, authority: &str) -> bool {
    let (pattern, authority) = (pattern.to_lowercase(), authority.to_lowercase());
    let name = authority.split(':').next().unwrap_or_default();
    like(&pattern, &authority) || like(&pattern, name.trim_end_matches('.'))
}

fn principal(pattern: &str, world: &World) -> bool {
    let Some(peer) = &world.peer else {
        return false;
    };
    let mut patterns = vec![pattern.to_owned()];
    if let Some((domain, rest)) = pattern.split_once('/')
        && TRUST_DOMAINS.contains(&domain)
    {
        patterns.extend(TRUST_DOMAINS.map(|domain| format!("{domain}/{rest}")));
    }
    patterns.iter().any(|it| like(it, peer))
}

fn parts(world: &World) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = world.peer.as_deref()?.split('/').collect();
    match parts[..] {
        [domain, "ns", namespace, "sa", account] => Some((domain, namespace, account)),
        _ => panic!("a peer of the wrong form"),
    }
}

fn namespace(pattern: &str, world: &World) -> bool {
    parts(world).is_some_and(|(_, namespace, _)| pattern == "*" || like(pattern, namespace))
}

fn account(value: &str, world: &World) -> bool {
    let full = match value.contains('/') {
        true => value.to_owned(),
        false => format!("default/{value}"),
    };
    parts(world).is_some_and(|(_, namespace, account)| full == format!("{namespace}/{account}"))
}

fn trust_domain(pattern: &str, world: &World) -> bool {
    parts(world).is_some_and(|(domain, ..)| like(pattern, domain))
}

fn request_principal(pattern: &str, http: &Http) -> bool {
    let claim = |name: &str| http.claims.as_ref().and_then(|it| it[name].as_str());
    let (Some(issuer), Some(subject)) = (claim("iss"), claim("sub")) else {
        return false;
    };
    match pattern.rsplit_once('/') {
        None => pattern == "*",
        Some((i, s)) => like(i, issuer) && like(s, subject),
    }
}

fn in_block(block: &str, ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else {
        panic!("an address of IPv4");
    };
    let (first, bits) = block.split_once('/').unwrap_or((block, "32"));
    let first: std::net::Ipv4Addr = first.parse().expect("an address");
    let bits: u32 = bits.parse().expect("a number");
    (0..bits).all(|bit| {
        let bit = 31 - bit;
        (u32::from(first) >> bit) & 1 == (u32::from(ip) >> bit) & 1
    })
}
