use super::*;

use std::sync::Arc;

use crate::telemetry::labels::TrafficId;
use crate::upstream::endpoint::{Endpoint, EndpointAddr};

fn member(port: u16, locality: Option<&str>) -> Member {
    Member {
        endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(
            ([127, 0, 0, 1], port).into(),
        ))),
        weight: 1,
        traffic: TrafficId::UNKNOWN,
        locality: locality.map(Arc::from),
        channel: Default::default(),
    }
}

fn ids(members: &[&Member]) -> Vec<u64> {
    members.iter().map(|member| member.endpoint.id).collect()
}

#[test]
fn elsewhere_is_where_nothing_was_tried() {
    let members = [
        member(1, Some("r/a")),
        member(2, Some("r/a")),
        member(3, Some("r/b")),
        member(4, None),
    ];

    let avoided = elsewhere(&members, &[&members[0]]);
    assert_eq!(avoided, ids(&[&members[0], &members[1]]));

    let avoided = elsewhere(&members, &[&members[3]]);
    assert_eq!(avoided, ids(&[&members[3]]), "unknown is a place, too");

    let tried = [&members[0], &members[2], &members[3]];
    assert_eq!(
        elsewhere(&members, &tried),
        ids(&tried),
        "what is left of a place that was tried is better than what was tried"
    );
}

#[test]
fn the_wait_that_is_asked_for_must_fit() {
    let millis = Duration::from_millis;
    let (short, long) = (millis(20), millis(2_000));

    assert_eq!(longer(short, long, None), Some(long));
    assert_eq!(longer(short, Duration::ZERO, None), Some(short));
    assert_eq!(longer(short, long, Some(millis(2_001))), Some(long));
    assert_eq!(
        longer(short, long, Some(long)),
        None,
        "nothing is left then"
    );
    assert_eq!(longer(short, RETRY_AFTER_MAX, None), Some(RETRY_AFTER_MAX));
    assert_eq!(longer(short, RETRY_AFTER_MAX + millis(1), None), None);
    assert_eq!(longer(short, Duration::MAX, None), None);
}

#[test]
fn methods_are_idempotent_as_the_rfc_says() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
        assert!(
            is_idempotent(&method.parse().expect("a method")),
            "{method}"
        );
    }
    for method in ["POST", "PATCH", "CONNECT", "SOMETHING"] {
        assert!(
            !is_idempotent(&method.parse().expect("a method")),
            "{method}"
        );
    }
}

#[test]
fn every_refusal_stands_once_among_all() {
    for (number, refusal) in Refusal::ALL.iter().enumerate() {
        let found = Refusal::ALL.iter().position(|it| it == refusal);
        assert_eq!(found, Some(number));
        let same = Refusal::ALL
            .iter()
            .filter(|it| it.as_str() == refusal.as_str());
        assert_eq!(same.count(), 1);
    }
}
