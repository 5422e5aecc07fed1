use super::*;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use config::mesh::{Address, PortMap};
use serde_json::{Value, json};

use crate::bootstrap::Locality;
use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::Live;
use crate::upstream::endpoint::{Endpoint as LiveEndpoint, EndpointAddr, Member};

/// A proxy in `us/a/1` with some labels.
struct Caller {
    locality: Option<Locality>,
    labels: BTreeMap<String, String>,
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn caller() -> Caller {
    Caller {
        locality: Some(Locality {
            region: "us".into(),
            zone: "a".into(),
            subzone: "1".into(),
        }),
        labels: labels(&[("version", "v1"), ("team", "red")]),
    }
}

fn endpoint(locality: &str, with: &[(&str, &str)]) -> Endpoint {
    Endpoint {
        address: Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports: PortMap::default(),
        labels: Arc::new(labels(with)),
        weight: 1,
        locality: (!locality.is_empty()).then(|| locality.to_owned()),
        network: None,
        service_account: None,
        workload: None,
        ready: true,
    }
}

fn policy(load_balancer: Value, detects: bool) -> EffectivePolicy {
    EffectivePolicy {
        load_balancer: serde_json::from_value(load_balancer).expect("a load balancer"),
        outlier_detection: detects.then(Default::default),
        ..EffectivePolicy::default()
    }
}

/// What `caller` would ask, as level, percent and endpoints.
fn asked(
    caller: &Caller,
    endpoints: &[Endpoint],
    policy: &EffectivePolicy,
) -> Vec<(usize, f64, Vec<usize>)> {
    let member = |number: u16| Member {
        endpoint: Arc::new(LiveEndpoint::new(EndpointAddr::Tcp(
            (Ipv4Addr::LOCALHOST, number).into(),
        ))),
        weight: 1,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    };
    let here = Here {
        place: caller.locality.as_ref().map(Place::here),
        labels: &caller.labels,
        cluster: "Kubernetes",
    };
    let written: Vec<&Endpoint> = endpoints.iter().collect();
    let members: Vec<Member> = (0..).take(endpoints.len()).map(member).collect();
    let (layout, live) = (layout(&written, policy, false, &here), Live::default());
    let balancer = Balancer::new(members, layout, terms(policy), &live);
    let position = |member: &Member| match &member.endpoint.addr {
        EndpointAddr::Tcp(addr) => usize::from(addr.port()),
        EndpointAddr::Unix(_) => usize::MAX,
    };
    let shown = balancer.standings(&live).into_iter().map(|it| {
        let percent = (it.share * 1_000.0).round() / 10.0;
        let members = it.members.iter().map(|member| position(member)).collect();
        (it.level, percent, members)
    });
    shown.collect()
}

fn at(localities: &[&str]) -> Vec<Endpoint> {
    localities.iter().map(|it| endpoint(it, &[])).collect()
}

const PLACES: [&str; 6] = ["eu/a/1", "us/b/1", "us/a/1", "us/a/2", "asia/a/1", ""];

#[test]
fn the_nearest_come_first_once_failures_are_noticed() {
    let endpoints = at(&PLACES);
    let of = |policy| asked(&caller(), &endpoints, &policy);

    assert_eq!(
        of(policy(json!(null), true)),
        [
            (0, 100.0, vec![2]),
            (1, 0.0, vec![3]),
            (2, 0.0, vec![1]),
            (3, 0.0, vec![0, 4, 5]),
        ]
    );
    let failover = json!({"localityLbSetting": {"failover": [{"from": "us", "to": "asia"}]}});
    assert_eq!(
        of(policy(failover.clone(), true))[3..],
        [(3, 0.0, vec![4]), (4, 0.0, vec![0, 5])]
    );
    let all = [(0, 100.0, vec![0, 1, 2, 3, 4, 5])];
    assert_eq!(of(policy(failover, false)), all);
    let off = json!({"localityLbSetting": {"enabled": false}});
    assert_eq!(of(policy(off, true)), all);
    let nowhere = Caller {
        locality: None,
        ..caller()
    };
    assert_eq!(asked(&nowhere, &endpoints, &policy(json!(null), true)), all);
}

#[test]
fn levels_without_endpoints_are_left_out() {
    let endpoints = at(&["eu/a/1", "us/b/1"]);

    assert_eq!(
        asked(&caller(), &endpoints, &policy(json!(null), true)),
        [(0, 100.0, vec![1]), (1, 0.0, vec![0])]
    );
}

#[test]
fn labels_give_priority_by_how_many_are_equal_from_the_first() {
    let mut endpoints = vec![
        endpoint("", &[("version", "v2"), ("team", "red")]),
        endpoint("us/b", &[("version", "v1"), ("team", "red")]),
        endpoint("us/a", &[("version", "v1"), ("team", "blue")]),
        endpoint("us/a", &[("version", "v1"), ("team", "red")]),
    ];
    endpoints[3].network = Some("other".into());
    let of = |labels: Value, more: Value| {
        let mut setting = json!({"failoverPriority": labels});
        if let (Value::Object(setting), Value::Object(more)) = (&mut setting, more) {
            setting.extend(more);
        }
        let policy = policy(json!({"localityLbSetting": setting}), true);
        let asked = asked(&caller(), &endpoints, &policy);
        asked.into_iter().map(|it| it.2).collect::<Vec<_>>()
    };

    assert_eq!(
        of(json!(["version", "team"]), json!({})),
        [vec![1, 3], vec![2], vec![0]]
    );
    assert_eq!(
        of(json!(["team=blue"]), json!({})),
        [vec![2], vec![0, 1, 3]]
    );
    assert_eq!(
        of(
            json!([
                "topology.kubernetes.io/region",
                "topology.kubernetes.io/zone"
            ]),
            json!({})
        ),
        [vec![2, 3], vec![1], vec![0]]
    );
    assert_eq!(
        of(
            json!(["topology.istio.io/network", "topology.istio.io/cluster"]),
            json!({})
        ),
        [vec![0, 1, 2], vec![3]]
    );
    let failover = json!({"failover": [{"from": "us", "to": "eu"}]});
    assert_eq!(
        of(json!(["version"]), failover),
        [vec![2, 3], vec![1], vec![0]],
        "by place within a priority"
    );
}

#[test]
fn shares_are_those_of_the_first_locality_that_we_are_in() {
    let endpoints = at(&["us/a/1", "us/a/2", "us/b/1", "eu/a/1", ""]);
    let of = |from: &str, to: Value| {
        let setting = json!({"localityLbSetting": {"distribute": [
            {"from": "eu/*", "to": {"eu": 100}},
            {"from": from, "to": to},
        ]}});
        asked(&caller(), &endpoints, &policy(setting, true))
    };

    for from in ["us", "us/*", "us/a", "us/a/*", "us/a/1", "*"] {
        assert_eq!(
            of(from, json!({"us/a/*": 80, "us/b": 20})),
            [(0, 80.0, vec![0, 1]), (0, 20.0, vec![2])],
            "{from}"
        );
    }
    for from in ["us/b/*", "us/a/2", "asia"] {
        assert_eq!(
            of(from, json!({"us/a/*": 80, "us/b": 20})),
            [(0, 100.0, vec![0, 1, 2, 3, 4])],
            "{from}"
        );
    }
    assert_eq!(
        of("us", json!({"asia": 90, "eu/a/1": 10})),
        [(0, 100.0, vec![3])],
        "nobody is in the first"
    );
    assert_eq!(of("us", json!({"asia": 100})), []);
}

#[test]
fn zones_of_the_own_region_share_by_what_they_can_take() {
    let endpoints = at(&[
        "us/a/1", "us/a/2", "us/b/1", "us/b/1", "us/b/1", "us/b/1", "eu/a/1",
    ]);
    let of = |setting: Value, detects| {
        let setting = json!({"zoneAwareLbSetting": setting});
        asked(&caller(), &endpoints, &policy(setting, detects))
    };
    let (near, far) = (vec![0, 1], vec![2, 3, 4, 5]);

    assert_eq!(
        of(json!({"enabled": true}), true),
        [
            (0, 66.7, near.clone()),
            (0, 33.3, far.clone()),
            (1, 0.0, vec![6]),
        ]
    );
    assert_eq!(
        of(json!({"enabled": true, "minClusterSize": 7}), true),
        [(0, 100.0, vec![0, 1, 2, 3, 4, 5]), (1, 0.0, vec![6])]
    );
    // Without anything that notices failures there are no levels: all zones share.
    let shares = of(json!({"enabled": true}), false);
    assert_eq!(shares[0], (0, 85.7, near));
    assert_eq!(shares[1], (0, 14.3, far));
    assert_eq!(shares[2], (0, 0.0, vec![6]));
}

#[test]
fn algorithms_are_what_is_written() {
    let of = |written: Value| terms(&policy(written, false)).algorithm;
    let hashing = |written: Value| match of(json!({"consistentHash": written})) {
        Algorithm::Hash(affinity) => affinity,
        other => panic!("{other:?}"),
    };

    assert_eq!(of(json!(null)), Algorithm::LeastRequest);
    assert_eq!(of(json!({"simple": "LEAST_CONN"})), Algorithm::LeastRequest);
    assert_eq!(of(json!({"simple": "RANDOM"})), Algorithm::Random);
    assert_eq!(of(json!({"simple": "ROUND_ROBIN"})), Algorithm::RoundRobin);
    let ring = |points_min| Hashing::Ring { points_min };
    assert_eq!(
        hashing(json!({"useSourceIp": true})),
        Affinity {
            key: Some(HashKey::SourceIp),
            hashing: ring(1_024),
        }
    );
    for (name, key) in [
        (
            "End-User",
            HashKey::Header(http::HeaderName::from_static("end-user")),
        ),
        ("Host", HashKey::Authority),
        (":path", HashKey::Target),
    ] {
        assert_eq!(hashing(json!({"httpHeaderName": name})).key, Some(key));
    }
    let parameter = hashing(json!({"httpQueryParameterName": "user"})).key;
    assert_eq!(parameter, Some(HashKey::Query("user".into())));
    assert_eq!(hashing(json!({"useSourceIp": false})).key, None);
    assert_eq!(hashing(json!({"minimumRingSize": 7})).hashing, ring(7));
    let written = json!({"ringHash": {"minimumRingSize": 9}});
    assert_eq!(hashing(written).hashing, ring(9));
    let written = json!({"maglev": {"tableSize": 251}});
    assert_eq!(hashing(written).hashing, Hashing::Maglev { slots: 251 });
}

#[test]
fn a_cookie_that_is_made_says_what_its_rule_says() {
    let line = |fields: Value| {
        let mut cookie = json!({"name": "sess"});
        if let (Value::Object(cookie), Value::Object(fields)) = (&mut cookie, fields) {
            cookie.extend(fields);
        }
        let written = json!({"consistentHash": {"httpCookie": cookie}});
        let key = match terms(&policy(written, false)).algorithm {
            Algorithm::Hash(affinity) => affinity.key,
            other => panic!("{other:?}"),
        };
        let (_, line) = key.expect("a key").make(1)?;
        Some(line.to_str().expect("ASCII").to_owned())
    };
    let with = |attributes: &str| Some(format!("sess=\"0000000000000001\"{attributes}; HttpOnly"));

    assert_eq!(
        line(json!({"path": "/p"})),
        None,
        "none is made without ttl"
    );
    assert_eq!(line(json!({"ttl": "0s"})), with(""));
    assert_eq!(line(json!({"ttl": "60s"})), with("; Max-Age=60"));
    let attributes = json!([{"name": "Secure"}, {"name": "SameSite", "value": "Lax"}]);
    assert_eq!(
        line(json!({"ttl": "1h", "path": "/p", "attributes": attributes})),
        with("; Max-Age=3600; Path=/p; Secure; SameSite=Lax")
    );
}

#[test]
fn warming_up_and_panic_are_what_is_written() {
    let of = |written: Value| terms(&policy(written, false)).warmup;
    let seconds = Duration::from_secs;
    let standard = Warmup {
        duration: seconds(9),
        least: 0.1,
        aggression: 1.0,
    };

    assert_eq!(of(json!({})), None);
    assert_eq!(of(json!({"warmup": {"duration": "9s"}})), Some(standard));
    assert_eq!(of(json!({"warmupDurationSecs": "9s"})), Some(standard));
    assert_eq!(
        of(json!({"warmup": {"duration": "60s", "minimumPercent": 0, "aggression": 2}})),
        Some(Warmup {
            duration: seconds(60),
            least: 0.0,
            aggression: 2.0,
        })
    );
    let random = json!({"simple": "RANDOM", "warmup": {"duration": "9s"}});
    assert_eq!(of(random), None, "it has no turns and no load to go by");
    let mut policy = policy(json!(null), true);
    assert_eq!(terms(&policy).panic_percent, 0);
    policy
        .outlier_detection
        .as_mut()
        .expect("set")
        .min_health_percent = Some(40);
    assert_eq!(terms(&policy).panic_percent, 40);
}
