//! A control plane that is away.

use tempfile::TempDir;

use super::*;

#[tokio::test]
async fn traffic_goes_on_without_a_control_plane_and_changes_arrive_when_it_is_back() {
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let port = Port::reserve();
    let folder = TempDir::new().expect("a temporary folder");
    let (mesh, state) = (folder.path().join("mesh"), folder.path().join("state"));
    fs::create_dir(&mesh).expect("a folder");
    let write = |documents: &[String]| {
        fs::write(mesh.join("mesh.yaml"), documents.concat()).expect("a file");
    };
    write(&[sidecar(&port), service("a.test", &first)]);
    let held = Port::reserve();
    let address = held.addr().to_string();
    let plain = ["--plain-addr", address.as_str()];
    let control = Control::start_from(&mesh, &state, &plain).await;
    let proxy = Proxy::follow(&format!("http://{address}"), &[]).await;
    let get = async || {
        let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
        reply.brief().1.to_owned()
    };
    assert_eq!(get().await, "first");

    drop(control);
    let is_away = |following: &Value| following["connected"].is_null();
    eventually("no control plane", || following(&proxy), is_away).await;
    assert_eq!(get().await, "first");

    write(&[sidecar(&port), service("a.test", &second)]);
    let _control = Control::start_from(&mesh, &state, &plain).await;
    eventually("what changed meanwhile", get, |it| it == "second").await;
}

#[tokio::test]
async fn a_proxy_starts_from_what_it_was_told_last() {
    let origin = Origin::named("a").await;
    let port = Port::reserve();
    let kept = TempDir::new().expect("a temporary folder");
    let state = kept.path().to_str().expect("a path of text");
    let control = plain(&[sidecar(&port), service("a.test", &origin)]).await;
    let url = plain_url(&control);
    let arguments = ["--state-dir", state, "--name", "a"];
    let proxy = Proxy::follow(&url, &arguments).await;
    let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
    assert_eq!(reply.brief(), (200, "a"));
    let read = async || fs::read_to_string(kept.path().join("resources.jsonl")).unwrap_or_default();
    eventually("a file", read, |text| text.contains("host:a.test")).await;
    drop((proxy, control));

    let again = Proxy::follow(&url, &arguments).await;

    let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
    assert_eq!(reply.brief(), (200, "a"));
    let following = following(&again).await;
    assert!(following["connected"].is_null(), "{following}");
    assert_eq!(following["demands"]["host:a.test"], true);
}

#[tokio::test]
async fn a_host_that_nobody_can_be_asked_about_holds_a_request_no_longer_than_declared() {
    let origin = Origin::named("a").await;
    let port = Port::reserve();
    let control = plain(&[sidecar(&port), service("a.test", &origin)]).await;
    let arguments = ["--demand-timeout", "100ms"];
    let proxy = Proxy::follow(&plain_url(&control), &arguments).await;
    drop(control);
    let is_away = |following: &Value| following["connected"].is_null();
    eventually("no control plane", || following(&proxy), is_away).await;
    let mut client = Http1::connect(port.addr()).await;

    for _ in 0..3 {
        assert_ne!(client.get("a.test", "/").await.status, 200);
    }

    let metrics = proxy.metrics().await;
    let held = |outcome| metrics.sum("meshproxy_control_held_total", &[("outcome", outcome)]);
    let unanswered = held("timeout") + held("away");
    assert_eq!((held("answered"), unanswered), (0.0, 3.0));
}
