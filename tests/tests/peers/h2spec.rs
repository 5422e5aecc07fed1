//! `h2spec`, the conformance suite for HTTP/2 servers: exactly the known deviations, so that a change
//! in either direction is seen.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http_body_util::BodyExt as _;
use tests::origin::Protocol;
use tests::tls::Certificate;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, Proxy};
use tokio::process::Command;

use crate::tools;

/// What the suite finds wrong in clear text, and why it stays so: package, case, reason.
const DEVIATIONS: &[(&str, &str, &str)] = &[(
    "http2/3.5",
    "Sends invalid connection preface",
    "the port speaks HTTP/1.1 as well: what is no preface is an invalid request there and gets 400 \
     before the connection is closed, where the suite wants it closed without a word",
)];

/// Cases of the suite.
const CASES: usize = 145;

/// Runs the suite; gives the number of its cases, and of those that failed the package and name.
async fn run(addr: SocketAddr, arguments: &[&str]) -> (usize, Vec<(String, String)>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let report = folder.path().join("report.xml");
    let program = tools::h2spec();
    let mut command = Command::new(&program);
    command
        .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string()])
        // Two seconds, its default, are little on a busy machine.
        .args(["--timeout", "10"])
        .arg("-j")
        .arg(&report)
        .args(arguments)
        .kill_on_drop(true);
    let output = command.output().await;
    let output = output.unwrap_or_else(|error| panic!("h2spec cannot be started: {error}"));
    let text = std::fs::read_to_string(&report);
    let text = text.unwrap_or_else(|error| panic!("no report ({error}): {output:?}"));
    let cases: Vec<&str> = text.split("<testcase").skip(1).collect();
    let failed = cases
        .iter()
        .filter(|case| case.contains("<failure") || case.contains("<error"))
        .map(|case| (attribute(case, "package"), attribute(case, "classname")))
        .collect();
    (cases.len(), failed)
}

/// Answers what came whole: an answer to half a request would race with what the suite sends next.
async fn origin() -> Origin {
    Origin::serving(Protocol::Http1, |request| async {
        // A request that broke off needs no answer.
        let _ = request.into_body().collect().await;
        // Some cases need one that does not fit into a small window.
        tests::origin::text(vec![b'x'; 5_000])
    })
    .await
}

/// The value of an attribute of the element that `text` begins in.
fn attribute(text: &str, name: &str) -> String {
    let start = format!("{name}=\"");
    let value = text.split_once(&start).map(|(_, rest)| rest);
    let value = value.and_then(|rest| rest.split('"').next());
    value.expect("a report has its attributes").to_owned()
}

#[tokio::test]
async fn clear_text_deviates_only_where_it_is_known_and_why() {
    let origin = origin().await;
    let service = Service::new("app.test").at(origin.addr()).to_string();
    let rules = "  - route: [{destination: {host: app.test}}]";
    let edge = Edge::start(&[service, yaml::routes("*", rules)]).await;

    let (cases, failed) = run(edge.port.addr(), &[]).await;

    assert_eq!(cases, CASES, "the suite has other cases than before");
    let known = DEVIATIONS.iter();
    let known: BTreeSet<_> = known
        .map(|(package, case, _)| ((*package).to_owned(), (*case).to_owned()))
        .collect();
    let failed: BTreeSet<_> = failed.into_iter().collect();
    assert_eq!(failed, known);
    let metrics = edge.proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_connection_panics_total", &[]), 0.0);
}

#[tokio::test]
async fn nothing_deviates_over_tls() {
    let origin = origin().await;
    let certificate = Certificate::of(&["127.0.0.1"]);
    let port = Port::reserve();
    let gateway = yaml::gateway(&port).replace(
        "protocol: HTTP}",
        &format!("protocol: HTTPS}}\n    tls: {{{}}}", certificate.fields()),
    );
    let service = Service::new("app.test").at(origin.addr()).to_string();
    let rules = "  - route: [{destination: {host: app.test}}]";
    let yaml = gateway + &service + &yaml::routes("*", rules);
    let proxy = Proxy::start(&yaml).await;

    let (cases, failed) = run(port.addr(), &["-t", "-k"]).await;

    assert_eq!(cases, CASES, "the suite has other cases than before");
    assert_eq!(failed, []);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_connection_panics_total", &[]), 0.0);
}
