//! What fuzzers call: each function takes bytes of a stranger and panics if what must hold does not.
//!
//! No part of the product: it is built for `tests/fuzz` (feature `fuzzing`) and for the unit test that
//! replays the corpus kept there.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use config::mesh::{Mesh, MeshSettings, Viewer};
use config::migrate::{Input, migrate};
use config::spiffe::SpiffeId;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;

use crate::dns_proxy;
use crate::inbound;
use crate::listener;
use crate::rate_limit::message;
pub(crate) use crate::request::path::Normalization;
use crate::request::path::normalize;
use crate::request::server;
use crate::source;
use crate::table::compile::{Compiler, Perspective, authorization_fuzz};
use crate::table::host::HostTable;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::tls;
use crate::tls::identity::workload_of;
use crate::upstream;

/// Most series of a destination's metrics.
const SERIES_MAX: usize = 100;

/// A name, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the names that `tests/fuzz` has for them.
pub const TARGETS: [Target; 18] = [
    ("authz", authz),
    ("client_hello", client_hello),
    ("compile", compile),
    ("control_response", control_response),
    ("detect", detect),
    ("dns_question", dns_question),
    ("hello", hello),
    ("http1_answer", http1_answer),
    ("http1_request", http1_request),
    ("http2_frames", http2_frames),
    ("jwt", jwt),
    ("migrate", migrate_files),
    ("path", path),
    ("proxy_protocol", proxy_protocol),
    ("rate_limit_answer", rate_limit_answer),
    ("signing_request", signing_request),
    ("spiffe", spiffe),
    ("yaml", yaml),
];

/// A request, and policies that judge it.
pub fn authz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        authorization_fuzz::policies(text);
    }
}

/// The first bytes of a connection to a port that terminates TLS, and the name they ask for.
pub fn client_hello(bytes: &[u8]) {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let name = hello.server_name().unwrap_or_default();
                let servers: HostTable<()> = HostTable::default();
                assert!(servers.find(name).is_none(), "nobody serves {name}");
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Configuration in which nothing is wrong. It can be compiled, and again with what is there already.
pub fn compile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let loaded = config::load::parse_and_analyze("fuzz.yaml", text, "default");
    if loaded.has_errors() || loaded.resources.is_empty() {
        return;
    }
    let perspective = Perspective {
        viewer: Viewer {
            namespace: "default".into(),
            labels: [("app".to_owned(), "app".to_owned())].into(),
        },
        identity: Identity::unknown(),
        cluster: "Kubernetes".into(),
        locality: None,
        bind: Ipv4Addr::UNSPECIFIED.into(),
        principal: "spiffe://cluster.local/ns/default/sa/default".into(),
        captures: false,
    };
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let mut compiler = Compiler::new(perspective, Metrics::new(Identity::unknown(), SERIES_MAX));
    let listeners = compiler.compile(&mesh).table.listeners.len();
    let again = compiler.compile(&mesh).table.listeners.len();
    assert_eq!(listeners, again);
}

/// The first bytes of a connection of which nobody said what it speaks.
pub fn detect(bytes: &[u8]) {
    listener::detect::fuzz::first_bytes(bytes);
}

/// A packet to where names are answered, and as the answer of a name server.
pub fn dns_question(bytes: &[u8]) {
    dns_proxy::fuzz::packet(bytes);
}

/// The first bytes of a connection to a gateway, and the name they ask for.
pub fn hello(bytes: &[u8]) {
    tls::hello::fuzz::greeting(bytes);
}

/// An answer of an upstream by HTTP/1, with its body.
pub fn http1_answer(bytes: &[u8]) {
    upstream::http1::fuzz::answer(bytes);
}

/// The head of a request by HTTP/1, and what of it is sent on.
pub fn http1_request(bytes: &[u8]) {
    server::http1::fuzz::request_head(bytes);
}

/// Frames of HTTP/2 as the guard follows them.
pub fn http2_frames(bytes: &[u8]) {
    server::http2_fuzz::frames(bytes);
}

/// A token, in all places that may hold one.
pub fn jwt(bytes: &[u8]) {
    inbound::jwt::fuzz::token(bytes);
}

/// Retired documents. What comes out must be documents.
pub fn migrate_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let input = Input {
        path: "fuzz.yaml".as_ref(),
        text,
    };
    let Ok(migrated) = migrate(&[input], "default") else {
        return;
    };
    let loaded = config::load::parse("new.yaml", &migrated.text, "default");
    let unreadable = |it: &&config::Problem| it.message.starts_with("is not YAML");
    if let Some(problem) = loaded.problems.iter().find(unreadable) {
        panic!("{problem} in\n{}", migrated.text);
    }
}

/// First bytes of a connection from a load balancer.
pub fn proxy_protocol(bytes: &[u8]) {
    listener::proxy_protocol::fuzz::run(bytes);
}

/// The path of a request. Its normal form must be stable.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if !text.starts_with('/') || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return;
    }
    for how in [
        Normalization::None,
        Normalization::Base,
        Normalization::MergeSlashes,
        Normalization::DecodeAndMergeSlashes,
    ] {
        let Ok(normal) = normalize(text, how) else {
            continue;
        };
        let normal = normal.unwrap_or_else(|| text.to_owned());
        assert!(normal.starts_with('/'), "{text} became {normal}");
        let again = normalize(&normal, how);
        let again = again.unwrap_or_else(|error| panic!("{normal}: {error}"));
        assert_eq!(again.as_ref().unwrap_or(&normal), &normal, "of {text}");
    }
}

/// What a control plane tells. Told again, it changes nothing.
pub fn control_response(bytes: &[u8]) {
    source::control::fuzz::response(bytes);
}

/// What a rate-limit service answers.
pub fn rate_limit_answer(bytes: &[u8]) {
    let _ = message::decode(bytes);
}

/// A signing request of a workload. One that passes is for the identity that was asked about.
pub fn signing_request(bytes: &[u8]) {
    let entitled = SpiffeId::workload("cluster.local", "default", "reviews");
    let entitled = entitled.expect("an identity");
    if let Ok(request) = authority::Request::from_der(bytes, &entitled) {
        assert_eq!(request.id(), &entitled);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = authority::Request::from_pem(text, &entitled);
    }
}

/// A text as an identity, which must survive its own text, and bytes as a certificate of a peer.
pub fn spiffe(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = SpiffeId::parse(text)
    {
        assert_eq!(SpiffeId::parse(id.as_str()).as_ref(), Ok(&id));
        let whole = format!("spiffe://{}{}", id.trust_domain(), id.path());
        assert_eq!(id.as_str(), whole);
        if let Some((namespace, account)) = id.account() {
            let again = SpiffeId::workload(id.trust_domain(), namespace, account);
            assert_eq!(again.as_ref(), Ok(&id));
        }
    }
    let _ = workload_of(&CertificateDer::from(bytes));
}

/// Configuration. It is right, or has problems.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let loaded = config::load::parse_and_analyze("fuzz.yaml", text, "default");
    for problem in &loaded.problems {
        assert!(problem.line > 0 && problem.column > 0, "{problem}");
    }
}
