//! What was used stays used when the configuration changes.

use tests::Origin;

use super::{HOST, documents, limited, passed, policy};

fn limits(requests: u32, more: &str) -> [String; 1] {
    let limit = format!("  - {{name: all, requests: {requests}, per: 1h{more}}}");
    [policy("shop", "selector: {}", &limit)]
}

#[tokio::test]
async fn a_reload_gives_nobody_a_new_burst() {
    let origin = Origin::named("shop").await;
    let edge = limited(&origin, &limits(10, "")).await;
    let mut client = edge.http1().await;
    assert_eq!(passed(&mut client, HOST, &[], 12).await, 10);

    edge.apply(&documents(&origin, &limits(10, ", burst: 10")))
        .await;
    assert_eq!(passed(&mut client, HOST, &[], 5).await, 0);
    edge.apply(&documents(&origin, &limits(1, ", burst: 10")))
        .await;
    assert_eq!(passed(&mut client, HOST, &[], 5).await, 0);
    edge.apply(&documents(&origin, &limits(20, ""))).await;

    // Twenty are allowed, and ten were used.
    assert_eq!(passed(&mut client, HOST, &[], 15).await, 10);
}

#[tokio::test]
async fn a_reload_leaves_each_key_what_the_new_numbers_allow_less_what_it_used() {
    let origin = Origin::named("shop").await;
    let key = ", key: ['request.headers[x-user]']";
    let edge = limited(&origin, &limits(10, key)).await;
    let mut client = edge.http1().await;
    for (user, used) in [("anna", 10), ("otto", 4)] {
        let user = [("x-user", user)];
        assert_eq!(passed(&mut client, HOST, &user, used).await, used);
    }

    edge.apply(&documents(&origin, &limits(15, key))).await;

    for (user, left) in [("anna", 5), ("otto", 11), ("eve", 15)] {
        let user = [("x-user", user)];
        assert_eq!(passed(&mut client, HOST, &user, 20).await, left, "{user:?}");
    }
}

#[tokio::test]
async fn a_limit_that_is_taken_away_limits_no_longer() {
    let origin = Origin::named("shop").await;
    let edge = limited(&origin, &limits(1, ", key: [source.ip]")).await;
    let mut client = edge.http1().await;
    assert_eq!(passed(&mut client, HOST, &[], 3).await, 1);

    edge.apply(&documents(&origin, &[])).await;

    assert_eq!(passed(&mut client, HOST, &[], 3).await, 3);
}
