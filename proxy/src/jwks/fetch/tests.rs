use std::net::SocketAddr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An issuer that answers one request after another with these texts.
async fn issuer(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    answer(listener, answers);
    addr
}

fn answer(listener: TcpListener, answers: Vec<String>) {
    tokio::spawn(async move {
        for answer in answers {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1_024];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn origin(issuer: &str, uri: Option<String>) -> Origin {
    Origin {
        issuer: issuer.into(),
        uri: uri.map(Into::into),
        timeout: Duration::from_secs(5),
    }
}

async fn fetched(answer: String) -> Result<Keys, FetchError> {
    let addr = issuer(vec![answer]).await;
    let origin = origin("a", Some(format!("http://{addr}/keys")));
    keys(&origin).await.map(|(keys, _)| keys)
}

const KEY: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::test]
async fn keys_are_fetched_from_where_a_rule_says() {
    let keys = fetched(ok(KEY)).await.expect("keys");

    assert_eq!(keys.ids().collect::<Vec<_>>(), ["k"]);
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let keys_at = issuer(vec![ok(KEY)]).await;
    let uri = format!("http://{keys_at}/keys");
    let (asked, document) = discovered(&uri, |issuer| issuer).await;

    let (keys, from) = keys(&origin(&asked, None)).await.expect("keys");

    assert_eq!((keys.len(), &*from), (1, &*uri), "{document}");
}

/// An issuer that says of itself what `said` makes of its name, and where its keys are; and its
/// answer.
async fn discovered(uri: &str, said: fn(String) -> String) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let name = format!("http://{}/", listener.local_addr().expect("an address"));
    let document = format!(
        r#"{{"issuer": "{}", "jwks_uri": "{uri}"}}"#,
        said(name.clone())
    );
    answer(listener, vec![ok(&document)]);
    (name, document)
}

#[tokio::test]
async fn who_says_that_it_is_another_issuer_is_not_asked_for_keys() {
    for said in [|_| "x".to_owned(), |name: String| name + "x"] {
        let (asked, _) = discovered("http://127.0.0.1:1/keys", said).await;

        let fetched = keys(&origin(&asked, None)).await;

        assert!(matches!(fetched, Err(FetchError::OtherIssuer)));
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_counted() {
    let secret = r#"{"kty": "oct", "k": "AAAA"}, {"kty": "OKP""#;

    let keys = fetched(ok(&KEY.replace(r#"{"kty": "OKP""#, secret))).await;

    let keys = keys.expect("keys");
    assert_eq!((keys.len(), keys.unusable()), (1, 1));
}

#[tokio::test]
async fn what_is_no_key_set_is_refused() {
    let large = "a".repeat(ANSWER_BYTES_MAX + 1);
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\
                    content-length: 0\r\n\r\n";
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":";

    assert!(matches!(
        fetched(ok("<html>")).await,
        Err(FetchError::Keys(_))
    ));
    assert!(matches!(
        fetched(ok(&large)).await,
        Err(FetchError::Answer(_))
    ));
    assert!(matches!(
        fetched(redirect.to_owned()).await,
        Err(FetchError::Redirected)
    ));
    assert!(matches!(
        fetched(missing.to_owned()).await,
        Err(FetchError::Status(StatusCode::NOT_FOUND))
    ));
    assert!(matches!(
        fetched(broken.to_owned()).await,
        Err(FetchError::Answer(_))
    ));
    assert!(fetched("SSH-2.0-x\r\n".to_owned()).await.is_err());
}

#[tokio::test]
async fn an_issuer_without_an_address_is_not_asked() {
    for issuer in ["someone@example.com", "", "ftp://a.example"] {
        let refused = keys(&origin(issuer, None)).await;
        assert!(matches!(refused, Err(FetchError::Url(_))), "{issuer}");
    }
}

/// An issuer in TLS with a certificate for `issuer.test`, and who vouches for it.
async fn secure_issuer() -> (SocketAddr, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["issuer.test".to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("an authority");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut client) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut request = [0; 1_024];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(ok(KEY).as_bytes()).await;
        }
    });
    (addr, roots)
}

#[tokio::test]
async fn an_issuer_in_tls_must_be_who_it_says() {
    let (addr, trusted) = secure_issuer().await;
    let (_, others) = secure_issuer().await;
    let tcp = async || TcpStream::connect(addr).await.expect("a connection");
    let uri: Uri = "https://issuer.test/keys".parse().expect("a URL");

    let stream = shake_hands(tcp().await, "issuer.test", trusted.clone()).await;
    let answer = exchange(stream.expect("a handshake"), &uri).await;
    let wrong_root = shake_hands(tcp().await, "issuer.test", others).await;
    let wrong_name = shake_hands(tcp().await, "attacker.test", trusted).await;

    assert_eq!(answer.expect("an answer"), KEY);
    assert!(matches!(wrong_root, Err(FetchError::Connect { .. })));
    assert!(matches!(wrong_name, Err(FetchError::Connect { .. })));
}
