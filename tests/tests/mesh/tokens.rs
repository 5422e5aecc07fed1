//! Tokens: who a request is from by the word of an issuer, and what becomes of those that lie.

mod explained;
mod fetched;

use serde_json::{Value, json};
use tests::jwt::{Signer, now};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Reply};

const HOST: &str = "shop.test";
const ISSUER: &str = "https://issuer.example";

/// A policy of the gateway with these rules, each as JSON.
fn policy(rules: &[Value]) -> String {
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens"},
        "spec": {
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "jwtRules": rules,
        },
    });
    format!("{policy}\n---\n")
}

fn rule(signer: &Signer) -> Value {
    json!({"issuer": ISSUER, "jwks": signer.keys()})
}

/// The shop behind a gateway with a policy.
async fn shop(origin: &Origin, policy: String) -> Edge {
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    shop_with(origin, policy, &rules).await
}

async fn shop_with(origin: &Origin, policy: String, rules: &str) -> Edge {
    let documents = [
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, rules),
        policy,
    ];
    Edge::start_with(&documents, &["--access-log", "json"]).await
}

async fn ask(edge: &Edge, token: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let mut client = edge.http1().await;
    client
        .get_with(HOST, "/a?b=c", &[("authorization", &bearer)])
        .await
}

#[tokio::test]
async fn a_good_token_passes_and_goes_no_further_and_its_claims_go_on() {
    let signer = Signer::new("a");
    let origin = Origin::named("shop").await;
    let mut rule = rule(&signer);
    rule["outputClaimToHeaders"] = json!([{"header": "x-user", "claim": "sub"}]);
    let edge = shop(&origin, policy(&[rule])).await;
    let bearer = format!("Bearer {}", signer.token(ISSUER, &json!({})));
    let mut client = edge.http1().await;

    let headers = [("authorization", bearer.as_str()), ("x-user", "admin")];
    let reply = client.get_with(HOST, "/", &headers).await;
    let seen = origin.last();
    let anonymous = client.get_with(HOST, "/", &[("x-user", "admin")]).await;

    assert_eq!(reply.brief(), (200, "shop"));
    assert_eq!(seen.header("x-user"), "jason");
    assert_eq!(seen.header("authorization"), "");
    assert_eq!(anonymous.brief(), (200, "shop"));
    assert_eq!(origin.last().header("x-user"), "");
}

/// Tokens for the shop that lie, with the answers they get.
fn lies(signer: &Signer) -> [(String, u16, &'static str); 10] {
    let forger = Signer::new("a");
    let good = json!({"aud": "shop"});
    let claims = json!({"iss": ISSUER, "exp": now() + 300, "aud": "shop"}).to_string();
    [
        (
            signer.token(ISSUER, &json!({"aud": "shop", "exp": 1})),
            401,
            "Jwt is expired",
        ),
        (
            signer.token(ISSUER, &json!({"aud": "shop", "nbf": now() + 3_600})),
            401,
            "Jwt not yet valid",
        ),
        (forger.token(ISSUER, &good), 401, "Jwt verification fails"),
        (
            signer.token("https://other.example", &good),
            401,
            "Jwt issuer is not configured",
        ),
        (
            signer.token(ISSUER, &json!({"aud": "bank"})),
            403,
            "Audiences in Jwt are not allowed",
        ),
        (
            signer.sign(r#"{"alg":"none","kid":"a"}"#, &claims),
            401,
            "Jwt header [alg] is not supported",
        ),
        (
            signer.sign(r#"{"alg":"HS256","kid":"a"}"#, &claims),
            401,
            "Jwt header [alg] is not supported",
        ),
        (
            signer.sign(r#"{"alg":"ES256","kid":"../../etc/passwd"}"#, &claims),
            401,
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        (
            "not-a-token".to_owned(),
            401,
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        ("a".repeat(20_000), 401, "Jwt is too long"),
    ]
}

#[tokio::test]
async fn a_token_that_lies_gets_the_answers_that_clients_know_and_reaches_nobody() {
    let signer = Signer::new("a");
    let origin = Origin::named("shop").await;
    let mut rule = rule(&signer);
    rule["audiences"] = json!(["shop"]);
    let edge = shop(&origin, policy(&[rule])).await;
    for (token, status, text) in lies(&signer) {
        let reply = ask(&edge, &token).await;

        assert_eq!(reply.brief(), (status, text));
        assert_eq!(
            reply.header("www-authenticate"),
            "Bearer realm=\"http://shop.test/a?b=c\", error=\"invalid_token\""
        );
        let detail = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
        assert_eq!(reply.header("x-meshproxy-error"), detail);
        let is_ours = move |line: &str| line.contains(&detail);
        let line = edge.proxy.stdout.line(text, is_ours).await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["response_flags"], "UAEX");
    }
    assert_eq!(origin.requests(), 0, "nobody was reached");
    let metrics = edge.proxy.metrics().await;
    let refused = |cause| metrics.sum("meshproxy_tokens_refused_total", &[("cause", cause)]);
    assert_eq!(refused("expired"), 1.0);
    assert_eq!(refused("unknown_algorithm"), 2.0);
    assert_eq!(refused("audience"), 1.0);
}

#[tokio::test]
async fn grpc_clients_get_a_grpc_status() {
    let signer = Signer::new("a");
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[rule(&signer)])).await;
    let mut client = edge.http1().await;

    let headers = [
        ("authorization", "Bearer x"),
        ("content-type", "application/grpc"),
    ];
    let reply = client.get_with(HOST, "/", &headers).await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("grpc-status"), "16");
}

#[tokio::test]
async fn a_token_in_the_query_is_taken_away_and_in_no_log() {
    let signer = Signer::new("a");
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[rule(&signer)])).await;
    let token = signer.token(ISSUER, &json!({}));
    let mut client = edge.http1().await;

    let path = format!("/secret?access_token={token}&x=y");
    let reply = client.get(HOST, &path).await;

    assert_eq!(reply.brief(), (200, "shop"));
    assert_eq!(origin.last().target, "/secret?x=y");
    let line = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("/secret"))
        .await;
    assert!(!line.contains(&token), "{line}");
    assert!(line.contains("access_token=-&x=y"), "{line}");
}

#[tokio::test]
async fn a_gateway_routes_by_claims_and_never_by_headers_of_their_name() {
    let signer = Signer::new("a");
    let (staff, others) = (Origin::named("staff").await, Origin::named("others").await);
    let rules = format!(
        "  - match: [{{headers: {{'@request.auth.claims.realm.roles': {{exact: staff}}}}}}]
    route: [{{destination: {{host: {HOST}}}}}]
  - match: [{{withoutHeaders: {{'@request.auth.claims[sub]': {{}}}}}}]
    directResponse: {{status: 200, body: {{string: nobody}}}}
  - route: [{{destination: {{host: others.test}}}}]"
    );
    let documents = [
        Service::new(HOST).at(staff.addr()).to_string(),
        Service::new("others.test").at(others.addr()).to_string(),
        yaml::routes(HOST, &rules),
        policy(&[rule(&signer)]),
    ];
    let edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;
    let of_staff = signer.token(ISSUER, &json!({"realm": {"roles": ["a", "staff"]}}));
    let of_others = signer.token(ISSUER, &json!({"realm": {"roles": ["a"]}}));

    let forged = [
        ("realm.roles", "staff"),
        ("x-request.auth.claims.realm.roles", "staff"),
    ];
    let anonymous = client.get_with(HOST, "/", &forged).await;

    assert_eq!(ask(&edge, &of_staff).await.text(), "staff");
    assert_eq!(ask(&edge, &of_others).await.text(), "others");
    assert_eq!(anonymous.text(), "nobody");
}

#[tokio::test]
async fn users_told_apart_by_a_claim_stay_where_they_are() {
    const USERS: usize = 40;
    let signer = Signer::new("a");
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let service = Service::new(HOST)
        .version(origins[0].addr(), "v1")
        .version(origins[1].addr(), "v2");
    let routes = format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, annotations: {{meshproxy.io/sticky-by: 'jwt:sub'}}}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  http:
  - route:
    - destination: {{host: {HOST}, subset: v1}}
      weight: 50
    - destination: {{host: {HOST}, subset: v2}}
      weight: 50
---
"
    );
    let documents = [
        service.to_string(),
        yaml::subsets(HOST, &["v1", "v2"]),
        routes,
        policy(&[rule(&signer)]),
    ];
    let edge = Edge::start(&documents).await;

    let mut met = [0, 0];
    for user in 0..USERS {
        let token = signer.token(ISSUER, &json!({"sub": format!("user-{user}")}));
        let first = ask(&edge, &token).await;
        for _ in 0..3 {
            assert_eq!(ask(&edge, &token).await.text(), first.text());
        }
        met[usize::from(first.text() == "v2")] += 1;
    }

    assert!(met.iter().all(|users| *users > USERS / 8), "{met:?}");
}

#[tokio::test]
async fn a_change_of_rules_is_in_force_on_open_connections() {
    let (before, after) = (Signer::new("a"), Signer::new("b"));
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[rule(&before)])).await;
    let bearer = format!("Bearer {}", before.token(ISSUER, &json!({})));
    let mut client = edge.http1().await;
    let headers = [("authorization", bearer.as_str())];

    let first = client.get_with(HOST, "/", &headers).await;
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    edge.apply(&[
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, &rules),
        policy(&[rule(&after)]),
    ])
    .await;
    let second = client.get_with(HOST, "/", &headers).await;

    assert_eq!(first.status, 200);
    assert_eq!(
        second.status, 401,
        "remembered tokens are forgotten with their keys"
    );
}
