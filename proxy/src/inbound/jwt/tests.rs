//! Whole rules over whole requests: what is admitted, and what attackers try.

mod attacks;
mod signer;

use http::{HeaderValue, Request};
use serde_json::{Value, json};

use super::*;
use crate::body::Body;
use crate::jwks::{Origin, TIMEOUT_DEFAULT};
use crate::request::headers::OwnHeaders;
use crate::upstream::Sending;
use signer::Signer;

const ISSUER: &str = "https://issuer.example";
/// A time in the life of all tokens here, in seconds since 1970.
const NOW: u64 = 1_900_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// The claims of a good token.
fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "jason", "aud": "reviews", "exp": NOW + 300})
}

/// The same with others.
fn with(more: Value) -> Value {
    let mut whole = claims();
    let own = whole.as_object_mut().expect("a mapping");
    own.extend(more.as_object().expect("a mapping").clone());
    whole
}

/// A request with these headers.
fn request(target: &str, lines: &[(&str, &str)]) -> Outgoing {
    let mut head = Request::new(()).into_parts().0;
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

fn bearer(token: &str) -> Outgoing {
    request("/", &[("authorization", &format!("Bearer {token}"))])
}

/// The rules of one policy with the keys written in them.
fn policy(rules: &[Value]) -> Authentication {
    let rules: Vec<JwtRule> = rules
        .iter()
        .map(|rule| serde_json::from_value(rule.clone()).expect("a rule"))
        .collect();
    let rules = rules.iter().map(|rule| {
        let keys = Keys::parse(rule.jwks.as_deref().unwrap_or("{\"keys\": []}").as_bytes());
        (rule, KeySource::Written(Arc::new(keys.expect("keys"))))
    });
    Authentication::new(rules).expect("rules")
}

/// A policy that trusts one signer.
fn trusting(signer: &Signer) -> Authentication {
    policy(&[rule(signer)])
}

fn rule(signer: &Signer) -> Value {
    json!({"issuer": ISSUER, "jwks": signer.keys()})
}

fn examine(policy: &Authentication, outgoing: &mut Outgoing) -> Result<(), Refusal> {
    policy.examine(outgoing, &Memory::default(), now())
}

/// Who a request is from.
fn principal(policy: &Authentication, mut outgoing: Outgoing) -> Result<Option<String>, Refusal> {
    examine(policy, &mut outgoing)?;
    let principal = outgoing.token.as_ref().and_then(|it| it.principal());
    Ok(principal.map(str::to_owned))
}

#[test]
fn a_good_token_says_who_a_request_is_from_by_every_algorithm() {
    for signer in Signer::all() {
        let policy = trusting(&signer);
        let token = signer.sign(&claims());

        let found = principal(&policy, bearer(&token));

        let expected = format!("{ISSUER}/jason");
        assert_eq!(found, Ok(Some(expected)), "{}", signer.algorithm());
    }
}

#[test]
fn a_request_without_a_token_passes_and_is_from_nobody() {
    let policy = trusting(&Signer::es256());

    assert_eq!(principal(&policy, request("/", &[])), Ok(None));
    let basic = request("/", &[("authorization", "Basic dXNlcjpwYXNz")]);
    assert_eq!(principal(&policy, basic), Ok(None));
}

#[test]
fn times_have_a_leeway_of_a_minute() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    for (more, expected) in [
        (json!({"exp": NOW - 60}), Ok(())),
        (json!({"exp": NOW - 61}), Err(Refusal::Expired)),
        (json!({"exp": 0}), Err(Refusal::Expired)),
        (json!({"exp": NOW as f64 + 0.5}), Ok(())),
        (json!({"exp": "soon"}), Err(Refusal::ExpiryClaim)),
        (json!({"exp": null}), Err(Refusal::ExpiryClaim)),
        (json!({"exp": -1}), Err(Refusal::ExpiryClaim)),
        (json!({"exp": 1e300}), Err(Refusal::ExpiryClaim)),
        (json!({"nbf": NOW + 60}), Ok(())),
        (json!({"nbf": NOW + 61}), Err(Refusal::NotYetValid)),
        (json!({"nbf": "now"}), Err(Refusal::NotBeforeClaim)),
        (json!({"iat": NOW + 60}), Ok(())),
        (json!({"iat": NOW + 61}), Err(Refusal::NotYetValid)),
        (json!({"iat": true}), Err(Refusal::IssuedAtClaim)),
    ] {
        let mut request = bearer(&signer.sign(&with(more.clone())));

        assert_eq!(examine(&policy, &mut request), expected, "{more}");
    }
}

#[test]
fn a_token_is_for_one_of_the_audiences() {
    let signer = Signer::es256();
    let mut asked = rule(&signer);
    asked["audiences"] = json!(["https://reviews.example/", "ratings"]);
    let policy = policy(&[asked]);
    for (audience, expected) in [
        (json!("ratings"), Ok(())),
        (json!(["a", "reviews.example"]), Ok(())),
        (json!("http://reviews.example"), Ok(())),
        (json!("reviews"), Err(Refusal::Audience)),
        (json!([]), Err(Refusal::Audience)),
        (json!(["ratings", 7]), Err(Refusal::AudienceClaim)),
        (json!({"ratings": true}), Err(Refusal::AudienceClaim)),
    ] {
        let token = signer.sign(&with(json!({"aud": audience})));

        let refused = examine(&policy, &mut bearer(&token));

        assert_eq!(refused, expected, "{audience}");
    }
    assert_eq!(Refusal::Audience.status(), 403);
}

#[test]
fn the_token_does_not_go_on_unless_a_rule_says_so() {
    let signer = Signer::es256();
    let token = signer.sign(&claims());
    let mut keeping = rule(&signer);
    keeping["forwardOriginalToken"] = json!(true);
    for (rule, goes_on) in [(rule(&signer), false), (keeping, true)] {
        let policy = policy(&[rule]);
        let mut in_header = bearer(&token);
        let mut in_query = request(&format!("/a?x=y&access_token={token}"), &[]);

        examine(&policy, &mut in_header).expect("a good token");
        examine(&policy, &mut in_query).expect("a good token");

        let header = in_header.head.headers.contains_key("authorization");
        assert_eq!(header, goes_on);
        assert_eq!(in_query.target().contains("access_token"), goes_on);
        assert!(in_query.target().starts_with("/a?x=y"));
    }
}

#[test]
fn headers_of_claims_are_those_of_the_token_and_never_of_the_client() {
    let signer = Signer::es256();
    let mut rule = rule(&signer);
    rule["outputPayloadToHeader"] = json!("x-payload");
    rule["outputClaimToHeaders"] = json!([
        {"header": "x-user", "claim": "sub"},
        {"header": "x-team", "claim": "team"},
    ]);
    let policy = policy(&[rule]);
    let forged = [
        ("x-payload", "forged"),
        ("x-user", "admin"),
        ("x-team", "admins"),
        ("x_team", "admins"),
    ];
    let token = signer.sign(&claims());

    let mut without = request("/", &forged);
    let mut preflight = request(
        "/",
        &[
            ("origin", "https://a.example"),
            ("access-control-request-method", "GET"),
            ("authorization", "Bearer not-a-token"),
            ("x-user", "admin"),
        ],
    );
    preflight.head.method = Method::OPTIONS;
    let mut signed = bearer(&token);
    for (name, value) in forged {
        signed
            .head
            .headers
            .append(name, HeaderValue::from_static(value));
    }
    for request in [&mut without, &mut preflight, &mut signed] {
        examine(&policy, request).expect("admitted");
    }

    for (name, _) in forged {
        assert!(!without.head.headers.contains_key(name), "{name}");
        assert!(!preflight.head.headers.contains_key(name), "{name}");
    }
    assert!(preflight.token.is_none());
    let headers = &signed.head.headers;
    let users: Vec<&HeaderValue> = headers.get_all("x-user").iter().collect();
    assert_eq!(users, ["jason"]);
    assert!(!headers.contains_key("x-team") && !headers.contains_key("x_team"));
    let payload = token.split('.').nth(1).expect("a payload");
    assert_eq!(headers["x-payload"], payload);
}

#[test]
fn each_issuer_has_its_rule_and_its_keys() {
    let (first, second) = (Signer::es256(), Signer::es256());
    let other = "https://other.example";
    let policy = policy(&[
        rule(&first),
        json!({"issuer": other, "jwks": second.keys()}),
    ]);
    let of = |signer: &Signer, issuer: &str| signer.sign(&with(json!({"iss": issuer})));

    let found = |token: String| principal(&policy, bearer(&token));
    assert_eq!(
        found(of(&first, ISSUER)),
        Ok(Some(format!("{ISSUER}/jason")))
    );
    assert_eq!(
        found(of(&second, other)),
        Ok(Some(format!("{other}/jason")))
    );
    assert_eq!(found(of(&second, ISSUER)), Err(Refusal::NoMatchingKey));
    assert_eq!(found(of(&first, other)), Err(Refusal::NoMatchingKey));
    assert_eq!(
        found(of(&first, "https://third.example")),
        Err(Refusal::UnknownIssuer)
    );
}

#[test]
fn of_a_good_and_a_bad_token_at_the_places_of_a_rule_neither_is_taken() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let good = signer.sign(&claims());
    let bad = Signer::es256().sign(&claims());
    for (first, second) in [(&good, &bad), (&bad, &good)] {
        let target = format!("/?access_token={second}");
        let two = request(&target, &[("authorization", &format!("Bearer {first}"))]);

        assert_eq!(principal(&policy, two), Err(Refusal::NoMatchingKey));
    }
    let twice = request(
        &format!("/?access_token={good}"),
        &[("authorization", &format!("Bearer {good}"))],
    );
    assert!(principal(&policy, twice).is_ok());
}

#[test]
fn the_first_rule_that_is_satisfied_decides_and_one_of_another_place_is_not_asked() {
    let (first, second) = (Signer::es256(), Signer::es256());
    let other = "https://other.example";
    let mut one = rule(&first);
    one["fromHeaders"] = json!([{"name": "x-one"}]);
    let two = json!({
        "issuer": other,
        "jwks": second.keys(),
        "fromHeaders": [{"name": "x-two"}],
    });
    let policy = policy(&[one, two]);
    let good_one = first.sign(&claims());
    let good_two = second.sign(&with(json!({"iss": other})));

    let both = [("x-one", good_one.as_str()), ("x-two", good_two.as_str())];
    let half = [("x-one", "bad"), ("x-two", good_two.as_str())];
    let none = [("x-one", good_two.as_str()), ("x-two", good_one.as_str())];

    let found = |lines: &[(&str, &str)]| principal(&policy, request("/", lines));
    assert_eq!(found(&both), Ok(Some(format!("{ISSUER}/jason"))));
    assert_eq!(found(&half), Ok(Some(format!("{other}/jason"))));
    assert_eq!(found(&none), Err(Refusal::UnknownIssuer));
}

#[test]
fn a_rule_without_issuer_takes_any_that_its_keys_vouch_for() {
    let signer = Signer::es256();
    let policy = policy(&[json!({"jwks": signer.keys()})]);
    let token = signer.sign(&with(json!({"iss": "whoever"})));

    assert_eq!(
        principal(&policy, bearer(&token)),
        Ok(Some("whoever/jason".to_owned()))
    );
}

#[test]
fn keys_that_were_not_fetched_yet_open_no_door_and_newer_ones_are_taken_at_once() {
    let (old, new) = (Signer::es256(), Signer::es256());
    let issuer = Arc::new(Issuer::new(Origin {
        issuer: ISSUER.into(),
        uri: None,
        timeout: TIMEOUT_DEFAULT,
    }));
    let written: JwtRule = serde_json::from_value(json!({"issuer": ISSUER})).expect("a rule");
    let rules = [(&written, KeySource::Fetched(Arc::clone(&issuer)))];
    let policy = Authentication::new(rules.into_iter()).expect("a rule");
    let memory = Memory::default();
    let judged = |token: &str| policy.examine(&mut bearer(token), &memory, now());
    let renew = |signer: &Signer| {
        let keys = Keys::parse(signer.keys().as_bytes()).expect("keys");
        issuer.renew(keys, "http://issuer.test/keys", now());
    };
    let (old_token, new_token) = (old.sign(&claims()), new.sign(&claims()));

    assert_eq!(judged(&old_token), Err(Refusal::NotFetched));
    renew(&old);
    assert_eq!(judged(&old_token), Ok(()));
    assert_eq!(judged(&old_token), Ok(()), "remembered");
    assert_eq!(judged(&new_token), Err(Refusal::NoMatchingKey));
    renew(&new);
    assert_eq!(judged(&old_token), Err(Refusal::NoMatchingKey), "forgotten");
    assert_eq!(judged(&new_token), Ok(()));
}

#[test]
fn what_is_remembered_is_not_taken_beyond_its_time_or_for_other_audiences() {
    let signer = Signer::es256();
    let open = trusting(&signer);
    let mut closed = rule(&signer);
    closed["audiences"] = json!(["others"]);
    let closed = policy(&[closed]);
    let memory = Memory::default();
    let token = signer.sign(&claims());
    let later = now() + Duration::from_secs(361);

    assert_eq!(open.examine(&mut bearer(&token), &memory, now()), Ok(()));
    assert_eq!(
        closed.examine(&mut bearer(&token), &memory, now()),
        Err(Refusal::Audience)
    );
    assert_eq!(
        open.examine(&mut bearer(&token), &memory, later),
        Err(Refusal::Expired)
    );
}
