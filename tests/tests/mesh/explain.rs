//! "Why": what `meshproxy explain` says before, and a response with the header that asks says after.

mod authorization;
mod beside;
mod live;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tests::binary::run;

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['shop.test']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  gateways: [edge]
  http: [{rewrite: {uri: /shop}, route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: testers
    match: [{headers: {end-user: {exact: jason}}, sourceLabels: {app: web}}]
    timeout: 2s
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /reviews}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 192.0.2.1, labels: {version: v1}}
  - {address: 192.0.2.2, labels: {version: v2}}
";

/// A file that is there for the time of a test.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

/// What a command said, and its exit code.
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

// === impl File ===

impl File {
    fn with(text: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("mesh.yaml");
        fs::write(&path, text).expect("a temporary file can be written");
        Self {
            _folder: folder,
            path,
        }
    }

    async fn explain(&self, arguments: &[&str]) -> Told {
        let path = self.path.to_str().expect("a path in ASCII");
        let output = run(&[&["explain", path], arguments].concat()).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(path, "mesh.yaml");
        Told {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The decision as JSON, of a request that is routed.
    async fn decision(&self, arguments: &[&str]) -> Value {
        let told = self.explain(&[arguments, &["-o", "json"]].concat()).await;
        assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
        serde_json::from_str(&told.stdout).expect("JSON")
    }
}

#[tokio::test]
async fn the_rule_that_takes_a_request_is_told_and_why_the_others_do_not() {
    let file = File::with(MESH);

    let told = file.explain(&["http://reviews:9080/reviews/1"]).await;

    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let lines: Vec<&str> = told.stdout.lines().map(str::trim_end).collect();
    assert_eq!(
        lines[..10],
        [
            "request    GET http://reviews:9080/reviews/1",
            "caller     no labels, namespace default",
            "listener   127.0.0.1:15001 (outbound)",
            "host       reviews.default.svc.cluster.local, port 9080",
            "rules      - VirtualService default/reviews http[0].match[0] \"testers\" (mesh.yaml:17)",
            "               wants caller's label app is web; has none",
            "           - VirtualService default/reviews http[1].match[0] \"default\" (mesh.yaml:17)",
            "               wants path is /old; has /reviews/1",
            "           > VirtualService default/reviews http[2].match[0] \"default\" (mesh.yaml:17)",
            "",
        ]
    );
    for line in [
        "target     90 % reviews.default.svc.cluster.local, subset v1",
        "target     10 % reviews.default.svc.cluster.local, subset v2",
        "           endpoint     192.0.2.1:9080, weight 1, available",
        "           policy       DestinationRule default/reviews",
    ] {
        assert!(lines.contains(&line), "{line} in {}", told.stdout);
    }
}

#[tokio::test]
async fn the_caller_decides_which_rules_count() {
    let file = File::with(MESH);
    let request = ["-H", "end-user: jason", "http://reviews:9080/reviews/1"];

    let other = file
        .decision(&[&["--from", "app=cart"], &request[..]].concat())
        .await;
    let web = file
        .decision(&[&["--from", "app=web"], &request[..]].concat())
        .await;

    assert_eq!(other["rules"][0]["mismatch"]["found"], "cart");
    assert_eq!(other["rules"][2]["matched"], true);
    assert_eq!(web["rules"][0]["name"], "testers");
    assert_eq!(web["rules"][0]["matched"], true);
    assert_eq!(web["rulesNotTried"], 2);
    assert_eq!(web["outcome"]["timeout"], "2s");
    assert_eq!(web["outcome"]["targets"][0]["taken"], "always");
    assert_eq!(
        web["outcome"]["targets"][0]["destination"]["labels"]["version"],
        "v2"
    );
}

#[tokio::test]
async fn the_port_of_the_url_finds_the_gateway_that_serves_the_host() {
    let file = File::with(MESH);

    let decision = file.decision(&["http://shop.test:8080/a"]).await;
    assert_eq!(decision["listener"]["name"], "gateway default/edge");
    assert_eq!(decision["outcome"]["targets"][0]["sent"]["path"], "/shopa");
    let named = ["--listener", "gateway/default/edge", "http://shop.test/"];
    let decision = file.decision(&named).await;
    assert_eq!(decision["listener"]["direction"], "gateway");
    let told = file
        .explain(&["--listener", "mesh", "http://shop.test:8080/"])
        .await;
    assert_eq!(
        told.code,
        Some(3),
        "the mesh does not serve it: {}",
        told.stdout
    );
}

#[tokio::test]
async fn a_redirect_is_told_with_its_location() {
    let file = File::with(MESH);

    let decision = file.decision(&["reviews:9080/old?a"]).await;

    assert_eq!(decision["outcome"]["action"], "answered");
    assert_eq!(decision["outcome"]["status"], 301);
    let location = &decision["outcome"]["headers"][0];
    assert_eq!(location[0], "location");
    assert_eq!(location[1], "http://reviews:9080/new?a");
}

#[tokio::test]
async fn a_request_that_nobody_takes_is_told_with_its_reason_and_exit_code_3() {
    let file = File::with(MESH);

    for (arguments, line) in [
        (
            &["http://reviews:9080/none"][..],
            "action     refuse: 404 NR route_not_found: no rule matches",
        ),
        (
            &["http://reviews:9081/"],
            "action     refuse: 404 NR unknown_host: reviews.default.svc.cluster.local has no \
             port 9081, but 9080",
        ),
        (
            &["http://reviewz/"],
            "action     refuse: 404 NR unknown_host: the listener serves \
             reviews.default.svc.cluster.local",
        ),
        (
            &["https://shop.test:8080/"],
            "action     refuse: 404 NR unknown_host: the listener does not terminate TLS",
        ),
    ] {
        let told = file.explain(arguments).await;

        assert_eq!(told.code, Some(3), "{arguments:?}");
        assert!(
            told.stdout.lines().any(|it| it == line),
            "{line}\n{}",
            told.stdout
        );
    }
    let told = file
        .explain(&["--listener", "1.2.3.4:5", "http://reviews/"])
        .await;
    assert_eq!(told.code, Some(3));
    assert!(
        told.stderr.contains("no listener takes the request"),
        "{}",
        told.stderr
    );
}

#[tokio::test]
async fn a_configuration_with_errors_is_not_explained() {
    let file = File::with("kind: Gateway\n");

    let told = file.explain(&["http://reviews/"]).await;

    assert_eq!(told.code, Some(1));
    assert!(told.stdout.starts_with("mesh.yaml:1:"), "{}", told.stdout);
    assert_eq!(
        file.explain(&[]).await.code,
        Some(2),
        "no URL is a usage error"
    );
}
