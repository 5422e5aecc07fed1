//! Exchanges over an in-memory stream: what goes out, what comes back, and what is left.

use super::*;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::upstream::endpoint::{Endpoint, EndpointAddr};
use crate::upstream::pool::{Limits, Pool, Way};

struct Upstream {
    io: DuplexStream,
    pool: Pool,
    endpoint: Arc<Endpoint>,
}

fn open() -> Open {
    Open::new(
        &prometheus::IntGauge::new("open", "open").expect("a valid name"),
        None,
    )
}

/// A connection and the other end of it.
fn connected() -> (Box<Connection>, Upstream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    (
        Connection::new(Fresh {
            io: Io::Memory(near),
            open: open(),
            peer: None,
        }),
        Upstream {
            io: far,
            pool: Pool::default(),
            endpoint: Arc::new(Endpoint::new(EndpointAddr::Unix("/memory".into()))),
        },
    )
}

impl Upstream {
    fn home(&self) -> Rc<Home> {
        let limits = Limits {
            idle: Duration::from_secs(60),
            age: None,
            requests: 0,
        };
        let way = Way::default();
        self.pool.home(&self.endpoint, way, &Arc::default(), limits)
    }

    async fn read_head(&mut self) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(self.io.read_u8().await.expect("a head"));
        }
        String::from_utf8(seen).expect("text")
    }
}

async fn get(conn: Box<Connection>, home: Rc<Home>) -> Result<Response<Body>, ExchangeError> {
    let mut body = Body::Empty;
    let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let method = Method::GET;
    conn.exchange(Exchange {
        method: &method,
        head,
        chunked: false,
        body: &mut body,
        expects_continue: false,
        upgrade: None,
        interim: None,
        limits: &crate::request::limits::Limits::default(),
        home,
    })
    .await
    .map(|answer| answer.response)
}

/// The answer to a GET when the upstream writes `answer` and then closes if told so.
async fn answered(answer: &[u8], close: bool) -> (Result<Response<Body>, ExchangeError>, usize) {
    let (conn, mut upstream) = connected();
    let home = upstream.home();
    let serve = async {
        upstream.read_head().await;
        upstream.io.write_all(answer).await.expect("written");
        if close {
            upstream.io.shutdown().await.expect("closed");
        }
    };
    let (response, ()) = tokio::join!(get(conn, home), serve);
    let response = match response {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await;
            Ok(match body {
                Ok(body) => {
                    let mut head = head;
                    if let Some(trailers) = body.trailers() {
                        head.headers.extend(trailers.clone());
                    }
                    Response::from_parts(head, Body::full(body.to_bytes()))
                }
                Err(error) => panic!("body: {error:?}"),
            })
        }
        Err(error) => Err(error),
    };
    (response, upstream.pool.idle())
}

async fn text(response: Response<Body>) -> String {
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn a_whole_answer_sends_the_connection_home() {
    let (response, idle) = answered(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\n\r\nok",
        false,
    )
    .await;

    let response = response.expect("an answer");
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(idle, 1);
    assert_eq!(text(response).await, "ok");
}

#[tokio::test]
async fn chunks_and_trailers_are_decoded() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-t: 1\r\n\r\n";

    let (response, idle) = answered(answer, false).await;

    let response = response.expect("an answer");
    assert_eq!(response.headers()["x-t"], "1");
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(idle, 1);
    assert_eq!(text(response).await, "abcde");
}

#[tokio::test]
async fn an_answer_without_length_ends_with_the_connection() {
    let (response, idle) = answered(b"HTTP/1.1 200 OK\r\n\r\nall of it", true).await;

    assert_eq!(text(response.expect("an answer")).await, "all of it");
    assert_eq!(idle, 0);
}

#[tokio::test]
async fn what_concerned_the_upstream_connection_is_dropped() {
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-keep: 1\r\n\r\n";

    let (response, idle) = answered(answer, false).await;

    let headers = response.expect("an answer").headers().clone();
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert_eq!(idle, 0, "the upstream said close");
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let answer =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    let (response, _) = answered(answer, false).await;

    let response = response.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("link"));
}

#[tokio::test]
async fn contradictory_framing_is_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ] {
        let (response, idle) = answered(answer.as_bytes(), false).await;

        assert!(matches!(response, Err(ExchangeError::Head(_))), "{answer}");
        assert_eq!(idle, 0);
    }
}

#[tokio::test]
async fn a_close_before_any_byte_is_told_apart_from_one_within_the_head() {
    let (nothing, _) = answered(b"", true).await;
    let (partial, _) = answered(b"HTTP/1.1 200", true).await;

    assert!(matches!(
        nothing,
        Err(ExchangeError::Closed { answered: false })
    ));
    assert!(matches!(
        partial,
        Err(ExchangeError::Closed { answered: true })
    ));
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    let (conn, mut upstream) = connected();
    let home = upstream.home();
    let serve = async {
        upstream.read_head().await;
        upstream
            .io
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            .await
            .expect("written");
        upstream.io.shutdown().await.expect("closed");
    };

    let (response, ()) = tokio::join!(get(conn, home), serve);

    let error = response
        .expect("a head")
        .into_body()
        .collect()
        .await
        .expect_err("must fail");
    assert!(
        matches!(
            error,
            crate::body::BodyError::Upstream(ReadError::Truncated)
        ),
        "{error:?}"
    );
    assert_eq!(upstream.pool.idle(), 0);
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_out_in_chunks() {
    let (conn, mut upstream) = connected();
    let home = upstream.home();
    let mut body = Body::full(Bytes::from_static(b"hello"));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let method = Method::POST;
    let exchange = Exchange {
        method: &method,
        head,
        chunked: true,
        body: &mut body,
        expects_continue: false,
        upgrade: None,
        interim: None,
        limits: &crate::request::limits::Limits::default(),
        home,
    };
    let serve = async {
        upstream.read_head().await;
        let mut sent = [0; 15];
        upstream.io.read_exact(&mut sent).await.expect("a body");
        upstream
            .io
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("written");
        sent
    };

    let (response, sent) = tokio::join!(conn.exchange(exchange), serve);

    assert_eq!(&sent, b"5\r\nhello\r\n0\r\n\r\n");
    assert!(response.is_ok());
    assert_eq!(upstream.pool.idle(), 1);
}

#[tokio::test]
async fn excess_bytes_make_a_connection_useless() {
    let (_, idle) = answered(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA",
        false,
    )
    .await;

    let (mut conn, upstream) = connected();
    drop(upstream);
    assert!(idle <= 1);
    assert!(!conn.is_stale(), "a fresh connection has nothing left over");
}

/// What a decoder makes of `answer` when it comes in pieces of these lengths.
fn decoded(answer: &[u8], pieces: &[usize]) -> Option<(u16, Vec<u8>, bool)> {
    let mut buf = BytesMut::new();
    let mut rest = answer;
    let mut pieces = pieces.iter().cycle();
    let mut head = None;
    let mut body = Vec::new();
    let asked = Asked {
        head: &[],
        method: &Method::GET,
        upgrade: None,
        interim: None,
        limits: &crate::request::limits::Limits::default(),
    };
    loop {
        let len = (*pieces.next()?)
            .clamp(1, rest.len().max(1))
            .min(rest.len());
        buf.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
        if head.is_none() {
            head = decode::head(&mut buf, &mut Vec::new(), &asked).ok()?;
        }
        if let Some(head) = &mut head {
            loop {
                match head.decoder.decode(&mut buf).ok()? {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::Trailers(_) | Decoded::End => {
                        return Some((head.status.as_u16(), body, true));
                    }
                    Decoded::More => break,
                }
            }
        }
        if rest.is_empty() {
            return head.map(|head| (head.status.as_u16(), body, head.decoder.ends_with_stream()));
        }
    }
}

fn chunked(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        answer.extend_from_slice(part);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

proptest::proptest! {
    #[test]
    fn how_an_answer_is_cut_into_pieces_changes_nothing(
        parts in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..40), 0..6),
        pieces in proptest::collection::vec(1..30_usize, 1..20),
    ) {
        let answer = chunked(&parts);

        let seen = decoded(&answer, &pieces);

        proptest::prop_assert_eq!(seen, Some((200, parts.concat(), true)));
    }

    #[test]
    fn no_bytes_of_an_upstream_make_the_decoder_panic(
        answer in "(HTTP/1\\.[01] [0-9]{1,3} ?[a-z]{0,3}\r?\n)?((content-length|transfer-encoding|x|connection): ?[0-9a-z, ]{0,12}\r?\n){0,4}\r?\n?[0-9a-f\r\n;]{0,30}",
        pieces in proptest::collection::vec(1..30_usize, 1..20),
    ) {
        let _ = decoded(answer.as_bytes(), &pieces);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_goes_and_so_does_the_connection() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

    let (response, idle) = answered(answer, false).await;

    let response = response.expect("an answer");
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(text(response).await, "hello");
    assert_eq!(idle, 0);
}

#[tokio::test]
async fn a_close_after_an_interim_answer_is_one_within_an_answer() {
    let (response, _) = answered(b"HTTP/1.1 100 Continue\r\n\r\n", true).await;

    assert!(matches!(
        response,
        Err(ExchangeError::Closed { answered: true })
    ));
}

#[tokio::test]
async fn interim_answers_are_bounded_however_slowly_they_come() {
    let (conn, mut upstream) = connected();
    let home = upstream.home();
    let serve = async {
        upstream.read_head().await;
        for _ in 0..=INTERIM_RESPONSES_MAX {
            let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
            upstream.io.write_all(interim).await.expect("written");
            tokio::task::yield_now().await;
        }
    };

    let (response, ()) = tokio::join!(get(conn, home), serve);

    assert!(matches!(
        response,
        Err(ExchangeError::Head(HeadError::Interim))
    ));
}
