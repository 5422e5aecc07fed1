//! What is written of a head after changes.

use super::*;
use proptest::prelude::*;

/// A map and its spelling, from lines.
fn read(lines: &[(String, String)]) -> (HeaderMap, Spelling) {
    let head: String = lines.iter().map(|(name, _)| name.as_str()).collect();
    let mut spelling = Spelling::new(Bytes::from(head), lines.len());
    let mut headers = HeaderMap::new();
    let mut at = 0;
    for (name, value) in lines {
        spelling.push(at..at + name.len());
        at += name.len();
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value.parse().expect("a value"),
        );
    }
    (headers, spelling)
}

fn of(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    lines.iter().map(owned).collect()
}

fn written(headers: &HeaderMap, spelling: &Spelling) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    spelling.lines(
        headers,
        &mut lines,
        |lines, line| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            lines.push((text(line.spelled), text(line.value.as_bytes())));
        },
        Vec::clear,
    );
    lines
}

#[test]
fn lines_keep_their_order_and_spelling() {
    let lines = of(&[
        ("Host", "a"),
        ("X-ONE", "1"),
        ("x-Two", "2"),
        ("X-one", "3"),
    ]);
    let (headers, spelling) = read(&lines);

    assert_eq!(written(&headers, &spelling), lines);
}

#[test]
fn changes_show_and_nothing_else() {
    let (mut headers, spelling) = read(&of(&[("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]));

    headers.remove("b");
    headers.insert("c", HeaderValue::from_static("33"));
    headers.insert("x-new", HeaderValue::from_static("5"));

    let expected = of(&[("A", "1"), ("C", "33"), ("D", "4"), ("x-new", "5")]);
    assert_eq!(written(&headers, &spelling), expected);
}

proptest! {
    #[test]
    fn names_are_compared_as_they_are_defined(
        one in "[a-z0-9!#$%&'*+.^_`|~-]{1,20}",
        other in "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}",
        upper in any::<u32>(),
    ) {
        let name = HeaderName::from_bytes(one.as_bytes()).expect("a name");
        let cased: Vec<u8> = one
            .bytes()
            .enumerate()
            .map(|(at, byte)| if upper >> (at % 32) & 1 == 1 { byte.to_ascii_uppercase() } else { byte })
            .collect();
        prop_assert!(is_spelling(&cased, &name));
        for bytes in [other.as_bytes(), &cased.iter().map(|byte| byte ^ 0x20).collect::<Vec<u8>>()] {
            prop_assert_eq!(is_spelling(bytes, &name), bytes.eq_ignore_ascii_case(one.as_bytes()));
        }
    }

    #[test]
    fn a_head_that_nobody_changed_is_written_as_it_came(
        lines in proptest::collection::vec(("[abAB]{1,2}", "[0-9]{1,2}"), 0..12)
    ) {
        let (headers, spelling) = read(&lines);
        prop_assert_eq!(written(&headers, &spelling), lines);
    }

    #[test]
    fn every_line_of_the_map_is_written_once(
        lines in proptest::collection::vec(("[abAB]{1,2}", "[0-9]{1,2}"), 0..12),
        removed in "[ab]{1,2}",
        added in "[ab]{1,2}",
    ) {
        let (mut headers, spelling) = read(&lines);
        headers.remove(&removed);
        headers.append(
            HeaderName::from_bytes(added.as_bytes()).expect("a name"),
            HeaderValue::from_static("new"),
        );

        let mut written: Vec<(String, String)> = written(&headers, &spelling)
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let mut expected: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect();
        written.sort();
        expected.sort();
        prop_assert_eq!(written, expected);
    }
}
