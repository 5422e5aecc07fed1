//! Near and far endpoints, seen from where the proxy is.

use tests::{Edge, Origin};

use super::{HOST, counts, documents, origins};

const PLACES: [&str; 4] = [
    "locality: us/a/1",
    "locality: us/b/1",
    "locality: eu/a/1",
    "locality: asia/a/1",
];
const HERE: &[&str] = &["--locality", "us/a/1"];
const REQUESTS: usize = 2_000;
/// Allowed distance of a share: over four standard deviations.
const POINTS_MAX: f64 = 5.0;

fn placed(origins: &[Origin]) -> Vec<(&Origin, &'static str)> {
    origins.iter().zip(PLACES).collect()
}

/// The percentage that each origin answered, by position.
async fn percents(edge: &Edge) -> Vec<f64> {
    let counts = counts(edge, REQUESTS).await;
    let percent = |at: usize| {
        let count = counts.get(&at.to_string()).copied().unwrap_or(0);
        count as f64 * 100.0 / REQUESTS as f64
    };
    (0..PLACES.len()).map(percent).collect()
}

fn assert_shares(percents: &[f64], expected: &[f64]) {
    for (percent, expected) in percents.iter().zip(expected) {
        let exact = *expected == 0.0 || *expected == 100.0;
        let most = if exact { 0.0 } else { POINTS_MAX };
        assert!((percent - expected).abs() <= most, "{percents:?}");
    }
}

#[tokio::test]
async fn written_shares_are_kept_and_others_get_nothing() {
    let origins = origins(4).await;
    let distribute = |to: &str| {
        let policy = format!(
            "{{loadBalancer: {{localityLbSetting: {{distribute: [{{from: us/*, to: {{{to}}}}}]}}}}}}"
        );
        documents(&placed(&origins), &policy)
    };
    let edge = Edge::start_with(&distribute("us/a/*: 70, us/b: 20, eu: 10"), HERE).await;
    assert_shares(&percents(&edge).await, &[70.0, 20.0, 10.0, 0.0]);

    edge.apply(&distribute("us: 40, 'asia/*': 60")).await;
    assert_shares(&percents(&edge).await, &[20.0, 20.0, 0.0, 60.0]);

    let elsewhere = Edge::start(&distribute("us/a/*: 70, us/b: 20, eu: 10")).await;
    assert_shares(&percents(&elsewhere).await, &[25.0; 4]);
}

#[tokio::test]
async fn the_nearest_endpoints_take_everything_once_failures_would_be_noticed() {
    let origins = origins(4).await;
    let with = |policy: &str| documents(&placed(&origins), policy);
    let edge = Edge::start_with(&with("{outlierDetection: {}}"), HERE).await;
    assert_shares(&percents(&edge).await, &[100.0, 0.0, 0.0, 0.0]);

    // Without the nearest ones the next are as good.
    let rest = documents(&placed(&origins)[1..], "{outlierDetection: {}}");
    edge.apply(&rest).await;
    assert_shares(&percents(&edge).await, &[0.0, 100.0, 0.0, 0.0]);

    edge.apply(&with("{loadBalancer: {simple: RANDOM}}")).await;
    assert_shares(&percents(&edge).await, &[25.0; 4]);
    let off = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}";
    edge.apply(&with(off)).await;
    assert_shares(&percents(&edge).await, &[25.0; 4]);
}

#[tokio::test]
async fn levels_and_shares_can_be_seen() {
    let origins = origins(4).await;
    let policy = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: us, \
                  to: asia}]}}}";
    let edge = Edge::start_with(&documents(&placed(&origins), policy), HERE).await;

    let shown = edge.proxy.admin("/destinations").await;
    let destination = &shown[0];
    assert_eq!(destination["host"], HOST);
    let levels: Vec<_> = (0..4)
        .map(|at| &destination["endpoints"][at]["level"])
        .collect();
    assert_eq!(levels, [0, 1, 3, 2]);
    let percents: Vec<_> = (0..4)
        .map(|at| &destination["groups"][at]["percent"])
        .collect();
    assert_eq!(percents, [100.0, 0.0, 0.0, 0.0]);
    assert_eq!(
        destination["groups"][0]["endpoints"][0],
        origins[0].addr().to_string()
    );
}
