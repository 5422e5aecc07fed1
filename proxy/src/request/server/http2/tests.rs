//! Whole connections over pipes in memory, with paused time.

use std::cell::RefCell;
use std::convert::Infallible;
use std::task::Context;

use h2::client::{self, SendRequest};
use http_body::Frame;
use tokio::io::{DuplexStream, duplex};
use tokio::task::{JoinHandle, spawn_local};

use super::*;
use crate::drain::Drain;
use crate::io::Io;
use crate::table::Bind;

/// Room of a pipe, in bytes.
const ROOM: usize = 64 * 1024;

type Causes = Rc<RefCell<Vec<&'static str>>>;

/// A body of so many pieces of 100 bytes.
struct Pieces(usize);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 100]))))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }
}

/// A connection over a pipe of `room` bytes that answers every request with so many pieces, its
/// client's end, and the causes it reports.
fn served(room: usize, pieces: usize) -> (DuplexStream, JoinHandle<hyper::Result<()>>, Causes) {
    let (near, far) = duplex(room);
    let ticket = Rc::new(Drain::default()).enter(&Bind::Tcp(([127, 0, 0, 1], 1).into()));
    let causes = Causes::default();
    let noted = Rc::clone(&causes);
    let rejected = move |cause| noted.borrow_mut().push(cause);
    let answer = move |_: Request<Incoming>| async move { Ok(Response::new(Pieces(pieces))) };
    let io = Prefixed::new(Bytes::new(), Io::Memory(far));
    let task = spawn_local(serve(io, ticket, rejected, answer));
    (near, task, causes)
}

async fn client(
    near: DuplexStream,
    window: u32,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let mut builder = client::Builder::new();
    builder.initial_window_size(window);
    let (send, conn) = builder.handshake(near).await.expect("a handshake");
    (send.ready().await.expect("a connection"), spawn_local(conn))
}

fn get() -> Request<()> {
    Request::get("http://app.test/")
        .body(())
        .expect("a request")
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_is_not_taken_for_five_minutes_is_reset_and_the_connection_stays() {
    let start = Instant::now();
    let (near, _task, causes) = served(ROOM, 1_000);
    let (mut send, _conn) = client(near, 10).await;

    let (response, _) = send.send_request(get(), true).expect("a stream");
    let mut body = response.await.expect("an answer").into_body();
    assert_eq!(
        body.data()
            .await
            .expect("a beginning")
            .expect("bytes")
            .len(),
        10
    );
    let error = body.data().await.expect("an end").expect_err("a reset");

    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert!(
        (5..=6).contains(&(start.elapsed().as_secs() / 60)),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(*causes.borrow(), [STALLED]);
    let (response, _) = send.send_request(get(), true).expect("another stream");
    assert_eq!(response.await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn answers_that_fit_and_are_not_taken_end_the_connection() {
    let start = Instant::now();
    let (near, task, causes) = served(ROOM, 1);
    let (mut send, _conn) = client(near, 10).await;

    let (response, _) = send.send_request(get(), true).expect("a stream");
    let answer = response.await.expect("an answer");
    task.await.expect("no panic").expect("an end");

    assert!(
        (6..=7).contains(&(start.elapsed().as_secs() / 60)),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(*causes.borrow(), [STALLED]);
    drop(answer);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_does_not_read_ends_after_five_minutes() {
    let start = Instant::now();
    // Room for the peer's first frames, and too little for the answers to them.
    let (mut near, task, causes) = served(64, 1);
    near.write_all(PREFACE).await.expect("it is read");
    near.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .expect("it is read");

    let _ = task.await.expect("no panic");

    assert!(
        (5..=7).contains(&(start.elapsed().as_secs() / 60)),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(*causes.borrow(), [STALLED]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_is_answered_and_silent_keeps_its_connection() {
    let (near, task, causes) = served(ROOM, 1);
    let (mut send, _conn) = client(near, 1_000).await;
    let (response, _) = send.send_request(get(), true).expect("a stream");
    drop(response.await.expect("an answer"));

    sleep(Duration::from_secs(24 * 3_600)).await;

    assert!(!task.is_finished());
    assert!(causes.borrow().is_empty());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_goes_too_far_is_told_so() {
    let (mut near, task, causes) = served(ROOM, 1);
    near.write_all(PREFACE).await.expect("room");
    for _ in 0..1_000 {
        if near.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.is_err() {
            break;
        }
    }
    near.shutdown().await.expect("a pipe");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.expect("an orderly end");

    task.await.expect("no panic").expect_err("given up");
    assert!(answer.ends_with(&goaway(0)), "{answer:?}");
    assert_eq!(*causes.borrow(), ["http2_settings"]);
}
