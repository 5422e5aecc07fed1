//! Against name servers on loopback that answer as a test says.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::dns_proxy::State;
use crate::snapshot::Shared;

const FORWARDED: Forwarded = Forwarded {
    bytes_max: 512,
    known: false,
};
/// About `a.test`, with the id 7.
const QUESTION: &[u8] =
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01";

fn upstream(servers: Vec<SocketAddr>) -> Upstream {
    upstream_at(Vec::new(), servers)
}

/// The same for who listens at these addresses.
fn upstream_at(listening: Vec<SocketAddr>, servers: Vec<SocketAddr>) -> Upstream {
    let state = State {
        listening,
        names: Shared::default(),
        servers: Shared::default(),
    };
    Upstream::new(Servers::new(Arc::new(state), servers))
}

/// The answer to a question, with a code.
fn reply_to(question: &[u8], code: u8) -> Vec<u8> {
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    reply[3] |= code;
    reply
}

/// A server that answers each datagram by all those that `answer` makes of it.
async fn server(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let addr = socket.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        let mut packet = [0; 1024];
        loop {
            let (length, client) = socket.recv_from(&mut packet).await.expect("received");
            for reply in answer(&packet[..length]) {
                socket.send_to(&reply, client).await.expect("sent");
            }
        }
    });
    addr
}

/// Runs a test on one thread, as the server runs.
async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// An address where nobody is: the port of a service that nobody has any more.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

#[tokio::test]
async fn the_answer_comes_back_as_it_was_but_for_the_id() {
    local(async {
        let server = server(|question| vec![[reply_to(question, 0), vec![9; 20]].concat()]).await;

        let reply = upstream(vec![server])
            .ask(QUESTION, Transport::Udp, FORWARDED)
            .await;

        let expected = [reply_to(QUESTION, 0), vec![9; 20]].concat();
        assert_eq!(reply.expect("an answer"), expected);
    })
    .await;
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_passed_over() {
    local(async {
        let server = server(|question| {
            let mut other_id = reply_to(question, 0);
            other_id[0] ^= 1;
            let mut other_name = reply_to(question, 0);
            other_name[13] = b'b';
            let right = [reply_to(question, 0), b"right".to_vec()].concat();
            vec![other_id, other_name, Vec::new(), question.to_vec(), right]
        })
        .await;

        let reply = upstream(vec![server])
            .ask(QUESTION, Transport::Udp, FORWARDED)
            .await;

        assert!(reply.expect("an answer").ends_with(b"right"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_the_client_has_no_room_for_is_cut_so_that_it_asks_by_tcp() {
    local(async {
        let long = |question: &[u8]| vec![[reply_to(question, 0), vec![9; 600]].concat()];
        let server = server(long).await;

        let reply = upstream(vec![server])
            .ask(QUESTION, Transport::Udp, FORWARDED)
            .await;

        let mut expected = reply_to(QUESTION, 0);
        expected[2] |= 0x02;
        assert_eq!(reply.expect("an answer"), expected);
    })
    .await;
}

#[tokio::test]
async fn ids_and_ports_are_never_twice_the_same_by_rule() {
    local(async {
        let server =
            server(|question| vec![[reply_to(question, 0), question[..2].to_vec()].concat()]).await;
        let upstream = upstream(vec![server]);
        let mut ids = FxHashSet::default();

        for _ in 0..32 {
            let reply = upstream.ask(QUESTION, Transport::Udp, FORWARDED).await;
            let reply = reply.expect("an answer");
            ids.insert(reply[reply.len() - 2..].to_vec());
        }

        // Of 32 out of 65 536 more than two are the same once in millions.
        assert!(ids.len() > 28, "{ids:?}");
        assert!(upstream.ports.borrow().is_empty());
        assert_eq!(upstream.asked.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_is_gone_or_cannot_tell() {
    local(async {
        let failing = server(|question| vec![reply_to(question, 2)]).await;
        let good = server(|question| vec![reply_to(question, 3)]).await;
        let upstream = upstream(vec![nobody(), failing, good]);

        let reply = upstream.ask(QUESTION, Transport::Udp, FORWARDED).await;

        assert_eq!(reply.expect("an answer"), reply_to(QUESTION, 3));
        assert_eq!(upstream.servers.in_order(Instant::now())[0].1, good);
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_the_answer_where_nobody_does_better() {
    local(async {
        let failing = server(|question| vec![reply_to(question, 2)]).await;

        let reply = upstream(vec![failing, nobody()])
            .ask(QUESTION, Transport::Udp, FORWARDED)
            .await;

        assert_eq!(reply.expect("an answer"), reply_to(QUESTION, 2));
    })
    .await;
}

#[tokio::test]
async fn nobody_there_has_its_cause() {
    local(async {
        let gone = upstream(vec![nobody()]);
        // Ourselves are never asked.
        let ourselves = upstream_at(vec![nobody()], vec![nobody()]);

        for (upstream, cause) in [(gone, "unreachable"), (ourselves, "no_server")] {
            let reply = upstream.ask(QUESTION, Transport::Udp, FORWARDED).await;
            assert_eq!(reply.expect_err("nobody").cause(), cause);
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up() {
    local(async {
        let silent = server(|_| Vec::new()).await;
        let upstream = upstream(vec![silent]);
        let asking = upstream.ask(QUESTION, Transport::Udp, FORWARDED);

        let failure = asking.await.expect_err("silence");

        assert_eq!(failure.cause(), "timeout");
        assert_eq!(upstream.asked.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_under_way_is_bounded_and_known_for_our_own() {
    local(async {
        let silent = server(|_| Vec::new()).await;
        let upstream = upstream(vec![silent]);
        let asking = || upstream.ask(QUESTION, Transport::Udp, FORWARDED);
        let mut many: Vec<_> = (0..ASKED_MAX).map(|_| Box::pin(asking())).collect();
        for one in &mut many {
            assert!(futures_poll(one.as_mut()).is_none());
        }

        let one_more = asking().await;

        assert_eq!(one_more.expect_err("full").cause(), "full");
        drop(many);
        assert_eq!(upstream.asked.get(), 0);
        assert!(upstream.ports.borrow().is_empty());
    })
    .await;
}

/// Polls once.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_name_of_the_mesh_that_others_do_not_know_still_exists() {
    local(async {
        let unknowing = server(|question| vec![reply_to(question, 3)]).await;
        let known = Forwarded {
            known: true,
            ..FORWARDED
        };

        let reply = upstream(vec![unknowing])
            .ask(QUESTION, Transport::Udp, known)
            .await;

        assert_eq!(reply.expect("an answer"), reply_to(QUESTION, 0));
    })
    .await;
}

#[tokio::test]
async fn long_answers_come_by_tcp() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        tokio::task::spawn_local(async move {
            let (mut client, _) = listener.accept().await.expect("a connection");
            let length = client.read_u16().await.expect("a length");
            let mut question = vec![0; usize::from(length)];
            client.read_exact(&mut question).await.expect("a question");
            let reply = [reply_to(&question, 0), vec![9; 40_000]].concat();
            client.write_all(&framed(&reply)).await.expect("sent");
        });

        let reply = upstream(vec![addr])
            .ask(QUESTION, Transport::Tcp, FORWARDED)
            .await;

        assert_eq!(reply.expect("an answer").len(), QUESTION.len() + 40_000);
    })
    .await;
}
