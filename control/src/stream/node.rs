//! Who a stream is for: what its first request says, and what its caller proved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use config::mesh::Viewer;
use config::spiffe::SpiffeId;
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::Request;

use crate::identity::{Caller, Counted, Proof};
use crate::proto::discovery::Node;
use crate::scope::Proxy;

/// Most characters of a name or a namespace, as Kubernetes has it.
const NAME_CHARS_MAX: usize = 253;
/// Most labels of a workload, and most characters of one with its value.
const LABELS_MAX: usize = 256;
const LABEL_CHARS_MAX: usize = 512;

/// Who is on the other side of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// What it proved; nothing on the port without TLS.
    pub(super) identity: Option<SpiffeId>,
    /// The pod that its token is bound to, if it is to one.
    pub(super) pod: Option<Arc<str>>,
    /// How it proved all that.
    pub(super) proof: Option<Proof>,
    /// Its address.
    pub(super) address: Option<SocketAddr>,
}

/// Why a stream is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it does not say who it is for")]
    NoNode,
    #[error("what it says of itself is malformed: {0}")]
    Malformed(&'static str),
    #[error("its identity is of no workload")]
    NotAWorkload,
    #[error("it says to be in namespace {0}, which is not its own")]
    Namespace(String),
    #[error("it says to have account {0}, which is not its own")]
    Account(String),
    #[error("it says to be {0}, which is not its own pod")]
    Pod(String),
}

// === impl Peer ===

impl Peer {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let caller = request.extensions().get::<Caller>();
        Self {
            identity: caller.map(|it| it.id.clone()),
            pod: caller.and_then(|it| it.pod.clone()),
            proof: caller.map(|it| it.proof),
            address: request.remote_addr(),
        }
    }

    /// Whom its streams are counted for.
    pub(super) fn counted(&self) -> Counted {
        let address = self.address.map(|it| it.ip());
        Counted::of(self.identity.as_ref(), self.pod.as_ref(), address)
    }

    /// What it proved, as text; empty if nothing.
    pub(super) fn identity(&self) -> String {
        let identity = self.identity.as_ref();
        identity.map(ToString::to_string).unwrap_or_default()
    }
}

// === impl Refused ===

impl Refused {
    /// For a series.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoNode | Self::Malformed(_) => "malformed",
            Self::NotAWorkload | Self::Namespace(_) | Self::Account(_) | Self::Pod(_) => "identity",
        }
    }
}

/// The proxy that a stream is for. What its caller proved counts; nothing that the node says may
/// contradict it.
pub(super) fn admit(node: Option<&Node>, peer: &Peer) -> Result<Proxy, Refused> {
    let node = node.ok_or(Refused::NoNode)?;
    let metadata = node.metadata.as_ref();
    let namespace = text(metadata, "NAMESPACE");
    let namespace = namespace.filter(|it| is_name(it));
    let namespace = namespace.ok_or(Refused::Malformed("NAMESPACE"))?;
    let name = node.id.strip_suffix(namespace);
    let name = name.and_then(|it| it.strip_suffix('.'));
    let name = name.filter(|it| is_name(it));
    let name = name.ok_or(Refused::Malformed("id"))?;
    let account = match &peer.identity {
        None => None,
        Some(identity) => {
            let (own, account) = identity.account().ok_or(Refused::NotAWorkload)?;
            if own != namespace {
                return Err(Refused::Namespace(namespace.to_owned()));
            }
            if let Some(said) = text(metadata, "SERVICE_ACCOUNT")
                && said != account
            {
                return Err(Refused::Account(
                    said.chars().take(NAME_CHARS_MAX).collect(),
                ));
            }
            Some(Arc::from(account))
        }
    };
    if peer.pod.as_deref().is_some_and(|pod| pod != name) {
        return Err(Refused::Pod(name.to_owned()));
    }
    Ok(Proxy {
        viewer: Viewer {
            namespace: namespace.to_owned(),
            labels: labels(metadata)?,
        },
        name: name.into(),
        account,
    })
}

fn text<'n>(metadata: Option<&'n Struct>, field: &str) -> Option<&'n str> {
    match metadata?.fields.get(field)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn labels(metadata: Option<&Struct>) -> Result<BTreeMap<String, String>, Refused> {
    const MALFORMED: Refused = Refused::Malformed("LABELS");
    let written = metadata.and_then(|it| it.fields.get("LABELS")?.kind.as_ref());
    let fields = match written {
        None | Some(Kind::NullValue(_)) => return Ok(BTreeMap::new()),
        Some(Kind::StructValue(labels)) => &labels.fields,
        Some(_) => return Err(MALFORMED),
    };
    if fields.len() > LABELS_MAX {
        return Err(MALFORMED);
    }
    let label = |(name, value): (&String, &prost_types::Value)| match &value.kind {
        Some(Kind::StringValue(value)) if name.len() + value.len() <= LABEL_CHARS_MAX => {
            Ok((name.clone(), value.clone()))
        }
        _ => Err(MALFORMED),
    };
    fields.iter().map(label).collect()
}

/// Whether a text can be the name of a workload or a namespace. Others have no place in logs.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.bytes().all(legal)
}

#[cfg(test)]
mod tests;
