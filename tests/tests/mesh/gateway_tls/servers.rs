//! Which server a client gets to, by the name that it asks for, and by no other way.

use rustls::pki_types::CertificateDer;
use tests::gateway::{Files, Server, gateway};
use tests::{Authority, eventually};
use tokio::net::TcpStream;

use super::*;

fn server<'s>(host: &'s str, tls: String) -> Server<'s> {
    Server {
        host,
        protocol: "HTTPS",
        tls,
    }
}

/// A certificate for any name.
fn pair(files: &Files, authority: &Authority) -> String {
    files.pair("any", &authority.leaf_named(&[], &["*.test"]).sign())
}

#[tokio::test]
async fn a_host_that_asks_for_certificates_is_not_reached_by_way_of_one_that_does_not() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let (open, closed) = (Origin::named("open").await, Origin::named("closed").await);
    let pair = pair(&files, &own);
    let mutual = format!(
        "mode: MUTUAL, {pair}, {}",
        files.authorities("any", &[&own])
    );
    // The open server's own hosts have the closed one's, too.
    let servers = [
        server("*.shop.test", format!("mode: SIMPLE, {pair}")),
        server("till.shop.test", mutual),
    ];
    let yaml = gateway(&port, &servers)
        + &routes("www.shop.test", &open)
        + &routes("till.shop.test", &closed);
    let _proxy = Proxy::start(&yaml).await;

    let mut http2 = http2_to(&port, "www.shop.test").await;
    assert_eq!(http2.get("www.shop.test", "/").await.brief(), (200, "open"));
    let misdirected = http2.get("till.shop.test", "/").await;
    assert_eq!(misdirected.status, 421);
    assert_eq!(
        misdirected.header("x-meshproxy-error"),
        "misdirected_request"
    );
    for host in ["TILL.shop.test.:443", "till.shop.test:"] {
        let misdirected = ask(&port, "www.shop.test", host, anonymous()).await;
        assert_eq!(
            misdirected,
            Some(421),
            "in whatever form it is written: {host}"
        );
    }
    assert_eq!(
        ask(&port, "till.shop.test", "till.shop.test", anonymous()).await,
        None
    );
    assert_eq!(closed.requests(), 0);

    let client = own.leaf("a", "b").sign().client(&[], VERSIONS);
    let let_in = ask(&port, "till.shop.test", "till.shop.test", client).await;
    assert_eq!(let_in, Some(200));
}

#[tokio::test]
async fn an_open_connection_does_not_outlive_the_demand_for_a_certificate() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let origin = Origin::named("app").await;
    let pair = pair(&files, &own);
    let simple = format!("mode: SIMPLE, {pair}");
    let mutual = format!(
        "mode: MUTUAL, {pair}, {}",
        files.authorities("any", &[&own])
    );
    let yaml = |tls: &str| {
        gateway(&port, &[server("app.test", tls.to_owned())]) + &routes("app.test", &origin)
    };
    let proxy = Proxy::start(&yaml(&simple)).await;
    let mut http2 = http2_to(&port, "app.test").await;
    assert_eq!(http2.get("app.test", "/").await.brief(), (200, "app"));

    proxy.apply(&yaml(&mutual)).await;

    assert_eq!(http2.get("app.test", "/").await.status, 421);
}

#[tokio::test]
async fn a_shut_server_keeps_its_names() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let origin = Origin::named("app").await;
    let servers = [
        server("*", format!("mode: SIMPLE, {}", pair(&files, &own))),
        server(
            "till.shop.test",
            "mode: MUTUAL, credentialName: none".to_owned(),
        ),
    ];
    let yaml = gateway(&port, &servers) + &routes("till.shop.test", &origin);
    let proxy = Proxy::start(&yaml).await;

    assert_eq!(
        ask(&port, "till.shop.test", "till.shop.test", anonymous()).await,
        None
    );
    let one = async || rejections(&proxy, "tls_server_shut").await;
    eventually("a refusal", one, |refused| *refused == 1.0).await;
    let misdirected = ask(&port, "other.test", "till.shop.test", anonymous()).await;
    assert_eq!(misdirected, Some(421));
}

#[tokio::test]
async fn a_port_where_every_server_is_shut_is_not_opened() {
    let port = Port::reserve();
    let servers = [server("*", "mode: SIMPLE, credentialName: none".to_owned())];
    let proxy = Proxy::start(&gateway(&port, &servers)).await;

    let refused = TcpStream::connect(port.addr()).await;
    refused.expect_err("nobody listens");
    let problems = proxy.admin("/config").await["problems"].to_string();
    assert!(
        problems.contains("no Secret \\\"none\\\" in namespace default"),
        "{problems}"
    );
}

#[tokio::test]
async fn a_client_without_a_name_gets_the_server_for_all() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let origin = Origin::named("app").await;
    let simple = format!("mode: SIMPLE, {}", pair(&files, &own));
    let yaml =
        |host: &str| gateway(&port, &[server(host, simple.clone())]) + &routes("app.test", &origin);
    let proxy = Proxy::start(&yaml("*")).await;
    let nameless = || {
        let mut config = anonymous();
        config.enable_sni = false;
        config
    };

    assert_eq!(
        ask(&port, "app.test", "app.test", nameless()).await,
        Some(200)
    );
    proxy.apply(&yaml("app.test")).await;
    assert_eq!(ask(&port, "app.test", "app.test", nameless()).await, None);
}

#[tokio::test]
async fn a_client_gets_the_certificate_whose_key_it_can_use() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let origin = Origin::named("app").await;
    let names = || own.leaf_named(&[], &["app.test"]);
    let rsa = names().sign_for(&Authority::rsa_key());
    let ecdsa = names().sign();
    let both = format!(
        "mode: SIMPLE, tlsCertificates: [{{{}}}, {{{}}}]",
        files.pair("rsa", &rsa),
        files.pair("ecdsa", &ecdsa)
    );
    let yaml = gateway(&port, &[server("app.test", both)]) + &routes("app.test", &origin);
    let _proxy = Proxy::start(&yaml).await;
    let shown = async |suites: &str| -> CertificateDer<'static> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let named = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        provider
            .cipher_suites
            .retain(|suite| named(suite).contains(suites));
        let config = tests::gateway::client_by(provider);
        let tls = connect_to(port.addr(), "app.test", config).await;
        let tls = tls.expect("a handshake");
        let chain = tls.get_ref().1.peer_certificates().expect("a chain");
        chain[0].clone().into_owned()
    };
    let der = |signed: &tests::authority::Signed| {
        use rustls::pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("a certificate")
    };

    assert_eq!(shown("ECDHE_RSA").await, der(&rsa));
    assert_eq!(shown("ECDHE_ECDSA").await, der(&ecdsa));
    assert_eq!(shown("TLS13").await, der(&ecdsa), "quicker to use");
}

#[tokio::test]
async fn certificates_come_from_secrets() {
    let own = Authority::new("own.test");
    let port = Port::reserve();
    let origin = Origin::named("app").await;
    let signed = own.leaf_named(&[], &["app.test"]).sign();
    let indented = |text: &str| {
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shop}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}---\n",
        indented(&signed.chain),
        indented(&signed.key)
    );
    let tls = "mode: SIMPLE, credentialName: shop".to_owned();
    let yaml = gateway(&port, &[server("app.test", tls)]) + &routes("app.test", &origin);
    let proxy = Proxy::start(&(yaml + &secret)).await;

    assert_eq!(
        ask(&port, "app.test", "app.test", anonymous()).await,
        Some(200)
    );
    let told = proxy.admin("/config").await.to_string();
    assert!(!told.contains("PRIVATE KEY"), "a secret is not shown");
}

#[tokio::test]
async fn what_a_client_says_of_how_it_came_is_not_believed() {
    let origin = Origin::named("app").await;
    let port = Port::reserve();
    let proxy = Proxy::start(&(yaml::gateway(&port) + &routes("app.test", &origin))).await;

    let mut plain = Http1::connect(port.addr()).await;
    let headers = [("x-forwarded-proto", "https")];
    let answer = plain.get_with("app.test", "/", &headers).await;

    assert_eq!(answer.status, 200);
    assert_eq!(origin.last().header("x-forwarded-proto"), "http");
    drop(proxy);
}
