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
    edge.apply(&documents(&origin, &limits(20, ""))).await;

    // What takes an hour to be refilled takes an hour under the new numbers, too.
    assert_eq!(passed(&mut client, HOST, &[], 5).await, 0);
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
