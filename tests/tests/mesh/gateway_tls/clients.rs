//! Who gets in by which certificate.

use tests::gateway::{Files, Server, gateway};
use tests::{Authority, eventually};

use super::*;

/// A gateway for `app.test` whose `tls` has these fields beside its own certificate.
async fn proxy(files: &Files, port: &Port, own: &Authority, fields: &str) -> (Proxy, Origin) {
    let origin = Origin::named("app").await;
    let pair = files.pair("app", &own.leaf_named(&[], &["app.test"]).sign());
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls: format!("{pair}, {fields}"),
    };
    let yaml = gateway(port, &[server]) + &routes("app.test", &origin);
    (Proxy::start(&yaml).await, origin)
}

#[tokio::test]
async fn a_mutual_server_lets_in_who_its_authority_vouches_for_and_nobody_else() {
    let (own, other) = (Authority::new("own.test"), Authority::new("other.test"));
    let (files, port) = (Files::new(), Port::reserve());
    let fields = format!("mode: MUTUAL, {}", files.authorities("app", &[&own]));
    let (proxy, origin) = proxy(&files, &port, &own, &fields).await;

    for (client, cause) in [
        (anonymous(), "tls_no_certificate"),
        (
            other.leaf("a", "b").sign().client(&[], VERSIONS),
            "tls_unknown_authority",
        ),
        (
            own.leaf("a", "b").expired().sign().client(&[], VERSIONS),
            "tls_certificate_expired",
        ),
        (
            own.leaf("a", "b")
                .for_servers()
                .sign()
                .client(&[], VERSIONS),
            "tls_wrong_usage",
        ),
    ] {
        assert_eq!(
            ask(&port, "app.test", "app.test", client).await,
            None,
            "{cause}"
        );
        let one = async || rejections(&proxy, cause).await;
        eventually(cause, one, |refused| *refused == 1.0).await;
    }
    assert_eq!(origin.requests(), 0);

    for versions in [&[&TLS13][..], &[&TLS12]] {
        let client = own.leaf("a", "b").sign().client(&[], versions);
        assert_eq!(ask(&port, "app.test", "app.test", client).await, Some(200));
    }
}

#[tokio::test]
async fn an_optional_server_verifies_the_certificate_that_it_is_sent() {
    let (own, other) = (Authority::new("own.test"), Authority::new("other.test"));
    let (files, port) = (Files::new(), Port::reserve());
    let fields = format!(
        "mode: OPTIONAL_MUTUAL, {}",
        files.authorities("app", &[&own])
    );
    let (_proxy, _origin) = proxy(&files, &port, &own, &fields).await;
    let ask = async |client| ask(&port, "app.test", "app.test", client).await;

    assert_eq!(ask(anonymous()).await, Some(200));
    let good = own.leaf("a", "b").sign();
    assert_eq!(ask(good.client(&[], VERSIONS)).await, Some(200));
    let bad = other.leaf("a", "b").sign();
    assert_eq!(ask(bad.client(&[], VERSIONS)).await, None);
}

#[tokio::test]
async fn a_lenient_server_lets_in_whoever_shows_a_certificate() {
    let (own, other) = (Authority::new("own.test"), Authority::new("other.test"));
    let (files, port) = (Files::new(), Port::reserve());
    let authorities = files.authorities("app", &[&own]);
    let fields = format!("mode: MUTUAL, {authorities}, insecureSkipVerify: true");
    let (proxy, _origin) = proxy(&files, &port, &own, &fields).await;
    let ask = async |client| ask(&port, "app.test", "app.test", client).await;

    assert_eq!(
        ask(other.leaf("a", "b").sign().client(&[], VERSIONS)).await,
        Some(200)
    );
    assert_eq!(ask(anonymous()).await, None);
    let problems = proxy.admin("/config").await["problems"].to_string();
    assert!(problems.contains("tls.insecureSkipVerify"), "{problems}");
}

#[tokio::test]
async fn a_server_lets_in_certain_names_only() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let authorities = files.authorities("app", &[&own]);
    let names = "subjectAltNames: ['spiffe://own.test/ns/shop/sa/till', desk.test]";
    let fields = format!("mode: MUTUAL, {authorities}, {names}");
    let (proxy, _origin) = proxy(&files, &port, &own, &fields).await;
    let ask = async |client| ask(&port, "app.test", "app.test", client).await;

    assert_eq!(
        ask(own.leaf("shop", "till").sign().client(&[], VERSIONS)).await,
        Some(200)
    );
    let named = own.leaf_named(&[], &["desk.test"]).sign();
    assert_eq!(ask(named.client(&[], VERSIONS)).await, Some(200));
    assert_eq!(
        ask(own.leaf("shop", "thief").sign().client(&[], VERSIONS)).await,
        None
    );
    let one = async || rejections(&proxy, "tls_name_not_let_in").await;
    eventually("a refusal", one, |refused| *refused == 1.0).await;
}

#[tokio::test]
async fn a_revoked_client_is_refused() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let authorities = files.authorities("app", &[&own]);
    let list = files.write("app-crl.pem", &own.revocations(&[4711]));
    let fields = format!("mode: MUTUAL, {authorities}, caCrl: {}", list.display());
    let (proxy, _origin) = proxy(&files, &port, &own, &fields).await;
    let ask = async |number| {
        let client = own
            .leaf("a", "b")
            .numbered(number)
            .sign()
            .client(&[], VERSIONS);
        ask(&port, "app.test", "app.test", client).await
    };

    assert_eq!(ask(4711).await, None);
    assert_eq!(ask(4712).await, Some(200));
    let one = async || rejections(&proxy, "tls_certificate_revoked").await;
    eventually("a refusal", one, |refused| *refused == 1.0).await;
}

#[tokio::test]
async fn a_session_does_not_go_on_once_its_certificate_is_revoked() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let authorities = files.authorities("app", &[&own]);
    let list = files.write("app-crl.pem", &own.revocations(&[1]));
    let fields = format!("mode: MUTUAL, {authorities}, caCrl: {}", list.display());
    let (proxy, origin) = proxy(&files, &port, &own, &fields).await;
    // The same configuration keeps its sessions.
    let client = own.leaf("a", "b").numbered(2).sign().client(&[], VERSIONS);
    assert_eq!(
        ask(&port, "app.test", "app.test", client.clone()).await,
        Some(200)
    );
    assert_eq!(
        ask(&port, "app.test", "app.test", client.clone()).await,
        Some(200)
    );

    files.write("app-crl.pem", &own.revocations(&[1, 2]));
    let yaml = std::fs::read_to_string(proxy.config()).expect("its configuration");
    proxy.apply(&(yaml + &routes("other.test", &origin))).await;

    assert_eq!(ask(&port, "app.test", "app.test", client).await, None);
}
