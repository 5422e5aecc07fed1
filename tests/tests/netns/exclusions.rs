//! What is excluded is not captured: it arrives at the program that listens there, and not at what
//! stands in for the proxy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tests::netns::sidecar::{PROXY_USER, meshproxy_name};
use tests::netns::{Families, Host, Network};
use tests::soon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Says its name to whoever connects.
fn greet(tasks: &mut JoinSet<()>, listener: TcpListener, name: &'static str) {
    tasks.spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            // Whether the caller waits for it is its own affair.
            let _ = tcp.write_all(name.as_bytes()).await;
        }
    });
}

/// Two hosts. On each something listens at the proxy's ports, and programs at two others.
struct Scene {
    client: Host,
    server: Host,
    _tasks: JoinSet<()>,
    _network: Network,
}

impl Scene {
    fn new() -> Self {
        let network = Network::new(Families::Both);
        let (client, server) = (network.host("client"), network.host("server"));
        let mut tasks = JoinSet::new();
        for host in [&client, &server] {
            for (port, name) in [
                (15_001, "outbound"),
                (15_006, "inbound"),
                (15_021, "health"),
                (80, "eighty"),
                (81, "eighty-one"),
            ] {
                let any = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), port);
                greet(&mut tasks, host.listen(any), name);
            }
        }
        Self {
            client,
            server,
            _tasks: tasks,
            _network: network,
        }
    }

    async fn capture(&self, host: &Host, arguments: &[&str]) {
        host.says(meshproxy_name(), &[&["iptables"], arguments].concat())
            .await;
    }

    /// Who answers a program of the client at an address of the server, by each family; it must be the
    /// same.
    async fn answers(&self, port: u16) -> String {
        let mut answers = Vec::new();
        for addr in self.server.addrs() {
            answers.push(answer(&self.client, SocketAddr::new(*addr, port)).await);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }
}

/// Who answers a program of root on `host` at `addr`.
async fn answer(host: &Host, addr: SocketAddr) -> String {
    let tcp = host.connect(addr, Duration::from_secs(10)).await;
    let mut tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
    let mut answer = String::new();
    let read = soon("an answer", tcp.read_to_string(&mut answer)).await;
    read.expect("an answer in full");
    answer
}

#[tokio::test]
async fn by_default_all_ports_are_captured_on_both_sides_but_those_of_the_sidecar() {
    let scene = Scene::new();
    assert_eq!(scene.answers(80).await, "eighty");

    scene.capture(&scene.server, &[]).await;
    assert_eq!(scene.answers(80).await, "inbound");
    assert_eq!(scene.answers(15_021).await, "health");
    scene.capture(&scene.client, &[]).await;
    assert_eq!(scene.answers(80).await, "outbound");
    scene.capture(&scene.client, &["--clean"]).await;
    scene.capture(&scene.server, &["--clean"]).await;
    assert_eq!(scene.answers(80).await, "eighty");
}

#[tokio::test]
async fn excluded_ports_and_networks_are_not_captured_by_any_backend() {
    let scene = Scene::new();

    for backend in ["nft", "iptables-nft", "iptables-legacy"] {
        let by = |arguments: &[&'static str]| [&["--backend", backend], arguments].concat();
        scene.capture(&scene.server, &by(&["-d", "81"])).await;
        assert_eq!(scene.answers(80).await, "inbound", "{backend}");
        assert_eq!(scene.answers(81).await, "eighty-one", "{backend}");
        scene.capture(&scene.server, &by(&["-b", "81"])).await;
        assert_eq!(scene.answers(80).await, "eighty", "{backend}");
        assert_eq!(scene.answers(81).await, "inbound", "{backend}");
        scene.capture(&scene.server, &by(&["-c", "eth+"])).await;
        assert_eq!(scene.answers(80).await, "eighty", "{backend}");
        scene.capture(&scene.server, &["--clean"]).await;

        scene.capture(&scene.client, &by(&["-o", "81"])).await;
        assert_eq!(scene.answers(80).await, "outbound", "{backend}");
        assert_eq!(scene.answers(81).await, "eighty-one", "{backend}");
        scene
            .capture(&scene.client, &by(&["-x", "10.77.0.0/16,fd77:77::/32"]))
            .await;
        assert_eq!(scene.answers(80).await, "eighty", "{backend}");
        scene
            .capture(&scene.client, &by(&["-i", "10.1.0.0/16", "-q", "81"]))
            .await;
        assert_eq!(scene.answers(80).await, "eighty", "{backend}");
        assert_eq!(scene.answers(81).await, "outbound", "{backend}");
        scene
            .capture(&scene.client, &by(&["-i", "10.77.0.0/16,fd77:77::/32"]))
            .await;
        assert_eq!(scene.answers(80).await, "outbound", "{backend}");
        scene.capture(&scene.client, &by(&["-k", "eth0"])).await;
        scene.capture(&scene.client, &["--clean"]).await;
        assert_eq!(scene.answers(80).await, "eighty", "{backend}");
    }
}

#[tokio::test]
async fn the_proxys_own_user_is_not_captured_but_for_calls_to_its_workload() {
    let scene = Scene::new();

    for backend in ["nft", "iptables-nft", "iptables-legacy"] {
        scene.capture(&scene.client, &["--backend", backend]).await;
        for addrs in [scene.client.addrs(), scene.server.addrs()] {
            for addr in addrs {
                let own = scene.client.addrs().contains(addr);
                let url = format!("telnet://{}", SocketAddr::new(*addr, 80));
                let mut curl = scene.client.command(PROXY_USER, "curl");
                curl.args(["-sS", "--max-time", "10", &url]);
                let output = scene.client.ended(curl).await;
                let answer = String::from_utf8_lossy(&output.stdout).into_owned();
                let expected = if own { "inbound" } else { "eighty" };
                assert_eq!(answer, expected, "{backend} {addr}");
            }
        }
        // And everybody's calls to an own address or to loopback stay as they are.
        for addr in [scene.client.addr(), [127, 0, 0, 1].into()] {
            let answer = answer(&scene.client, SocketAddr::new(addr, 80)).await;
            assert_eq!(answer, "eighty", "{backend} {addr}");
        }
        scene.capture(&scene.client, &["--clean"]).await;
    }
}
