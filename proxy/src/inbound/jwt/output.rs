//! What of a token goes on in headers of its own. Who is behind us trusts them, so that no client may
//! set them itself.

use config::resource::request_authentication::JwtRule;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::token::Token;
use crate::request::headers::is_alike;

/// The headers that a rule makes of a valid token.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Gets all claims, as they stand in the token.
    payload: Option<HeaderName>,
    /// Get one claim each.
    claims: Box<[Output]>,
}

/// A claim that goes on in a header.
#[derive(Debug)]
struct Output {
    header: HeaderName,
    /// The names on the way to it.
    path: Box<[Box<str>]>,
}

// === impl Outputs ===

impl Outputs {
    pub(super) fn of_rule(rule: &JwtRule) -> Self {
        let written = rule.output_payload_to_header.as_deref();
        let claims = rule.output_claim_to_headers.iter().filter_map(|it| {
            Some(Output {
                header: it.header.parse().ok()?,
                path: it.claim.split('.').map(Into::into).collect(),
            })
        });
        Self {
            payload: written.and_then(|name| name.parse().ok()),
            claims: claims.collect(),
        }
    }

    /// The names of all of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.payload
            .iter()
            .chain(self.claims.iter().map(|it| &it.header))
    }

    /// Adds them. A claim that is neither text nor number nor boolean has none, as in Envoy, and so has
    /// one that cannot stand in a header.
    pub(super) fn add(&self, token: &Token, headers: &mut HeaderMap) {
        let payload = token.payload();
        if let Some(name) = &self.payload
            && let Ok(value) = HeaderValue::from_str(payload.encoded())
        {
            headers.append(name, value);
        }
        for Output { header, path } in &self.claims {
            let text = match payload.at(path) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
            };
            if !text.is_empty()
                && let Ok(value) = HeaderValue::from_bytes(text.as_bytes())
            {
                headers.append(header, value);
            }
        }
    }
}

/// Removes headers of these names, also with `_` for `-` and the other way round: many applications
/// take one for the other.
pub(super) fn clear(names: &[HeaderName], headers: &mut HeaderMap) {
    if names.is_empty() {
        return;
    }
    let is_output = |name: &&HeaderName| names.iter().any(|output| is_alike(output, name));
    let forged: Vec<HeaderName> = headers.keys().filter(is_output).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(claims: &[(&str, &str)]) -> Outputs {
        let claims: Vec<Value> = claims
            .iter()
            .map(|(header, claim)| json!({"header": header, "claim": claim}))
            .collect();
        let rule = json!({"outputPayloadToHeader": "x-payload", "outputClaimToHeaders": claims});
        Outputs::of_rule(&serde_json::from_value(rule).expect("a rule"))
    }

    #[test]
    fn texts_numbers_and_booleans_go_on_in_headers() {
        let outputs = rule(&[
            ("x-sub", "sub"),
            ("x-age", "age"),
            ("x-share", "share"),
            ("x-staff", "staff"),
            ("x-city", "address.city"),
            ("x-groups", "groups"),
            ("x-address", "address"),
            ("x-none", "none"),
            ("x-missing", "missing"),
            ("x-empty", "empty"),
            ("x-lines", "lines"),
        ]);
        let token = Token::of(json!({
            "sub": "jason", "age": 42, "share": 0.5, "staff": true, "empty": "",
            "address": {"city": "K\u{f6}ln"}, "groups": ["a"], "none": null,
            "lines": "a\r\nx-admin: yes",
        }));
        let mut headers = HeaderMap::new();

        outputs.add(&token, &mut headers);

        for (name, expected) in [
            ("x-sub", "jason"),
            ("x-age", "42"),
            ("x-share", "0.5"),
            ("x-staff", "true"),
            ("x-city", "K\u{f6}ln"),
        ] {
            assert_eq!(headers[name].as_bytes(), expected.as_bytes(), "{name}");
        }
        // These, and the payload.
        assert_eq!(headers.len(), 6);
    }

    #[test]
    fn no_client_sets_them_in_any_spelling() {
        let outputs = rule(&[("x-user-name", "sub")]);
        let names: Vec<HeaderName> = outputs.names().cloned().collect();
        let mut headers = HeaderMap::new();
        for name in [
            "x-user-name",
            "X_User_Name",
            "x_user-name",
            "x-payload",
            "x-user",
        ] {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name.clone(), HeaderValue::from_static("admin"));
            headers.append(name, HeaderValue::from_static("root"));
        }

        clear(&names, &mut headers);

        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-user"]);
    }
}
