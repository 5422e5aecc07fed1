//! Proxies that follow a control plane: what they ask for, what they hold for the answer, and how they
//! do without it.

mod certificates;
mod outages;
mod replicas;
mod upgrades;

use std::fs;

use serde_json::Value;
use tests::yaml::Service;
use tests::{Control, Http1, Origin, Port, Proxy, eventually};

/// A `Sidecar` with an outbound listener at `port` for all hosts.
fn sidecar(port: &Port) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
"
    )
}

fn service(host: &str, origin: &Origin) -> String {
    Service::new(host).at(origin.addr()).to_string()
}

/// A control plane with these documents that is spoken to in plain text.
async fn plain(documents: &[String]) -> Control {
    let arguments = ["--plain-addr", "127.0.0.1:0"];
    Control::start(&[("mesh.yaml", &documents.concat())], &arguments).await
}

fn plain_url(control: &Control) -> String {
    format!("http://{}", control.plain.expect("plain text"))
}

/// Puts documents in the place of those of a control plane.
fn write(control: &Control, documents: &[String]) {
    let file = control.mesh().join("mesh.yaml");
    let new = file.with_extension("new");
    fs::write(&new, documents.concat()).expect("a temporary file can be written");
    fs::rename(&new, &file).expect("a temporary file can be renamed");
}

/// What the proxy says of the control plane.
async fn following(proxy: &Proxy) -> Value {
    proxy.admin("/config").await["control"].clone()
}

#[tokio::test]
async fn the_first_request_for_a_host_is_held_and_served() {
    let (reviews, ratings) = (
        Origin::named("reviews").await,
        Origin::named("ratings").await,
    );
    let port = Port::reserve();
    let documents = [
        sidecar(&port),
        service("reviews.test", &reviews),
        service("ratings.test", &ratings),
    ];
    let control = plain(&documents).await;
    let proxy = Proxy::follow(&plain_url(&control), &[]).await;
    assert_eq!(following(&proxy).await["demands"], serde_json::json!({}));

    let mut client = Http1::connect(port.addr()).await;
    let reply = client.get("reviews.test", "/").await;

    assert_eq!(reply.brief(), (200, "reviews"));
    let following = following(&proxy).await;
    assert_eq!(following["demands"]["host:reviews.test"], true);
    let versions = following["versions"].as_object().expect("versions");
    let has = |name: &str| versions.keys().any(|it| it.contains(name));
    assert!(has("reviews") && !has("ratings"), "{versions:?}");
    let metrics = proxy.metrics().await;
    let held = |outcome| metrics.sum("meshproxy_control_held_total", &[("outcome", outcome)]);
    assert_eq!((held("answered"), held("timeout")), (1.0, 0.0));
    assert_eq!(
        client.get("reviews.test", "/").await.brief(),
        (200, "reviews")
    );
}

#[tokio::test]
async fn a_host_that_nobody_has_is_asked_for_once_and_refused_as_ever() {
    let port = Port::reserve();
    let refuses = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---
";
    let control = plain(&[sidecar(&port), refuses.to_owned()]).await;
    let proxy = Proxy::follow(&plain_url(&control), &[]).await;
    let mut client = Http1::connect(port.addr()).await;

    let first = client.get("nobody.test", "/").await;
    let second = client.get("nobody.test", "/").await;

    assert_eq!(
        (first.status, second.status),
        (502.try_into().expect("a status"), first.status)
    );
    let following = following(&proxy).await;
    assert_eq!(following["demands"]["host:nobody.test"], false);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_control_held_total", &[]), 1.0);
}

#[tokio::test]
async fn an_answer_alone_is_no_reason_to_load_anything() {
    let port = Port::reserve();
    let control = plain(&[sidecar(&port)]).await;
    let proxy = Proxy::follow(&plain_url(&control), &[]).await;
    let before = proxy.loaded_at().await;

    let mut client = Http1::connect(port.addr()).await;
    assert_ne!(client.get("nobody.test", "/").await.status, 200);

    let following = following(&proxy).await;
    assert_eq!(following["demands"]["host:nobody.test"], false);
    let metrics = proxy.metrics().await;
    let answered = [("outcome", "answered")];
    assert_eq!(metrics.sum("meshproxy_control_held_total", &answered), 1.0);
    assert_eq!(proxy.loaded_at().await, before);
}

#[tokio::test]
async fn what_appears_later_is_found_although_it_was_not_there() {
    let late = Origin::named("late").await;
    let port = Port::reserve();
    let control = plain(&[sidecar(&port)]).await;
    let _proxy = Proxy::follow(&plain_url(&control), &[]).await;
    let mut client = Http1::connect(port.addr()).await;
    assert_ne!(client.get("late.test", "/").await.status, 200);

    write(&control, &[sidecar(&port), service("late.test", &late)]);

    let get = async || {
        Http1::connect(port.addr())
            .await
            .get("late.test", "/")
            .await
            .status
    };
    eventually("the service", get, |status| *status == 200).await;
}

#[tokio::test]
async fn changes_of_what_is_used_are_live_and_what_is_deleted_is_gone() {
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let port = Port::reserve();
    let control = plain(&[sidecar(&port), service("a.test", &first)]).await;
    let proxy = Proxy::follow(&plain_url(&control), &[]).await;
    let get = async || {
        let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
        let (status, body) = reply.brief();
        (status, body.to_owned())
    };
    assert_eq!(get().await, (200, "first".to_owned()));

    write(&control, &[sidecar(&port), service("a.test", &second)]);
    eventually("the second", get, |it| it.1 == "second").await;

    write(&control, &[sidecar(&port)]);
    eventually("nobody", get, |it| it.0 != 200).await;
    let following = following(&proxy).await;
    assert_eq!(following["demands"]["host:a.test"], false);
}

#[tokio::test]
async fn the_table_is_the_one_that_files_would_give() {
    let origin = Origin::named("a").await;
    let (port, other) = (Port::reserve(), Port::reserve());
    let routes = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  hosts: [a.test]
  http:
  - match: [{uri: {prefix: /b}}]
    timeout: 3s
    route: [{destination: {host: b.test}, weight: 1}, {destination: {host: a.test}, weight: 9}]
  - route: [{destination: {host: a.test}}]
---
";
    let mesh = |port: &Port| {
        [
            sidecar(port),
            service("a.test", &origin),
            service("b.test", &origin),
            routes.to_owned(),
        ]
    };
    let control = plain(&mesh(&port)).await;
    let following = Proxy::follow(&plain_url(&control), &[]).await;
    let reading = Proxy::start(&mesh(&other).concat()).await;
    let mut client = Http1::connect(port.addr()).await;
    for host in ["a.test", "b.test"] {
        assert_eq!(client.get(host, "/").await.status, 200);
    }

    for page in ["/routes", "/destinations"] {
        let told = following.admin(page).await.to_string();
        let read = reading.admin(page).await.to_string();
        let read = read.replace(&other.to_string(), &port.to_string());
        assert_eq!(settled(&told), settled(&read), "{page}");
    }
}

/// A page without what counts requests and says where a resource was written.
fn settled(page: &str) -> String {
    let mut page: Value = serde_json::from_str(page).expect("JSON");
    forget(&mut page);
    page.to_string()
}

fn forget(value: &mut Value) {
    const PASSING: [&str; 9] = [
        "id",
        "file",
        "line",
        "source",
        "active",
        "requests",
        "connections",
        "idle",
        "pool",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !PASSING.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}
