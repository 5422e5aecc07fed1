//! Cables do what they are told: scenarios about bad ones show nothing otherwise.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tests::eventually;
use tests::netns::cable::Faults;
use tests::netns::{Families, Network};

#[tokio::test]
async fn a_cable_delays_loses_and_parts_and_can_be_mended() {
    let network = Network::new(Families::Both);
    let near = network.host("near");
    let (far, cable) = network.distant_host("far");
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let _listener = far.listen(SocketAddr::new(any, 80));

    for addr in far.addrs() {
        let to = SocketAddr::new(*addr, 80);
        let connects = async |limit| near.connect(to, limit).await.is_ok();
        let patient = Duration::from_secs(10);
        eventually("a connection", || connects(patient), |it| *it).await;

        cable.has(Faults {
            delay_ms: 100,
            ..Faults::default()
        });
        // What was under way when the order came may still have been fast.
        let connects_slowly = async || {
            let start = Instant::now();
            connects(patient).await && start.elapsed() >= Duration::from_millis(200)
        };
        eventually("a slow connection", connects_slowly, |it| *it).await;
        cable.is_cut();
        let connects_soon = || connects(Duration::from_millis(500));
        eventually("no connection", connects_soon, |it| !*it).await;
        cable.is_mended();
        eventually("a connection again", || connects(patient), |it| *it).await;
    }
}

#[tokio::test]
async fn what_a_test_made_is_gone_with_its_network() {
    let network = Network::new(Families::V4);
    let host = network.host("host");
    let path = std::path::Path::new("/run/netns").join(host.namespace());
    let mut sleep = host.command(0, "sleep");
    sleep.arg("1000");
    let mut sleep = host.start(sleep);
    assert!(path.exists());

    drop(network);

    assert!(!path.exists());
    assert!(!sleep.ended().await.success());
}
