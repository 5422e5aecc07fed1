//! Weighted splits without a sticky key.

use std::net::SocketAddr;

use tests::yaml::{self, Service};
use tests::{Http1, Origin, Port, Proxy};
use tokio::task::JoinSet;

const HOST: &str = "reviews.test";
const REQUESTS: usize = 100_000;
const CONNECTIONS: usize = 20;
/// Allowed distance from the weight, in points.
const POINTS_MAX: f64 = 0.3;
/// Chance alone leaves the allowed range in one of 600 rounds (its standard deviation is 0.095
/// points), so that a second round decides; a split that is wrong fails both.
const ROUNDS_MAX: usize = 2;

fn split(port: &Port, origins: &[Origin; 2]) -> String {
    let service = Service::new(HOST)
        .version(origins[0].addr(), "v1")
        .version(origins[1].addr(), "v2");
    let rules = "
  - route:
    - destination: {host: reviews.test, subset: v1}
      weight: 90
    - destination: {host: reviews.test, subset: v2}
      weight: 10
";
    [
        yaml::gateway(port),
        service.to_string(),
        yaml::subsets(HOST, &["v1", "v2"]),
        yaml::routes(HOST, rules),
    ]
    .concat()
}

/// Sends `REQUESTS` over several connections; how many of a hundred the second version answered.
async fn percent_of_second(addr: SocketAddr) -> f64 {
    let mut askers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        askers.spawn(async move {
            let mut client = Http1::connect(addr).await;
            let mut second = 0;
            for _ in 0..REQUESTS / CONNECTIONS {
                let reply = client.get(HOST, "/").await;
                assert_eq!(reply.status, 200);
                second += usize::from(reply.text() == "v2");
            }
            second
        });
    }
    let second: usize = askers.join_all().await.into_iter().sum();
    second as f64 * 100.0 / REQUESTS as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_at_90_to_10_land_within_a_third_of_a_point() {
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let port = Port::reserve();
    let proxy = Proxy::start(&split(&port, &origins)).await;

    let mut percent = f64::NAN;
    for _ in 0..ROUNDS_MAX {
        percent = percent_of_second(port.addr()).await;
        if (percent - 10.0).abs() <= POINTS_MAX {
            break;
        }
    }

    assert!(
        (percent - 10.0).abs() <= POINTS_MAX,
        "{percent} % of the requests"
    );
    let (first, second) = (origins[0].requests(), origins[1].requests());
    assert_eq!(
        (first + second) % REQUESTS,
        0,
        "every request reached one origin once"
    );
    let metrics = proxy.metrics().await;
    let counted = metrics.sum("istio_requests_total", &[("destination_version", "v2")]);
    assert_eq!(counted, second as f64);
}
