//! Certificates from the control plane.

use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A control plane in TLS, and the arguments of a proxy that follows it.
async fn secured(documents: &[String], account: &str) -> (Control, TempDir, Vec<String>) {
    let names = ["--server-name", "127.0.0.1"];
    let control = Control::start(&[("mesh.yaml", &documents.concat())], &names).await;
    let folder = TempDir::new().expect("a temporary folder");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path of text").to_owned()
    };
    let token = control.token("default", account, &[]).await;
    let arguments = vec![
        "--control-token".to_owned(),
        file("token", token),
        "--control-root".to_owned(),
        file("root.pem", control.roots()),
        "--service-account".to_owned(),
        account.to_owned(),
        "--state-dir".to_owned(),
        folder
            .path()
            .join("state")
            .to_str()
            .expect("text")
            .to_owned(),
    ];
    (control, folder, arguments)
}

async fn follow(control: &Control, arguments: &[String], more: &[&str]) -> Proxy {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let url = format!("https://{}", control.addr);
    Proxy::follow(&url, &[&arguments, more].concat()).await
}

/// The certificate of the workload as the proxy shows it.
async fn own(proxy: &Proxy) -> Value {
    let certificates = proxy.admin("/certs").await;
    let all = certificates.as_array().cloned().unwrap_or_default();
    let mut own = all.into_iter().filter(|it| it["purpose"] == "identity");
    own.next().unwrap_or_default()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).expect("a file");
    metadata.permissions().mode() & 0o777
}

#[tokio::test]
async fn a_workload_gets_a_certificate_for_its_token_and_keeps_it_to_itself() {
    let port = Port::reserve();
    let (control, folder, arguments) = secured(&[sidecar(&port)], "reviews").await;

    let proxy = follow(&control, &arguments, &[]).await;

    let own = own(&proxy).await;
    let names = own["names"].to_string();
    assert!(
        names.contains("spiffe://cluster.local/ns/default/sa/reviews"),
        "{own}"
    );
    let current = folder.path().join("state/identity/current");
    assert_eq!(mode(&current.join("key.pem")), 0o600);
    assert_eq!(mode(&folder.path().join("state/identity")), 0o700);
    let metrics = proxy.metrics().await;
    let issued = [("result", "success")];
    assert_eq!(
        metrics.sum("meshproxy_control_certificates_total", &issued),
        1.0
    );
}

#[tokio::test]
async fn a_certificate_outlives_the_process_and_the_token() {
    let port = Port::reserve();
    let (control, folder, arguments) = secured(&[sidecar(&port)], "reviews").await;
    let before = own(&follow(&control, &arguments, &[]).await).await;

    fs::remove_file(folder.path().join("token")).expect("a file");
    let again = follow(&control, &arguments, &[]).await;

    assert_eq!(own(&again).await["serial"], before["serial"]);
    let is_connected = |following: &Value| !following["connected"].is_null();
    eventually(
        "its certificate is enough",
        || following(&again),
        is_connected,
    )
    .await;
}

#[tokio::test]
async fn two_workloads_with_certificates_of_the_control_plane_trust_each_other() {
    let app = Origin::named("app").await;
    let (inner, port) = (Port::reserve(), Port::reserve());
    let server = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: server}}
spec:
  workloadSelector: {{labels: {{app: server}}}}
  ingress:
  - port: {{number: {inner}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: server}}
spec: {{host: server.test, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}
---
",
        app.addr().port()
    );
    let client = sidecar(&port).replace(
        "spec:\n",
        "spec:\n  workloadSelector: {labels: {app: client}}\n",
    );
    let entry = Service::new("server.test").at(inner.addr()).to_string();
    let (control, _folder, arguments) = secured(&[server, client, entry], "server").await;
    let _server = follow(&control, &arguments, &["--labels", "app=server"]).await;
    let token = control.token("default", "client", &[]).await;
    let own = TempDir::new().expect("a temporary folder");
    let token_file = own.path().join("token");
    fs::write(&token_file, token).expect("a file");
    let root = arguments[3].clone();
    let of_client = [
        "--control-token",
        token_file.to_str().expect("text"),
        "--control-root",
        &root,
        "--service-account",
        "client",
        "--labels",
        "app=client",
    ];
    let _client = follow(&control, &[], &of_client).await;

    let reply = Http1::connect(port.addr())
        .await
        .get("server.test", "/")
        .await;

    assert_eq!(reply.brief(), (200, "app"));
    let told = app.last().headers.get("x-forwarded-client-cert").cloned();
    let told = told.map(|it| it.to_str().unwrap_or_default().to_owned());
    assert!(told.is_some_and(|it| it.contains("/ns/default/sa/client")));
}

#[tokio::test]
async fn a_control_plane_with_another_authority_is_followed_and_has_certificates_renewed() {
    let port = Port::reserve();
    let documents = [sidecar(&port)];
    let (control, folder, arguments) = secured(&documents, "reviews").await;
    let before = own(&follow(&control, &arguments, &[]).await).await;
    drop(control);
    let (control, other, _) = secured(&documents, "reviews").await;
    for name in ["token", "root.pem"] {
        let (from, to) = (other.path().join(name), folder.path().join(name));
        fs::copy(from, to).expect("a file");
    }

    let proxy = follow(&control, &arguments, &[]).await;

    let is_connected = |following: &Value| !following["connected"].is_null();
    eventually("it is followed", || following(&proxy), is_connected).await;
    let serial = async || own(&proxy).await["serial"].clone();
    let is_new = |serial: &Value| *serial != before["serial"] && !serial.is_null();
    eventually("a certificate of its authority", serial, is_new).await;
}
