//! Protocols by their first bytes, however these are cut.

use proptest::prelude::*;

use super::corpus::{CLIENT_FIRST, HTTP1, HTTP2, SERVER_FIRST, Sample, TLS};
use super::*;

fn all() -> impl Iterator<Item = Sample> {
    let told = SERVER_FIRST.iter();
    let told = told.map(|(name, _, answer)| (*name, Verdict::Opaque, *answer));
    let known = [HTTP1, HTTP2, TLS, CLIENT_FIRST].into_iter().flatten();
    known.copied().chain(told)
}

/// The first verdict when the bytes come in parts that end at these places.
fn verdict_of(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Verdict {
    let ends = ends.into_iter().chain([bytes.len()]);
    let mut verdicts = ends.map(|end| detect(&bytes[..end]));
    let decided = verdicts.find(|verdict| *verdict != Verdict::More);
    decided.unwrap_or(Verdict::More)
}

#[test]
fn every_protocol_is_told_however_its_first_bytes_are_cut() {
    for (name, verdict, bytes) in all() {
        assert_eq!(detect(bytes), verdict, "{name}");
        assert_eq!(
            verdict_of(bytes, 0..bytes.len()),
            verdict,
            "{name}, byte by byte"
        );
        for cut in 0..bytes.len() {
            assert_eq!(verdict_of(bytes, [cut]), verdict, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn nothing_says_nothing() {
    assert_eq!(detect(b""), Verdict::More);
}

#[test]
fn at_least_thirty_protocols_are_known() {
    let names = all().map(|(name, ..)| name.split(' ').next());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();

    assert!(names.len() >= 30, "{names:?}");
}

#[test]
fn a_request_line_is_not_waited_for_without_end() {
    let line = |target: &[u8]| [b"GET ", target].concat();

    let path = [b"/".as_slice(), &[b'a'; LINE_BYTES_MAX]].concat();
    assert_eq!(detect(&line(&path)), Verdict::Http1);
    assert_eq!(detect(&line(&path[..100])), Verdict::More);
    assert_eq!(detect(&line(&[b'a'; LINE_BYTES_MAX])), Verdict::Opaque);
    assert_eq!(detect(&[b'A'; METHOD_BYTES_MAX]), Verdict::More);
    assert_eq!(detect(&[b'A'; METHOD_BYTES_MAX + 1]), Verdict::Opaque);
}

#[test]
fn more_empty_lines_than_servers_skip_are_no_request() {
    assert_eq!(detect(b"\r\n\r\nGET / HTTP/1.1\r\n"), Verdict::Http1);
    assert_eq!(detect(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n"), Verdict::Opaque);
}

/// Bytes that are like some protocol, and anything.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = all().map(|(.., bytes)| bytes.to_vec()).collect();
    let like_one = (
        prop::sample::select(samples),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let like_one = like_one.prop_map(|(mut bytes, at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "GET", "x", "/", " ", "\t", "\r", "\n", "HTTP/1.1", "RTSP/1.0", "*", "http://a", ":",
        ]),
        0..12,
    );
    let words = words.prop_map(|words| words.concat().into_bytes());
    prop_oneof![like_one, words, prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn more_bytes_never_change_a_verdict(bytes in first_bytes(), end in any::<prop::sample::Index>()) {
        let end = end.index(bytes.len() + 1);
        let before = detect(&bytes[..end]);

        prop_assert!(before == Verdict::More || before == detect(&bytes));
    }

    #[test]
    fn cuts_do_not_matter(
        sample in prop::sample::select(all().collect::<Vec<_>>()),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (name, verdict, bytes) = sample;
        let mut ends: Vec<_> = cuts.drain(..).map(|cut| cut.index(bytes.len())).collect();
        ends.sort_unstable();

        prop_assert_eq!(verdict_of(bytes, ends), verdict, "{}", name);
    }
}
