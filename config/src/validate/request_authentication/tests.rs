use serde_json::{Value, json};

use crate::validate::tests::assert_reports;

/// A policy of one rule.
fn rule(rule: Value) -> Value {
    json!({"jwtRules": [rule]})
}

/// A rule of an issuer with more.
fn with(more: Value) -> Value {
    let mut whole = json!({"issuer": "https://issuer.example"});
    let own = whole.as_object_mut().expect("a mapping");
    own.extend(more.as_object().expect("a mapping").clone());
    rule(whole)
}

#[test]
fn policies_as_people_write_them_are_valid() {
    let point = "AQ".repeat(21) + "A";
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "a"});
    let valid = [
        json!({}),
        with(json!({})),
        with(json!({"audiences": ["a"], "jwks": json!({"keys": [key]}).to_string()})),
        with(json!({"jwksUri": "https://issuer.example:8443/keys?x=y"})),
        with(json!({"jwks_uri": "https://[2001:db8::1]/keys"})),
        rule(json!({"jwksUri": "https://issuer.example/keys"})),
        with(json!({
            "fromHeaders": [{"name": "x-token", "prefix": "Bearer "}, {"name": "y"}],
            "fromParams": ["token"],
            "fromCookies": ["token"],
            "outputPayloadToHeader": "x-payload",
            "outputClaimToHeaders": [{"header": "x_user", "claim": "user.name"}],
            "forwardOriginalToken": true,
            "timeout": "2s",
            "spaceDelimitedClaims": ["roles"],
        })),
    ];

    for policy in valid {
        assert_reports("RequestAuthentication", &[(policy, &[])]);
    }
}

#[test]
fn what_no_token_can_satisfy_or_no_proxy_carry_out_is_refused() {
    for (policy, message) in [
        (
            rule(json!({})),
            "spec.jwtRules[0]: must name an issuer or a jwksUri",
        ),
        (
            with(json!({"audiences": [""]})),
            "spec.jwtRules[0].audiences[0]: must not be empty",
        ),
        (
            with(json!({"fromHeaders": [{"prefix": "a"}]})),
            "spec.jwtRules[0].fromHeaders[0].name: is required",
        ),
        (
            with(json!({"fromHeaders": [{"name": "a b"}]})),
            "spec.jwtRules[0].fromHeaders[0].name: must be a header name, got \"a b\"",
        ),
        (
            with(json!({"fromParams": [""]})),
            "spec.jwtRules[0].fromParams[0]: must not be empty",
        ),
        (
            with(json!({"fromCookies": [""]})),
            "spec.jwtRules[0].fromCookies[0]: must not be empty",
        ),
        (
            with(json!({"outputClaimToHeaders": [{"claim": "", "header": "h"}]})),
            "spec.jwtRules[0].outputClaimToHeaders[0].claim: is required",
        ),
        (
            with(json!({"outputClaimToHeaders": [{"claim": "a", "header": ""}]})),
            "spec.jwtRules[0].outputClaimToHeaders[0].header: is required",
        ),
        (
            with(json!({"outputClaimToHeaders": [{"claim": "a", "header": ":authority"}]})),
            "spec.jwtRules[0].outputClaimToHeaders[0].header: must be a header name (letters, digits, '-' and '_'), got \":authority\"",
        ),
        (
            with(json!({"outputPayloadToHeader": "Content-Length"})),
            "spec.jwtRules[0].outputPayloadToHeader: must not be Content-Length, which tokens have no say in",
        ),
        (
            with(json!({"timeout": "1us"})),
            "spec.jwtRules[0].timeout: must be at least 1ms, got 1000ns",
        ),
        (
            with(json!({"jwks": "{\"keys\": 7}"})),
            "spec.jwtRules[0].jwks: must be a JSON Web Key Set: a mapping with a list \"keys\"",
        ),
        (
            with(json!({"spaceDelimitedClaims": vec!["a"; 65]})),
            "spec.jwtRules[0].spaceDelimitedClaims: must have at most 64 items",
        ),
    ] {
        assert_reports("RequestAuthentication", &[(policy, &[message])]);
    }
}

#[test]
fn addresses_of_keys_are_urls_that_can_be_asked() {
    for uri in [
        "issuer.example/keys",
        "ftp://issuer.example/keys",
        "https://",
        "https:///keys",
        "https://issuer.example:not-a-number",
        "https://issuer.example:0/",
        "https://issuer.example:65536/",
        "https://user@issuer.example/",
        "https://[::1/keys",
        "https://issuer.example/a b",
        "https://issuer.example/a\nb",
    ] {
        let message = format!(
            "spec.jwtRules[0].jwksUri: must be a URL with scheme http or https, got {uri:?}"
        );
        assert_reports(
            "RequestAuthentication",
            &[(with(json!({"jwksUri": uri})), &[&message])],
        );
    }
}

#[test]
fn keys_come_from_one_place() {
    let policy = with(json!({"jwksUri": "https://a.example/", "jwks": "{\"keys\": []}"}));

    assert_reports(
        "RequestAuthentication",
        &[(
            policy,
            &[
                "warning: spec.jwtRules[0].jwks: has no key that can be used: all tokens are refused",
                "spec.jwtRules[0].jwks: must not be set together with jwksUri",
            ],
        )],
    );
}

#[test]
fn what_leaves_a_door_open_or_shut_is_warned_of() {
    let secret = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
    for (policy, messages) in [
        (
            with(json!({"jwksUri": "http://issuer.example/keys"})),
            &[
                "warning: spec.jwtRules[0].jwksUri: fetches keys in plain text: whoever is on the way \
               can put in keys of their own; use https",
            ][..],
        ),
        (
            with(json!({"jwks": secret})),
            &[
                "warning: spec.jwtRules[0].jwks: key number 0 is not used: it is a secret (kty oct), \
                 and whoever knows it can make tokens",
                "warning: spec.jwtRules[0].jwks: has no key that can be used: all tokens are refused",
            ],
        ),
        (
            rule(json!({"issuer": "http://issuer.example"})),
            &[
                "warning: spec.jwtRules[0].issuer: fetches keys in plain text: whoever is on the way \
               can put in keys of their own; use https",
            ],
        ),
        (
            rule(json!({"issuer": "someone@example.com"})),
            &[
                "warning: spec.jwtRules[0].issuer: is no URL that tells where its keys are, and \
               neither jwks nor jwksUri is set: all its tokens are refused",
            ],
        ),
    ] {
        assert_reports("RequestAuthentication", &[(policy, messages)]);
    }
}
