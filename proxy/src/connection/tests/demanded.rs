//! What the control plane is asked of captured connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use config::wire::Demand;
use prometheus::Registry;

use crate::connection::undeclared::unknown_name;
use crate::connection::unknown;
use crate::demand::{Answer, Answered, Demands};
use crate::request::Downstream;
use crate::snapshot::Publisher;
use crate::table::capture::Captured;
use crate::table::host::HostTable;
use crate::table::opaque::OpaqueRoutes;
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Table, Transport, UnknownHost};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::{ControlCounters, Metrics};
use crate::upstream::connect::Connector;
use crate::upstream::destination::Destinations;
use crate::worker::Worker;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn listener(direction: Direction, captured: Option<Captured>) -> Listener {
    Listener {
        bind: Bind::Tcp(addr("0.0.0.0:15001")),
        name: "captured".to_owned(),
        direction,
        port_rule: PortRule::Authority,
        unknown_host: UnknownHost::BadGateway,
        hosts: HostTable::default(),
        transport: Transport::Plain,
        speaks: Speaks::Unknown,
        opaque: OpaqueRoutes::default(),
        captured: captured.map(Arc::new),
        admission: None,
    }
}

/// A worker that knows 10.0.0.1:80 and was answered of 10.0.0.2:80.
fn worker(direction: Direction) -> Worker {
    let mut captured = Captured::new(Arc::new(listener(direction, None)));
    let known = Arc::new(listener(direction, None));
    captured.exact.insert(addr("10.0.0.1:80"), known);
    let table = Table {
        listeners: vec![Arc::new(listener(direction, Some(captured)))],
        ..Table::default()
    };
    let (demand, answer) = (Demand::Address(addr("10.0.0.2:80")), Arc::default());
    let answers: [(&Demand, &Arc<Answer>); 1] = [(&demand, &answer)];
    let answered = Arc::new(Answered::new(answers.into_iter()));
    let publisher = Publisher::default();
    publisher.publish_answered(Arc::new(table), Destinations::default(), answered);
    let metrics = Metrics::new(Identity::default(), 16);
    let mut worker = Worker::new(&publisher, &metrics, None, Connector::Network);
    let counters = ControlCounters::new(&Registry::new()).expect("a new registry");
    worker.demands = Some(Demands::new(Duration::from_secs(5), counters.demand));
    worker
}

/// What is asked of a connection that was going to an address.
fn asked(worker: &Worker, original: &str) -> Option<String> {
    let mut downstream = Downstream::new(Bind::Tcp(addr("0.0.0.0:15001")), None, None);
    downstream.original = Some(addr(original));
    unknown(worker, &downstream).map(|(_, demand)| demand.to_string())
}

#[test]
fn addresses_that_nobody_is_known_to_have_are_asked_for() {
    let worker = worker(Direction::Outbound);

    assert_eq!(asked(&worker, "10.0.0.1:80"), None, "somebody has it");
    assert_eq!(asked(&worker, "10.0.0.2:80"), None, "it was answered");
    for (original, demand) in [
        ("10.0.0.3:80", "address:10.0.0.3:80"),
        ("10.0.0.1:81", "address:10.0.0.1:81"),
        ("[::ffff:10.0.0.3]:80", "address:10.0.0.3:80"),
    ] {
        assert_eq!(asked(&worker, original).as_deref(), Some(demand));
    }
}

#[test]
fn what_comes_to_the_workload_and_proxies_of_files_ask_nothing() {
    let mut worker_of_files = worker(Direction::Outbound);
    worker_of_files.demands = None;

    assert_eq!(asked(&worker_of_files, "10.0.0.3:80"), None);
    assert_eq!(asked(&worker(Direction::Inbound), "10.0.0.3:80"), None);
}

#[test]
fn a_name_in_tls_is_seen_to_be_used_also_where_it_is_known() {
    let mut worker = worker(Direction::Outbound);
    let demand = Demand::host("known.test").expect("a name");
    let answer = Arc::new(Answer::default());
    let answered = Answered::new(std::iter::once((&demand, &answer)));
    let publisher = Publisher::default();
    let table = Arc::clone(&worker.snapshot().table);
    publisher.publish_answered(table, Destinations::default(), Arc::new(answered));
    let demands = worker.demands.take();
    let metrics = Metrics::new(Identity::default(), 16);
    worker = Worker::new(&publisher, &metrics, None, Connector::Network);
    worker.demands = demands;
    let mut downstream = Downstream::new(Bind::Tcp(addr("0.0.0.0:15001")), None, None);
    downstream.original = Some(addr("10.0.0.1:80"));

    let asked = unknown_name(&worker, &downstream, "known.test");

    assert!(asked.is_none());
    assert!(answer.used.is_noted());
    let asked = unknown_name(&worker, &downstream, "other.test");
    assert!(asked.is_none(), "somebody has the address");
    downstream.original = Some(addr("10.0.0.3:80"));
    let asked = unknown_name(&worker, &downstream, "other.test");
    assert_eq!(
        asked.map(|(_, it)| it.to_string()).as_deref(),
        Some("host:other.test")
    );
}
