//! Handshakes through memory, with a client of the library.

use std::sync::Arc;
use std::time::Duration;

use rcgen::date_time_ymd;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::fixture::{self, Authority, DOMAIN, WORKLOAD};
use crate::tls::handshakes::Handshakes;

/// Room for a whole handshake.
const PIPE_BYTES: usize = 64 * 1024;

fn identity(authority: &Authority) -> WorkloadIdentity {
    let folder = tempfile::tempdir().expect("a folder for the test");
    authority.write_identity(folder.path(), |_| {});
    WorkloadIdentity::read(folder.path(), &[]).expect("an identity")
}

fn client(authority: &Authority, protocols: &[&[u8]]) -> ClientConfig {
    let own = authority.leaf(&[WORKLOAD], |_| {});
    fixture::client(&own, &authority.trust(&[DOMAIN]), [], protocols).expect("a client")
}

fn shaking() -> Shaking {
    Handshakes::default().begin(None)
}

/// Shakes hands with a client whose first bytes come in pieces of a size; the client reads until the
/// end of the connection.
async fn shake_hands_in(
    identity: &WorkloadIdentity,
    client: &Arc<ClientConfig>,
    piece: usize,
) -> Result<Secured, HandshakeError> {
    let (near, mut far) = duplex(PIPE_BYTES);
    let connector = TlsConnector::from(Arc::clone(client));
    let name = ServerName::try_from("any").expect("a name");
    let connecting = tokio::spawn(async move {
        let Ok(mut tls) = connector.connect(name, near).await else {
            return;
        };
        // Tickets come behind the handshake.
        let _ = tls.read_u8().await;
    });
    let mut first = vec![0; piece];
    let read = far.read(&mut first).await.expect("a greeting");
    let secured = accept(
        identity,
        BytesMut::from(&first[..read]),
        Io::Memory(far),
        &shaking(),
    )
    .await;
    let secured = match secured {
        Ok(mut secured) => {
            secured.io.write_all(b"x").await.expect("a byte");
            Ok(secured)
        }
        Err(error) => Err(error),
    };
    connecting.await.expect("no panic");
    secured
}

#[tokio::test]
async fn a_client_is_let_in_however_its_greeting_is_cut() {
    let authority = Authority::new();
    let identity = identity(&authority);
    let client = Arc::new(client(&authority, mutual::HTTP2_ALPN));

    for piece in [1, 5, 100, PIPE_BYTES] {
        let secured = shake_hands_in(&identity, &client, piece).await;

        let secured = secured.expect("a handshake");
        assert_eq!(secured.protocol, Agreed::Http2);
        let principal = secured.security.principal.expect("a principal");
        assert_eq!(principal.as_str(), WORKLOAD);
        assert!(secured.security.forwarded.is_some());
    }
}

#[tokio::test]
async fn what_is_spoken_is_agreed_by_the_names_of_istio_too() {
    let authority = Authority::new();
    let identity = identity(&authority);
    for (protocols, agreed) in [
        (&[][..], Agreed::Other),
        (mutual::HTTP1_ALPN, Agreed::Http1),
        (mutual::HTTP2_ALPN, Agreed::Http2),
        (&[b"h2"], Agreed::Http2),
        (&[b"http/1.1"], Agreed::Http1),
        (&[b"istio-peer-exchange", b"istio"], Agreed::Other),
    ] {
        let client = Arc::new(client(&authority, protocols));

        let secured = shake_hands_in(&identity, &client, PIPE_BYTES).await;

        assert_eq!(
            secured.expect("a handshake").protocol,
            agreed,
            "{protocols:?}"
        );
    }
}

#[tokio::test]
async fn a_session_goes_on_at_the_same_identity_and_not_at_its_successor() {
    let authority = Authority::new();
    let (first, successor) = (identity(&authority), identity(&authority));
    let client = Arc::new(client(&authority, &[]));
    let resumed = |secured: Secured| match &secured.io {
        Io::Tls(tls) => tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        _ => panic!("not in TLS"),
    };

    for (identity, expected) in [(&first, false), (&first, true), (&successor, false)] {
        let secured = shake_hands_in(identity, &client, PIPE_BYTES).await;

        assert_eq!(resumed(secured.expect("a handshake")), expected);
    }
}

#[test]
fn a_session_of_a_certificate_that_expired_meanwhile_is_refused() {
    let leaf = Authority::new().leaf(&[WORKLOAD], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
    });
    let day = Duration::from_secs(86_400);
    let facts = CertificateFacts::read(&leaf.cert[0], Purpose::Identity, "".as_ref());
    let end = facts.expect("read").not_after;

    assert_eq!(check_dates(&leaf.cert[0], end), Ok(()));
    assert_eq!(
        check_dates(&leaf.cert[0], end + day),
        Err(PeerFault::Expired)
    );
}

#[tokio::test]
async fn a_client_without_resumption_is_let_in_each_time() {
    let authority = Authority::new();
    let identity = identity(&authority);
    let mut client = client(&authority, &[]);
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);

    for _ in 0..2 {
        let secured = shake_hands_in(&identity, &client, PIPE_BYTES).await;
        assert!(secured.is_ok());
    }
}

#[tokio::test]
async fn a_client_of_an_old_version_hears_why_it_is_refused() {
    let identity = identity(&Authority::new());
    // TLS 1.1 with one suite and no extensions.
    let mut hello = vec![HANDSHAKE, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    let (mut near, far): (DuplexStream, DuplexStream) = duplex(PIPE_BYTES);

    let refused = accept(
        &identity,
        BytesMut::from(&hello[..]),
        Io::Memory(far),
        &shaking(),
    )
    .await;

    let error = refused.expect_err("an old version");
    assert_eq!(error.cause(), "tls_incompatible");
    let mut alert = Vec::new();
    near.read_to_end(&mut alert).await.expect("an alert");
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_its_handshake_is_not_waited_for_long() {
    let start = tokio::time::Instant::now();
    let (_near, far) = duplex(PIPE_BYTES);
    let identity = identity(&Authority::new());

    let ended = accept(
        &identity,
        BytesMut::from(&[HANDSHAKE][..]),
        Io::Memory(far),
        &shaking(),
    )
    .await;

    assert_eq!(ended.expect_err("no handshake").cause(), "tls_timeout");
    assert_eq!(start.elapsed(), HANDSHAKE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_is_longer_than_any_is_not_waited_for() {
    let start = tokio::time::Instant::now();
    let (_near, far) = duplex(PIPE_BYTES);
    let identity = identity(&Authority::new());
    // The beginning of a greeting that says that it has 20 KiB.
    let hello = [HANDSHAKE, 3, 1, 0, 4, 1, 0, 0x50, 0];

    let refused = accept(
        &identity,
        BytesMut::from(&hello[..]),
        Io::Memory(far),
        &shaking(),
    )
    .await;

    let error = refused.expect_err("no greeting");
    assert_eq!(error.cause(), "tls_protocol_error");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[test]
fn only_tls_begins_as_tls_does() {
    assert!(is_tls(&[HANDSHAKE, 3, 1]));
    for first in [&b""[..], b"G", b"PRI * HTTP/2.0", b"\r\n", &[0x80, 46, 1]] {
        assert!(!is_tls(first));
    }
}
