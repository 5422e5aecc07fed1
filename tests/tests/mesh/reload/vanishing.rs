//! Policies whose files are replaced in several steps: who is refused is refused throughout.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tests::client::Http1;
use tests::{Port, Proxy, eventually, yaml};
use tokio::time::{Instant, sleep};

const DENY: &str = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shut}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/secret]}}]}]}
";

async fn status(port: &Port, path: &str) -> u16 {
    let mut client = Http1::connect(port.addr()).await;
    client.get("shop.test", path).await.status.as_u16()
}

/// Asks for as long as a step of a save may take.
async fn stays_refused(port: &Port) {
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert_eq!(status(port, "/secret").await, 403);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_policy_does_not_vanish_while_its_file_is_replaced_but_when_it_is_gone() {
    let port = Port::reserve();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let open = "  - directResponse: {status: 200, body: {string: in}}";
    let routes = yaml::gateway(&port) + &yaml::routes("*", open);
    let [base, policy] = ["a.yaml", "sec.yaml"].map(|name| folder.path().join(name));
    let write = |path, text: &str| fs::write(path, text).expect("a file can be written");
    write(&base, &routes);
    write(&policy, DENY);
    let proxy = Proxy::start_from(folder.path(), &[]).await;
    assert_eq!(status(&port, "/secret").await, 403);

    fs::remove_file(&policy).expect("it can be removed");
    stays_refused(&port).await;
    write(&policy, DENY);
    stays_refused(&port).await;

    write(&policy, &DENY.replace("[/secret]", "[/other, /secret]"));
    eventually("an edit", || status(&port, "/other"), |it| *it == 403).await;
    write(&policy, &DENY.replace("[/secret]", "[/secre]"));
    stays_refused(&port).await;
    write(&policy, DENY);
    stays_refused(&port).await;

    fs::remove_file(&policy).expect("it can be removed");
    let named = |line: &str| line.contains("AuthorizationPolicy default/shut");
    proxy.stderr.line("what vanished", named).await;
    eventually("no policy", || status(&port, "/secret"), |it| *it == 200).await;

    write(&policy, DENY);
    eventually("a policy", || status(&port, "/secret"), |it| *it == 403).await;
    fs::remove_file(&policy).expect("it can be removed");
    proxy.signal(Signal::HUP);
    eventually("no policy", || status(&port, "/secret"), |it| *it == 200).await;
}
