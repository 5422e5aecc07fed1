use super::*;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, DestinationKey, Policy};

fn destination(host: &str, thresholds: Thresholds) -> Option<Arc<Destination>> {
    Some(Arc::new(Destination {
        key: DestinationKey {
            host: host.into(),
            port: 80,
            subset: "".into(),
            inbound: false,
        },
        policy: Policy {
            thresholds,
            ..Policy::default()
        },
        balancer: Balancer::random(Vec::new()),
        traffic: TrafficId::UNKNOWN,
        rule: None,
        live: Arc::default(),
        window: None,
        originals: None,
    }))
}

fn lines(destinations: Vec<Option<Arc<Destination>>>) -> Vec<String> {
    let text = exposition(&Destinations(destinations.into()));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn destinations_with_the_same_labels_are_one_series() {
    let of_mesh = destination(
        "a.test",
        Thresholds {
            connections: Some(5),
            pending: Some(7),
            requests: None,
        },
    );
    let of_gateway = destination(
        "a.test",
        Thresholds {
            connections: Some(3),
            ..Thresholds::default()
        },
    );
    let places: Vec<_> = [&of_mesh, &of_gateway]
        .into_iter()
        .flatten()
        .map(|it| it.live.breaker.open())
        .collect();

    let lines = lines(vec![of_mesh, None, of_gateway]);

    let labels = r#"host="a.test",port="80",subset="""#;
    let expected = [
        format!("meshproxy_destination_connections{{{labels}}} 2"),
        format!(r#"meshproxy_destination_limit{{{labels},limit="connections"}} 3"#),
        format!(r#"meshproxy_destination_limit{{{labels},limit="pending"}} 7"#),
    ];
    for line in &expected {
        assert!(lines.contains(line), "{line} in {lines:#?}");
    }
    let series = lines.iter().map(|line| line.rsplit_once(' '));
    let series: BTreeSet<_> = series.map(|it| it.expect("a value").0).collect();
    assert_eq!(series.len(), lines.len(), "{lines:#?}");
    drop(places);
}

#[test]
fn destinations_without_limits_are_left_out() {
    let lines = lines(vec![destination("a.test", Thresholds::default())]);

    assert_eq!(lines, [""; 0]);
}

#[test]
fn labels_are_escaped() {
    assert_eq!(escaped("a.test"), "a.test");
    assert_eq!(escaped("a\\\"b\n"), r#"a\\\"b\n"#);
}
