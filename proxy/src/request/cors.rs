//! Cross-origin requests (WHATWG Fetch, "CORS protocol"): preflights answered, answers marked.

use http::{HeaderMap, HeaderValue, Method, Response, header};

use crate::body::Body;
use crate::table::cors::Cors;

/// What a rule's policy says of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing: no origin, or one that is not allowed.
    Silent,
    /// Its origin may read the answer.
    Allowed(HeaderValue),
    /// Answered here.
    Answered(Box<Response<Body>>),
}

/// Judges a request by its `origin`.
pub(crate) fn judge(cors: &Cors, method: &Method, headers: &HeaderMap) -> Verdict {
    let Some(origin) = headers
        .get(header::ORIGIN)
        .filter(|origin| !origin.is_empty())
    else {
        return Verdict::Silent;
    };
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|asked| !asked.is_empty());
    let preflight = (method == Method::OPTIONS).then_some(asked).flatten();
    match (cors.allows(origin), preflight) {
        (true, None) => Verdict::Allowed(origin.clone()),
        (true, Some(asked)) => Verdict::Answered(Box::new(preflight_answer(cors, origin, asked))),
        (false, Some(_)) if cors.answers_unmatched => {
            Verdict::Answered(Box::new(Response::new(Body::Empty)))
        }
        (false, _) => Verdict::Silent,
    }
}

/// Marks an answer as readable by `origin`.
pub(crate) fn mark(cors: &Cors, origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.allow_credentials {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    if let Some(exposed) = &cors.expose_headers {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
    }
}

fn preflight_answer(cors: &Cors, origin: &HeaderValue, asked: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.allow_credentials {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    let methods = if cors.any_method {
        Some(asked)
    } else {
        cors.allow_methods.as_ref()
    };
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            cors.allow_headers.as_ref(),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.as_ref()),
    ] {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::resource::virtual_service::{CorsPolicy, UnmatchedPreflights};
    use config::value::StringMatch;

    fn policy() -> CorsPolicy {
        CorsPolicy {
            allow_origins: vec![StringMatch::Prefix("https://good".into())],
            allow_methods: vec!["GET".into(), "POST".into()],
            allow_headers: vec!["x-a".into()],
            expose_headers: vec!["x-b".into()],
            max_age: Some("24h".parse().expect("a duration")),
            allow_credentials: Some(true),
            ..CorsPolicy::default()
        }
    }

    fn asking(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static("DELETE"),
        );
        headers
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        let cors = Cors::compile(&policy());

        let verdict = judge(&cors, &Method::OPTIONS, &asking("https://good.example"));

        let Verdict::Answered(answer) = verdict else {
            panic!("must be answered")
        };
        let line = |name: header::HeaderName| answer.headers()[name].to_str().expect("text");
        assert_eq!(
            line(header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "https://good.example"
        );
        assert_eq!(line(header::ACCESS_CONTROL_ALLOW_METHODS), "GET,POST");
        assert_eq!(line(header::ACCESS_CONTROL_ALLOW_HEADERS), "x-a");
        assert_eq!(line(header::ACCESS_CONTROL_MAX_AGE), "86400");
        assert_eq!(line(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "true");
    }

    #[test]
    fn a_star_among_the_methods_allows_what_is_asked_for() {
        let cors = Cors::compile(&CorsPolicy {
            allow_methods: vec!["*".into()],
            ..policy()
        });

        let verdict = judge(&cors, &Method::OPTIONS, &asking("https://good.example"));

        let Verdict::Answered(answer) = verdict else {
            panic!("must be answered")
        };
        assert_eq!(
            answer.headers()[header::ACCESS_CONTROL_ALLOW_METHODS],
            "DELETE"
        );
    }

    #[test]
    fn other_origins_are_forwarded_or_answered_without_permission() {
        let forward = Cors::compile(&policy());
        let ignore = Cors::compile(&CorsPolicy {
            unmatched_preflights: Some(UnmatchedPreflights::Ignore),
            ..policy()
        });

        let bad = asking("https://bad.example");
        assert!(matches!(
            judge(&forward, &Method::OPTIONS, &bad),
            Verdict::Silent
        ));
        let Verdict::Answered(answer) = judge(&ignore, &Method::OPTIONS, &bad) else {
            panic!("must be answered")
        };
        assert!(answer.headers().is_empty());
    }

    #[test]
    fn asking_for_no_method_is_no_preflight() {
        let cors = Cors::compile(&policy());
        let mut headers = asking("https://good.example");
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static(""),
        );

        let verdict = judge(&cors, &Method::OPTIONS, &headers);

        assert!(matches!(verdict, Verdict::Allowed(_)));
    }

    #[test]
    fn an_actual_request_is_marked() {
        let cors = Cors::compile(&policy());

        let verdict = judge(&cors, &Method::GET, &asking("https://good.example"));

        let Verdict::Allowed(origin) = verdict else {
            panic!("must be allowed")
        };
        let mut headers = HeaderMap::new();
        mark(&cors, origin, &mut headers);
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "x-b");
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://good.example"
        );
    }
}
