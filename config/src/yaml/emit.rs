//! Values to YAML text that every reader takes for the same, also readers of YAML 1.1, such as those of
//! Kubernetes' tools, to whom `off` is false and `1:30` is ninety.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Words that some reader takes for something else than a text.
const WORDS: [&str; 12] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", "<<", "=",
];

/// Characters at the beginning of a text that mean something.
const INDICATORS: &[char] = &[
    '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
];

/// A value as one document, without a marker before it.
pub(crate) fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => items(&mut out, list, 0),
        scalar => {
            flat(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

/// Fields, each on lines of its own; the first begins where the text ends.
fn fields(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, (name, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        // A key of several lines cannot stand before a colon.
        match name.contains('\n') {
            true => quoted(out, name),
            false => text(out, name, indent),
        }
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                fields(out, map, indent + 2);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                pad(out, indent);
                items(out, list, indent);
            }
            scalar => {
                out.push(' ');
                flat(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn items(out: &mut String, list: &[Value], indent: usize) {
    for (index, value) in list.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => fields(out, map, indent + 2),
            Value::Array(list) if !list.is_empty() => items(out, list, indent + 2),
            scalar => {
                flat(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// What has no parts.
fn flat(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(value) => text(out, value, indent),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// A text in the plainest form that cannot be misread.
fn text(out: &mut String, text: &str, indent: usize) {
    if is_plain(text) {
        out.push_str(text);
    } else if is_block(text) {
        // Where the last line ends is said by the sign.
        let (body, sign) = match text.strip_suffix('\n') {
            Some(body) => (body, "|"),
            None => (text, "|-"),
        };
        out.push_str(sign);
        for line in body.split('\n') {
            out.push('\n');
            if !line.is_empty() {
                pad(out, indent.max(2));
                out.push_str(line);
            }
        }
    } else if text.chars().all(is_printable) {
        let _ = write!(out, "'{}'", text.replace('\'', "''"));
    } else {
        quoted(out, text);
    }
}

fn is_plain(text: &str) -> bool {
    let marks = text.starts_with(INDICATORS) || text.contains(": ") || text.contains(" #");
    let open = text.starts_with(' ') || text.ends_with([' ', ':']);
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    !text.is_empty()
        && text.chars().all(is_printable)
        && !(marks || open || word || may_be_number(text))
}

/// Whether some reader may take it for a number or a time.
fn may_be_number(text: &str) -> bool {
    if !text.starts_with(|it: char| it.is_ascii_digit() || matches!(it, '+' | '.')) {
        return false;
    }
    let of_addresses = |it: char| it.is_ascii_digit() || it == '.';
    if text.chars().all(of_addresses) && text.matches('.').count() > 1 {
        return false;
    }
    let of_numbers = |it: char| it.is_ascii_hexdigit() || "_+-.:,xXoOtTzZ inIN".contains(it);
    text.chars().all(of_numbers)
}

/// Whether it may stand as it is, line by line.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !body.is_empty()
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && text.chars().all(|it| it == '\n' || is_printable(it))
}

fn is_printable(character: char) -> bool {
    // Some of these end a line to readers of YAML 1.1.
    let is_break = matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    let is_noncharacter = matches!(character, '\u{fffe}' | '\u{ffff}');
    !(character.is_control() || is_break || is_noncharacter)
}

/// In double quotes, with an escape for whatever is not printable.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if is_printable(character) => out.push(character),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(character));
            }
        }
    }
    out.push('"');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::yaml::parse;

    #[test]
    fn what_another_reader_would_take_for_something_else_is_quoted() {
        for text in [
            "off",
            "Yes",
            "n",
            "~",
            "",
            "80",
            "1e3",
            "0x1F",
            "1:30",
            "2026-01-02",
            ".5",
            "+1",
            "-1",
            ".inf",
            "1_000",
            "a: b",
            "a #b",
            " a",
            "a ",
            "a:",
            "- a",
            "*a",
            "@a",
            "{a}",
        ] {
            let printed = emit(&json!(text));
            assert!(printed.starts_with('\''), "{text}: {printed}");
        }
    }

    #[test]
    fn what_nobody_misreads_stays_plain() {
        for text in [
            "a",
            "offer",
            "v1",
            "10m",
            "1.5s",
            "10.0.0.1",
            "10.0.0.0/8",
            "a:b",
            "a#b",
            "/x",
            "it's",
            "istio.io/rev",
            "100Mi",
        ] {
            assert_eq!(emit(&json!(text)), format!("{text}\n"));
        }
    }

    #[test]
    fn parts_stand_under_their_names() {
        let value = json!({"a": {"b": [1, {"c": "x", "d": []}, [2, 3]], "e": {}}, "f": "g\n h\n"});

        let expected =
            "a:\n  b:\n  - 1\n  - c: x\n    d: []\n  - - 2\n    - 3\n  e: {}\nf: |\n  g\n   h\n";
        assert_eq!(emit(&value), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["[ -~\n]{0,8}", "\\PC{0,6}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_it_was(value in values()) {
            let printed = emit(&value);

            let read = parse(&printed).map_err(|error| error.message);
            prop_assert_eq!(read, Ok(value), "{}", printed);
        }
    }
}
