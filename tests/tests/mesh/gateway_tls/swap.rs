//! Certificates that are replaced while clients come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tests::gateway::{Files, Server, gateway};
use tests::{Authority, eventually};

use super::*;

/// How often the certificate is replaced.
const ROTATIONS: usize = 20;

/// The certificate that the server shows.
async fn shown(port: &Port) -> Option<CertificateDer<'static>> {
    let tls = connect_to(port.addr(), "app.test", anonymous())
        .await
        .ok()?;
    let chain = tls.get_ref().1.peer_certificates()?;
    Some(chain.first()?.clone().into_owned())
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load_and_no_request_fails() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Arc::new(Port::reserve()));
    let origin = Origin::named("app").await;
    let sign = || own.leaf_named(&[], &["app.test"]).sign();
    let tls = format!("mode: SIMPLE, {}", files.pair("app", &sign()));
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls,
    };
    let yaml = gateway(&port, &[server]) + &routes("app.test", &origin);
    let _proxy = Proxy::start(&yaml).await;
    let mut open = http2_to(&port, "app.test").await;
    let (done, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = tokio::spawn({
        let (port, done, asked) = (Arc::clone(&port), Arc::clone(&done), Arc::clone(&asked));
        async move {
            while !done.load(SeqCst) {
                let status = ask(&port, "app.test", "app.test", anonymous()).await;
                assert_eq!(status, Some(200));
                asked.fetch_add(1, SeqCst);
            }
        }
    });

    for _ in 0..ROTATIONS {
        let signed = sign();
        files.pair("app", &signed);
        let der = CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("a certificate");
        let is_new = |shown: &Option<CertificateDer<'static>>| shown.as_ref() == Some(&der);
        eventually("the new certificate", || shown(&port), is_new).await;
    }

    done.store(true, SeqCst);
    load.await.expect("no request failed");
    assert!(asked.load(SeqCst) > ROTATIONS, "{asked:?} requests");
    assert_eq!(open.get("app.test", "/").await.brief(), (200, "app"));
}

#[tokio::test]
async fn a_gateway_of_the_mesh_shows_and_demands_certificates_of_the_mesh() {
    let (own, other) = (
        Authority::new("cluster.local"),
        Authority::new("cluster.local"),
    );
    let folder = own.identity_dir("edge", "gateway");
    let (port, origin) = (Port::reserve(), Origin::named("app").await);
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls: "mode: ISTIO_MUTUAL".to_owned(),
    };
    let yaml = gateway(&port, &[server]) + &routes("app.test", &origin);
    let path = folder.path().to_str().expect("a path").to_owned();
    let _proxy = Proxy::start_with(&yaml, &["--identity-dir", &path]).await;
    let ask = async |client| ask(&port, "app.test", "app.test", client).await;

    let workload = |authority: &Authority| authority.leaf("shop", "till").sign();
    assert_eq!(ask(workload(&own).client(&[], VERSIONS)).await, Some(200));
    assert_eq!(ask(workload(&other).client(&[], VERSIONS)).await, None);
    assert_eq!(ask(anonymous()).await, None);
    let nameless = own.leaf_named(&[], &["app.test"]).sign();
    assert_eq!(
        ask(nameless.client(&[], VERSIONS)).await,
        None,
        "no workload"
    );

    // Both may be believed while authorities are replaced, and then the new one alone.
    let renewed = other.leaf("edge", "gateway").sign();
    folder.replace(&renewed, &[&other]);
    let new = async || ask(workload(&other).client(&[], VERSIONS)).await;
    eventually("the new authority", new, |status| *status == Some(200)).await;
    assert_eq!(ask(workload(&own).client(&[], VERSIONS)).await, None);
}
