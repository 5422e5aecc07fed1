//! Redirects in all their forms.

use tests::Edge;
use tests::yaml;

const HOST: &str = "old.test";

async fn edge(redirect: &str) -> Edge {
    let rules = format!("  - match: [{{uri: {{prefix: /a}}}}]\n    redirect: {redirect}\n");
    Edge::start(&[yaml::routes(HOST, &rules)]).await
}

/// Status and location of the answer to `GET path`.
async fn asked(redirect: &str, path: &str) -> (u16, String) {
    let reply = edge(redirect).await.http1().await.get(HOST, path).await;
    assert_eq!(reply.text(), "");
    (reply.status.as_u16(), reply.header("location").to_owned())
}

#[tokio::test]
async fn a_redirect_replaces_the_whole_path() {
    let seen = asked("{uri: /new}", "/a/b?x=1").await;

    // The query goes along.
    assert_eq!(seen, (301, "http://old.test/new?x=1".to_owned()));
}

#[tokio::test]
async fn a_path_written_without_a_slash_is_no_part_of_the_host() {
    let seen = asked("{uri: new}", "/a").await;

    assert_eq!(seen, (301, "http://old.test/new".to_owned()));
}

#[tokio::test]
async fn a_redirect_replaces_host_scheme_port_and_status() {
    let seen = asked(
        "{authority: new.test, scheme: https, port: 8443, redirectCode: 307}",
        "/a/b?x=1",
    )
    .await;

    assert_eq!(seen, (307, "https://new.test:8443/a/b?x=1".to_owned()));
}

#[tokio::test]
async fn a_redirect_to_https_leaves_everything_else() {
    let seen = asked("{scheme: https, redirectCode: 308}", "/a").await;

    assert_eq!(seen, (308, "https://old.test/a".to_owned()));
}

#[tokio::test]
async fn a_redirect_may_replace_the_matched_prefix_alone() {
    let seen = asked("{prefixRewrite: /new, redirectCode: 302}", "/a/b").await;

    assert_eq!(seen, (302, "http://old.test/new/b".to_owned()));
}

#[tokio::test]
async fn a_redirect_may_derive_the_port_from_the_scheme() {
    let seen = asked("{scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}", "/a").await;

    assert_eq!(seen, (301, "https://old.test/a".to_owned()));
}

#[tokio::test]
async fn a_redirect_may_name_the_port_of_the_request() {
    let edge = edge("{uri: /new, derivePort: FROM_REQUEST_PORT}").await;
    let host = format!("{HOST}:{}", edge.port);

    let reply = edge.http1().await.get(&host, "/a").await;

    assert_eq!(reply.header("location"), format!("http://{host}/new"));
}
