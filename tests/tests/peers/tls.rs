//! TLS at gateways, as OpenSSL, curl and Python see it, and as `testssl` judges it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tests::gateway::{Files, Server, echo, gateway};
use tests::yaml::{self, Service};
use tests::{Authority, Origin, Port, Proxy};

use crate::process;
use crate::tools::{debian, own};

/// For one connection, on a machine that has much else to do.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// For all that `testssl` asks, which are several hundred handshakes.
const SUITE_TIMEOUT: Duration = Duration::from_secs(900);
/// What `testssl` warns that it cannot find out with the OpenSSL of Debian 12.
const UNTESTED: [&str; 2] = ["engine_problem", "secure_renego"];
/// Fewer findings would mean that it broke off.
const FINDINGS_MIN: usize = 40;

/// A gateway with a server for each mode at one port, and clients' certificates.
struct Scene {
    files: Files,
    port: Port,
    authority: Authority,
    _origin: Origin,
    _proxy: Proxy,
}

// === impl Scene ===

impl Scene {
    async fn start() -> Self {
        let (authority, files) = (Authority::new("own.test"), Files::new());
        let (port, origin) = (Port::reserve(), Origin::named("app").await);
        let signed = |name: &str| authority.leaf_named(&[], &[name]);
        let rsa = files.pair("rsa", &signed("app.test").sign_for(&Authority::rsa_key()));
        let ecdsa = files.pair("ecdsa", &signed("app.test").sign());
        let pair = files.pair("own", &signed("*.app.test").sign());
        let roots = files.authorities("own", &[&authority]);
        let list = files.write("own-crl.pem", &authority.revocations(&[13]));
        let mutual = format!("{pair}, {roots}, caCrl: {}", list.display());
        let untouched = echo(&signed("raw.app.test").sign()).await;
        let servers = [
            (
                "app.test",
                format!("mode: SIMPLE, tlsCertificates: [{{{rsa}}}, {{{ecdsa}}}]"),
            ),
            ("*.app.test", format!("mode: SIMPLE, {pair}")),
            ("mutual.app.test", format!("mode: MUTUAL, {mutual}")),
            (
                "optional.app.test",
                format!("mode: OPTIONAL_MUTUAL, {mutual}"),
            ),
            ("raw.app.test", "mode: PASSTHROUGH".to_owned()),
        ];
        let servers = servers.map(|(host, tls)| Server {
            host,
            protocol: "HTTPS",
            tls,
        });
        let hosts = [
            "app.test",
            "any.app.test",
            "mutual.app.test",
            "optional.app.test",
        ];
        let service = Service::new("origin.test").at(origin.addr()).to_string();
        let raw = Service::new("raw.test")
            .protocol("TLS")
            .at(untouched)
            .to_string();
        let routes =
            hosts.map(|host| yaml::routes(host, "  - route: [{destination: {host: origin.test}}]"));
        let by_name = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: raw}
spec:
  hosts: [raw.app.test]
  gateways: [edge]
  tls:
  - match: [{sniHosts: [raw.app.test]}]
    route: [{destination: {host: raw.test}}]
";
        let yaml = gateway(&port, &servers) + &service + &raw + &routes.concat() + by_name;
        let proxy = Proxy::start(&yaml).await;
        Self {
            files,
            port,
            authority,
            _origin: origin,
            _proxy: proxy,
        }
    }

    fn authorities(&self) -> PathBuf {
        self.files.write("trusted.pem", &self.authority.root())
    }

    /// The files of a client's certificate and its key.
    fn client(&self, number: u64) -> [PathBuf; 2] {
        let signed = self.authority.leaf("shop", "till").numbered(number).sign();
        let certificate = self
            .files
            .write(&format!("client-{number}.pem"), &signed.chain);
        let key = self
            .files
            .write(&format!("client-{number}-key.pem"), &signed.key);
        [certificate, key]
    }

    /// What OpenSSL says in short when it asks for `name`.
    async fn openssl(&self, name: &str, more: &[&str]) -> String {
        self.openssl_at_length(name, &[&["-brief"], more].concat())
            .await
    }

    /// What OpenSSL says when it asks for `name`.
    async fn openssl_at_length(&self, name: &str, more: &[&str]) -> String {
        let (port, authorities) = (self.port.addr().to_string(), self.authorities());
        let authorities = authorities.display().to_string();
        let mut arguments = vec!["s_client", "-connect", &port, "-CAfile", &authorities];
        arguments.extend(["-servername", name, "-verify_hostname", name]);
        arguments.push("-verify_return_error");
        arguments.extend(more);
        let program = debian("openssl", "openssl");
        let output = process::run(&program, &arguments, CONNECT_TIMEOUT).await;
        text(&output)
    }

    /// The HTTP version and the status that curl gets.
    async fn curl(&self, name: &str, client: Option<&[PathBuf; 2]>, more: &[&str]) -> String {
        let port = self.port.addr().port();
        let resolve = format!("{name}:{port}:127.0.0.1");
        let authorities = self.authorities().display().to_string();
        let mut arguments = vec!["--silent", "--output", "/dev/null", "--max-time", "30"];
        arguments.extend(["--write-out", "%{http_version} %{http_code}"]);
        arguments.extend(["--cacert", &authorities, "--resolve", &resolve]);
        let own: Vec<String> = client
            .iter()
            .flat_map(|it| it.iter())
            .map(display)
            .collect();
        if let [certificate, key] = &own[..] {
            arguments.extend(["--cert", certificate, "--key", key]);
        }
        arguments.extend(more);
        let url = format!("https://{name}:{port}/");
        arguments.push(&url);
        let output = process::run(&debian("curl", "curl"), &arguments, CONNECT_TIMEOUT).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What Python sees on two connections.
    async fn python(&self, name: &str, client: Option<&[PathBuf; 2]>) -> [Value; 2] {
        let mut arguments = vec![
            display(own("tls.py")),
            self.port.addr().port().to_string(),
            name.to_owned(),
            display(self.authorities()),
        ];
        arguments.extend(client.iter().flat_map(|it| it.iter()).map(display));
        let program = debian("python3", "python3");
        let output = process::run(&program, &arguments, CONNECT_TIMEOUT).await;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let read = |line| serde_json::from_str(line).expect("lines are JSON");
        let lines: Vec<Value> = lines.lines().map(read).collect();
        lines
            .try_into()
            .unwrap_or_else(|_| panic!("two lines: {}", text(&output)))
    }
}

fn display(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[tokio::test]
async fn openssl_shakes_hands_by_the_versions_and_keys_that_are_served() {
    let scene = Scene::start().await;

    for (more, expected) in [
        (&["-tls1_3"][..], "Protocol version: TLSv1.3"),
        (&["-tls1_2"], "Protocol version: TLSv1.2"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "Signature type: RSA-PSS",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "Signature type: ECDSA",
        ),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"],
            "Signature type: RSA-PSS",
        ),
        (&["-tls1_3"], "Signature type: ECDSA"),
    ] {
        let said = scene.openssl("app.test", more).await;
        assert!(said.contains("CONNECTION ESTABLISHED"), "{more:?}: {said}");
        assert!(said.contains("Verification: OK"), "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    }
}

#[tokio::test]
async fn openssl_sees_neither_compression_nor_a_way_to_renegotiate_unsafely() {
    let scene = Scene::start().await;

    let said = scene.openssl_at_length("app.test", &["-tls1_2"]).await;

    assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
    assert!(said.contains("Compression: NONE"), "{said}");
}

#[tokio::test]
async fn openssl_is_told_why_it_gets_no_handshake() {
    let scene = Scene::start().await;
    let weak = "DEFAULT@SECLEVEL=0";

    for (more, alert) in [
        (&["-tls1_1", "-cipher", weak][..], "alert protocol version"),
        (&["-tls1", "-cipher", weak], "alert protocol version"),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            "alert handshake failure",
        ),
    ] {
        let said = scene.openssl("app.test", more).await;
        assert!(!said.contains("CONNECTION ESTABLISHED"), "{more:?}: {said}");
        assert!(said.contains(alert), "{more:?}: {said}");
    }
    let said = scene.openssl("other.test", &[]).await;
    assert!(!said.contains("CONNECTION ESTABLISHED"), "{said}");
}

#[tokio::test]
async fn openssl_sees_the_certificate_of_the_server_that_it_asks_for() {
    let scene = Scene::start().await;

    for name in ["app.test", "any.app.test", "raw.app.test"] {
        let said = scene.openssl(name, &[]).await;
        assert!(said.contains("Verification: OK"), "{name}: {said}");
    }
    let said = scene.openssl("a.b.app.test", &[]).await;
    assert!(said.contains("hostname mismatch"), "{said}");
}

#[tokio::test]
async fn curl_gets_in_with_the_certificate_that_is_asked_for() {
    let scene = Scene::start().await;
    let (good, revoked) = (scene.client(12), scene.client(13));

    for (name, client, expected) in [
        ("app.test", None, "2 200"),
        ("any.app.test", None, "2 200"),
        ("mutual.app.test", None, "0 000"),
        ("mutual.app.test", Some(&good), "2 200"),
        ("mutual.app.test", Some(&revoked), "0 000"),
        ("optional.app.test", None, "2 200"),
        ("optional.app.test", Some(&good), "2 200"),
        ("optional.app.test", Some(&revoked), "0 000"),
    ] {
        let shown = client.map(|client| &client[0]);
        let got = scene.curl(name, client, &["--http2"]).await;
        assert_eq!(got, expected, "{name} {shown:?}");
    }
    let got = scene.curl("app.test", None, &["--http1.1"]).await;
    assert_eq!(got, "1.1 200");
    let host = ["--http2", "--header", "host: mutual.app.test"];
    assert_eq!(scene.curl("any.app.test", None, &host).await, "2 421");
}

#[tokio::test]
async fn python_goes_on_with_a_session_and_is_refused_without_a_certificate() {
    let scene = Scene::start().await;
    let client = scene.client(12);

    for (name, client) in [("app.test", None), ("mutual.app.test", Some(&client))] {
        let [first, second] = scene.python(name, client).await;
        assert_eq!(
            (&first["status"], &first["body"]),
            (&200.into(), &"app".into()),
            "{first}"
        );
        assert_eq!(first["version"], "TLSv1.3");
        assert_eq!(first["protocol"], "http/1.1");
        assert_eq!(first["resumed"], false);
        assert_eq!(
            (&second["status"], &second["resumed"]),
            (&200.into(), &true.into()),
            "{second}"
        );
    }
    let [refused, _] = scene.python("mutual.app.test", None).await;
    assert!(
        refused["error"]
            .to_string()
            .contains("certificate required"),
        "{refused}"
    );
    let [nameless, _] = scene.python("-", None).await;
    assert!(
        nameless["error"].is_string(),
        "no server has all names: {nameless}"
    );
}

/// The listener, not the certificate: who signs those of this test is nobody's business, and what the
/// application says in its headers is the application's.
#[tokio::test]
async fn testssl_finds_nothing_above_low() {
    let scene = Scene::start().await;
    let findings = scene.files.write("testssl.json", "");
    std::fs::remove_file(&findings).expect("it was just written");
    let port = scene.port.addr().port();
    let arguments = [
        "--quiet".to_owned(),
        "--color=0".to_owned(),
        "--warnings=batch".to_owned(),
        "--ip=127.0.0.1".to_owned(),
        "--jsonfile".to_owned(),
        display(&findings),
        "--protocols".to_owned(),
        "--std".to_owned(),
        "--fs".to_owned(),
        "--server-preference".to_owned(),
        "--vulnerable".to_owned(),
        format!("app.test:{port}"),
    ];

    let program = debian("testssl", "testssl.sh");
    let output = process::run(&program, &arguments, SUITE_TIMEOUT).await;

    let found = std::fs::read_to_string(&findings).unwrap_or_else(|_| panic!("{}", text(&output)));
    let found: Vec<Value> = serde_json::from_str(&found).expect("JSON");
    assert!(found.len() >= FINDINGS_MIN, "{} findings", found.len());
    let is_grave = |finding: &&Value| {
        let text = |field: &str| finding[field].as_str().unwrap_or_default();
        let is_harmless = ["OK", "INFO", "LOW", "DEBUG"].contains(&text("severity"));
        !is_harmless && !UNTESTED.contains(&text("id"))
    };
    let grave: Vec<&Value> = found.iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{grave:#?}");
}
