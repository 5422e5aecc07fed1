//! Clients that are refused hear why, as far as TLS has an alert for it, also if they go on sending.

use rustls::AlertDescription;
use tests::gateway::{Files, Server, gateway};
use tests::{Authority, eventually};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::*;

/// How often each is tried: whether an alert was lost was a matter of luck.
const TIMES: usize = 50;

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref()?;
    match error {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// What a client hears that sends a request and more after its handshake.
async fn heard(mut tls: TlsStream<TcpStream>) -> Option<AlertDescription> {
    for _ in 0..4 {
        let sent = tls
            .write_all(b"GET / HTTP/1.1\r\nhost: app.test\r\n\r\n")
            .await;
        if sent.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    let read = soon("an alert", tls.read_to_end(&mut answer)).await;
    alert(&read.expect_err("no answer"))
}

#[tokio::test]
async fn a_client_without_a_certificate_hears_that_it_needs_one() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let pair = files.pair("any", &own.leaf_named(&[], &["app.test"]).sign());
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls: format!(
            "mode: MUTUAL, {pair}, {}",
            files.authorities("any", &[&own])
        ),
    };
    let proxy = Proxy::start(&gateway(&port, &[server])).await;

    for time in 0..TIMES {
        let tls = connect_to(port.addr(), "app.test", nobody(&[], &[&TLS13])).await;
        let heard = heard(tls.expect("the client takes it for done")).await;
        assert_eq!(heard, Some(AlertDescription::CertificateRequired), "{time}");
    }
    let all = async || rejections(&proxy, "tls_no_certificate").await;
    eventually("refusals", all, |refused| *refused == TIMES as f64).await;
}

#[tokio::test]
async fn a_client_that_asks_for_a_name_that_nobody_has_hears_so() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let pair = files.pair("any", &own.leaf_named(&[], &["app.test"]).sign());
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls: format!("mode: SIMPLE, {pair}"),
    };
    let _proxy = Proxy::start(&gateway(&port, &[server])).await;

    for time in 0..TIMES {
        let refused = connect_to(port.addr(), "other.test", anonymous()).await;
        let error = refused.expect_err("no server");
        let heard = alert(&error);
        assert_eq!(heard, Some(AlertDescription::UnrecognisedName), "{time}");
    }
}
