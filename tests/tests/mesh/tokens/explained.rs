//! What `meshproxy explain` says of a request with a token.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary::run;
use tests::jwt::Signer;
use tests::{Port, yaml};

use super::{HOST, ISSUER, policy, rule};

/// What is explained of a request with a token, as text.
async fn explained(policy: &str, token: &str) -> String {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("mesh.yaml");
    let rules = "  - match: [{headers: {'@request.auth.claims.sub': {exact: jason}}}]
    directResponse: {status: 204}
  - directResponse: {status: 404}";
    let documents = [
        yaml::gateway(&Port::reserve()),
        yaml::routes(HOST, rules),
        policy.to_owned(),
    ];
    fs::write(&path, documents.concat()).expect("a temporary file can be written");
    let path = path.to_str().expect("a path in ASCII");
    let header = format!("authorization: Bearer {token}");
    let url = format!("http://{HOST}/");
    let at = "gateway/default/edge";
    let arguments = [
        "explain",
        "--from",
        "istio=ingressgateway",
        path,
        "-H",
        &header,
        &url,
        "--listener",
        at,
        "-o",
        "json",
    ];
    let output = run(&arguments).await;
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_token_is_judged_by_keys_that_are_written_and_no_other_is_fetched() {
    let signer = Signer::new("a");
    let token = signer.token(ISSUER, &json!({}));
    let written = policy(&[rule(&signer)]);
    let uri = "https://issuer.invalid/keys";
    let fetched = policy(&[json!({"issuer": ISSUER, "jwksUri": uri})]);

    let good = explained(&written, &token).await;
    let forged = explained(&written, &Signer::new("a").token(ISSUER, &json!({}))).await;
    let unknown = explained(&fetched, &token).await;

    let good: Value = serde_json::from_str(&good).expect("JSON");
    assert_eq!(good["outcome"]["status"], 204, "{good}");
    assert!(forged.contains("Jwt verification fails"), "{forged}");
    assert!(unknown.contains("would have to be fetched"), "{unknown}");
}
