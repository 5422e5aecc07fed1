//! Several control planes.

use rustix::process::Signal;

use super::*;

#[tokio::test]
async fn a_control_plane_that_hangs_is_left_for_another() {
    let origin = Origin::named("a").await;
    let port = Port::reserve();
    let documents = [sidecar(&port), service("a.test", &origin)];
    let controls = [plain(&documents).await, plain(&documents).await];
    let urls = controls.each_ref().map(plain_url);
    let proxy = Proxy::follow(&urls.join(","), &[]).await;
    let connected = following(&proxy).await["connected"].to_string();
    let hung = usize::from(!connected.contains(&urls[0]));

    controls[hung].signal(Signal::STOP);
    let is_other = |following: &Value| following["connected"].to_string().contains(&urls[1 - hung]);
    eventually("the other one", || following(&proxy), is_other).await;

    let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
    assert_eq!(reply.brief(), (200, "a"));
}
