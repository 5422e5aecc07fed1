use std::cell::Cell;
use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, duplex};

use super::super::bind_tcp;
use super::*;
use crate::drain::Scope;
use crate::listener::places::Places;
use crate::snapshot::Publisher;
use crate::table::{Bind, Direction};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::upstream::connect::Connector;

fn worker(connections_max: usize) -> Rc<Worker> {
    let metrics = Metrics::new(Identity::default(), 16);
    let publisher = Publisher::default();
    let worker = Worker::new(&publisher, &metrics, None, Connector::Network);
    Rc::new(worker.with_places(Places::new(connections_max, None)))
}

fn listening() -> (SocketAddr, Bound, Arc<Load>) {
    let socket = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
    let addr = socket.local_addr().expect("bound");
    let load = Load::new(Bind::Tcp(addr), Direction::Inbound);
    (addr, Bound::Tcp(socket), Arc::new(load))
}

fn asking(addr: SocketAddr) -> std::net::TcpStream {
    let mut client = std::net::TcpStream::connect(addr).expect("a listener");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("a short request is taken");
    client
}

#[tokio::test(flavor = "local")]
async fn connections_that_wait_when_a_listener_closes_are_served() {
    let worker = worker(100);
    let (addr, bound, load) = listening();
    let clients: Vec<_> = (0..8).map(|_| asking(addr)).collect();
    let (_, closed) = oneshot::channel();

    worker.drain.begin(Scope::All);
    accept(Rc::clone(&worker), load, bound, closed).await;

    for client in clients {
        client.set_nonblocking(true).expect("a socket");
        let mut client = TcpStream::from_std(client).expect("a socket");
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer).await;
        read.expect("an answer and an orderly end");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn more_connections_than_there_may_be_are_closed_and_counted() {
    let worker = worker(1);
    let (_, _, load) = listening();
    let _open = worker.places.enter(Direction::Inbound, None);
    let (mut near, far) = duplex(16);

    serve(&worker, &load, Io::Memory(far), None);

    assert_eq!(near.read(&mut [0; 1]).await.expect("an orderly end"), 0);
    assert_eq!(worker.drain.open(), 0);
    assert_eq!(worker.rejections("connections_max"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_flood_of_connections_leaves_others_their_turn() {
    const FLOOD: usize = 512;

    let worker = worker(FLOOD);
    let (addr, bound, load) = listening();
    let _clients: Vec<_> = (0..FLOOD)
        .map(|_| std::net::TcpStream::connect(addr).expect("room in the queue"))
        .collect();
    let (_open, closed) = oneshot::channel();
    let turns = Rc::new(Cell::new(0_usize));
    let others = Rc::clone(&turns);
    tokio::task::spawn_local(async move {
        loop {
            others.set(others.get() + 1);
            tokio::task::yield_now().await;
        }
    });

    tokio::task::spawn_local(accept(Rc::clone(&worker), Arc::clone(&load), bound, closed));
    while worker.drain.open() < FLOOD {
        tokio::task::yield_now().await;
    }

    assert!(turns.get() >= FLOOD / ACCEPTS_PER_TURN, "{}", turns.get());
}
