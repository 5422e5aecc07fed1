use http::{Method, Request};
use serde_json::json;

use super::*;
use crate::body::Body;
use crate::request::headers::OwnHeaders;
use crate::upstream::Sending;

fn rule(places: serde_json::Value) -> JwtRule {
    serde_json::from_value(places).expect("a rule")
}

fn request(target: &str, lines: &[(&str, &str)]) -> Outgoing {
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::GET;
    head.uri = target.parse().expect("a target");
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        head.headers.append(name, value.parse().expect("a value"));
    }
    Outgoing {
        head: Box::new(head),
        rewritten: None,
        authority: HeaderValue::from_static("a.test"),
        own: OwnHeaders::default(),
        body: Body::Empty,
        spelling: None,
        interim: None,
        upgrade: None,
        token: None,
        sending: Sending::default(),
    }
}

/// All tokens at the places of a rule.
fn found(rule: &JwtRule, outgoing: &Outgoing) -> Vec<String> {
    of_rule(rule)
        .iter()
        .flat_map(|place| place.tokens(outgoing))
        .map(|token| String::from_utf8_lossy(&token).into_owned())
        .collect()
}

#[test]
fn tokens_are_where_everybody_puts_them_if_nothing_else_is_said() {
    let plain = rule(json!({}));
    let named = rule(json!({"fromParams": ["token"]}));
    let request = request(
        "/a?access_token=b.c.d&token=x.y.z",
        &[("authorization", "Bearer e.f.g"), ("x-token", "h.i.j")],
    );

    assert_eq!(found(&plain, &request), ["e.f.g", "b.c.d"]);
    assert_eq!(found(&named, &request), ["x.y.z"]);
}

#[test]
fn what_an_application_would_take_for_a_token_is_one() {
    let plain = rule(json!({}));
    for (line, expected) in [
        ("Bearer a.b.c", Some("a.b.c")),
        ("bearer a.b.c", Some("a.b.c")),
        ("BEARER   a.b.c  ", Some("a.b.c")),
        ("Basic x, Bearer a.b.c", Some("a.b.c")),
        ("Bearer ", None),
        ("Bearer a.b.c, Bearer d.e.f", Some("a.b.c, Bearer d.e.f")),
        ("Basic dXNlcg==", None),
        ("a.b.c", None),
    ] {
        let request = request("/", &[("authorization", line)]);

        let found = found(&plain, &request);

        match expected {
            Some(expected) => assert_eq!(found, [expected], "{line}"),
            // A prefix at the end of a line has lost its space.
            None => assert!(found.is_empty() || line == "Bearer ", "{line}"),
        }
    }
}

#[test]
fn every_line_parameter_and_cookie_is_looked_at() {
    let all = rule(json!({
        "fromHeaders": [{"name": "X-Token"}, {"name": "x-other", "prefix": "jwt="}],
        "fromParams": ["t"],
        "fromCookies": ["session"],
    }));
    let request = request(
        "/?t=1&%74=2&t=3%2E4&tt=no&t",
        &[
            ("x-token", "5"),
            ("x-token", "6"),
            ("x-other", "kind=a;jwt=7"),
            ("cookie", "a=b; session=8; sessions=no; SESSION=no"),
            ("cookie", "session=\"9\""),
        ],
    );

    assert_eq!(
        found(&all, &request),
        ["5", "6", "7", "1", "2", "3.4", "", "8", "9"]
    );
}

#[test]
fn what_is_taken_away_is_taken_wherever_it_stands_and_nothing_else() {
    let all = rule(json!({
        "fromHeaders": [{"name": "x-token"}],
        "fromParams": ["t"],
        "fromCookies": ["session"],
    }));
    let mut request = request(
        "/a/b?x=1&t=2&%74=3&y=%20&t",
        &[
            ("x-token", "5"),
            ("x-token", "6"),
            ("x-tokens", "7"),
            ("cookie", "session=8"),
            ("cookie", "a=b; session=9;c=d"),
        ],
    );

    for place in of_rule(&all) {
        place.clear(&mut request);
    }

    assert!(found(&all, &request).is_empty());
    assert_eq!(request.target(), "/a/b?x=1&y=%20");
    assert!(request.head.headers.contains_key("x-tokens"));
    let cookies: Vec<&HeaderValue> = request.head.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=b; c=d"]);
}

#[test]
fn a_query_of_a_token_alone_is_taken_away_as_a_whole() {
    let plain = rule(json!({}));
    let mut request = request("/a?access_token=x", &[]);

    for place in of_rule(&plain) {
        place.clear(&mut request);
    }

    assert_eq!(request.target(), "/a");
}

#[test]
fn the_log_shows_no_token() {
    let [_, place] = &*of_rule(&rule(json!({}))) else {
        panic!("two places");
    };

    assert_eq!(
        place.conceal("/a?x=1&access_token=secret&y=2&acces%73_token=secret"),
        Some("/a?x=1&access_token=-&y=2&access_token=-".to_owned())
    );
    assert_eq!(place.conceal("/a?x=1"), None);
    assert_eq!(place.conceal("/a"), None);
}
