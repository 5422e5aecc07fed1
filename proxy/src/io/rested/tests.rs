//! TLS over real sockets: what a server says while nobody asks.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::*;

type Server = server::TlsStream<UnixStream>;

/// A connection after its handshake, whose tickets were not read.
async fn connected() -> (Io, Server) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they fit");
    let verifier: Arc<dyn ServerCertVerifier> =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let (near, far) = StdUnixStream::pair().expect("a pair of sockets");
    let stream = |std: StdUnixStream| {
        std.set_nonblocking(true).expect("a socket option");
        UnixStream::from_std(std).expect("a runtime")
    };
    let name = ServerName::try_from("a.test").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (near, far) = tokio::join!(
        connector.connect(name, Io::Unix(stream(near))),
        acceptor.accept(stream(far))
    );
    let near = near.expect("a handshake");
    (Io::Tls(Box::new(near.into())), far.expect("a handshake"))
}

/// Lets the reactor see what there is to see.
async fn turn() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tickets_do_not_end_a_connection_that_rests() {
    let (mut near, mut far) = connected().await;

    turn().await;
    assert!(!near.has_unexpected_input());
    assert!(!near.has_unexpected_input_now());

    far.write_all(b"later").await.expect("written");
    far.flush().await.expect("sent");
    let mut read = [0; 5];
    near.read_exact(&mut read)
        .await
        .expect("still good for data");
    assert_eq!(&read, b"later");
}

#[tokio::test]
async fn the_system_is_asked_where_the_reactor_has_not_had_its_turn() {
    // Without a turn of the reactor between.
    let (mut near, mut far) = connected().await;
    assert!(!near.has_unexpected_input_now(), "tickets");

    far.write_all(b"x").await.expect("written");
    far.flush().await.expect("sent");
    assert!(near.has_unexpected_input_now(), "data");

    let (mut near, far) = connected().await;
    drop(far);
    assert!(near.has_unexpected_input_now(), "the end");
}

#[tokio::test]
async fn data_a_farewell_and_the_end_do() {
    let (mut near, mut far) = connected().await;
    far.write_all(b"x").await.expect("written");
    far.flush().await.expect("sent");
    turn().await;
    assert!(near.has_unexpected_input(), "data");

    let (mut near, mut far) = connected().await;
    far.shutdown().await.expect("said");
    turn().await;
    assert!(near.has_unexpected_input(), "a farewell");

    let (mut near, far) = connected().await;
    drop(far);
    turn().await;
    assert!(near.has_unexpected_input(), "the end");
}

#[tokio::test]
async fn what_was_decrypted_and_not_asked_for_is_found() {
    let (mut near, mut far) = connected().await;
    far.write_all(b"ab").await.expect("written");
    far.flush().await.expect("sent");
    turn().await;

    let mut first = [0; 1];
    near.read_exact(&mut first).await.expect("a byte");

    assert!(near.has_unexpected_input_now(), "the second one");
}
