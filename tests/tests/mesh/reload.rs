//! Reloads under load: whatever happens to the files, each request sees one whole configuration.

mod edit;
mod vanishing;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use edit::{Edit, Way};
use tempfile::TempDir;
use tests::client::get;
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, eventually};
use tokio::task::JoinSet;

const SERVICE: &str = "app.test";
/// Names how many reloads the load has to stand, half of them of broken files.
const RELOADS: &str = "MESHPROXY_TEST_RELOADS";
const RELOADS_DEFAULT: usize = 200;
const CLIENTS: usize = 4;
/// Memory that reloads may take after the first ones, in bytes: allocators are not exact.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One host per way of editing, and what the test knows of its generations.
struct Hosted {
    way: Way,
    /// The newest generation that may be seen: it was written.
    written: AtomicUsize,
    /// The oldest generation that may be seen: it was in use.
    in_use: AtomicUsize,
}

// === impl Hosted ===

impl Hosted {
    fn host(&self) -> String {
        format!("{}.test", self.way.name())
    }

    /// The rules of a generation: even ones lead to the first version, odd ones to the second; the
    /// number goes along in both directions.
    fn routes(&self, generation: usize) -> String {
        let rules = format!(
            "
  - headers:
      request: {{set: {{x-generation: '{generation:06}'}}}}
      response: {{set: {{x-generation: '{generation:06}'}}}}
    route: [{{destination: {{host: {SERVICE}, subset: v{}}}}}]",
            generation % 2 + 1
        );
        yaml::routes(&self.host(), &rules)
    }

    /// The same with a mistake.
    fn broken_routes(&self, generation: usize) -> String {
        let routes = self.routes(generation);
        match generation % 3 {
            0 => routes.replace("destination:", "destinatoin:"),
            1 => routes.replace("spec:\n", "spec:[ "),
            _ => routes.replace("hosts: [", "hosts: {"),
        }
    }

    /// Asks once and holds the answer to what may be seen.
    async fn ask(&self, client: &mut Http1) {
        let oldest = self.in_use.load(Ordering::SeqCst);
        let reply = client.try_send(get(&self.host(), "/")).await;
        let newest = self.written.load(Ordering::SeqCst);

        let reply = reply.unwrap_or_else(|error| panic!("a lost connection: {error:?}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen: usize = reply.header("x-generation").parse().expect("a generation");
        assert!(
            (oldest..=newest).contains(&seen),
            "{seen} is not in {oldest}..={newest}"
        );
        let expected = format!("v{} {seen:06}", seen % 2 + 1);
        assert_eq!(reply.text(), expected, "an answer of two generations");
    }
}

/// An origin that says its name and the generation of the rule that led to it.
async fn version(name: &'static str) -> Origin {
    Origin::serving(Protocol::Http1, move |request| async move {
        let generation = request.headers().get("x-generation");
        let generation = generation.and_then(|it| it.to_str().ok()).unwrap_or("none");
        text(format!("{name} {generation}"))
    })
    .await
}

/// The folder of configuration with the first generation of every host.
fn folder(port: &Port, origins: &[Origin; 2], hosts: &[Hosted]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let base = [
        yaml::gateway(port),
        Service::new(SERVICE)
            .version(origins[0].addr(), "v1")
            .version(origins[1].addr(), "v2")
            .to_string(),
        yaml::subsets(SERVICE, &["v1", "v2"]),
    ];
    fs::write(folder.path().join("base.yaml"), base.concat()).expect("a file can be written");
    for host in hosts {
        Edit::new(folder.path(), host.way).create(&host.routes(0));
    }
    folder
}

/// Breaks and repairs the files of `hosts` in turn.
async fn edit(proxy: &Proxy, folder: &Path, hosts: &[Hosted], reloads: usize) {
    let mut after_warm_up = None;
    for round in 0..reloads / 2 {
        let host = &hosts[round % hosts.len()];
        let generation = host.written.load(Ordering::SeqCst) + 1;
        let edit = Edit::new(folder, host.way);

        let failed_before = proxy.failed_reloads().await;
        edit.change(&host.broken_routes(generation));
        let failed = async || proxy.failed_reloads().await;
        eventually("a refusal", failed, |failed| *failed > failed_before).await;
        assert_eq!(
            proxy.metrics().await.sum("meshproxy_config_valid", &[]),
            0.0
        );

        let loaded_before = proxy.loaded_at().await;
        host.written.store(generation, Ordering::SeqCst);
        edit.change(&host.routes(generation));
        let loaded = async || proxy.loaded_at().await;
        eventually("a new generation", loaded, |loaded| {
            *loaded != loaded_before
        })
        .await;
        host.in_use.store(generation, Ordering::SeqCst);
        assert_eq!(
            proxy.metrics().await.sum("meshproxy_config_valid", &[]),
            1.0
        );

        if round == reloads / 8 {
            after_warm_up = Some(proxy.resident_bytes());
        }
    }
    let before = after_warm_up.expect("a warm-up");
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes after {before}");
}

fn reloads() -> usize {
    let written = std::env::var(RELOADS).ok();
    written.map_or(RELOADS_DEFAULT, |written| {
        written.parse().expect("a number of reloads")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_and_misroute_no_request() {
    let origins = [version("v1").await, version("v2").await];
    let port = Port::reserve();
    let hosts: Arc<[Hosted]> = Way::ALL
        .map(|way| Hosted {
            way,
            written: AtomicUsize::new(0),
            in_use: AtomicUsize::new(0),
        })
        .into();
    let folder = folder(&port, &origins, &hosts);
    let proxy = Proxy::start_from(folder.path(), &[]).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Http1::connect(port.addr()).await;
        let (hosts, done) = (Arc::clone(&hosts), Arc::clone(&done));
        asking.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                for host in &*hosts {
                    host.ask(&mut client).await;
                }
            }
        });
    }

    let reloads = reloads();
    tokio::select! {
        () = edit(&proxy, folder.path(), &hosts, reloads) => {}
        Some(Err(failed)) = asking.join_next() => panic!("a client failed: {failed}"),
    }
    done.store(true, Ordering::Relaxed);
    asking.join_all().await;

    let metrics = proxy.metrics().await;
    let failed = metrics.sum("meshproxy_config_reloads_total", &[("result", "failure")]);
    let succeeded = metrics.sum("meshproxy_config_reloads_total", &[("result", "success")]);
    assert!(failed >= (reloads / 2) as f64 && succeeded >= (reloads / 2) as f64);
    let taken = metrics.sum("meshproxy_downstream_connections_total", &[]);
    assert_eq!(taken, CLIENTS as f64, "no client had to connect again");
    let requests = origins[0].requests() + origins[1].requests();
    assert_eq!(
        metrics.sum("istio_requests_total", &[("response_code", "200")]),
        requests as f64
    );
}

#[tokio::test]
async fn a_change_of_weights_opens_no_new_connection() {
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let at = |percent: u32| {
        let rules = format!(
            "
  - route:
    - {{destination: {{host: {SERVICE}, subset: v1}}, weight: {}}}
    - {{destination: {{host: {SERVICE}, subset: v2}}, weight: {percent}}}
",
            100 - percent
        );
        let service = Service::new(SERVICE)
            .version(origins[0].addr(), "v1")
            .version(origins[1].addr(), "v2");
        let subsets = yaml::subsets(SERVICE, &["v1", "v2"]);
        [service.to_string(), subsets, yaml::routes(SERVICE, &rules)]
    };
    let edge = Edge::start_with(&at(50), &["--workers", "1"]).await;
    let mut client = edge.http1().await;

    for percent in [50, 60, 40, 50] {
        edge.apply(&at(percent)).await;
        for _ in 0..50 {
            assert_eq!(client.get(SERVICE, "/").await.status, 200);
        }
    }

    assert_eq!((origins[0].connections(), origins[1].connections()), (1, 1));
}

#[tokio::test]
async fn listeners_open_and_close_with_the_configuration() {
    let (first, second) = (Port::reserve(), Port::reserve());
    let answer = |text: &str| {
        let rules = format!("  - directResponse: {{status: 200, body: {{string: {text}}}}}");
        yaml::routes("*", &rules)
    };
    let proxy = Proxy::start(&(yaml::gateway(&first) + &answer("one"))).await;
    let mut old = Http1::connect(first.addr()).await;
    assert_eq!(old.get("a.test", "/").await.text(), "one");

    proxy
        .apply(&(yaml::gateway(&second) + &answer("two")))
        .await;

    let mut new = Http1::connect(second.addr()).await;
    assert_eq!(new.get("a.test", "/").await.text(), "two");
    let connect = async || tokio::net::TcpStream::connect(first.addr()).await.is_err();
    eventually("a closed listener", connect, |refused| *refused).await;
    old.closed().await;
}

#[tokio::test]
async fn a_port_that_is_taken_keeps_the_last_good_configuration() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = holder
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    let port = Port::reserve();
    let documents = |text: &str| {
        let rules = format!("  - directResponse: {{status: 200, body: {{string: {text}}}}}");
        yaml::gateway(&port) + &yaml::routes("*", &rules)
    };
    let proxy = Proxy::start(&documents("good")).await;
    let mut client = Http1::connect(port.addr()).await;
    let more = format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: more}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - hosts: ['*']
    port: {{name: http, number: {taken}, protocol: HTTP}}
"
    );

    proxy.refuse(&(documents("bad") + &more)).await;

    assert_eq!(client.get("a.test", "/").await.text(), "good");
    let said = proxy.admin("/config").await["lastError"].to_string();
    assert!(said.contains(&taken.to_string()), "{said}");
    proxy.apply(&documents("better")).await;
    assert_eq!(client.get("a.test", "/").await.text(), "better");
}

#[tokio::test]
async fn an_error_of_a_reload_is_told_with_its_place() {
    let port = Port::reserve();
    let good = yaml::gateway(&port) + &yaml::routes("*", "  - directResponse: {status: 200}");
    let proxy = Proxy::start(&good).await;

    proxy
        .refuse(&good.replace("directResponse", "directRespnse"))
        .await;

    let config = proxy.admin("/config").await;
    assert_eq!(config["valid"], false);
    let problems = config["problems"].to_string();
    assert!(problems.contains("directRespnse"), "{problems}");
    let placed = |line: &str| line.contains("mesh.yaml:") && line.contains("directRespnse");
    proxy.stderr.line("the place of the error", placed).await;
    assert_eq!(proxy.ready().await, 200, "it still takes traffic");
}
