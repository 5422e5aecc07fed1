//! A workload that calls itself.

use tests::netns::Families;

use crate::pods::{Pods, SERVICE};
use crate::servers::Web;

async fn by(families: Families) {
    let pods = Pods::new(families).await;
    let _web = Web::start(&pods.server, SERVICE).await;
    let curl = async |url: &str| {
        let arguments = ["-sS", "--fail", "--max-time", "10", url];
        let output = pods.server.run("curl", &arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", pods.logs());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    // By its service it goes through its own sidecar, out and in again.
    let own = if families == Families::V4 {
        "127.0.0.6"
    } else {
        "::6"
    };
    let answer = curl(&format!("http://{SERVICE}/")).await;
    assert!(answer.contains(own), "{answer}");
    // By its own address it does not.
    let addr = std::net::SocketAddr::new(pods.server.addr(), 80);
    let answer = curl(&format!("http://{addr}/")).await;
    assert!(!answer.contains(own), "{answer}");
}

#[tokio::test]
async fn a_workload_reaches_itself_by_its_service_and_by_its_address() {
    by(Families::V4).await;
}

#[tokio::test]
async fn it_does_so_where_there_is_only_ipv6() {
    by(Families::V6).await;
}
