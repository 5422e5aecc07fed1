//! The tables of cases once more, through real sockets: whatever a proxy does with a request before it
//! judges it is part of what is shown.

use std::fs;
use std::path::Path;

use tests::{Edge, Wire};

use super::cases::{Case, Group, Part, parse};
use super::open;

/// Whether a case is about a request alone, as a client without identity can send it.
fn is_sent(case: &Case) -> bool {
    let plain = |part: &Part| matches!(part, Part::Request(..) | Part::Host(_) | Part::Header(..));
    case.parts.iter().all(plain)
}

async fn send(wire: &mut Wire, case: &Case) -> String {
    let (mut method, mut target, mut host) = ("GET", "/", "app");
    let mut lines = String::new();
    for part in &case.parts {
        match part {
            Part::Request(m, t) => (method, target) = (m, t),
            Part::Host(name) => host = name,
            Part::Header(name, value) => lines.push_str(&format!("{name}: {value}\r\n")),
            _ => {}
        }
    }
    wire.say(format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{lines}\r\n"
    ))
    .await;
    wire.head().await
}

#[tokio::test]
async fn the_cases_of_requests_and_paths_get_their_verdict_through_sockets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/testdata/authorization");
    let mut groups: Vec<Group> = Vec::new();
    for name in ["paths.txt", "requests.txt"] {
        let text = fs::read_to_string(folder.join(name)).expect("a table");
        groups.extend(parse(name, &text));
    }
    let edge = Edge::start(&[open()]).await;
    let (mut wrong, mut count) = (Vec::new(), 0);

    for group in groups {
        let mut documents = vec![open()];
        documents.extend(group.documents.iter().map(|it| format!("{it}---\n")));
        assert!(!group.cases.is_empty(), "{} has no cases", group.place);
        edge.apply(&documents).await;
        for case in group.cases.iter().filter(|case| is_sent(case)) {
            let mut wire = edge.wire().await;
            let head = send(&mut wire, case).await;
            let verdict = case.verdict.split(' ').next().unwrap_or_default();
            let seen = match head.get(9..12) {
                Some("200") if head.contains("grpc-status: 7\r\n") => "deny",
                Some("200") => "allow",
                Some("403") => "deny",
                _ => "refuse",
            };
            count += 1;
            if seen != verdict {
                wrong.push(format!("{}: wanted {verdict}, got {head}", case.place));
            }
        }
    }

    assert_eq!(wrong, [""; 0]);
    assert!(count >= 130, "{count} cases");
}
