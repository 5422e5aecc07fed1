//! The resolver against a name server that the test runs on loopback.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;

/// Enough for a lookup that waits for a lifetime of a second on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A name server that answers from a table.
struct NameServer {
    addr: SocketAddr,
    zone: Arc<Mutex<HashMap<String, Reply>>>,
    queries: mpsc::UnboundedReceiver<(String, RecordType)>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
enum Reply {
    /// The addresses of both families, with a lifetime in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Neither an answer nor an absence.
    Broken,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let addr = socket.local_addr().expect("bound");
        let zone: Arc<Mutex<HashMap<String, Reply>>> = Arc::default();
        let (asked, queries) = mpsc::unbounded_channel();
        let known = Arc::clone(&zone);
        let task = tokio::spawn(async move {
            let mut packet = [0; 4096];
            loop {
                let (len, client) = socket.recv_from(&mut packet).await.expect("received");
                let query = Message::from_vec(&packet[..len]).expect("a message");
                let question = query.queries.first().expect("a question").clone();
                let name = question.name().to_utf8().trim_end_matches('.').to_owned();
                let _ = asked.send((name.clone(), question.query_type()));
                let reply = known.lock().expect("not poisoned").get(&name).cloned();
                let answer = answer(&query, reply);
                socket.send_to(&answer, client).await.expect("sent");
            }
        });
        Self {
            addr,
            zone,
            queries,
            task,
        }
    }

    fn set(&self, name: &str, addresses: &[&str], ttl_secs: u32) {
        let addresses = addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        let reply = Reply::Addresses(addresses, ttl_secs);
        self.zone
            .lock()
            .expect("not poisoned")
            .insert(name.to_owned(), reply);
    }

    fn break_down(&self, name: &str) {
        self.zone
            .lock()
            .expect("not poisoned")
            .insert(name.to_owned(), Reply::Broken);
    }

    fn remove(&self, name: &str) {
        self.zone.lock().expect("not poisoned").remove(name);
    }

    /// Waits until a question about `name` has come that was asked after this call.
    async fn asked(&mut self, name: &str) {
        while self.queries.try_recv().is_ok() {}
        let asked =
            async { while self.queries.recv().await.expect("the server runs").0 != name {} };
        timeout(DEADLINE, asked).await.expect("asked in time");
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(query: &Message, reply: Option<Reply>) -> Vec<u8> {
    let question = query.queries.first().expect("a question").clone();
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.metadata.response_code = match &reply {
        None => ResponseCode::NXDomain,
        Some(Reply::Broken) => ResponseCode::ServFail,
        Some(Reply::Addresses(..)) => ResponseCode::NoError,
    };
    if let Some(Reply::Addresses(addresses, ttl)) = reply {
        for data in addresses.into_iter().map(RData::from) {
            if data.record_type() == question.query_type() {
                answer.add_answer(Record::from_rdata(question.name().clone(), ttl, data));
            }
        }
    }
    answer.add_query(question);
    answer.to_vec().expect("encoded")
}

struct Client {
    resolver: Resolver,
    updates: mpsc::Receiver<Update>,
}

impl Client {
    fn new(server: &NameServer) -> Self {
        let (sender, updates) = mpsc::channel(16);
        let resolver =
            Resolver::with_nameserver(server.addr, sender, results()).expect("a resolver");
        Self { resolver, updates }
    }

    fn want(&self, names: &[&str]) {
        self.resolver
            .want(names.iter().map(|name| Arc::from(*name)));
    }

    async fn update(&mut self) -> (String, Vec<String>) {
        let update = timeout(DEADLINE, self.updates.recv())
            .await
            .expect("an update in time");
        let update = update.expect("the resolver runs");
        (
            update.name.to_string(),
            update.addresses.iter().map(IpAddr::to_string).collect(),
        )
    }
}

fn update(name: &str, addresses: &[&str]) -> (String, Vec<String>) {
    (
        name.to_owned(),
        addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect(),
    )
}

#[tokio::test]
async fn both_families_of_a_name_are_found() {
    let server = NameServer::start().await;
    server.set("db.test", &["fd00::1", "10.0.0.2", "10.0.0.1"], 60);
    let mut client = Client::new(&server);

    client.want(&["db.test"]);

    assert_eq!(
        client.update().await,
        update("db.test", &["10.0.0.1", "10.0.0.2", "fd00::1"])
    );
}

#[tokio::test]
async fn a_change_is_told_when_the_lifetime_is_over() {
    let mut server = NameServer::start().await;
    server.set("db.test", &["10.0.0.1"], 1);
    let mut client = Client::new(&server);
    client.want(&["db.test"]);
    assert_eq!(client.update().await, update("db.test", &["10.0.0.1"]));

    server.asked("db.test").await;
    server.set("db.test", &["10.0.0.2", "fd00::2"], 1);

    // The question that was awaited may have met the change between its two families.
    let expected = update("db.test", &["10.0.0.2", "fd00::2"]);
    while client.update().await != expected {}
}

#[tokio::test]
async fn a_broken_server_takes_nothing_away_and_a_removed_name_does() {
    let mut server = NameServer::start().await;
    server.set("db.test", &["10.0.0.1"], 1);
    let mut client = Client::new(&server);
    client.want(&["db.test"]);
    assert_eq!(client.update().await, update("db.test", &["10.0.0.1"]));

    server.break_down("db.test");
    server.asked("db.test").await;
    server.asked("db.test").await;
    assert!(client.updates.try_recv().is_err(), "failures are not told");

    server.remove("db.test");
    assert_eq!(client.update().await, update("db.test", &[]));
}

#[tokio::test]
async fn only_wanted_names_are_asked_for() {
    let mut server = NameServer::start().await;
    for name in ["a.test", "b.test", "c.test"] {
        server.set(name, &["10.0.0.1"], 1);
    }
    let mut client = Client::new(&server);
    client.want(&["a.test", "b.test"]);
    let mut told = [client.update().await.0, client.update().await.0];
    told.sort();
    assert_eq!(told, ["a.test", "b.test"]);

    client.want(&["b.test", "c.test"]);
    assert_eq!(client.update().await.0, "c.test", "b.test is known already");

    while server.queries.try_recv().is_ok() {}
    for _ in 0..8 {
        let asked = timeout(DEADLINE, server.queries.recv())
            .await
            .expect("asked in time");
        assert_ne!(asked.expect("the server runs").0, "a.test");
    }
}

#[tokio::test]
async fn more_names_than_lookups_at_a_time_are_all_resolved() {
    let server = NameServer::start().await;
    let names: Vec<String> = (0..LOOKUPS_MAX * 3)
        .map(|at| format!("n{at}.test"))
        .collect();
    for name in &names {
        server.set(name, &["10.0.0.1"], 60);
    }
    let mut client = Client::new(&server);

    client
        .resolver
        .want(names.iter().map(|name| Arc::from(name.as_str())));

    let mut told = BTreeSet::new();
    while told.len() < names.len() {
        told.insert(client.update().await.0);
    }
}

#[tokio::test]
async fn localhost_needs_no_name_server() {
    let (sender, updates) = mpsc::channel(16);
    let mut client = Client {
        resolver: Resolver::new(sender, results()),
        updates,
    };

    client.want(&["localhost"]);

    let (_, addresses) = client.update().await;
    let loopback = |address: &String| address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    assert!(
        !addresses.is_empty() && addresses.iter().all(loopback),
        "{addresses:?}"
    );
}

fn results() -> Results {
    Metrics::new(Identity::unknown(), 1)
        .process
        .dns_resolutions
        .clone()
}
