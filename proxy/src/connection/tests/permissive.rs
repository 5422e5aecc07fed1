//! Ports that take both mutual TLS and plain text.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::scene::{Scene, hear};
use super::{GREETING, REQUEST};
use crate::connection::early::PERMISSIVE_GRACE;
use crate::table::{Speaks, Transport};
use crate::tls::fixture::{self, Authority, DOMAIN, WORKLOAD};
use crate::tls::identity::WorkloadIdentity;
use crate::tls::mutual;
use crate::upstream::spoken::Spoke;

struct Mesh {
    authority: Authority,
    scene: Scene,
}

// === impl Mesh ===

impl Mesh {
    fn new(speaks: Speaks, transport: fn(Arc<WorkloadIdentity>) -> Transport) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder for the test");
        authority.write_identity(folder.path(), |_| {});
        let own = WorkloadIdentity::read(folder.path(), &[]).expect("an identity");
        Self {
            authority,
            scene: Scene::with(speaks, transport(Arc::new(own))),
        }
    }

    /// A client that has shaken hands.
    async fn connect(&self, protocols: &[&[u8]]) -> TlsStream<DuplexStream> {
        self.handshake(self.scene.connect(), protocols).await
    }

    async fn handshake(
        &self,
        client: DuplexStream,
        protocols: &[&[u8]],
    ) -> TlsStream<DuplexStream> {
        let own = self.authority.leaf(&[WORKLOAD], |_| {});
        let trust = self.authority.trust(&[DOMAIN]);
        let config = fixture::client(&own, &trust, [], protocols).expect("a client");
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("any").expect("a name");
        let connecting = connector.connect(name, client);
        connecting.await.expect("a handshake")
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_in_plain_text_hears_its_server_after_a_short_grace() {
    for speaks in [Speaks::Unknown, Speaks::Opaque] {
        let mesh = Mesh::new(speaks, Transport::Permissive);
        let start = Instant::now();

        let mut client = mesh.scene.connect();
        let mut server = mesh.scene.accept().await;
        assert!(start.elapsed().abs_diff(PERMISSIVE_GRACE) <= Duration::from_millis(1));
        server.write_all(GREETING).await.expect("room");

        assert_eq!(hear(&mut client, GREETING.len()).await, GREETING);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_in_mutual_tls_hears_its_server_at_once() {
    for transport in [Transport::Permissive, |own| Transport::Strict(Some(own))] {
        for speaks in [Speaks::Unknown, Speaks::Opaque] {
            let mesh = Mesh::new(speaks, transport);
            let start = Instant::now();

            let mut client = mesh.connect(&[b"istio"]).await;
            let mut server = mesh.scene.accept().await;
            server.write_all(GREETING).await.expect("room");
            let mut heard = vec![0; GREETING.len()];
            client.read_exact(&mut heard).await.expect("a greeting");

            assert_eq!(heard, GREETING);
            assert!(start.elapsed() < Duration::from_millis(5));
            assert_eq!(mesh.scene.connects(), 1);
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_greeting_that_comes_late_is_heard_still_if_nobody_has_spoken() {
    let mesh = Mesh::new(Speaks::Unknown, Transport::Permissive);
    let own = mesh.authority.leaf(&[WORKLOAD], |_| {});
    let trust = mesh.authority.trust(&[DOMAIN]);
    let client = fixture::client(&own, &trust, [], &[b"istio"]).expect("a client");
    let connector = TlsConnector::from(Arc::new(client));
    let io = mesh.scene.connect();

    let mut too_early = mesh.scene.accept().await;
    let name = ServerName::try_from("any").expect("a name");
    let mut client = connector.connect(name, io).await.expect("a handshake");
    assert_eq!(too_early.read(&mut [0; 1]).await.expect("an end"), 0);
    client.write_all(b"hello\n").await.expect("room");

    let mut server = mesh.scene.accept().await;
    assert_eq!(hear(&mut server, 6).await, b"hello\n");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_was_agreed_upon_in_mutual_tls_is_not_looked_for() {
    for protocols in [mutual::HTTP1_ALPN, &[b"istio-http/1.0".as_slice()]] {
        let mesh = Mesh::new(Speaks::Unknown, Transport::Permissive);

        let mut client = mesh.connect(protocols).await;
        client.write_all(REQUEST).await.expect("room");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");

        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert_eq!(mesh.scene.connects(), 0);
        assert_eq!(mesh.scene.spoken(), []);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn tls_that_is_not_of_the_mesh_is_the_workloads_own() {
    let mesh = Mesh::new(Speaks::Unknown, Transport::Permissive);
    let own = mesh.authority.leaf(&[WORKLOAD], |_| {});
    let trust = mesh.authority.trust(&[DOMAIN]);
    let client = fixture::client(&own, &trust, [], &[b"h2", b"http/1.1"]).expect("a client");
    let io = mesh.scene.connect();
    let name = ServerName::try_from("any").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    tokio::task::spawn_local(async move { connector.connect(name, io).await.map(|_| ()) });

    let mut server = mesh.scene.accept().await;

    let handshake = 22;
    assert_eq!(hear(&mut server, 1).await, [handshake]);
    assert_eq!(mesh.scene.spoken(), [(Spoke::Tls, 1)]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn where_mutual_tls_is_demanded_plain_text_reaches_nobody() {
    for speaks in [Speaks::Unknown, Speaks::Opaque, Speaks::Tls] {
        let mesh = Mesh::new(speaks, |own| Transport::Strict(Some(own)));

        let mut client = mesh.scene.connect();
        client.write_all(b"hello\n").await.expect("room");

        assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
        assert_eq!(mesh.scene.connects(), 0);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_greeting_that_is_on_its_way_when_a_drain_begins_is_answered() {
    let mesh = Mesh::new(Speaks::Opaque, |own| Transport::Strict(Some(own)));
    mesh.scene.drain();
    let silent = mesh.scene.connect();
    tokio::time::sleep(Duration::from_millis(50)).await;

    let mut client = mesh.handshake(silent, &[b"istio"]).await;
    let mut server = mesh.scene.accept().await;
    server.write_all(GREETING).await.expect("room");
    let mut heard = vec![0; GREETING.len()];
    client.read_exact(&mut heard).await.expect("a greeting");

    assert_eq!(heard, GREETING);
}
