//! Who may in, as `meshproxy explain` says before.

use std::fs;

use serde_json::Value;
use tests::binary::run;

const FILE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['shop.test']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: [shop.test], gateways: [edge], http: [{directResponse: {status: 200}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: some}
spec: {rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {methods: [GET]}}]}]}
";

/// What is explained of a request by `arguments`, and the exit code.
async fn explained(arguments: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, FILE).expect("a file");
    let file = file.to_str().expect("text");
    let all = [
        &["explain", "-o", "json"],
        arguments,
        &[file, "http://shop.test:8080/"],
    ]
    .concat();
    let output = run(&all).await;
    let told = serde_json::from_slice(&output.stdout).expect("JSON");
    (told, output.status.code())
}

#[tokio::test]
async fn the_policy_that_decides_is_named_and_why_the_others_do_not() {
    let (allowed, code) = explained(&["--principal", "cluster.local/ns/a/sa/x"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(allowed["authorization"]["by"], "default/some[0]");

    let (denied, code) = explained(&["--principal", "cluster.local/ns/b/sa/x"]).await;
    assert_eq!(code, Some(3));
    assert_eq!(denied["authorization"]["allowed"], false);
    let policy = &denied["authorization"]["policies"][0];
    assert_eq!(
        policy["mismatches"][0]["place"],
        "from[0].source.namespaces"
    );
    assert_eq!(policy["mismatches"][0]["found"], "cluster.local/ns/b/sa/x");
    assert_eq!(denied["outcome"]["error"], "rbac_access_denied");
}
