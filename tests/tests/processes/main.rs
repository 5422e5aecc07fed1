//! A proxy in a process namespace of its own, as containers have one: as process 1, and beside an
//! application. Needs root and `unshare` (util-linux), and fails without them.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tests::binary::meshproxy;
use tests::lines::Lines;
use tests::yaml::{self, Service};
use tests::{Http1, Origin, Port, eventually, soon};
use tokio::process::{Child, Command};

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

/// A process namespace with a proxy in it; ended when dropped, since all in it end with process 1.
struct Namespace {
    child: Child,
    _folder: TempDir,
    port: Port,
    stderr: Lines,
    _origin: Origin,
}

impl Namespace {
    /// Runs `script` in the shell of a new namespace; it finds the command line of the proxy in `$@`.
    async fn run(script: &str, arguments: &[&str]) -> Self {
        let origin = Origin::named("app").await;
        let port = Port::reserve();
        let service = Service::new(HOST).at(origin.addr()).to_string();
        let yaml = yaml::gateway(&port) + &service + &yaml::routes(HOST, RULES);
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("mesh.yaml");
        std::fs::write(&config, yaml).expect("a temporary file can be written");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["sh", "-c", script, "sh"]);
        command.arg(meshproxy()).arg("--config").arg(&config);
        for server in ["--admin-addr", "--metrics-addr", "--health-addr"] {
            command.args([server, "127.0.0.1:0"]);
        }
        command.args(["--labels", "istio=ingressgateway", "--bind", "127.0.0.1"]);
        command.args(["--minimum-drain", "0"]).args(arguments);
        let command = command
            .env("NO_COLOR", "1")
            .stdin(std::process::Stdio::null());
        let piped = command.stderr(std::process::Stdio::piped());
        let spawned = piped.kill_on_drop(true).spawn();
        let mut child = spawned.expect("unshare (util-linux) can be started");
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        Self {
            child,
            _folder: folder,
            port,
            stderr,
            _origin: origin,
        }
    }

    /// Waits until the log has one more of a line than `before`.
    async fn logs(&self, before: usize, text: &str) {
        self.stderr
            .nth(before, text, |line| line.contains(text))
            .await;
    }

    async fn asks(&self) -> (u16, String) {
        let mut client = Http1::connect(self.port.addr()).await;
        let reply = client.get(HOST, "/").await;
        (reply.status.as_u16(), reply.text().to_owned())
    }

    /// Sends a signal to process 1 of the namespace, the child of `unshare`.
    async fn signal(&self, signal: Signal) {
        let unshare = self.child.id().expect("it runs");
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let first = async || {
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            let first = text.split_whitespace().next();
            first
                .and_then(|pid| pid.parse().ok())
                .and_then(Pid::from_raw)
        };
        let pid = eventually("process 1", first, Option::is_some).await;
        kill_process(pid.expect("found"), signal).expect("it takes signals");
    }

    async fn ended(&mut self) -> Option<i32> {
        let status = soon("the end of the namespace", self.child.wait()).await;
        status.expect("our child can be waited for").code()
    }
}

/// The proxy as process 1.
const PROCESS_1: &str = r#"exec "$@""#;

#[tokio::test]
async fn process_1_outlives_those_that_take_its_place_and_ends_as_the_last_of_them() {
    let mut namespace = Namespace::run(PROCESS_1, &[]).await;
    namespace.logs(0, "health=").await;

    for upgrade in 0..3 {
        namespace.signal(Signal::USR2).await;
        namespace.logs(upgrade, "replaced; finishing").await;
        // Once for each process that left: process 1 as well says so, and stays.
        namespace.logs(upgrade, "stopped").await;
        assert_eq!(namespace.asks().await, (200, "app".to_owned()));
    }
    namespace.signal(Signal::TERM).await;

    assert_eq!(namespace.ended().await, Some(0));
    let refused = tokio::net::TcpStream::connect(namespace.port.addr()).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn the_proxy_ends_with_the_application_beside_it() {
    let script = r#"(while [ ! -e "$3.done" ]; do sleep 0.1; done) & "$@"; exit $?"#;
    let mut namespace = Namespace::run(script, &["--exit-with-app"]).await;
    namespace.logs(0, "health=").await;
    assert_eq!(namespace.asks().await.0, 200);
    namespace.logs(0, "the application is there").await;

    let done = namespace._folder.path().join("mesh.yaml.done");
    std::fs::write(done, "").expect("a file can be written");

    assert_eq!(namespace.ended().await, Some(0));
    namespace.logs(0, "the application is gone").await;
}

#[tokio::test]
async fn a_proxy_that_cannot_see_the_application_says_so_and_does_not_start() {
    let mut namespace = Namespace::run(PROCESS_1, &["--exit-with-app"]).await;

    assert_eq!(namespace.ended().await, Some(1));
    namespace.logs(0, "shareProcessNamespace").await;
}

#[test]
fn these_tests_run_as_root() {
    let own = Path::new("/proc/self/uid_map").exists();
    assert!(own && rustix::process::geteuid().is_root(), "needs root");
}
