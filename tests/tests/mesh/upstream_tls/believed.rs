//! Which servers are sent requests, and what is said of those that are not.

use super::*;
use tests::Origin;
use tests::origin::Protocol;

/// What the answer and the log say of an origin with this certificate.
async fn refused(edge: &Edge) -> (u16, String) {
    let reply = get(edge).await;
    let detail = reply.header("x-meshproxy-error").to_owned();
    // Nobody outside learns what is inside, whatever was shown.
    for secret in ["127.0.0.1", "spiffe", "b.test", ".pem", "cluster"] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    (reply.status.as_u16(), detail)
}

#[tokio::test]
async fn nobody_is_sent_a_request_who_does_not_prove_to_be_the_host() {
    let (ours, other) = (Authority::new("cluster.local"), Authority::new("other"));
    let folder = believing(&ours);
    let named = |name| ours.leaf_named(&[], &[name]);

    for (signed, detail) in [
        (named(HOST).expired().sign(), "certificate_expired"),
        (
            named(HOST).not_yet_valid().sign(),
            "certificate_not_yet_valid",
        ),
        (named("b.test").sign(), "certificate_wrong_name"),
        (ours.leaf("shop", "app").sign(), "certificate_wrong_name"),
        (
            other.leaf_named(&[], &[HOST]).sign(),
            "certificate_unknown_authority",
        ),
    ] {
        let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;
        let edge = Edge::start_with(
            &documents(origin.addr(), "HTTP", &simple(&folder)),
            &["--access-log", "json"],
        )
        .await;

        assert_eq!(refused(&edge).await, (503, format!("connect_{detail}")));

        assert_eq!(origin.requests(), 0);
        let line = edge
            .proxy
            .stdout
            .line("its line", |it| it.contains("\"GET\""))
            .await;
        assert!(line.contains("\"response_flags\":\"UF\""), "{line}");
        let told = "\"upstream_transport_failure_reason\":\"connect to upstream: secure the ";
        assert!(line.contains(told), "{line}");
    }
}

#[tokio::test]
async fn what_is_revoked_is_not_believed() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).number(7).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;
    folder.write("revoked.pem", &ours.revoking(8));
    let mut tls = simple(&folder);
    add_file(&mut tls, "caCrl", &folder.file("revoked.pem"));
    let edge = start(origin.addr(), "HTTP", &tls).await;
    assert_eq!(get(&edge).await.brief(), (200, "app"));

    folder.write("revoked.pem", &ours.revoking(7));
    reload(&edge).await;

    // The connection from before is not used either.
    let expected = (503, "connect_certificate_revoked".to_owned());
    assert_eq!(refused(&edge).await, expected);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn what_is_no_tls_is_told_from_what_is_not_believed() {
    let folder = believing(&Authority::new("cluster.local"));
    let plain = Origin::named("app").await;
    let edge = start(plain.addr(), "HTTP", &simple(&folder)).await;

    let (status, detail) = refused(&edge).await;

    assert_eq!(status, 503);
    assert!(
        ["connect_tls_protocol", "connect_tls_closed"].contains(&&*detail),
        "{detail}"
    );
    assert_eq!(plain.requests(), 0);
}

#[tokio::test]
async fn a_server_believes_only_whom_it_knows() {
    let (ours, other) = (Authority::new("cluster.local"), Authority::new("other"));
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server_for(&ours, &[])).await;
    let own = believing(&ours);
    let edge = start(origin.addr(), "HTTP", &mutual(&own)).await;
    assert_eq!(get(&edge).await.brief(), (200, "app"));
    assert!(origin.handshakes()[0].has_client);

    let stranger = IdentityDir::new(&other.leaf("shop", "edge").sign(), &[&ours]);
    for tls in [simple(&own), mutual(&stranger)] {
        edge.apply(&documents(origin.addr(), "HTTP", &tls)).await;
        let expected = (503, "connect_tls_refused".to_owned());
        assert_eq!(refused(&edge).await, expected, "{tls}");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn names_of_the_rule_come_before_those_of_the_service_and_those_before_the_host() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours
        .leaf_named(&["spiffe://cluster.local/ns/shop/sa/app"], &["b.test"])
        .sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;
    let edge = start(origin.addr(), "HTTP", &simple(&folder)).await;
    let with = |names: &str, of_service: &str, sni: &str| {
        let mut documents = documents(origin.addr(), "HTTP", &(simple(&folder) + names + sni));
        let location = "  location: MESH_INTERNAL\n";
        let written = format!("{location}  subjectAltNames: [{of_service}]\n");
        documents[0] = documents[0].replacen(location, &written, 1);
        documents
    };

    for (names, of_service, sni, believed) in [
        ("", "", "", false),
        ("", "", ", sni: b.test", true),
        ("", "b.test", "", true),
        ("", "c.test", ", sni: b.test", false),
        (", subjectAltNames: [b.test]", "c.test", "", true),
        (", subjectAltNames: [c.test]", "b.test", "", false),
        (
            ", subjectAltNames: [c.test, 'spiffe://cluster.local/ns/shop/sa/app']",
            "",
            "",
            true,
        ),
    ] {
        edge.apply(&with(names, of_service, sni)).await;

        let status = get(&edge).await.status.as_u16();
        let case = format!("{names} {of_service} {sni}");
        assert_eq!(status, if believed { 200 } else { 503 }, "{case}");
    }
    let asked = origin.handshakes().into_iter().map(|it| it.server_name);
    assert!(asked.into_iter().any(|name| name == "b.test"));
}

#[tokio::test]
async fn what_cannot_be_done_as_asked_is_not_done_with_less() {
    let ours = Authority::new("cluster.local");
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;

    for (tls, why) in [
        (
            "mode: SIMPLE, credentialName: c",
            "credentialName has no source",
        ),
        (
            "mode: ISTIO_MUTUAL",
            "ISTIO_MUTUAL needs an identity, and this proxy has none",
        ),
        (
            "mode: SIMPLE, insecureSkipVerify: true, sni: '*.test'",
            "sni is no name that a server can be asked for",
        ),
    ] {
        let edge = start(origin.addr(), "HTTP", tls).await;

        assert_eq!(
            refused(&edge).await,
            (503, "connect_not_secured".to_owned())
        );
        let shown = edge.proxy.admin("/destinations").await;
        let shut = &shown[0]["endpoints"][0]["tls"]["shut"];
        assert_eq!(shut, why, "{shown}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_rule_that_believes_anyone_is_said_to_at_each_load() {
    let signed = Authority::new("other").leaf("shop", "app").expired().sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;
    let tls = "mode: SIMPLE, insecureSkipVerify: true";
    let edge = start(origin.addr(), "HTTP", tls).await;
    assert_eq!(get(&edge).await.brief(), (200, "app"));

    let is_said = |line: &str| line.contains("the server is not verified");
    edge.proxy.stderr.line("a warning", is_said).await;
    let shown = edge.proxy.admin("/destinations").await;
    assert_eq!(shown[0]["endpoints"][0]["tls"]["verifies"], "nothing");
    let said = || async {
        let lines = edge.proxy.stderr.all();
        lines.iter().filter(|line| is_said(line)).count()
    };
    let before = said().await;
    reload(&edge).await;
    eventually("a second warning", said, |now| *now > before).await;
}

#[tokio::test]
async fn who_does_not_prove_to_be_the_host_is_not_asked_again_and_the_log_says_why() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let wrong = ours.leaf_named(&[], &["b.test"]).sign();
    let wrong = Origin::secured(Protocol::Http1, "wrong", wrong.server(&[])).await;
    let right = ours.leaf_named(&[], &[HOST]).sign();
    let right = Origin::secured(Protocol::Http1, "right", right.server(&[])).await;
    let retried = |service: Service| {
        let rules = "
  - retries: {attempts: 3, retryOn: connect-failure}
    route: [{destination: {host: app.test}}]
";
        let service = service.protocol("HTTP").to_string();
        [service, rule(&simple(&folder)), yaml::routes(HOST, rules)]
    };
    let edge = Edge::start(&retried(Service::new(HOST).at(wrong.addr()))).await;

    for _ in 0..2 {
        let expected = (503, "connect_certificate_wrong_name".to_owned());
        assert_eq!(refused(&edge).await, expected);
    }

    let failures = async || {
        let metrics = edge.proxy.metrics().await;
        let labels = [("side", "upstream"), ("reason", "wrong_name")];
        metrics.sum("meshproxy_tls_handshake_failures_total", &labels)
    };
    assert_eq!(failures().await, 2.0, "one for each request");
    let told = |line: &str| {
        line.contains("WARN")
            && line.contains("destination=outbound|80||app.test")
            && line.contains("cannot be secured")
    };
    edge.proxy.stderr.line("why", told).await;

    let both = Service::new(HOST).at(wrong.addr()).at(right.addr());
    edge.apply(&retried(both)).await;
    for _ in 0..8 {
        assert_eq!(get(&edge).await.brief(), (200, "right"));
    }
}
