//! What is no request that every parser reads alike is refused, with its cause.

use tests::{Origin, Wire};

use super::{HOST, edge, logged, logged_after};

/// Lines behind `POST / HTTP/1.1` and the host, with the answer's status and cause.
const LINES: &[(&str, u16, &str)] = &[
    (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        400,
        "contradictory_framing",
    ),
    (
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        400,
        "contradictory_framing",
    ),
    ("Content-Length: +5\r\n", 400, "contradictory_framing"),
    (
        "Transfer-Encoding: gzip, chunked\r\n",
        501,
        "unknown_coding",
    ),
    ("Transfer-Encoding : chunked\r\n", 400, "invalid_head"),
    (
        "X: a\nTransfer-Encoding: chunked\r\n",
        400,
        "bare_line_feed",
    ),
    ("X: a\r\n folded\r\n", 400, "invalid_head"),
    ("X: a\0b\r\n", 400, "invalid_head"),
    ("Host: other.test\r\n", 400, "invalid_host"),
];

async fn refused(mut client: Wire, bytes: &[u8]) -> String {
    client.say(bytes).await;
    let (answer, orderly) = client.rest().await;
    assert!(orderly, "the answer must arrive: {answer}");
    answer
}

#[tokio::test]
async fn a_refusal_says_why_to_the_client_the_log_and_the_metrics() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[]).await;

    for (number, (lines, status, cause)) in LINES.iter().enumerate() {
        let text = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n0\r\n\r\n");
        let answer = refused(edge.wire().await, text.as_bytes()).await;

        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{lines:?}: {answer}"
        );
        assert!(
            answer.contains(&format!("\r\nx-meshproxy-error: {cause}\r\n")),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        let line = logged_after(&edge, number).await;
        assert_eq!(
            (
                &line["response_code"],
                &line["response_flags"],
                &line["response_code_details"]
            ),
            (&(*status).into(), &"DPE".into(), &(*cause).into())
        );
    }

    assert_eq!(origin.requests(), 0);
    let metrics = edge.proxy.metrics().await;
    let counted = metrics.sum("meshproxy_downstream_rejections_total", &[]);
    assert_eq!(counted, LINES.len() as f64);
    let requests = metrics.sum("istio_requests_total", &[("response_flags", "DPE")]);
    assert_eq!(requests, LINES.len() as f64);
}

#[tokio::test]
async fn sizes_have_their_own_answers() {
    let origin = Origin::named("app").await;
    let limits = [
        "--max-header-bytes=8192",
        "--max-headers=20",
        "--max-target-bytes=1000",
    ];
    let edge = edge(origin.addr(), &limits).await;
    let head =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");

    for (text, status) in [
        (head(&format!("/{}", "x".repeat(1000)), ""), 414),
        (format!("GET /{}", "x".repeat(20_000)), 414),
        (head("/", &format!("X: {}\r\n", "x".repeat(8192))), 431),
        (head("/", &"X: 1\r\n".repeat(20)), 431),
    ] {
        let answer = refused(edge.wire().await, text.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_broken_body_is_the_clients_fault_and_the_upstream_gets_no_end_of_it() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[]).await;
    for (body, status, cause) in [
        ("5\r\nhelloX", 400, "invalid_chunk"),
        ("5\nhello\r\n0\r\n\r\n", 400, "invalid_chunk"),
        ("1000000000000000000\r\n", 400, "invalid_chunk"),
        ("0\r\nX: a\n\r\n", 400, "invalid_chunk"),
    ] {
        let text =
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let answer = refused(edge.wire().await, text.as_bytes()).await;

        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body:?}: {answer}"
        );
        assert!(answer.contains(cause), "{answer}");
        assert_eq!(logged(&edge).await["response_flags"], "DPE");
    }
}
