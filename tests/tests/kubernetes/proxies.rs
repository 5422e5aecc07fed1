//! Real proxies behind a real control plane in front of a real API server: what `kubectl` does is what
//! they do.

use tests::{Cluster, Origin, chart, eventually};

use crate::definitions_of_chart;
use crate::workload::{Workload, answers, control, service, url, within};

#[tokio::test]
async fn two_proxies_follow_what_is_applied_deleted_and_made_anew_in_any_order() {
    let cluster = definitions_of_chart::cluster().await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let kubectl = cluster.kubectl();
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let control = control(cluster, &own, &[]).await;
    let workloads = [
        Workload::start(&url(&control), &kubectl, &apps, "one").await,
        Workload::start(&url(&control), &kubectl, &apps, "two").await,
    ];
    let apply = ["apply", "-f", "-"];
    let everybody = async |answer: (u16, &str)| {
        for workload in &workloads {
            workload.gets(answer).await;
        }
    };

    within(&kubectl, &apps, &apply, &service(&first)).await;
    everybody((200, "first")).await;
    within(&kubectl, &apps, &apply, &service(&second)).await;
    everybody((200, "second")).await;
    within(&kubectl, &apps, &apply, &answers("rule")).await;
    everybody((203, "rule")).await;

    // The service goes before what routes to it, and comes after it.
    within(&kubectl, &apps, &["delete", "serviceentry", "--all"], "").await;
    let delete_rules = ["delete", "virtualservice", "--all"];
    within(&kubectl, &apps, &delete_rules, "").await;
    everybody((404, "")).await;
    within(&kubectl, &apps, &apply, &answers("again")).await;
    within(&kubectl, &apps, &apply, &service(&first)).await;
    everybody((203, "again")).await;
    within(&kubectl, &apps, &delete_rules, "").await;
    everybody((200, "first")).await;
}

#[tokio::test]
async fn proxies_serve_through_every_outage_and_converge_after_it() {
    let mut cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    kubectl
        .apply_definitions(&chart::folder().join("crds"))
        .await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let (before, after) = (Origin::named("before").await, Origin::named("after").await);
    let (first, second) = (
        control(&cluster, &own, &[]).await,
        control(&cluster, &own, &[]).await,
    );
    let urls = format!("{},{}", url(&first), url(&second));
    let workload = Workload::start(&urls, &kubectl, &apps, "one").await;
    let apply = ["apply", "-f", "-"];
    within(&kubectl, &apps, &apply, &service(&before)).await;
    workload.gets((200, "before")).await;

    // No API server, and when it is back its history is gone.
    cluster.kill_api();
    workload.gets((200, "before")).await;
    cluster.start_api().await;
    cluster.compact().await;
    within(&kubectl, &apps, &apply, &service(&after)).await;
    workload.gets((200, "after")).await;

    // No etcd.
    cluster.kill_etcd();
    workload.gets((200, "after")).await;
    cluster.start_etcd();
    let get = ["get", "namespace", "default"];
    let answers_again = async || kubectl.run(&get, "").await.success;
    eventually("the API server", answers_again, |it| *it).await;
    within(&kubectl, &apps, &apply, &answers("rule")).await;
    workload.gets((203, "rule")).await;

    // One of the control planes is gone, then the other.
    drop(first);
    within(&kubectl, &apps, &apply, &answers("other")).await;
    workload.gets((203, "other")).await;
    drop(second);
    workload.gets((203, "other")).await;
}
