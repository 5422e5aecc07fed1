//! The compiled cross-origin policy of a rule (WHATWG Fetch, "CORS protocol").

use config::resource::virtual_service::{CorsPolicy, UnmatchedPreflights};
use config::value::StringMatch;
use http::HeaderValue;

use crate::table::matcher::Matcher;

/// A compiled `corsPolicy`.
#[derive(Debug)]
pub struct Cors {
    origins: Box<[Matcher]>,
    /// Value of `access-control-allow-methods`.
    pub allow_methods: Option<HeaderValue>,
    /// `*` among the methods: the method that was asked for is allowed.
    pub any_method: bool,
    /// Value of `access-control-allow-headers`.
    pub allow_headers: Option<HeaderValue>,
    /// Value of `access-control-expose-headers`.
    pub expose_headers: Option<HeaderValue>,
    /// Value of `access-control-max-age`, in seconds.
    pub max_age: Option<HeaderValue>,
    /// Whether `access-control-allow-credentials: true` is sent.
    pub allow_credentials: bool,
    /// Whether preflights of other origins are answered here instead of being forwarded.
    pub answers_unmatched: bool,
}

// === impl Cors ===

impl Cors {
    /// Compiles a policy.
    pub fn compile(written: &CorsPolicy) -> Self {
        let joined = |list: &[String]| {
            (!list.is_empty())
                .then(|| list.join(","))
                .and_then(|text| text.parse().ok())
        };
        let deprecated = written.allow_origin.iter().cloned().map(StringMatch::Exact);
        let origins = written.allow_origins.iter().cloned().chain(deprecated);
        let any_origin =
            |origin: &StringMatch| matches!(origin, StringMatch::Exact(text) if text == "*");
        Self {
            origins: origins
                .map(|origin| match any_origin(&origin) {
                    true => Matcher::Presence,
                    false => Matcher::compile(&origin),
                })
                .collect(),
            any_method: written.allow_methods.iter().any(|method| method == "*"),
            allow_methods: joined(&written.allow_methods),
            allow_headers: joined(&written.allow_headers),
            expose_headers: joined(&written.expose_headers),
            max_age: written
                .max_age
                .and_then(|age| age.get().as_secs().to_string().parse().ok()),
            allow_credentials: written.allow_credentials == Some(true),
            answers_unmatched: written.unmatched_preflights == Some(UnmatchedPreflights::Ignore),
        }
    }

    /// Whether `origin` may read the answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins
            .iter()
            .any(|matcher| matcher.matches(origin.as_bytes()))
    }
}
