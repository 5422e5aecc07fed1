//! Lines as they must be, and what hostile values and slow outputs do to them.

use std::sync::mpsc;
use std::time::UNIX_EPOCH;

use http::HeaderValue;

use super::*;
use crate::telemetry::flags::Flags;

fn entry() -> Entry<'static> {
    let addr = |text: &str| text.parse().ok();
    Entry {
        method: "GET".into(),
        path: "/reviews/0?full=1".into(),
        protocol: "HTTP/1.1".into(),
        response_code: 200,
        response_code_details: "via_upstream".into(),
        bytes_received: 0,
        bytes_sent: 379,
        duration: Duration::from_micros(12_900),
        upstream_service_time: Some(Duration::from_micros(11_100)),
        x_forwarded_for: "10.0.0.7".into(),
        user_agent: "curl/8.5.0".into(),
        request_id: "5a8d1f0e-0f0b-4f57-8d5c-0d1b6d2c9b11".into(),
        authority: "reviews:9080".into(),
        upstream_host: "10.1.0.5:9080".into(),
        upstream_cluster: "outbound|9080|v1|reviews.default.svc.cluster.local".into(),
        upstream_local_address: addr("10.1.0.4:41000"),
        downstream_local_address: addr("127.0.0.1:15001"),
        downstream_remote_address: addr("127.0.0.1:53122"),
        route_name: "default".into(),
        virtual_service: "default/reviews".into(),
        rule: Some(1),
        destination_rule: "default/reviews".into(),
        subset: "v1".into(),
        attempts: 2,
        ..Entry::at(UNIX_EPOCH + Duration::from_millis(1_700_000_000_042))
    }
}

#[test]
fn a_text_line_has_istios_default_format() {
    assert_eq!(
        entry().text(),
        "[2023-11-14T22:13:20.042Z] \"GET /reviews/0?full=1 HTTP/1.1\" 200 - via_upstream - \"-\" \
         0 379 12 11 \"10.0.0.7\" \"curl/8.5.0\" \"5a8d1f0e-0f0b-4f57-8d5c-0d1b6d2c9b11\" \
         \"reviews:9080\" \"10.1.0.5:9080\" outbound|9080|v1|reviews.default.svc.cluster.local \
         10.1.0.4:41000 127.0.0.1:15001 127.0.0.1:53122 - default"
    );
}

#[test]
fn a_json_line_has_istios_names_and_ours() {
    assert_eq!(
        entry().json(),
        r#"{"start_time":"2023-11-14T22:13:20.042Z","method":"GET","path":"/reviews/0?full=1","#
            .to_owned()
            + r#""protocol":"HTTP/1.1","response_code":200,"response_flags":"-","#
            + r#""response_code_details":"via_upstream","connection_termination_details":null,"#
            + r#""upstream_transport_failure_reason":null,"bytes_received":0,"bytes_sent":379,"#
            + r#""duration":12,"upstream_service_time":"11","x_forwarded_for":"10.0.0.7","#
            + r#""user_agent":"curl/8.5.0","request_id":"5a8d1f0e-0f0b-4f57-8d5c-0d1b6d2c9b11","#
            + r#""authority":"reviews:9080","upstream_host":"10.1.0.5:9080","#
            + r#""upstream_cluster":"outbound|9080|v1|reviews.default.svc.cluster.local","#
            + r#""upstream_local_address":"10.1.0.4:41000","#
            + r#""downstream_local_address":"127.0.0.1:15001","#
            + r#""downstream_remote_address":"127.0.0.1:53122","requested_server_name":null,"#
            + r#""route_name":"default","downstream_peer_uri_san":null,"#
            + r#""upstream_peer_uri_san":null,"virtual_service":"default/reviews","rule":1,"#
            + r#""destination_rule":"default/reviews","subset":"v1","attempts":2,"retry_refused":null,"#
            + r#""rate_limit":null,"authorization_policy":null,"audit_policies":null,"dry_run":null}"#
    );
}

#[test]
fn what_is_not_known_is_a_dash() {
    let entry = Entry {
        response_flags: Flags::DPE,
        ..Entry::at(UNIX_EPOCH)
    };

    assert_eq!(
        entry.text(),
        "[1970-01-01T00:00:00.000Z] \"- - -\" 0 DPE - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \
         \"-\" - - - - - -"
    );
}

#[test]
fn a_hostile_value_cannot_end_its_field_or_its_line() {
    let hostile = b"a\" 200 \\\r\n[now] \x1b[31m\x7f\xc3\xa4\xff".as_slice();
    let entry = Entry {
        path: "/a b\"c\n".into(),
        user_agent: hostile.into(),
        route_name: "my route\t\"x".into(),
        ..Entry::at(UNIX_EPOCH)
    };

    let text = entry.text();
    let json = entry.json();

    assert!(text.contains(r#"" 0 "#) && !text.contains('\n') && text.is_ascii());
    assert!(text.contains(r#""- /a\x20b\x22c\x0A -""#), "{text}");
    let agent = r#""a\x22 200 \x5C\x0D\x0A[now] \x1B[31m\x7F\xC3\xA4\xFF""#;
    assert!(text.contains(agent), "{text}");
    assert!(text.ends_with(r" my\x20route\x09\x22x"), "{text}");
    assert!(!json.contains('\n') && !json.contains('\x1b'));
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
    assert_eq!(parsed["path"], "/a b\"c\n");
    assert_eq!(
        parsed["user_agent"],
        "a\" 200 \\\r\n[now] \x1b[31m\x7f\u{e4}\u{fffd}"
    );
}

#[test]
fn a_long_value_is_cut() {
    let long = "ä".repeat(4_000);
    let odd = format!("x{long}");
    let fitting = "y".repeat(1_024);
    let entry = Entry {
        path: odd.as_str().into(),
        user_agent: fitting.as_str().into(),
        authority: long.as_str().into(),
        ..Entry::at(UNIX_EPOCH)
    };

    let text = entry.text();
    let parsed: serde_json::Value = serde_json::from_str(&entry.json()).expect("is JSON");

    assert!(text.contains(&format!("\"{fitting}\"")));
    assert!(text.contains(&format!("\"{}...\"", r"\xC3\xA4".repeat(512))));
    assert_eq!(parsed["path"], format!("x{}...", "ä".repeat(511)));
    assert_eq!(parsed["authority"], format!("{}...", "ä".repeat(512)));
    assert_eq!(parsed["user_agent"], fitting);
}

#[test]
fn a_header_that_is_not_there_is_empty() {
    let value = HeaderValue::from_static("x");

    assert_eq!(Text::from(None::<&HeaderValue>), Text::default());
    assert_eq!(Text::from(Some(&value)), Text::from("x"));
}

/// An output that hands its input to the test, after the test let it start.
struct Gate {
    open: mpsc::Receiver<()>,
    written: mpsc::Sender<Vec<u8>>,
    is_open: bool,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_open {
            self.is_open = self.open.recv().is_ok();
        }
        self.written
            .send(bytes.to_vec())
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gate() -> (Gate, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
    let (open, opened) = mpsc::channel();
    let (written, read) = mpsc::channel();
    (
        Gate {
            open: opened,
            written,
            is_open: false,
        },
        open,
        read,
    )
}

fn dropped() -> IntCounter {
    IntCounter::new("dropped", "dropped").expect("a valid name")
}

#[test]
fn every_line_is_written_before_the_log_is_gone() {
    let (output, open, written) = gate();
    open.send(()).expect("the output is there");
    let dropped = dropped();
    let log = AccessLog::new(Format::Text, output, dropped.clone()).expect("a thread");

    for _ in 0..100 {
        log.write(&entry());
    }
    drop(log);

    let expected = (entry().text() + "\n").repeat(100);
    assert_eq!(
        written.iter().flatten().collect::<Vec<u8>>(),
        expected.as_bytes()
    );
    assert_eq!(dropped.get(), 0);
}

#[test]
fn a_line_appears_without_another_one() {
    let (output, open, written) = gate();
    open.send(()).expect("the output is there");
    let log = AccessLog::new(Format::Json, output, dropped()).expect("a thread");

    log.write(&entry());

    let line = written
        .recv_timeout(Duration::from_secs(10))
        .expect("a line in time");
    assert_eq!(line, (entry().json() + "\n").into_bytes());
}

#[test]
fn a_stalled_output_costs_lines_and_never_waits() {
    const LINES: u64 = 10_000;
    let (output, open, written) = gate();
    let dropped = dropped();
    let log = AccessLog::new(Format::Text, output, dropped.clone()).expect("a thread");

    for _ in 0..LINES {
        log.write(&entry());
    }
    let lost = dropped.get();
    open.send(()).expect("the output is there");
    drop(log);

    let lines = written
        .iter()
        .flatten()
        .filter(|byte| *byte == b'\n')
        .count() as u64;
    assert!(lost > LINES / 2 && lost < LINES, "{lost}");
    assert_eq!(lines + lost, LINES);
}

#[test]
fn lines_that_the_output_refuses_are_counted() {
    let (output, open, written) = gate();
    open.send(()).expect("the output is there");
    drop(written);
    let dropped = dropped();
    let log = AccessLog::new(Format::Text, output, dropped.clone()).expect("a thread");

    for _ in 0..10 {
        log.write(&entry());
    }
    drop(log);

    assert_eq!(dropped.get(), 10);
}
