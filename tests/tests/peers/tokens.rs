//! Tokens that PyJWT made: keys and signatures are read as it writes them, by every algorithm.

use std::time::Duration;

use serde_json::{Value, json};
use tests::jwt::now;
use tests::yaml::{self, Service};
use tests::{Edge, Origin};

use crate::process;
use crate::tools;

const HOST: &str = "shop.test";
const ISSUER: &str = "https://issuer.example";
/// Making keys of RSA takes seconds on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);
/// RS and PS with three hashes, two of them with a longer key, ES with three curves, and EdDSA.
const TOKENS: usize = 12;

#[tokio::test]
async fn tokens_of_others_are_taken_by_every_algorithm_and_their_forgeries_are_not() {
    let arguments = [
        tools::own("tokens.py").into_os_string(),
        ISSUER.into(),
        (now() + 3_600).to_string().into(),
    ];
    let output = process::run(&tools::python(), &arguments, TIMEOUT).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let origin = Origin::named("shop").await;
    let keys = json!({"keys": made["keys"]}).to_string();
    let rule = json!({
        "issuer": ISSUER,
        "audiences": ["shop"],
        "jwks": keys,
        "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
    });
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens"},
        "spec": {"jwtRules": [rule]},
    });
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let edge = Edge::start(&[
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, &rules),
        format!("{policy}\n---\n"),
    ])
    .await;
    let mut client = edge.http1().await;

    let tokens = made["tokens"].as_array().expect("a list");
    assert_eq!(tokens.len(), TOKENS);
    for one in tokens {
        let token = one["token"].as_str().expect("a text");
        let bearer = format!("Bearer {token}");
        let reply = client
            .get_with(HOST, "/", &[("authorization", &bearer)])
            .await;
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let flipped: String = signature.chars().rev().collect();
        let forged = format!("Bearer {signed}.{flipped}");
        let refused = client
            .get_with(HOST, "/", &[("authorization", &forged)])
            .await;

        assert_eq!(reply.brief(), (200, "shop"), "{one}");
        assert_eq!(origin.last().header("x-user"), "jason", "{one}");
        assert_eq!(refused.status, 401, "{one}");
    }
}
