//! What the control plane says of resources and proxies, to people who ask.

use std::process::Stdio;

use serde_json::Value;
use tests::binary::meshproxy;
use tests::control::{Control, run};
use tests::eventually;
use tokio::process::{Child, Command};

const GOOD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec: {hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC,
  endpoints: [{address: 127.0.0.1}]}
";
const BAD: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: SMOKE}, hosts: ['*']}]}
";

/// A proxy of the control plane, which need not be ready.
fn proxy(control: &Control, name: &str) -> Child {
    let plain = control.plain.expect("it was asked for");
    let any = "127.0.0.1:0";
    let mut command = Command::new(meshproxy());
    command
        .args(["--control", &format!("http://{plain}")])
        .args(["--name", name, "--namespace", "shop", "--workers", "1"])
        .args([
            "--admin-addr",
            any,
            "--metrics-addr",
            any,
            "--health-addr",
            any,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("meshproxy can be started")
}

/// What `meshcontrol status` prints, with more arguments.
async fn status(control: &Control, arguments: &[&str]) -> String {
    let address = format!("http://{}", control.http_addr());
    let fixed = ["status", "--address", &address];
    let output = run(&[&fixed[..], arguments].concat()).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn status_shows_each_proxy_and_each_resource_in_trouble() {
    let files = [("good.yaml", GOOD)];
    let control = Control::start(&files, &["--plain-addr", "127.0.0.1:0"]).await;
    std::fs::write(control.mesh().join("bad.yaml"), BAD).expect("written");
    let nobody = status(&control, &[]).await;
    assert!(nobody.starts_with("no proxy is connected\n"), "{nobody}");

    let _proxies = [proxy(&control, "one"), proxy(&control, "two")];

    let line = |text: &str, name: &str| text.lines().any(|line| line.starts_with(name));
    let both = |text: &String| line(text, "one.shop ") && line(text, "two.shop ");
    let refused = |text: &String| text.contains("\nGateway/shop/door: refused\n");
    let all = |text: &String| both(text) && refused(text);
    let shown = eventually(
        "both proxies and the mistake",
        || status(&control, &[]),
        all,
    )
    .await;
    assert!(
        shown.contains("/bad.yaml:5:") && shown.contains(": spec.servers[0].port.protocol: "),
        "{shown}"
    );

    let told = status(&control, &["-o", "json"]).await;
    let told: Value = serde_json::from_str(&told).expect("it is JSON");
    let proxies = told["replicas"][0]["proxies"].as_array().expect("a list");
    let ids: Vec<_> = proxies.iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, ["one.shop", "two.shop"]);
    let resources = told["resources"].as_array().expect("a list");
    let accepted = |name: &str| {
        let found = resources.iter().find(|it| it["name"] == name);
        found.map(|it| it["accepted"].clone())
    };
    assert_eq!(accepted("Gateway/shop/door"), Some(Value::Bool(false)));
    assert_eq!(accepted("ServiceEntry/default/a"), Some(Value::Bool(true)));
}

#[tokio::test]
async fn a_change_is_in_use_by_the_generation_that_status_shows() {
    let control = Control::start(&[("a.yaml", GOOD)], &["--plain-addr", "127.0.0.1:0"]).await;
    let _proxy = proxy(&control, "one");
    let used = async || {
        let told = status(&control, &["-o", "json"]).await;
        let told: Value = serde_json::from_str(&told).expect("it is JSON");
        let replica = &told["replicas"][0];
        let proxy = &replica["proxies"][0];
        (
            replica["generation"].as_u64(),
            proxy["acknowledged"].as_u64(),
        )
    };
    let first = eventually("in use", used, |it| it.1.is_some() && it.0 == it.1).await;

    let second = GOOD
        .replace("a.test", "b.test")
        .replace("name: a}", "name: b}");
    std::fs::write(control.mesh().join("b.yaml"), second).expect("written");

    eventually("a later one", used, |it| it.0 > first.0 && it.0 == it.1).await;
}

#[tokio::test]
async fn whoever_does_not_answer_is_told_with_an_exit_code() {
    let output = run(&["status", "--address", "http://127.0.0.1:1"]).await;

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:1: connect"), "{said}");
}

#[tokio::test]
async fn analyze_finds_what_is_wrong_and_says_so_by_its_exit_code() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (good, bad) = (write("good.yaml", GOOD), write("bad.yaml", BAD));

    let fine = run(&["analyze", "-f", &good]).await;
    let wrong = run(&["analyze", "-f", &good, "-f", &bad, "-o", "json"]).await;
    let elsewhere = run(&["analyze", "-f", &bad, "-n", "other"]).await;

    let said = String::from_utf8_lossy(&fine.stdout);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert!(said.starts_with("ok: 1 resource in 1 file"), "{said}");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let told: Value = serde_json::from_slice(&wrong.stdout).expect("it is JSON");
    assert_eq!(told[0]["path"], "spec.servers[0].port.protocol");
    assert_eq!(told[0]["line"], 5);
    assert_eq!(elsewhere.status.code(), Some(0), "{elsewhere:?}");
}
