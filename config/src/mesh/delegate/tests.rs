//! Which conditions go together, and what the merged rule says.

use super::*;

fn rule(yaml: &str) -> HttpRoute {
    let value = crate::yaml::parse(yaml).expect("YAML");
    serde_json::from_value(value).expect("rule")
}

/// The merged match blocks as YAML values, or `None` for a dropped rule.
fn merged(root: &str, own: &str) -> Option<Vec<HttpMatch>> {
    merge_rule(&rule(root), &rule(own)).map(|rule| rule.matches)
}

#[test]
fn a_delegate_is_dropped_where_it_exceeds_its_root() {
    for (root, own, kept) in [
        ("uri: {prefix: /a}", "uri: {prefix: /a/b}", true),
        ("uri: {prefix: /a}", "uri: {exact: /a/b}", true),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}", false),
        ("uri: {prefix: /a}", "uri: {exact: /b}", false),
        ("uri: {prefix: /a}", "uri: {regex: /a/.*}", false),
        ("uri: {exact: /a}", "uri: {exact: /a}", true),
        ("uri: {exact: /a}", "uri: {exact: /b}", false),
        ("uri: {exact: /a}", "uri: {prefix: /a}", false),
        ("uri: {regex: /a.*}", "uri: {exact: /ab}", false),
        ("uri: {regex: /a.*}", "method: {exact: GET}", true),
        ("method: {exact: GET}", "method: {exact: POST}", false),
        (
            "headers: {x: {exact: a}}",
            "headers: {x: {exact: b}}",
            false,
        ),
        ("headers: {x: {exact: a}}", "headers: {y: {exact: b}}", true),
        ("headers: {x: {}}", "headers: {x: {exact: b}}", true),
        (
            "queryParams: {x: {exact: a}}",
            "queryParams: {x: {exact: b}}",
            false,
        ),
        (
            "withoutHeaders: {x: {exact: a}}",
            "withoutHeaders: {x: {exact: b}}",
            false,
        ),
        ("port: 80", "port: 81", false),
        ("port: 80", "uri: {prefix: /}", true),
        ("sourceNamespace: a", "sourceNamespace: b", false),
        ("sourceLabels: {app: a}", "sourceLabels: {app: b}", false),
        (
            "sourceLabels: {app: a}",
            "sourceLabels: {version: v1}",
            true,
        ),
        ("gateways: [a/g]", "gateways: [b/g]", false),
        ("gateways: [a/g, b/g]", "gateways: [b/g]", true),
        (
            "uri: {prefix: /a}",
            "{uri: {prefix: /a}, ignoreUriCase: true}",
            false,
        ),
    ] {
        let block = |text: &str| match text.strip_prefix('{') {
            Some(_) => format!("{{match: [{text}]}}"),
            None => format!("{{match: [{{{text}}}]}}"),
        };

        assert_eq!(
            merged(&block(root), &block(own)).is_some(),
            kept,
            "{root} over {own}"
        );
    }
}

#[test]
fn every_block_of_the_delegate_is_joined_with_every_block_that_admits_it() {
    let root = "{match: [{uri: {prefix: /a}, name: one}, {uri: {prefix: /b}, port: 80}]}";
    let own = "{match: [{uri: {prefix: /a/x}, name: x}, {method: {exact: GET}}]}";

    let merged = merged(root, own).expect("no conflict");

    let expected = rule(
        "match:\n\
         - {uri: {prefix: /a/x}, name: one-x}\n\
         - {uri: {prefix: /a}, method: {exact: GET}, name: one}\n\
         - {uri: {prefix: /b}, method: {exact: GET}, port: 80}",
    );
    assert_eq!(merged, expected.matches);
}

#[test]
fn one_block_that_no_block_of_the_root_admits_drops_the_whole_rule() {
    let own = "{match: [{uri: {prefix: /a/x}}, {uri: {prefix: /c}}]}";

    assert_eq!(merged("{match: [{uri: {prefix: /a}}]}", own), None);
}

#[test]
fn without_blocks_on_one_side_those_of_the_other_stand() {
    let blocks = "{match: [{uri: {prefix: /a}}]}";

    assert_eq!(merged("{}", blocks), Some(rule(blocks).matches));
    assert_eq!(merged(blocks, "{}"), Some(rule(blocks).matches));
    assert_eq!(merged("{}", "{}"), Some(vec![]));
}

#[test]
fn what_the_delegate_says_wins_and_the_root_fills_the_gaps() {
    let root = rule(
        "{name: root, timeout: 1s, retries: {attempts: 1}, rewrite: {uri: /r}, \
         headers: {request: {set: {a: root}}}, mirror: {host: root}, \
         mirrorPercentage: {value: 1}, delegate: {name: x}}",
    );
    let own = rule(
        "{name: own, timeout: 2s, headers: {request: {set: {b: own}}}, mirror: {host: own}, \
         route: [{destination: {host: a}}]}",
    );

    let merged = merge_rule(&root, &own).expect("no conflict");

    let expected = rule(
        "{name: root-own, timeout: 2s, retries: {attempts: 1}, rewrite: {uri: /r}, \
         headers: {request: {set: {b: own}}}, mirror: {host: own}, \
         route: [{destination: {host: a}}]}",
    );
    assert_eq!(merged, expected);
}
