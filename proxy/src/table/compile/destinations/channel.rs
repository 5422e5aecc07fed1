//! How the endpoints of a destination are spoken to below HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;

use config::resource::destination_rule::{ClientTls, ClientTlsMode};
use rustls::pki_types::{DnsName, ServerName};

use super::host::Host;
use crate::tls::certificates::{Certificates, Clients};
use crate::tls::client::{Belief, Channel, Own, Shut, Terms, TlsClient};
use crate::tls::identity::WorkloadIdentity;
use crate::upstream::destination::{Destination, DestinationKey};

/// What connections can be secured with.
#[derive(Debug, Clone, Default)]
pub(super) struct Means {
    clients: Arc<Clients>,
    identity: Option<Arc<WorkloadIdentity>>,
}

/// A destination that is being built.
pub(super) struct Built<'b> {
    pub(super) means: &'b Means,
    pub(super) host: &'b Host,
    pub(super) key: &'b DestinationKey,
    pub(super) before: Option<&'b Destination>,
}

// === impl Means ===

impl Means {
    pub(super) fn of(certificates: &Certificates) -> Self {
        Self {
            clients: Arc::clone(certificates.clients()),
            identity: certificates.identity().cloned(),
        }
    }

    /// Whether we can prove who we are.
    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether whatever is secured with them stays as it is.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_identity = match (&self.identity, &other.identity) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_identity && self.clients.is_same(&other.clients)
    }
}

// === impl Built ===

impl Built<'_> {
    /// As a rule asks.
    pub(super) fn channel(&self, tls: &ClientTls) -> Channel {
        let made = match tls.mode.unwrap_or(ClientTlsMode::Disable) {
            ClientTlsMode::Disable => return Channel::Plain,
            ClientTlsMode::Simple | ClientTlsMode::Mutual => self.to_host(tls),
            ClientTlsMode::IstioMutual => self.to_workload(tls),
        };
        made.map_or_else(Channel::Shut, Channel::Tls)
    }

    /// Where no rule says anything: as workloads of the mesh speak to each other.
    pub(super) fn channel_of_mesh(&self) -> Channel {
        self.channel(&ClientTls {
            mode: Some(ClientTlsMode::IstioMutual),
            ..ClientTls::default()
        })
    }

    /// To a server that is known by the names of hosts.
    fn to_host(&self, tls: &ClientTls) -> Result<Arc<TlsClient>, Shut> {
        if written(tls.credential_name.as_ref()).is_some() {
            return Err(Shut::Credential);
        }
        let server_name = match written(tls.sni.as_ref()) {
            Some(sni) => Some(asked(sni).ok_or(Shut::ServerName)?),
            None => self.host_name(),
        };
        let belief = match tls.insecure_skip_verify {
            Some(true) => Belief::Anyone,
            Some(false) | None => self.by_names(tls, server_name.as_deref())?,
        };
        let (own, certified) = match tls.mode {
            Some(ClientTlsMode::Mutual) => {
                let certified = self.means.clients.own(tls).ok_or(Shut::Files)?;
                let file = tls.client_certificate.as_deref().unwrap_or_default();
                (Own::Named(file.into()), Some(certified))
            }
            Some(ClientTlsMode::Simple | ClientTlsMode::Disable | ClientTlsMode::IstioMutual)
            | None => (Own::Nobody, None),
        };
        let terms = Terms {
            own,
            server_name,
            belief,
        };
        TlsClient::new(terms, certified, self.clients())
    }

    /// Names of the rule, else of the service, else the one that is asked for.
    fn by_names(&self, tls: &ClientTls, server_name: Option<&str>) -> Result<Belief, Shut> {
        let service = &self.host.service.subject_alt_names;
        let of_rule_or_service = [texts(&tls.subject_alt_names), texts(service)];
        let names = of_rule_or_service.into_iter().find(|it| !it.is_empty());
        let names = names.unwrap_or_else(|| server_name.map(Box::from).into_iter().collect());
        if names.is_empty() {
            return Err(Shut::Name);
        }
        let missing = match written(tls.ca_certificates.as_ref()) {
            Some(_) => Shut::Files,
            None => Shut::Authorities,
        };
        let authorities = self.means.clients.authorities(tls).ok_or(missing)?;
        Ok(Belief::Host {
            authorities: Arc::clone(authorities),
            names: names.into(),
        })
    }

    /// To a workload of the mesh.
    fn to_workload(&self, tls: &ClientTls) -> Result<Arc<TlsClient>, Shut> {
        let identity = self.means.identity.as_ref().ok_or(Shut::Identity)?;
        let server_name = match written(tls.sni.as_ref()) {
            Some(sni) => Some(asked(sni).ok_or(Shut::ServerName)?),
            None => asked(&self.key.server_name()),
        };
        let written = texts(&tls.subject_alt_names);
        let expected = match written.is_empty() {
            true => self.identities(identity),
            false => written.into(),
        };
        let terms = Terms {
            own: Own::Workload(identity.id.clone()),
            server_name,
            belief: Belief::Workload {
                trust: identity.trust.clone(),
                expected,
            },
        };
        TlsClient::new(terms, Some(&identity.certified), self.clients())
    }

    /// Who is known to serve the host; nobody if that is not known.
    fn identities(&self, identity: &WorkloadIdentity) -> Arc<[Box<str>]> {
        let service = &self.host.service;
        let accounts = service.endpoints.iter();
        let accounts: BTreeSet<&str> = accounts
            .filter_map(|endpoint| written(endpoint.service_account.as_ref()))
            .collect();
        let domains = &identity.trust.domains;
        let of_account = |account: &&str| {
            let (namespace, account) = (&service.namespace, (*account).to_owned());
            domains.iter().map(move |domain| {
                format!("spiffe://{domain}/ns/{namespace}/sa/{account}").into_boxed_str()
            })
        };
        let of_accounts = accounts.iter().flat_map(of_account);
        let named = texts(&service.subject_alt_names);
        let all: BTreeSet<Box<str>> = of_accounts.chain(named).collect();
        all.into_iter().collect()
    }

    /// What a host is called in TLS, unless it stands for many.
    fn host_name(&self) -> Option<Box<str>> {
        let host = &*self.host.name;
        ServerName::try_from(host).is_ok().then(|| host.into())
    }

    /// How the destination was secured until now.
    fn clients(&self) -> impl Iterator<Item = &Arc<TlsClient>> {
        let members = self.before.into_iter().flat_map(Destination::members);
        members.filter_map(|member| match &member.channel {
            Channel::Tls(tls) => Some(tls),
            Channel::Plain | Channel::Shut(_) => None,
        })
    }
}

/// A name that a server can be asked for.
fn asked(name: &str) -> Option<Box<str>> {
    DnsName::try_from(name).is_ok().then(|| name.into())
}

fn texts(written: &[String]) -> Vec<Box<str>> {
    let texts = written.iter().filter(|text| !text.is_empty());
    texts.map(|text| text.as_str().into()).collect()
}

fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
