//! Mutual TLS as the libraries of others speak it: OpenSSL by itself, under curl and under Python.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tests::{Authority, IdentityDir, Origin, Port, Proxy};

use crate::process;
use crate::tools;

/// For one request, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// A workload whose policy has this mode, and who calls it.
struct Scene {
    _proxy: Proxy,
    _origin: Origin,
    _identity: IdentityDir,
    port: Port,
    caller: IdentityDir,
}

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// In TLS without a certificate.
    Nobody,
    Mutual,
}

impl Scene {
    async fn with(mode: &str) -> Self {
        let authority = Authority::new("cluster.local");
        let identity = authority.identity_dir("default", "cart");
        let caller = authority.identity_dir("default", "shop");
        let (port, origin) = (Port::reserve(), Origin::named("cart").await);
        let yaml = format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  ingress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: {mode}}}}}
",
            origin.addr().port()
        );
        let folder = identity.path().display().to_string();
        Self {
            _proxy: Proxy::start_with(&yaml, &["--identity-dir", &folder]).await,
            _origin: origin,
            _identity: identity,
            port,
            caller,
        }
    }

    fn file(&self, name: &str) -> String {
        self.caller.file(name).display().to_string()
    }

    /// The status that curl gets, 0 if none.
    async fn curl(&self, way: Way, more: &[&str]) -> String {
        let scheme = match way {
            Way::Plain => "http",
            Way::Nobody | Way::Mutual => "https",
        };
        let url = format!("{scheme}://127.0.0.1:{}/", self.port);
        let (chain, key) = (self.file("cert-chain.pem"), self.file("key.pem"));
        let mut arguments = vec!["--silent", "--insecure", "--output", "/dev/null"];
        arguments.extend(["--write-out", "%{http_code} %{http_version}", &url]);
        if way == Way::Mutual {
            arguments.extend(["--cert", &chain, "--key", &key]);
        }
        arguments.extend(more);
        let output = run(&tools::debian("curl", "curl"), &arguments).await;
        String::from_utf8(output.stdout).expect("text")
    }

    /// What Python sees.
    async fn python(&self, way: Way, protocol: &str) -> Value {
        let program = tools::own("tls_client.py").display().to_string();
        let (port, roots) = (self.port.to_string(), self.file("root-cert.pem"));
        let (chain, key) = (self.file("cert-chain.pem"), self.file("key.pem"));
        let mut arguments = vec![program.as_str(), &port, &roots, protocol];
        if way == Way::Mutual {
            arguments.extend([chain.as_str(), &key]);
        }
        let output = run(&tools::debian("python3", "python3"), &arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// What `openssl s_client` says of a handshake with more arguments.
    async fn openssl(&self, way: Way, more: &[&str]) -> String {
        let addr = self.port.addr().to_string();
        let (roots, chain) = (self.file("root-cert.pem"), self.file("cert-chain.pem"));
        let key = self.file("key.pem");
        let mut arguments = vec!["s_client", "-connect", &addr, "-CAfile", &roots];
        arguments.extend([
            "-verify_return_error",
            "-alpn",
            "istio-http/1.1,istio,http/1.1",
        ]);
        if way == Way::Mutual {
            arguments.extend(["-cert", &chain, "-key", &key]);
        }
        arguments.extend(more);
        let output = run(&tools::debian("openssl", "openssl"), &arguments).await;
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }
}

async fn run(program: &Path, arguments: &[&str]) -> Output {
    process::run(program, arguments, LIMIT).await
}

#[tokio::test]
async fn each_client_is_served_as_the_policy_says() {
    for (mode, served) in [
        ("STRICT", &[Way::Mutual][..]),
        ("PERMISSIVE", &[Way::Plain, Way::Mutual]),
        ("DISABLE", &[Way::Plain]),
    ] {
        let scene = Scene::with(mode).await;
        for way in [Way::Plain, Way::Nobody, Way::Mutual] {
            let is_served = served.contains(&way);

            let curl = scene.curl(way, &[]).await;
            assert_eq!(
                curl.starts_with("200 "),
                is_served,
                "{mode} {way:?}: {curl}"
            );
            if way != Way::Plain {
                let python = scene.python(way, "http/1.1").await;
                assert_eq!(
                    python["status"] == 200,
                    is_served,
                    "{mode} {way:?}: {python}"
                );
            }
        }
    }
}

#[tokio::test]
async fn versions_and_protocols_are_agreed_upon() {
    let scene = Scene::with("STRICT").await;

    assert_eq!(scene.curl(Way::Mutual, &["--http2"]).await, "200 2");
    assert_eq!(scene.curl(Way::Mutual, &["--http1.1"]).await, "200 1.1");
    assert_eq!(
        scene.curl(Way::Mutual, &["--tls-max", "1.2"]).await,
        "200 2"
    );
    let python = scene.python(Way::Mutual, "istio").await;
    assert_eq!(python["version"], "TLSv1.3");
    assert_eq!(python["protocol"], "istio");
    assert_eq!(
        python["names"][0],
        "spiffe://cluster.local/ns/default/sa/cart"
    );

    for (version, name) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = scene.openssl(Way::Mutual, &[version]).await;
        assert!(said.contains(name), "{said}");
        assert!(said.contains("ALPN protocol: istio-http/1.1"), "{said}");
        assert!(said.contains("Verification: OK"), "{said}");
    }
    let said = scene
        .openssl(Way::Mutual, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
        .await;
    assert!(said.contains("SSL alert number"), "{said}");
    let said = scene.openssl(Way::Nobody, &["-tls1_2"]).await;
    assert!(said.contains("alert"), "{said}");
}
