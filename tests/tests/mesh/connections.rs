//! Many connections at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::client::get;
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HOST: &str = "many.test";
const RULES: &str = "  - route: [{destination: {host: many.test}}]";
const CONNECTIONS: usize = 10_000;
/// Requests under way at once. Each may need a connection to the origin, whose two ends would count in
/// this process and in the proxy.
const AT_ONCE: usize = 250;
/// Connections that are made by one task of this test.
const SHARE: usize = CONNECTIONS / AT_ONCE;
/// Files that this process or the proxy may need beside its connections.
const OTHER_FILES: u64 = 1_000;
/// Resident memory of the proxy for each of many connections that have been served: some 20 KiB.
const CONNECTION_BYTES_MAX: u64 = 24 * 1024;
/// Far fewer files than connections.
const FEW_FILES: usize = 64;

/// Lets this process have as many files open as the system allows.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let needed = CONNECTIONS as u64 + OTHER_FILES;
    assert!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "the hard limit of open files is {maximum:?}, and this test needs {needed}"
    );
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, most).expect("a limit may be raised up to its maximum");
}

/// One request and its answer, by hand: ten thousand clients of a library take longer than the proxy.
async fn ask(client: &mut TcpStream) {
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let sent = client.write_all(request.as_bytes()).await;
    sent.expect("an open connection");
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\nmany") {
        let read = soon("an answer", client.read_buf(&mut answer)).await;
        let read = read.expect("an open connection");
        assert_ne!(
            read,
            0,
            "closed after {:?}",
            answer.escape_ascii().to_string()
        );
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_stay_open_and_are_served_again() {
    allow_many_files();
    let origin = Origin::named("many").await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
    let before = edge.proxy.resident_bytes();

    let mut connecting = JoinSet::new();
    for _ in 0..AT_ONCE {
        let addr = edge.port.addr();
        connecting.spawn(async move {
            let mut clients = Vec::new();
            for _ in 0..SHARE {
                let client = soon("a connection", TcpStream::connect(addr)).await;
                let mut client = client.expect("the gateway listens");
                ask(&mut client).await;
                clients.push(client);
            }
            clients
        });
    }
    let shares = connecting.join_all().await;
    let mut again = JoinSet::new();
    for mut clients in shares {
        again.spawn(async move {
            for client in &mut clients {
                ask(client).await;
            }
            clients
        });
    }
    let clients: Vec<TcpStream> = again.join_all().await.into_iter().flatten().collect();

    assert_eq!(origin.requests(), 2 * CONNECTIONS);
    let metrics = edge.proxy.metrics().await;
    let open = metrics.sum("meshproxy_downstream_connections_active", &[]);
    assert_eq!(open, CONNECTIONS as f64);
    assert_eq!(clients.len(), CONNECTIONS);
    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    let each = growth / CONNECTIONS as u64;
    eprintln!("{each} bytes for each connection, {growth} in all");
    assert!(each < CONNECTION_BYTES_MAX, "{each} bytes for each");
}

#[tokio::test]
async fn a_low_soft_limit_of_open_files_is_raised() {
    let origin = Origin::named("many").await;
    let port = Port::reserve();
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let yaml = yaml::gateway(&port) + &service + &yaml::routes(HOST, RULES);

    let _proxy = Proxy::start_with_open_files(&yaml, FEW_FILES).await;

    let mut clients = Vec::new();
    for _ in 0..2 * FEW_FILES {
        let mut client = Http1::connect(port.addr()).await;
        let reply = client.send(get(HOST, "/")).await;
        assert_eq!(reply.brief(), (200, "many"));
        clients.push(client);
    }
    assert!(clients.iter().all(|client| !client.is_closed()));
}
