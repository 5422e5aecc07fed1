//! From HTTP/1 to HTTP/1 a head goes on as it was written.

use tests::script::Peer;
use tests::{Origin, Script};

use super::{HOST, edge, with_rules};

async fn answering(peer: &mut Peer, answer: &str) {
    if peer.request().await.is_some() {
        peer.say(answer).await;
    }
}

#[tokio::test]
async fn case_and_order_of_header_lines_are_kept_both_ways() {
    let answer = "HTTP/1.1 200 Fine, Thanks\r\nX-Zeta: 1\r\nContent-Length: 2\r\n\
                  set-cookie: a\r\nX-ALPHA: 2\r\nSet-Cookie: b\r\nDate: never\r\n\r\nok";
    let origin =
        Script::start(async move |mut peer: Peer| answering(&mut peer, answer).await).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "GET /a?b HTTP/1.1\r\nX-Zeta: 1\r\nHOST: {HOST}\r\nx-twice: 1\r\nX-ALPHA: 2\r\n\
             X-Twice: 2\r\nAccept: */*\r\n\r\n"
        ))
        .await;
    let head = client.head().await;

    assert_eq!(head.trim_end(), answer.trim_end_matches("ok").trim_end());
    let seen = origin.heads().remove(0);
    assert!(
        seen.starts_with(&format!(
            "GET /a?b HTTP/1.1\r\nX-Zeta: 1\r\nHOST: {HOST}\r\nx-twice: 1\r\nX-ALPHA: 2\r\n\
             X-Twice: 2\r\nAccept: */*\r\n"
        )),
        "{seen}"
    );
}

#[tokio::test]
async fn what_a_rule_changes_is_changed_where_it_stands() {
    let origin = Origin::named("app").await;
    let script = Script::start(async |mut peer: Peer| {
        answering(
            &mut peer,
            "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nC: 3\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
    })
    .await;
    let rules = "
  - headers:
      request: {set: {x-b: new}, remove: [x-a], add: {x-new: '1'}}
      response: {set: {b: new}, remove: [a]}
    rewrite: {authority: other.test}
    route: [{destination: {host: app.test}}]
";
    let edge = with_rules(script.addr(), rules, &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "GET / HTTP/1.1\r\nX-A: 1\r\nX-B: 2\r\nHost: {HOST}\r\nX-C: 3\r\n\r\n"
        ))
        .await;
    let head = client.head().await;

    let begins = "HTTP/1.1 200 OK\r\nB: new\r\nC: 3\r\ncontent-length: 0\r\n";
    assert!(head.starts_with(begins), "{head}");
    let seen = script.heads().remove(0);
    let begins = "GET / HTTP/1.1\r\nX-B: new\r\nHost: other.test\r\nX-C: 3\r\n";
    assert!(seen.starts_with(begins), "{seen}");
    assert!(seen.contains("\r\nx-new: 1\r\n"), "{seen}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn answers_of_our_own_have_a_date() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        .await;
    let head = client.head().await;

    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert!(head.contains("\r\ndate: "), "{head}");
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
}
