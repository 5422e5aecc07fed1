//! Several control planes, of which some hang or are killed, and one in front of an API server that hangs.

use std::time::Instant;

use control::proto::discovery::DeltaDiscoveryRequest;
use rustix::process::Signal;
use tests::grpc::Grpc;
use tests::{Cluster, Origin, Port, chart, eventually};

use crate::definitions_of_chart;
use crate::workload::{Workload, answers, control, service, url, within};

const APPLY: [&str; 3] = ["apply", "-f", "-"];
/// What proxies are told over.
const STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The status of gRPC of whoever cannot serve now.
const UNAVAILABLE: u32 = 14;

#[tokio::test]
async fn proxies_of_a_replica_that_hangs_serve_move_and_are_told_of_changes_again() {
    let cluster = definitions_of_chart::cluster().await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let kubectl = cluster.kubectl();
    let (before, after) = (Origin::named("before").await, Origin::named("after").await);
    let replicas = [
        control(cluster, &own, &[]).await,
        control(cluster, &own, &[]).await,
    ];
    let urls = replicas.each_ref().map(url);
    let both = urls.join(",");
    let mut workloads = vec![
        Workload::start(&both, &kubectl, &apps, "one").await,
        Workload::start(&both, &kubectl, &apps, "two").await,
    ];
    within(&kubectl, &apps, &APPLY, &service(&before)).await;
    for workload in &workloads {
        workload.gets((200, "before")).await;
    }
    let followed = workloads[0].follows().await.to_string();
    let hung = usize::from(!followed.contains(&urls[0]));

    let asking = [workloads[0].asking(), workloads[1].asking()];
    replicas[hung].signal(Signal::STOP);
    let begun = Instant::now();
    for workload in &workloads {
        let follows = async || workload.follows().await.to_string();
        let is_other = |seen: &String| seen.contains(&urls[1 - hung]);
        eventually("the other replica", follows, is_other).await;
    }
    eprintln!("left for the other replica after {:?}", begun.elapsed());
    within(&kubectl, &apps, &APPLY, &service(&after)).await;
    for workload in &workloads {
        workload.gets((200, "after")).await;
    }

    // It goes on, and takes in what it missed before it tells anybody of it.
    replicas[hung].signal(Signal::CONT);
    workloads.push(Workload::start(&urls[hung], &kubectl, &apps, "three").await);
    for workload in &workloads {
        workload.gets((200, "after")).await;
    }
    within(&kubectl, &apps, &APPLY, &answers("rule")).await;
    for workload in &workloads {
        workload.gets((203, "rule")).await;
    }
    for asking in asking {
        asking.lost_nothing().await;
    }
}

#[tokio::test]
async fn proxies_serve_while_every_control_plane_is_gone_and_are_right_when_they_are_back() {
    let cluster = definitions_of_chart::cluster().await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let kubectl = cluster.kubectl();
    let (before, after) = (Origin::named("before").await, Origin::named("after").await);
    let ports = [Port::reserve(), Port::reserve()];
    let addrs = ports.each_ref().map(|port| port.addr().to_string());
    let start = async || {
        [
            control(cluster, &own, &["--plain-addr", &addrs[0]]).await,
            control(cluster, &own, &["--plain-addr", &addrs[1]]).await,
        ]
    };
    let replicas = start().await;
    let urls = replicas.each_ref().map(url).join(",");
    let workloads = [
        Workload::start(&urls, &kubectl, &apps, "one").await,
        Workload::start(&urls, &kubectl, &apps, "two").await,
    ];
    within(&kubectl, &apps, &APPLY, &service(&before)).await;
    within(&kubectl, &apps, &APPLY, &answers("rule")).await;
    for workload in &workloads {
        workload.gets((203, "rule")).await;
    }

    let asking = [workloads[0].asking(), workloads[1].asking()];
    drop(replicas);
    for workload in &workloads {
        let follows = async || workload.follows().await;
        eventually("no control plane", follows, |it| it.is_null()).await;
    }
    within(&kubectl, &apps, &APPLY, &service(&after)).await;
    within(&kubectl, &apps, &["delete", "virtualservice", "--all"], "").await;
    for workload in &workloads {
        workload.gets((203, "rule")).await;
    }

    let _replicas = start().await;
    for workload in &workloads {
        workload.gets((200, "after")).await;
    }
    for asking in asking {
        asking.lost_nothing().await;
    }
    within(&kubectl, &apps, &["delete", "serviceentry", "--all"], "").await;
    for workload in &workloads {
        workload.gets((404, "")).await;
    }
}

#[tokio::test]
async fn a_replica_whose_api_server_hangs_takes_nobody_in_until_it_is_heard_of_again() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    kubectl
        .apply_definitions(&chart::folder().join("crds"))
        .await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let (before, after) = (Origin::named("before").await, Origin::named("after").await);
    let control = control(&cluster, &own, &["--api-silence-max", "10s"]).await;
    let addr = control.plain.expect("plain text");
    let stranger = async || {
        let request = DeltaDiscoveryRequest::default();
        let answer = Grpc::plain(addr).await.unary(STREAM, None, &request).await;
        answer.err().map(|refused| refused.code)
    };
    let workload = Workload::start(&url(&control), &kubectl, &apps, "one").await;
    within(&kubectl, &apps, &APPLY, &service(&before)).await;
    workload.gets((200, "before")).await;
    assert_ne!(stranger().await, Some(UNAVAILABLE), "nothing hangs yet");

    cluster.hang_api();
    eventually("it is not ready", || control.ready(), |it| *it == 503).await;
    assert_eq!(stranger().await, Some(UNAVAILABLE));
    let metrics = control.metrics().await;
    let refused = metrics.sum("meshcontrol_streams_refused_total", &[("reason", "old")]);
    assert!(refused >= 1.0, "{refused}");
    // Whoever it has stays and serves.
    workload.gets((200, "before")).await;
    assert!(!workload.follows().await.is_null(), "its stream is open");

    cluster.wake_api();
    eventually("it is ready again", || control.ready(), |it| *it == 200).await;
    assert_ne!(stranger().await, Some(UNAVAILABLE));
    within(&kubectl, &apps, &APPLY, &service(&after)).await;
    workload.gets((200, "after")).await;
    let late = Workload::start(&url(&control), &kubectl, &apps, "two").await;
    late.gets((200, "after")).await;
}
