use serde_json::json;

use super::*;
use crate::decode::path::segments_of;

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().message
}

#[test]
fn scalars_keep_their_kind_and_keys_become_texts() {
    let value = parse("a: 1\nb: '1'\n3: yes\ntrue: ~\nc: 1.5\n").unwrap();

    assert_eq!(
        value,
        json!({"a": 1, "b": "1", "3": "yes", "true": null, "c": 1.5})
    );
}

#[test]
fn merged_mappings_give_only_what_is_not_there() {
    let value = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n").unwrap();

    assert_eq!(value["b"], json!({"x": 1, "y": 3}));
}

#[test]
fn nesting_is_bounded_whatever_makes_it() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(5_000),
        "- ".repeat(5_000),
        "a: &a [*a]".into(),
    ] {
        assert!(refusal(&text).contains("nested"), "{}", &text[..8]);
    }
}

#[test]
fn aliases_cannot_blow_a_document_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let items = vec![format!("*a{}", level - 1); 8].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }

    assert!(refusal(&text).contains("aliases expand"));
}

#[test]
fn one_long_text_cannot_be_repeated_at_will() {
    let text = format!(
        "a: &a {}\nb: [{}]",
        "x".repeat(100_000),
        vec!["*a"; 10_000].join(",")
    );

    assert!(refusal(&text).contains("aliases expand"));
}

#[test]
fn a_key_that_stands_twice_is_told_at_the_second() {
    let error = parse("a:\n  b: 1\n  c: 2\n  b: 3\n").unwrap_err();

    assert_eq!(error.message, "`b` is written twice in one mapping");
    assert_eq!(error.place, Place { line: 4, column: 3 });
}

#[test]
fn places_are_those_of_the_key_the_value_or_the_nearest_ancestor() {
    let places = Places::of("a:\n  b:\n    - x: 1\n      y: {z: 2}\n  n:\n");

    for (path, at, line, column) in [
        ("a.b[0].x", At::Value, 3, 10),
        ("a.b[0].x", At::Key, 3, 7),
        ("a.b[0].y.z", At::Value, 4, 14),
        ("a.b[0].y", At::Value, 4, 10),
        ("a.b", At::Value, 2, 3),
        ("a.b[7].x", At::Value, 2, 3),
        ("a.missing.deep", At::Value, 1, 1),
        ("a.n", At::Value, 5, 3),
    ] {
        assert_eq!(
            places.find(&segments_of(path), at),
            Place { line, column },
            "{path}"
        );
    }
}
