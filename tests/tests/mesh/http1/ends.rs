//! How connections go on after a request, and how they end.

use http_body_util::BodyExt as _;
use tests::origin::{Protocol, text};
use tests::script::Peer;
use tests::{Origin, Script, soon};

use super::{HOST, edge, logged};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Answers with the path that was asked for.
async fn by_path() -> Origin {
    Origin::serving(Protocol::Http1, async |request| {
        let path = request.uri().path().to_owned();
        let _ = request.into_body().collect().await;
        text(path)
    })
    .await
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let origin = by_path().await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;
    let posts: String = (0..50)
        .map(|number| {
            format!("POST /{number:02} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc")
        })
        .collect();

    client.say(posts).await;

    for number in 0..50 {
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        let path = format!("/{number:02}");
        assert_eq!(client.until(&path).await, path);
    }
}

#[tokio::test]
async fn a_client_that_ended_its_side_is_answered() {
    let origin = by_path().await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(get("/one") + &get("/two")).await;
    client.end().await;

    let (answers, orderly) = client.rest().await;
    assert!(
        answers.contains("\r\n\r\n/one") && answers.ends_with("/two"),
        "{answers}"
    );
    assert!(orderly);
}

#[tokio::test]
async fn a_client_that_gives_up_later_is_not_waited_for() {
    let origin = Script::start(async |mut peer: Peer| {
        peer.request().await;
        assert_eq!(peer.hear(1).await, "", "the request is given up");
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;
    client.say(get("/")).await;
    soon("the request", async {
        while origin.heads().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    drop(client);

    let line = logged(&edge).await;
    assert_eq!(
        (&line["response_code"], &line["response_flags"]),
        (&0.into(), &"DC".into())
    );
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_passed_on_at_once() {
    let origin = Script::start(async |mut peer: Peer| {
        peer.hear_head().await;
        peer.say("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
            .await;
        peer.finish().await;
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\nbeginning"
        ))
        .await;
    let head = client.head().await;

    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert_eq!(client.until("no").await, "no");
    // What is still sent must not take the answer away: the end comes orderly.
    client.say(vec![b'x'; 100_000]).await;
    client.end().await;
    assert_eq!(client.rest().await, (String::new(), true));
}

#[tokio::test]
async fn a_little_left_of_a_body_does_not_cost_the_connection() {
    let origin = by_path().await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say("POST / HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: 10\r\n\r\n01234")
        .await;
    assert!(
        client
            .head()
            .await
            .starts_with("HTTP/1.1 404 Not Found\r\n")
    );
    client.say("56789".to_owned() + &get("/next")).await;

    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.until("/next").await, "/next");
}

#[tokio::test]
async fn http_1_0_keeps_a_connection_only_if_asked() {
    let origin = by_path().await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    for path in ["/a", "/b"] {
        client
            .say(format!(
                "GET {path} HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"
            ))
            .await;
        let head = client.head().await;
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
        assert_eq!(client.until(path).await, path);
    }
    client
        .say(format!("GET /c HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let (last, orderly) = client.rest().await;
    assert!(last.ends_with("/c") && orderly, "{last}");
}
