//! Matching as a table of cases, and the index against the plain search.

use super::*;
use crate::table::route::{Action, DirectResponse};
use http::StatusCode;
use proptest::prelude::*;

fn route(name: &str) -> Arc<Route> {
    let reply = DirectResponse {
        status: StatusCode::OK,
        body: bytes::Bytes::new(),
    };
    Arc::new(Route::new(name, Action::Direct(reply)))
}

fn rule(name: &str, path: PathMatcher, others: Option<Conditions>) -> Rule {
    Rule {
        path,
        others: others.map(Box::new),
        route: route(name),
        block: 0,
        number: 0,
    }
}

fn view<'r>(path: &'r str, headers: &'r HeaderMap) -> RequestView<'r> {
    RequestView {
        method: "GET",
        scheme: "http",
        authority: "reviews",
        port: 80,
        target: path,
        path,
        query: Some("a=1&b=&a=2"),
        headers,
        token: None,
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn exact(text: &str) -> Matcher {
    Matcher::Exact(text.as_bytes().into())
}

fn header_condition(name: &'static str, matcher: Matcher, inverted: bool) -> Conditions {
    let condition = HeaderCondition::new(HeaderName::from_static(name), matcher, inverted);
    Conditions {
        headers: Box::new([condition]),
        ..Conditions::default()
    }
}

fn holds(conditions: Conditions, request: &RequestView<'_>) -> bool {
    Rules::new(vec![rule("r", PathMatcher::Any, Some(conditions))])
        .find(request)
        .is_some()
}

#[test]
fn a_header_matches_if_one_of_its_lines_does() {
    let lines = headers(&[("x", "a"), ("x", "b")]);

    assert!(holds(
        header_condition("x", exact("b"), false),
        &view("/", &lines)
    ));
    assert!(!holds(
        header_condition("x", exact("a,b"), false),
        &view("/", &lines)
    ));
    assert!(!holds(
        header_condition("y", exact("b"), false),
        &view("/", &lines)
    ));
}

#[test]
fn presence_holds_for_an_empty_value() {
    let lines = headers(&[("x", "")]);

    assert!(holds(
        header_condition("x", Matcher::Presence, false),
        &view("/", &lines)
    ));
    assert!(!holds(
        header_condition("y", Matcher::Presence, false),
        &view("/", &lines)
    ));
}

#[test]
fn without_headers_takes_a_missing_header_for_an_empty_one() {
    let none = HeaderMap::new();
    let any = Matcher::compile(&config::value::StringMatch::Regex(".*".into()));

    assert!(holds(
        header_condition("x", exact("a"), true),
        &view("/", &none)
    ));
    assert!(holds(
        header_condition("x", Matcher::Presence, true),
        &view("/", &none)
    ));
    assert!(!holds(header_condition("x", any, true), &view("/", &none)));
    let lines = headers(&[("x", "a")]);
    assert!(!holds(
        header_condition("x", exact("a"), true),
        &view("/", &lines)
    ));
    assert!(!holds(
        header_condition("x", Matcher::Presence, true),
        &view("/", &lines)
    ));
}

#[test]
fn the_first_value_of_a_query_parameter_counts() {
    let none = HeaderMap::new();
    let with = |name: &str, matcher| Conditions {
        query: Box::new([QueryCondition {
            name: name.into(),
            matcher,
        }]),
        ..Conditions::default()
    };

    assert!(holds(with("a", exact("1")), &view("/", &none)));
    assert!(!holds(with("a", exact("2")), &view("/", &none)));
    assert!(holds(with("b", Matcher::Presence), &view("/", &none)));
    assert!(!holds(with("c", Matcher::Presence), &view("/", &none)));
}

#[test]
fn the_first_rule_that_matches_wins() {
    let rules = Rules::new(vec![
        rule("prefix", PathMatcher::Prefix(b"/a".as_slice().into()), None),
        rule("exact", PathMatcher::Exact(b"/ab".as_slice().into()), None),
        rule("rest", PathMatcher::Any, None),
    ]);
    let none = HeaderMap::new();

    let name = |path| {
        rules
            .find(&view(path, &none))
            .map(|rule| rule.route.name.to_string())
    };

    assert_eq!(name("/ab").as_deref(), Some("prefix"));
    assert_eq!(name("/b").as_deref(), Some("rest"));
}

#[test]
fn the_trace_names_the_condition_that_failed_and_ends_at_the_match() {
    let rules = Rules::new(vec![
        rule("one", PathMatcher::Exact(b"/x".as_slice().into()), None),
        rule(
            "two",
            PathMatcher::Any,
            Some(header_condition("x", exact("a"), false)),
        ),
        rule("three", PathMatcher::Any, None),
        rule("four", PathMatcher::Any, None),
    ]);
    let none = HeaderMap::new();

    let request = view("/", &none);
    let trace: Vec<_> = rules
        .trace(&request)
        .map(|(_, mismatch)| mismatch.map(|it| (it.to_string(), it.found(&request))))
        .collect();

    assert_eq!(
        trace,
        [
            Some(("path is /x".to_owned(), Some("/".to_owned()))),
            Some(("header x is a".to_owned(), None)),
            None
        ]
    );
}

#[test]
fn every_condition_says_what_it_asks_for_and_what_the_request_has() {
    let sent = headers(&[("x", "1"), ("x", "2")]);
    let request = view("/a", &sent);
    let part = |part, matcher, inverted| PartCondition {
        part,
        matcher,
        inverted,
    };
    let pattern = Matcher::Regex(config::validate::pattern::compile_full("v[0-9]").expect("fine"));
    let query = |name: &str| QueryCondition {
        name: name.into(),
        matcher: pattern.clone(),
    };
    let conditions = [
        Conditions {
            port: Some(81),
            ..Conditions::default()
        },
        Conditions {
            parts: Box::new([part(Part::Method, exact("GET"), true)]),
            ..Conditions::default()
        },
        header_condition("x", Matcher::Prefix(b"3".as_slice().into()), false),
        header_condition("y", Matcher::Presence, false),
        Conditions {
            query: Box::new([query("a")]),
            ..Conditions::default()
        },
        Conditions {
            query: Box::new([query("c")]),
            ..Conditions::default()
        },
    ];
    let rules = conditions.map(|conditions| rule("", PathMatcher::Any, Some(conditions)));
    let rules = Rules::new(rules.into());

    let trace: Vec<(String, Option<String>)> = rules
        .trace(&request)
        .filter_map(|(_, mismatch)| mismatch.map(|it| (it.to_string(), it.found(&request))))
        .collect();

    let told: Vec<(&str, Option<&str>)> = trace
        .iter()
        .map(|(asked, found)| (asked.as_str(), found.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("port is 81", Some("80")),
            ("not: method is GET", Some("GET")),
            ("header x begins with 3", Some("1, 2")),
            ("header y is present", None),
            ("query parameter a matches v[0-9]", Some("1")),
            ("query parameter c matches v[0-9]", None),
        ]
    );
    let asked: Vec<String> = rules.iter().flat_map(Rule::conditions).collect();
    let first: Vec<&str> = told.iter().map(|(asked, _)| *asked).collect();
    assert_eq!(
        asked, first,
        "conditions read the same where nothing failed"
    );
}

fn path() -> impl Strategy<Value = String> {
    "(/[ab]{0,2}){1,4}"
}

fn path_matcher() -> impl Strategy<Value = PathMatcher> {
    prop_oneof![
        4 => path().prop_map(|text| PathMatcher::Exact(text.as_bytes().into())),
        6 => path().prop_map(|text| PathMatcher::Prefix(text.as_bytes().into())),
        1 => path().prop_map(|text| PathMatcher::PrefixNoCase(text.as_bytes().into())),
        1 => Just(PathMatcher::Any),
    ]
}

proptest! {
    #[test]
    fn the_index_never_changes_the_answer(
        matchers in prop::collection::vec((path_matcher(), 0..6_usize), 12..60),
        paths in prop::collection::vec(path(), 1..20),
    ) {
        let others = |kind| match kind {
            0 | 1 => None,
            2 => Some(header_condition("x", exact("a"), false)),
            3 => Some(header_condition("x", exact("b"), false)),
            4 => Some(header_condition("x", exact("a"), true)),
            _ => Some(header_condition("y", exact("a"), false)),
        };
        let rules: Vec<Rule> = matchers
            .into_iter()
            .enumerate()
            .map(|(at, (path, kind))| rule(&at.to_string(), path, others(kind)))
            .collect();
        let rules = Rules::new(rules);
        prop_assert!(rules.index.is_some());

        for lines in [
            HeaderMap::new(),
            headers(&[("x", "a")]),
            headers(&[("x", "b"), ("x", "a"), ("y", "a")]),
        ] {
            for path in &paths {
                let request = view(path, &lines);
                let mut remembered = Remembered::new(&lines);
                let plain = rules
                    .rules
                    .iter()
                    .find(|rule| rule.mismatch(&request, &mut remembered).is_none());
                let indexed = rules.find(&request);

                prop_assert_eq!(
                    plain.map(|rule| rule.route.name.clone()),
                    indexed.map(|rule| rule.route.name.clone())
                );
            }
        }
    }
}

#[test]
fn claims_are_matched_by_any_value_and_only_of_a_token() {
    let condition = |matcher, inverted| {
        let claim = ClaimCondition {
            path: ["groups".into()].into(),
            matcher,
            inverted,
        };
        let conditions = Conditions {
            claims: Box::new([claim]),
            ..Conditions::default()
        };
        Rules::new(vec![rule("claim", PathMatcher::Any, Some(conditions))])
    };
    let forged = headers(&[("groups", "admin"), ("x-groups", "admin")]);
    let admin = Token::of(serde_json::json!({"groups": ["dev", "admin"]}));
    let dev = Token::of(serde_json::json!({"groups": "dev"}));
    let nobody = Token::of(serde_json::json!({"sub": "admin"}));

    for (matcher, matched) in [
        (exact("admin"), [true, false, false, false]),
        (Matcher::Prefix(b"d"[..].into()), [true, true, false, false]),
        (Matcher::Presence, [true, true, false, false]),
    ] {
        let wanted = condition(matcher.clone(), false);
        let unwanted = condition(matcher, true);
        for (token, matched) in [Some(&admin), Some(&dev), Some(&nobody), None]
            .into_iter()
            .zip(matched)
        {
            let request = RequestView {
                token,
                ..view("/", &forged)
            };
            assert_eq!(wanted.find(&request).is_some(), matched, "{token:?}");
            assert_eq!(unwanted.find(&request).is_some(), !matched, "{token:?}");
        }
    }
}
