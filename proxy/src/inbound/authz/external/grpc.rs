//! Authorizers that are asked by gRPC: `envoy.service.auth.v3.Authorization/Check`.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::message::{self, Check, Peer};
use crate::request::Downstream;
use crate::request::headers::{X_REQUEST_ID, is_hop_by_hop};
use crate::upstream::Outgoing;
use crate::upstream::question::Call;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What is asked about a request, in its frame. `raw` is whether its body is bytes rather than text.
pub(super) fn question(
    downstream: &Downstream,
    outgoing: &Outgoing,
    body: &Bytes,
    raw: bool,
) -> Bytes {
    let headers = &outgoing.head.headers;
    let security = downstream.security.as_ref();
    let principal = security.and_then(|it| it.principal.as_ref());
    let own = |addr: Option<SocketAddr>| addr.map(|it| (it.ip().to_canonical(), it.port()));
    let told = headers.iter().filter(|(name, _)| !is_hop_by_hop(name));
    let id = headers.get(&X_REQUEST_ID).map(|it| it.as_bytes());
    message::encode(&Check {
        source: Peer {
            addr: own(downstream.peer),
            principal: principal.map(|it| it.as_str()).unwrap_or_default(),
        },
        destination: Peer {
            addr: own(downstream.addressed()),
            principal: "",
        },
        id: id
            .and_then(|it| std::str::from_utf8(it).ok())
            .unwrap_or_default(),
        method: outgoing.head.method.as_str(),
        target: outgoing.target(),
        host: outgoing.authority.to_str().unwrap_or_default(),
        scheme: if security.is_some() { "https" } else { "http" },
        version: outgoing.head.version,
        headers: told
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
        body,
        raw,
        server_name: downstream.server_name().unwrap_or_default(),
    })
}

/// The call that asks.
pub(super) fn call(question: &Bytes, timeout: Duration, answer_bytes_max: usize) -> Call<'_> {
    Call {
        path: PATH,
        timeout,
        question,
        answer_bytes_max,
    }
}
