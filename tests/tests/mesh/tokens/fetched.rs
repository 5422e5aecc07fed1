//! Keys that are fetched: from slow issuers, from those that are down, and after they have changed.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tests::jwt::Signer;
use tests::origin::{self, Protocol};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Script, eventually};

use super::{HOST, ISSUER, ask, policy, shop};

/// Serves the key set that it is given, or is down without one.
struct Issuer {
    origin: Origin,
    keys: Arc<Mutex<Option<String>>>,
}

impl Issuer {
    async fn with(keys: String) -> Self {
        let keys = Arc::new(Mutex::new(Some(keys)));
        let served = Arc::clone(&keys);
        let origin = Origin::serving(Protocol::Http1, move |_| {
            let keys = served.lock().unwrap_or_else(PoisonError::into_inner);
            let keys = keys.clone();
            async move {
                match keys {
                    Some(keys) => origin::text(keys),
                    None => {
                        let mut down: Response<origin::Body> = origin::text("down");
                        *down.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                        down
                    }
                }
            }
        });
        Self {
            origin: origin.await,
            keys,
        }
    }

    fn set(&self, keys: Option<String>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn rule(&self) -> Value {
        let uri = format!("http://{}/keys", self.origin.addr());
        json!({"issuer": ISSUER, "jwksUri": uri})
    }
}

#[tokio::test]
async fn keys_are_there_with_the_first_request() {
    let signer = Signer::new("a");
    let issuer = Issuer::with(signer.keys()).await;
    let origin = Origin::named("shop").await;

    let edge = shop(&origin, policy(&[issuer.rule()])).await;
    let reply = ask(&edge, &signer.token(ISSUER, &json!({}))).await;

    assert_eq!(reply.brief(), (200, "shop"));
    let metrics = edge.proxy.metrics().await;
    let ok = [("issuer", ISSUER), ("result", "ok")];
    assert_eq!(metrics.sum("meshproxy_jwks_fetches_total", &ok), 1.0);
    let jwks = edge.proxy.admin("/jwks").await;
    assert_eq!(jwks[0]["issuer"], ISSUER);
    assert_eq!(jwks[0]["keyIds"], json!(["a"]));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::with(old.keys()).await;
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[issuer.rule()])).await;
    assert_eq!(ask(&edge, &old.token(ISSUER, &json!({}))).await.status, 200);

    issuer.set(Some(new.keys()));
    let token = new.token(ISSUER, &json!({}));
    let status = async || ask(&edge, &token).await.status.as_u16();
    eventually("the new key", status, |status| *status == 200).await;

    let old = ask(&edge, &old.token(ISSUER, &json!({}))).await;
    assert_eq!(old.status, 401, "a key that is gone is good no longer");
}

#[tokio::test]
async fn known_keys_stay_while_the_issuer_is_down_also_over_reloads() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::with(old.keys()).await;
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[issuer.rule()])).await;
    let (old_token, new_token) = (old.token(ISSUER, &json!({})), new.token(ISSUER, &json!({})));
    assert_eq!(ask(&edge, &old_token).await.status, 200);

    issuer.set(None);
    let refused = ask(&edge, &new_token).await;
    let failed = async || {
        let metrics = edge.proxy.metrics().await;
        let failed = [("issuer", ISSUER), ("result", "failed")];
        metrics.sum("meshproxy_jwks_fetches_total", &failed)
    };
    eventually("a fetch that fails", failed, |failed| *failed > 0.0).await;
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    edge.apply(&[
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, &rules),
        policy(&[issuer.rule()]),
    ])
    .await;

    assert_eq!(refused.status, 401);
    assert_eq!(ask(&edge, &old_token).await.status, 200);
    let jwks = edge.proxy.admin("/jwks").await;
    assert!(jwks[0]["lastError"].is_string(), "{jwks}");

    issuer.set(Some(new.keys()));
    let status = async || ask(&edge, &new_token).await.status.as_u16();
    eventually("keys after the outage", status, |status| *status == 200).await;
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_nobody_and_its_tokens_are_refused() {
    let hanging = Script::start(|mut peer| async move {
        let _ = peer.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let signer = Signer::new("a");
    let good = "https://good.example";
    let origin = Origin::named("shop").await;
    let uri = format!("http://{}/keys", hanging.addr());
    let edge: Edge = shop(
        &origin,
        policy(&[
            json!({"issuer": ISSUER, "jwksUri": uri, "timeout": "200ms"}),
            json!({"issuer": good, "jwks": signer.keys()}),
        ]),
    )
    .await;

    let refused = ask(&edge, &signer.token(ISSUER, &json!({}))).await;
    let passed = ask(&edge, &signer.token(good, &json!({}))).await;

    assert_eq!(refused.brief(), (401, "Jwks remote fetch is failed"));
    assert_eq!(passed.status, 200);
}

#[tokio::test]
async fn tokens_with_unknown_keys_do_not_flood_the_issuer() {
    let signer = Signer::new("a");
    let issuer = Issuer::with(signer.keys()).await;
    let origin = Origin::named("shop").await;
    let edge = shop(&origin, policy(&[issuer.rule()])).await;

    for number in 0..200 {
        let unknown = Signer::new(&format!("unknown-{number}"));
        let refused = ask(&edge, &unknown.token(ISSUER, &json!({}))).await;
        assert_eq!(refused.status, 401);
    }

    let fetches = issuer.origin.requests();
    assert!(fetches <= 8, "{fetches}");
}
