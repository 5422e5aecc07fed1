//! Certificates and authorities that change while the proxy runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustls::HandshakeKind;
use tempfile::TempDir;
use tests::{Http2, eventually};

use super::*;

async fn reloads(workload: &Workload, result: &str) -> f64 {
    let metrics = workload.proxy.metrics().await;
    metrics.sum("meshproxy_identity_reloads_total", &[("result", result)])
}

#[tokio::test]
async fn new_certificates_are_shown_and_open_connections_go_on() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let tls = workload
        .caller()
        .connect(workload.port.addr(), &["h2"])
        .await;
    let mut open = Http2::over(tls.expect("a handshake")).await;

    for _ in 0..3 {
        let next = workload.authority.leaf("default", "cart").sign();
        workload.identity.replace(&next, &[&workload.authority]);

        let now = async || shown(&workload).await;
        eventually("the new certificate", now, |now| *now == der(&next)).await;
        assert_eq!(open.get("cart", "/").await.brief(), (200, "cart"));
    }
    assert_eq!(reloads(&workload, "success").await, 3.0);
}

#[tokio::test]
async fn an_authority_that_is_no_longer_believed_lets_nobody_in_not_even_by_a_ticket() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let old = &workload.authority;
    let new = Authority::new("cluster.local");
    let by_old = Arc::new(workload.caller().client(&[], &[&TLS13]));
    let by_new = new.leaf("default", "shop").sign();
    assert!(is_ok(&workload.get_by(Arc::clone(&by_old)).await));
    assert!(workload.get(&by_new).await.is_err());

    let own = old.leaf("default", "cart").sign();
    workload.identity.replace(&own, &[old, &new]);
    let lets_new_in = async || is_ok(&workload.get(&by_new).await);
    eventually("both are believed", lets_new_in, |is_in| *is_in).await;
    assert!(is_ok(&workload.get_by(Arc::clone(&by_old)).await));

    let own = new.leaf("default", "cart").sign();
    workload.identity.replace(&own, &[&new]);
    let lets_old_in = async || is_ok(&workload.get_by(Arc::clone(&by_old)).await);
    eventually("only the new one is believed", lets_old_in, |is_in| !is_in).await;
    assert!(is_ok(&workload.get(&by_new).await));
    assert!(workload.failures("unknown_authority").await >= 2.0);
}

#[tokio::test]
async fn sessions_go_on_until_the_certificate_changes_but_not_past_its_end() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let kind = async |client: &Arc<ClientConfig>| -> io::Result<HandshakeKind> {
        let mut tls = authority::connect(workload.port.addr(), Arc::clone(client)).await?;
        let kind = tls.get_ref().1.handshake_kind();
        // Tickets come with the first bytes of an answer.
        exchange(&mut tls, "").await?;
        Ok(kind.expect("a handshake"))
    };
    for version in [&TLS13, &TLS12] {
        let client = Arc::new(workload.caller().client(&[], &[version]));
        assert_eq!(kind(&client).await.expect("in"), HandshakeKind::Full);
        assert_eq!(kind(&client).await.expect("in"), HandshakeKind::Resumed);
    }

    let short = workload.authority.leaf("default", "shop");
    let short = short.expires_in(Duration::from_secs(4)).sign();
    let client = Arc::new(short.client(&[], &[&TLS13]));
    assert_eq!(kind(&client).await.expect("in"), HandshakeKind::Full);
    let is_out = async || kind(&client).await.is_err();
    eventually("the end of the certificate", is_out, |is_out| *is_out).await;
    let expired = async || workload.failures("certificate_expired").await;
    eventually("a refusal", expired, |failures| *failures >= 1.0).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_until_they_can() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let before = der(&workload.identity.signed());
    let next = workload.authority.leaf("default", "cart").sign();

    workload.identity.write("key.pem", &next.key);
    let failed = async || reloads(&workload, "failure").await;
    eventually("a refusal", failed, |failures| *failures == 1.0).await;
    let told = |line: &str| line.contains("WARN") && line.contains("identity not replaced");
    workload.proxy.stderr.line("the reason", told).await;
    assert_eq!(shown(&workload).await, before);

    workload.identity.write("cert-chain.pem", &next.chain);
    let now = async || shown(&workload).await;
    eventually("the new certificate", now, |now| *now == der(&next)).await;
}

#[tokio::test]
async fn a_mistake_in_the_configuration_does_not_let_certificates_expire() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    workload.proxy.refuse("kind: Nonsense").await;

    let next = workload.authority.leaf("default", "cart").sign();
    workload.identity.replace(&next, &[&workload.authority]);

    let now = async || shown(&workload).await;
    eventually("the new certificate", now, |now| *now == der(&next)).await;
    assert!(is_ok(&workload.get(&workload.caller()).await));
}

#[tokio::test]
async fn the_swap_of_a_volume_of_kubernetes_is_seen() {
    let authority = Authority::new("cluster.local");
    let volume = TempDir::new().expect("a temporary folder can be made");
    let put = |version: &str, signed: &Signed| {
        let folder = volume.path().join(format!("..{version}"));
        fs::create_dir(&folder).expect("a folder");
        let root = authority.root();
        for (name, text) in [
            ("cert-chain.pem", &signed.chain),
            ("key.pem", &signed.key),
            ("root-cert.pem", &root),
        ] {
            fs::write(folder.join(name), text).expect("written");
        }
        let link = volume.path().join("..data_tmp");
        symlink(format!("..{version}"), &link).expect("linked");
        fs::rename(link, volume.path().join("..data")).expect("swapped");
    };
    let first = authority.leaf("default", "cart").sign();
    put("1", &first);
    for name in ["cert-chain.pem", "key.pem", "root-cert.pem"] {
        let target = format!("..data/{name}");
        symlink(target, volume.path().join(name)).expect("linked");
    }
    let (port, origin) = (Port::reserve(), Origin::named("cart").await);
    let folder = volume.path().display().to_string();
    let _proxy = Proxy::start_with(&sidecar(&[&port], &origin), &["--identity-dir", &folder]).await;

    let next = authority.leaf("default", "cart").sign();
    put("2", &next);

    let shown = async || {
        let caller = authority.leaf("default", "shop").sign();
        let tls = caller.connect(port.addr(), &[]).await.expect("a handshake");
        let chain = tls.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    };
    eventually("the new certificate", shown, |now| *now == der(&next)).await;
}

#[tokio::test]
async fn an_identity_that_cannot_be_read_keeps_the_proxy_from_starting() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let config = folder.path().join("mesh.yaml");
    fs::write(&config, "").expect("written");
    let paths = [config, folder.path().to_owned()].map(|path| path.display().to_string());
    let [config, identity] = &paths;
    let addresses = ["--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];
    let mut arguments = vec!["--config", config, "--identity-dir", identity];
    arguments.extend(addresses);

    let output = tests::binary::run(&arguments).await;

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cert-chain.pem: cannot be read"), "{said}");
}

#[tokio::test]
async fn what_is_in_use_is_shown_with_its_end() {
    let workload = Workload::with("").await;

    let shown = workload.proxy.admin("/certs").await;

    let all = shown.as_array().expect("a list");
    assert_eq!(all.len(), 2, "{shown}");
    assert_eq!(all[0]["purpose"], "identity");
    assert_eq!(
        all[0]["names"][0],
        "URI:spiffe://cluster.local/ns/default/sa/cart"
    );
    let file = workload.identity.file("cert-chain.pem");
    assert_eq!(all[0]["file"], file.display().to_string());
    assert!(all[0]["secondsLeft"].as_i64().is_some_and(|left| left > 0));
    assert_eq!(all[1]["purpose"], "root");
    let metrics = workload.proxy.metrics().await;
    let labels = [("purpose", "identity")];
    let name = "meshproxy_certificate_expiration_timestamp_seconds";
    assert!(metrics.sum(name, &labels) > 1e9);
}
