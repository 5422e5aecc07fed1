//! Sticky weighted splits: who moves when the weights are edited.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin};

const HOST: &str = "reviews.test";
const USERS: u16 = 600;
/// Allowed distance of the share from the weight, in points: four standard deviations for this many
/// users at 50 %.
const POINTS_MAX: f64 = 8.2;

/// Two versions behind one split, and its weights.
struct Split {
    origins: [Origin; 2],
    sticky_by: &'static str,
}

/// The users who are sent to the second version.
type Second = BTreeSet<u16>;

// === impl Split ===

impl Split {
    async fn by(sticky_by: &'static str) -> Self {
        let origins = [Origin::named("v1").await, Origin::named("v2").await];
        Self { origins, sticky_by }
    }

    fn at(&self, percent: u32) -> [String; 3] {
        let [first, second] = &self.origins;
        let service = Service::new(HOST)
            .version(first.addr(), "v1")
            .version(second.addr(), "v2");
        let routes = format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  annotations: {{meshproxy.io/sticky-by: '{}'}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  http:
  - route:
    - destination: {{host: {HOST}, subset: v1}}
      weight: {}
    - destination: {{host: {HOST}, subset: v2}}
      weight: {percent}
---
",
            self.sticky_by,
            100 - percent
        );
        [
            service.to_string(),
            yaml::subsets(HOST, &["v1", "v2"]),
            routes,
        ]
    }

    /// Moves the weight of the second version up and down again by editing the file, and looks each
    /// time who is sent to it.
    async fn moves_whom_it_must(&self, edge: &Edge, second: impl AsyncFn(&Edge) -> Second) {
        let at_10 = second(edge).await;
        edge.apply(&self.at(20)).await;
        let at_20 = second(edge).await;
        edge.apply(&self.at(50)).await;
        let at_50 = second(edge).await;
        edge.apply(&self.at(10)).await;
        let at_10_again = second(edge).await;

        assert!(at_10.is_subset(&at_20), "nobody is sent back at 20 %");
        assert!(at_20.is_subset(&at_50), "nobody is sent back at 50 %");
        assert_eq!(at_10, at_10_again, "the same users as at first");
        for (percent, users) in [(10.0, &at_10), (20.0, &at_20), (50.0, &at_50)] {
            let share = users.len() as f64 * 100.0 / f64::from(USERS);
            assert!(
                (share - percent).abs() < POINTS_MAX,
                "{share} % at {percent} %"
            );
        }
    }
}

#[tokio::test]
async fn users_told_apart_by_a_header_move_only_when_they_must() {
    let split = Split::by("header:end-user").await;
    let edge = Edge::start(&split.at(10)).await;

    let second = async |edge: &Edge| {
        let mut client = edge.http1().await;
        let mut second = Second::new();
        for user in 0..USERS {
            let name = format!("user-{user}");
            let reply = client.get_with(HOST, "/", &[("end-user", &name)]).await;
            if reply.text() == "v2" {
                second.insert(user);
            }
        }
        second
    };
    split.moves_whom_it_must(&edge, second).await;
}

#[tokio::test]
async fn users_told_apart_by_a_cookie_that_the_proxy_makes_move_only_when_they_must() {
    let split = Split::by("cookie:tester;ttl=1h").await;
    let edge = Edge::start(&split.at(10)).await;
    let mut client = edge.http1().await;
    let mut cookies = Vec::new();
    let mut first_answers = Second::new();
    for user in 0..USERS {
        let reply = client.get(HOST, "/").await;
        let made = reply.header("set-cookie");
        assert!(
            made.contains("Max-Age=3600") && made.contains("Path=/"),
            "{made}"
        );
        let (cookie, _) = made.split_once(';').expect("attributes follow the value");
        assert!(cookie.starts_with("tester="), "{made}");
        cookies.push(cookie.to_owned());
        if reply.text() == "v2" {
            first_answers.insert(user);
        }
    }

    let second = async |edge: &Edge| {
        let mut client = edge.http1().await;
        let mut second = Second::new();
        for (user, cookie) in (0..).zip(&cookies) {
            let cookie = format!("other=1; {cookie}");
            let reply = client.get_with(HOST, "/", &[("cookie", &cookie)]).await;
            assert_eq!(reply.header("set-cookie"), "", "a cookie is made once");
            if reply.text() == "v2" {
                second.insert(user);
            }
        }
        second
    };
    assert_eq!(
        second(&edge).await,
        first_answers,
        "the answer that set a cookie counts"
    );
    split.moves_whom_it_must(&edge, second).await;
}

#[tokio::test]
async fn users_told_apart_by_their_address_move_only_when_they_must() {
    let split = Split::by("source-ip").await;
    let edge = Edge::start(&split.at(10)).await;

    let second = async |edge: &Edge| {
        let mut second = Second::new();
        for user in 0..USERS {
            let [high, low] = user.to_be_bytes();
            // The whole of 127.0.0.0/8 is this machine.
            let source = IpAddr::V4(Ipv4Addr::new(127, 9, high, low));
            let mut client = Http1::connect_from(source, edge.port.addr()).await;
            if client.get(HOST, "/").await.text() == "v2" {
                second.insert(user);
            }
        }
        second
    };
    split.moves_whom_it_must(&edge, second).await;
}

#[tokio::test]
async fn requests_without_the_sticky_key_follow_the_weights() {
    let split = Split::by("header:end-user").await;
    let edge = Edge::start(&split.at(50)).await;
    let mut client = edge.http1().await;

    let mut second = 0;
    for _ in 0..USERS {
        second += u32::from(client.get(HOST, "/").await.text() == "v2");
    }

    let share = f64::from(second) * 100.0 / f64::from(USERS);
    assert!((share - 50.0).abs() < POINTS_MAX, "{share} %");
}

#[tokio::test]
async fn a_header_that_the_gateway_adds_decides_without_an_access_log() {
    let split = Split::by("header:x-forwarded-for").await;
    let edge = Edge::start(&split.at(50)).await;
    let mut client = edge.http1().await;

    for _ in 0..20 {
        client.get(HOST, "/").await;
    }

    let mut asked = split.origins.each_ref().map(Origin::requests);
    asked.sort_unstable();
    assert_eq!(asked, [0, 20], "one caller is sent to one version");
}
