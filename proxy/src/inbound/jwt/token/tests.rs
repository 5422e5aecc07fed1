use serde_json::json;

use super::*;

fn values(token: &Token, path: &[&str]) -> Vec<String> {
    token.claim(path).map(str::to_owned).collect()
}

#[test]
fn a_principal_needs_an_issuer_and_a_subject() {
    let principal = |claims| Token::of(claims).principal().map(str::to_owned);

    let both = principal(json!({"iss": "https://issuer.example", "sub": "jason"}));

    assert_eq!(both.as_deref(), Some("https://issuer.example/jason"));
    assert_eq!(principal(json!({"iss": "https://issuer.example"})), None);
    assert_eq!(principal(json!({"sub": "jason"})), None);
    assert_eq!(principal(json!({"iss": 1, "sub": "jason"})), None);
}

#[test]
fn an_audience_may_be_alone_or_in_a_list() {
    let audiences = |claims| {
        let token = Token::of(claims);
        let audiences: Vec<String> = token.audiences().iter().map(|it| (**it).into()).collect();
        audiences
    };

    assert_eq!(audiences(json!({"aud": "reviews"})), ["reviews"]);
    assert_eq!(audiences(json!({"aud": ["a", "b"]})), ["a", "b"]);
    assert!(audiences(json!({"aud": 7})).is_empty());
    assert!(audiences(json!({})).is_empty());
}

#[test]
fn the_presenter_is_the_authorized_party() {
    assert_eq!(Token::of(json!({"azp": "shop"})).presenter(), Some("shop"));
    assert_eq!(Token::of(json!({"azp": ["shop"]})).presenter(), None);
}

#[test]
fn a_claim_is_a_text_or_any_text_of_a_list_and_nothing_else() {
    let token = Token::of(json!({
        "group": "admin",
        "groups": ["admin", 7, "dev", ["inner"]],
        "age": 7,
        "staff": true,
        "none": null,
        "realm": {"roles": ["reader", "writer"], "name": {"short": "r"}},
    }));

    assert_eq!(values(&token, &["group"]), ["admin"]);
    assert_eq!(values(&token, &["groups"]), ["admin", "dev"]);
    assert_eq!(values(&token, &["realm", "roles"]), ["reader", "writer"]);
    assert_eq!(values(&token, &["realm", "name", "short"]), ["r"]);
    for path in [
        &["age"][..],
        &["staff"],
        &["none"],
        &["realm"],
        &["realm", "missing"],
        &["group", "admin"],
        &["groups", "0"],
        &["realm.name.short"],
        &[],
    ] {
        assert!(values(&token, path).is_empty(), "{path:?}");
    }
}

#[test]
fn scopes_are_split_at_spaces_and_other_texts_where_a_rule_says_so() {
    let claims = json!({
        "scope": "read  write",
        "permission": "a b",
        "roles": "c d",
        "inner": {"scope": "e f"},
    });
    let plain = Token::of(claims);
    let told = Token::new(Rc::clone(&plain.payload), Arc::new(["roles".into()]));

    assert_eq!(values(&plain, &["scope"]), ["read", "write"]);
    assert_eq!(values(&plain, &["permission"]), ["a", "b"]);
    assert_eq!(values(&plain, &["roles"]), ["c d"]);
    assert_eq!(values(&told, &["roles"]), ["c", "d"]);
    assert_eq!(values(&told, &["inner", "scope"]), ["e f"]);
}
