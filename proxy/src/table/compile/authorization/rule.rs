//! The rules of one policy.

use config::ip_block::IpBlock;
use config::resource::authorization_policy::{
    Attribute, AuthorizationRule, Condition as Written, Operation, Source,
};

use crate::inbound::authz::check::{Check, Field, PathPattern};
use crate::inbound::authz::pattern::{Glob, HostPattern, Patterns, TokenPattern};
use crate::inbound::authz::rule::{Clause, Condition, Rule};

/// A trust domain that in policies stands for that of the mesh, whatever that is called.
const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

/// Compiles the rules of one policy.
pub(super) struct RuleCompiler<'p> {
    /// Namespace of the policy.
    pub(super) namespace: &'p str,
    /// Whether its action is `ALLOW`.
    pub(super) allows: bool,
    /// Trust domains whose identities count as those of the mesh.
    pub(super) trust_domains: &'p [String],
}

/// Conditions in the making; `not` forms are made of the same checks.
#[derive(Default)]
struct Conditions {
    prefix: String,
    made: Vec<Condition>,
}

// === impl Conditions ===

impl Conditions {
    fn within(prefix: String) -> Self {
        Self {
            prefix,
            made: Vec::new(),
        }
    }

    /// Adds the check of `values`, if any are written.
    fn add(&mut self, field: &str, values: &[String], check: impl FnOnce(&[String]) -> Check) {
        self.push(field, values, false, check);
    }

    /// Adds the opposite of the check of `values`, if any are written.
    fn add_not(&mut self, field: &str, values: &[String], check: impl FnOnce(&[String]) -> Check) {
        self.push(field, values, true, check);
    }

    fn push(
        &mut self,
        field: &str,
        values: &[String],
        negated: bool,
        check: impl FnOnce(&[String]) -> Check,
    ) {
        if !values.is_empty() {
            self.made.push(Condition {
                check: check(values),
                negated,
                place: format!("{}{field}", self.prefix).into(),
            });
        }
    }

    fn finish(self) -> Clause {
        Clause(self.made.into())
    }
}

// === impl RuleCompiler ===

impl RuleCompiler<'_> {
    pub(super) fn rule(&self, written: &AuthorizationRule) -> Rule {
        let sources = written.from.iter().enumerate().map(|(at, from)| {
            let prefix = format!("from[{at}].source.");
            self.source(from.source.as_ref(), prefix)
        });
        let operations = written.to.iter().enumerate().map(|(at, to)| {
            let prefix = format!("to[{at}].operation.");
            operation(to.operation.as_ref(), prefix)
        });
        let mut when = Conditions::default();
        let mut unknown = false;
        for (at, condition) in written.when.iter().enumerate() {
            when.prefix = format!("when[{at}].");
            unknown |= !self.condition(condition, &mut when);
        }
        Rule {
            sources: sources.collect(),
            operations: operations.collect(),
            when: when.finish(),
            never: unknown && self.allows,
        }
    }

    fn source(&self, written: Option<&Source>, prefix: String) -> Clause {
        let mut made = Conditions::within(prefix);
        let Some(source) = written else {
            return made.finish();
        };
        let principals = |values: &[String]| self.principals(values);
        made.add("principals", &source.principals, principals);
        made.add_not("notPrincipals", &source.not_principals, principals);
        let tokens = &source.request_principals;
        made.add("requestPrincipals", tokens, token_principals);
        let tokens = &source.not_request_principals;
        made.add_not("notRequestPrincipals", tokens, token_principals);
        made.add("namespaces", &source.namespaces, namespaces);
        made.add_not("notNamespaces", &source.not_namespaces, namespaces);
        let accounts = |values: &[String]| self.accounts(values);
        made.add("serviceAccounts", &source.service_accounts, accounts);
        made.add_not("notServiceAccounts", &source.not_service_accounts, accounts);
        let domains = |values: &[String]| Check::TrustDomain(patterns(values));
        made.add("trustDomains", &source.trust_domains, domains);
        made.add_not("notTrustDomains", &source.not_trust_domains, domains);
        let direct = |values: &[String]| Check::SourceIp(blocks(values));
        made.add("ipBlocks", &source.ip_blocks, direct);
        made.add_not("notIpBlocks", &source.not_ip_blocks, direct);
        let remote = |values: &[String]| Check::RemoteIp(blocks(values));
        made.add("remoteIpBlocks", &source.remote_ip_blocks, remote);
        made.add_not("notRemoteIpBlocks", &source.not_remote_ip_blocks, remote);
        made.finish()
    }

    /// Adds a condition; `false` if it looks at what is not known here.
    fn condition(&self, written: &Written, made: &mut Conditions) -> bool {
        let Ok(attribute) = Attribute::parse(&written.key) else {
            return false;
        };
        if self.check(&attribute, &[]).is_none() {
            return false;
        }
        // With the same attribute the check is there for any values.
        let check = |values: &[String]| self.check(&attribute, values);
        for (negated, field, values) in [
            (false, "values", &written.values),
            (true, "notValues", &written.not_values),
        ] {
            if let Some(check) = check(values) {
                made.push(field, values, negated, |_| check);
            }
        }
        true
    }

    /// The check of an attribute; none if nothing here has it.
    fn check(&self, attribute: &Attribute, values: &[String]) -> Option<Check> {
        Some(match attribute {
            Attribute::RequestHeader(name) => Check::Header(Field::named(name)?, patterns(values)),
            Attribute::SourceIp => Check::SourceIp(blocks(values)),
            Attribute::RemoteIp => Check::RemoteIp(blocks(values)),
            Attribute::SourceNamespace => namespaces(values),
            Attribute::SourceServiceAccount => self.accounts(values),
            Attribute::SourceTrustDomain => Check::TrustDomain(patterns(values)),
            Attribute::SourcePrincipal => self.principals(values),
            Attribute::RequestPrincipal => token_principals(values),
            Attribute::RequestAudiences => Check::Audience(patterns(values)),
            Attribute::RequestPresenter => Check::Presenter(patterns(values)),
            Attribute::RequestClaim(path) => Check::Claim(path.clone().into(), patterns(values)),
            Attribute::DestinationIp => Check::DestinationIp(blocks(values)),
            Attribute::DestinationPort => Check::DestinationPort(ports(values)),
            Attribute::ConnectionSni => Check::ServerName(patterns(values)),
            Attribute::Experimental => return None,
        })
    }

    /// A principal of the mesh counts under every name of the mesh.
    fn principals(&self, values: &[String]) -> Check {
        let mut all: Vec<String> = Vec::new();
        for value in values {
            match value.split_once('/') {
                // Of a mesh that is called otherwise nobody is `cluster.local`: that would be a stranger.
                Some((domain, rest)) if self.is_own(domain) => {
                    let names = self.trust_domains.iter();
                    all.extend(names.map(|name| format!("{name}/{rest}")));
                }
                Some(_) | None => all.push(value.clone()),
            }
        }
        Check::Principal(patterns(&all))
    }

    /// Whether a trust domain in a policy means the mesh.
    fn is_own(&self, domain: &str) -> bool {
        let names_mesh = |name: &String| name == domain;
        let local = domain == LOCAL_TRUST_DOMAIN && !self.trust_domains.is_empty();
        local || self.trust_domains.iter().any(names_mesh)
    }

    /// `NAMESPACE/ACCOUNT`, or `ACCOUNT` of the policy's own namespace.
    fn accounts(&self, values: &[String]) -> Check {
        let account = |value: &String| match value.split_once('/') {
            Some((namespace, account)) => (namespace.into(), account.into()),
            None => (self.namespace.into(), value.as_str().into()),
        };
        Check::Account(values.iter().map(account).collect())
    }
}

fn operation(written: Option<&Operation>, prefix: String) -> Clause {
    let mut made = Conditions::within(prefix);
    let Some(operation) = written else {
        return made.finish();
    };
    let hosts =
        |values: &[String]| Check::Host(values.iter().map(|it| HostPattern::new(it)).collect());
    made.add("hosts", &operation.hosts, hosts);
    made.add_not("notHosts", &operation.not_hosts, hosts);
    let to_ports = |values: &[String]| Check::DestinationPort(ports(values));
    made.add("ports", &operation.ports, to_ports);
    made.add_not("notPorts", &operation.not_ports, to_ports);
    let methods = |values: &[String]| Check::Method(patterns(values));
    made.add("methods", &operation.methods, methods);
    made.add_not("notMethods", &operation.not_methods, methods);
    let paths =
        |values: &[String]| Check::Path(values.iter().map(|it| PathPattern::new(it)).collect());
    made.add("paths", &operation.paths, paths);
    made.add_not("notPaths", &operation.not_paths, paths);
    made.finish()
}

fn patterns(values: &[String]) -> Patterns {
    Patterns::new(values.iter().map(String::as_str))
}

fn namespaces(values: &[String]) -> Check {
    Check::Namespace(values.iter().map(|it| Glob::new(it)).collect())
}

fn token_principals(values: &[String]) -> Check {
    Check::RequestPrincipal(values.iter().map(|it| TokenPattern::new(it)).collect())
}

fn blocks(values: &[String]) -> Box<[IpBlock]> {
    values.iter().filter_map(|it| it.parse().ok()).collect()
}

fn ports(values: &[String]) -> Box<[u16]> {
    values.iter().filter_map(|it| it.parse().ok()).collect()
}
