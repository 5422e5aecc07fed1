//! Why a request is not taken for that of whom its token names.

use http::{HeaderValue, StatusCode};

/// What is wrong with a token, in the texts that clients of Envoy know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are more tokens than anybody needs.
    TooMany,
    /// It is longer than any that is looked at.
    TooLong,
    /// It has not three parts with two dots between.
    Format,
    /// The header is not base64url in its only form.
    HeaderEncoding,
    /// The header is no JSON mapping with unique names.
    HeaderJson,
    /// The header names no algorithm.
    NoAlgorithm,
    /// The algorithm is none of those with public keys, or none at all.
    UnknownAlgorithm,
    /// The name of the key is no text.
    KeyId,
    /// The header has extensions that must be understood (`crit`).
    Critical,
    /// The claims are not base64url in its only form.
    PayloadEncoding,
    /// The claims are no JSON mapping with unique names.
    PayloadJson,
    /// `iss` is no text.
    IssuerClaim,
    /// `sub` is no text.
    SubjectClaim,
    /// `aud` is neither text nor a list of texts.
    AudienceClaim,
    /// `exp` is no time.
    ExpiryClaim,
    /// `nbf` is no time.
    NotBeforeClaim,
    /// `iat` is no time.
    IssuedAtClaim,
    /// The signature is not base64url in its only form.
    SignatureEncoding,
    /// No rule is for this issuer.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for others.
    Audience,
    /// The keys of the issuer have not been fetched yet.
    NotFetched,
    /// The issuer has no key that can be used.
    NoKeys,
    /// None of the keys is the one that is named, or for the algorithm.
    NoMatchingKey,
    /// The signature is not that of the key.
    Signature,
}

/// A refusal, and what the client is told with it.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Why.
    pub refusal: Refusal,
    /// What a client can do about it (RFC 6750 §3).
    pub challenge: Option<HeaderValue>,
}

/// What is told of a refusal: text, details for the log, cause for metrics.
struct Told(&'static str, &'static str, &'static str);

/// Longest URL that is repeated to a client, in bytes.
const REALM_BYTES_MAX: usize = 256;

/// One row for each refusal. The details are the text without spaces, as Envoy has them.
macro_rules! told {
    ($self:expr; $($refusal:ident $cause:literal $text:literal $detail:literal,)*) => {
        match $self {
            $(Refusal::$refusal => Told(
                $text,
                concat!("jwt_authn_access_denied{", $detail, "}"),
                $cause,
            ),)*
        }
    };
}

// === impl Refusal ===

impl Refusal {
    #[rustfmt::skip]
    fn told(self) -> Told {
        told! { self;
            TooMany "too_many" "Jwt: too many tokens" "Jwt:_too_many_tokens",
            TooLong "too_long" "Jwt is too long" "Jwt_is_too_long",
            Format "format" "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections" "Jwt_is_not_in_the_form_of_Header.Payload.Signature_with_two_dots_and_3_sections",
            HeaderEncoding "header_encoding" "Jwt header is an invalid Base64url encoded" "Jwt_header_is_an_invalid_Base64url_encoded",
            HeaderJson "header_json" "Jwt header is an invalid JSON" "Jwt_header_is_an_invalid_JSON",
            NoAlgorithm "no_algorithm" "Jwt header [alg] field is required and must be a string" "Jwt_header_[alg]_field_is_required_and_must_be_a_string",
            UnknownAlgorithm "unknown_algorithm" "Jwt header [alg] is not supported" "Jwt_header_[alg]_is_not_supported",
            KeyId "key_id" "Jwt header [kid] field is not a string" "Jwt_header_[kid]_field_is_not_a_string",
            Critical "critical" "Jwt header [crit] is not supported" "Jwt_header_[crit]_is_not_supported",
            PayloadEncoding "payload_encoding" "Jwt payload is an invalid Base64url encoded" "Jwt_payload_is_an_invalid_Base64url_encoded",
            PayloadJson "payload_json" "Jwt payload is an invalid JSON" "Jwt_payload_is_an_invalid_JSON",
            IssuerClaim "issuer_claim" "Jwt payload [iss] field is not a string" "Jwt_payload_[iss]_field_is_not_a_string",
            SubjectClaim "subject_claim" "Jwt payload [sub] field is not a string" "Jwt_payload_[sub]_field_is_not_a_string",
            AudienceClaim "audience_claim" "Jwt payload [aud] field is not a string or string list" "Jwt_payload_[aud]_field_is_not_a_string_or_string_list",
            ExpiryClaim "expiry_claim" "Jwt payload [exp] field is not an integer" "Jwt_payload_[exp]_field_is_not_an_integer",
            NotBeforeClaim "not_before_claim" "Jwt payload [nbf] field is not an integer" "Jwt_payload_[nbf]_field_is_not_an_integer",
            IssuedAtClaim "issued_at_claim" "Jwt payload [iat] field is not an integer" "Jwt_payload_[iat]_field_is_not_an_integer",
            SignatureEncoding "signature_encoding" "Jwt signature is an invalid Base64url encoded" "Jwt_signature_is_an_invalid_Base64url_encoded",
            UnknownIssuer "unknown_issuer" "Jwt issuer is not configured" "Jwt_issuer_is_not_configured",
            Expired "expired" "Jwt is expired" "Jwt_is_expired",
            NotYetValid "not_yet_valid" "Jwt not yet valid" "Jwt_not_yet_valid",
            Audience "audience" "Audiences in Jwt are not allowed" "Audiences_in_Jwt_are_not_allowed",
            NotFetched "not_fetched" "Jwks remote fetch is failed" "Jwks_remote_fetch_is_failed",
            NoKeys "no_keys" "Jwks doesn't have any valid public key" "Jwks_doesn't_have_any_valid_public_key",
            NoMatchingKey "no_matching_key" "Jwks doesn't have key to match kid or alg from Jwt" "Jwks_doesn't_have_key_to_match_kid_or_alg_from_Jwt",
            Signature "signature" "Jwt verification fails" "Jwt_verification_fails",
        }
    }

    /// The body of the answer.
    pub fn text(self) -> &'static str {
        self.told().0
    }

    /// The details of the access log.
    pub fn detail(self) -> &'static str {
        self.told().1
    }

    /// The cause in metrics.
    pub fn cause(self) -> &'static str {
        self.told().2
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Audience => StatusCode::FORBIDDEN,
            Self::TooMany
            | Self::TooLong
            | Self::Format
            | Self::HeaderEncoding
            | Self::HeaderJson
            | Self::NoAlgorithm
            | Self::UnknownAlgorithm
            | Self::KeyId
            | Self::Critical
            | Self::PayloadEncoding
            | Self::PayloadJson
            | Self::IssuerClaim
            | Self::SubjectClaim
            | Self::AudienceClaim
            | Self::ExpiryClaim
            | Self::NotBeforeClaim
            | Self::IssuedAtClaim
            | Self::SignatureEncoding
            | Self::UnknownIssuer
            | Self::Expired
            | Self::NotYetValid
            | Self::NotFetched
            | Self::NoKeys
            | Self::NoMatchingKey
            | Self::Signature => StatusCode::UNAUTHORIZED,
        }
    }
}

// === impl Unauthenticated ===

impl Unauthenticated {
    /// The refusal of a request to `url`.
    pub fn new(refusal: Refusal, url: &str) -> Self {
        let challenge = format!("Bearer realm=\"{}\", error=\"invalid_token\"", quoted(url));
        Self {
            refusal,
            challenge: HeaderValue::from_str(&challenge).ok(),
        }
    }
}

/// A URL as it can stand between quotes: what would end them is left out, and all that follows.
fn quoted(url: &str) -> &str {
    let ends = |c: char| !c.is_ascii_graphic() || c == '"' || c == '\\';
    let end = url.find(ends).unwrap_or(url.len());
    &url[..end.min(REALM_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_the_text_without_spaces() {
        for refusal in [
            Refusal::Expired,
            Refusal::Format,
            Refusal::NoKeys,
            Refusal::NoMatchingKey,
            Refusal::Audience,
            Refusal::AudienceClaim,
        ] {
            let text = refusal.text().replace(' ', "_");

            assert_eq!(
                refusal.detail(),
                format!("jwt_authn_access_denied{{{text}}}")
            );
        }
    }

    #[test]
    fn a_challenge_repeats_nothing_that_could_end_it() {
        let challenge = |url: &str| {
            let told = Unauthenticated::new(Refusal::Expired, url).challenge;
            told.expect("a header").to_str().expect("text").to_owned()
        };

        assert_eq!(
            challenge("http://a.test/x?y=z"),
            "Bearer realm=\"http://a.test/x?y=z\", error=\"invalid_token\""
        );
        assert_eq!(
            challenge("http://a.test/\", error=\"none"),
            "Bearer realm=\"http://a.test/\", error=\"invalid_token\""
        );
        assert_eq!(challenge(&"a".repeat(10_000)).matches('a').count(), 256 + 3);
    }
}
