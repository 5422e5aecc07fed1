//! What a rule does with a request: destinations, redirects, answers, rewrites, mirrors, CORS.

use base64::Engine;

use crate::resource::virtual_service::{
    CorsPolicy, Destination, HttpBody, HttpDirectResponse, HttpRedirect, HttpRewrite, HttpRoute,
};
use crate::validate::findings::Findings;
use crate::validate::{field, header, host, pattern};
use crate::value::StringMatch;

/// Largest body of a direct response, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Size from which a body is worth a warning, in bytes.
const BODY_BYTES_LARGE: usize = 100 << 10;

/// Methods that a cross-origin policy may allow.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

/// Status codes that a redirect can be answered with; 300, 304 and the rest are not redirects.
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

/// Checks the field `destination`, which is required.
pub(crate) fn check_destination(destination: Option<&Destination>, f: &mut Findings) {
    match destination {
        Some(destination) => f.field("destination", |f| check_target(destination, f)),
        None => f.error_in("destination", "is required"),
    }
}

/// Checks a destination.
pub(crate) fn check_target(destination: &Destination, f: &mut Findings) {
    if destination.host == "*" {
        f.error_in("host", "must be a host of the registry, got \"*\"");
    } else {
        f.require_in("host", host::check_pattern(&destination.host));
    }
    if let Some(subset) = field::written(destination.subset.as_ref()) {
        f.require_in("subset", field::dns_label(subset));
    }
    if let Some(port) = &destination.port {
        f.require_in("port.number", field::port(port.number));
    }
}

/// Several destinations need a weight among them.
pub(super) fn check_weights(weights: impl ExactSizeIterator<Item = i32>, f: &mut Findings) {
    let count = weights.len();
    let total: i64 = weights.map(i64::from).sum();
    if count > 1 && total == 0 {
        f.error_in(
            "route",
            "must have a weight above 0 in at least one of several destinations",
        );
    }
    // The proxy's sum of weights has 32 bits.
    if total > i64::from(u32::MAX) {
        f.error_in(
            "route",
            format!("must have weights that total at most {}", u32::MAX),
        );
    }
}

/// Checks a redirect.
pub(super) fn check_redirect(route: &HttpRoute, f: &mut Findings) {
    let Some(redirect) = &route.redirect else {
        return;
    };
    f.field("redirect", |f| {
        let uri = field::written(redirect.uri.as_ref());
        let prefix = field::written(redirect.prefix_rewrite.as_ref());
        let scheme = field::written(redirect.scheme.as_ref());
        check_redirect_port(redirect, f);
        let has_port = redirect.port.is_some() || redirect.derive_port.is_some();
        let authority = field::written(redirect.authority.as_ref());
        let named = uri.or(prefix).or(scheme).or(authority).is_some();
        if !named && !has_port {
            f.error("must have one of uri, prefixRewrite, authority, scheme, port and derivePort");
        }
        if uri.is_some() && prefix.is_some() {
            f.error_in("prefixRewrite", "must not be set together with uri");
        }
        let not_prefix = |uri: &StringMatch| !matches!(uri, StringMatch::Prefix(_));
        if prefix.is_some() && route.matches.iter().flat_map(|m| &m.uri).any(not_prefix) {
            f.error_in(
                "prefixRewrite",
                "must have only matches whose uri is a prefix",
            );
        }
        if let Some(code) = redirect.redirect_code.filter(|code| *code != 0)
            && !REDIRECTS.contains(&code)
        {
            f.error_in(
                "redirectCode",
                format!("must be 301, 302, 303, 307 or 308, got {code}"),
            );
        }
        if let Some(scheme) = scheme.filter(|scheme| !matches!(*scheme, "http" | "https")) {
            f.error_in(
                "scheme",
                format!("must be \"http\" or \"https\", got \"{scheme}\""),
            );
        }
    });
}

fn check_redirect_port(redirect: &HttpRedirect, f: &mut Findings) {
    if let Some(port) = redirect.port.filter(|port| *port != 0) {
        f.require_in("port", field::port(port));
    }
    if redirect.port.is_some() && redirect.derive_port.is_some() {
        f.error_in("derivePort", "must not be set together with port");
    }
}

/// Checks a fixed answer.
pub(super) fn check_direct_response(response: Option<&HttpDirectResponse>, f: &mut Findings) {
    let Some(response) = response else {
        return;
    };
    f.field("directResponse", |f| {
        f.require_in("status", field::in_range(response.status, &(200..=599)));
        if let Some(body) = &response.body {
            f.field("body", |f| check_body(body, f));
        }
    });
}

fn check_body(body: &HttpBody, f: &mut Findings) {
    let bytes = match (&body.string, &body.bytes) {
        (Some(_), Some(_)) => return f.error("must have only one of string and bytes"),
        (Some(text), None) => text.len(),
        (None, Some(encoded)) => match base64::engine::general_purpose::STANDARD.decode(encoded) {
            Ok(bytes) => bytes.len(),
            Err(error) => return f.error_in("bytes", format!("must be base64: {error}")),
        },
        (None, None) => 0,
    };
    if bytes > BODY_BYTES_MAX {
        f.error(format!(
            "must have at most {BODY_BYTES_MAX} bytes, got {bytes}"
        ));
    } else if bytes > BODY_BYTES_LARGE {
        f.warn(format!(
            "should have at most {BODY_BYTES_LARGE} bytes, got {bytes}"
        ));
    }
}

/// Checks a rewrite.
pub(super) fn check_rewrite(rewrite: Option<&HttpRewrite>, f: &mut Findings) {
    let Some(rewrite) = rewrite else {
        return;
    };
    f.field("rewrite", |f| {
        let uri = field::written(rewrite.uri.as_ref());
        let authority = field::written(rewrite.authority.as_ref());
        match &rewrite.uri_regex_rewrite {
            Some(_) if uri.is_some() => {
                f.error_in("uriRegexRewrite", "must not be set together with uri");
            }
            None if uri.is_none() && authority.is_none() => {
                f.error("must have one of uri, uriRegexRewrite and authority");
            }
            _ => {}
        }
        if let Some(regex) = &rewrite.uri_regex_rewrite {
            f.field("uriRegexRewrite", |f| {
                if f.require_in("match", pattern::check(&regex.pattern)) {
                    f.require_in(
                        "rewrite",
                        pattern::check_rewrite(&regex.pattern, &regex.rewrite),
                    );
                }
            });
        }
    });
}

/// Checks `mirror`, its shares, and `mirrors`.
pub(super) fn check_mirrors(route: &HttpRoute, f: &mut Findings) {
    if let Some(mirror) = &route.mirror {
        f.field("mirror", |f| check_target(mirror, f));
    }
    if let Some(percent) = route.mirror_percent {
        f.require_in("mirrorPercent", field::in_range(percent, &(0..=100)));
    }
    field::percentage("mirrorPercentage", route.mirror_percentage, f);
    f.each("mirrors", &route.mirrors, |f, mirror| {
        check_destination(mirror.destination.as_ref(), f);
        field::percentage("percentage", mirror.percentage, f);
    });
    if route.redirect.is_some() || route.direct_response.is_some() {
        let answered = "has no effect: what is answered here is not mirrored";
        let mirrors = (!route.mirrors.is_empty()).then_some("mirrors");
        let mirror = route.mirror.is_some().then_some("mirror");
        for name in mirror.into_iter().chain(mirrors) {
            f.warn_in(name, answered);
        }
    }
}

/// Checks a cross-origin policy.
pub(super) fn check_cors(policy: Option<&CorsPolicy>, f: &mut Findings) {
    let Some(policy) = policy else {
        return;
    };
    f.field("corsPolicy", |f| {
        f.each("allowOrigins", &policy.allow_origins, check_origin);
        f.each("allowMethods", &policy.allow_methods, |f, method| {
            if !METHODS.contains(&method.as_str()) {
                f.error(format!(
                    "must be a method such as GET (in capitals), got \"{method}\""
                ));
            }
        });
        for (name, headers) in [
            ("allowHeaders", &policy.allow_headers),
            ("exposeHeaders", &policy.expose_headers),
        ] {
            f.each(name, headers, |f, header| {
                if header != "*" {
                    f.require(header::check_name(header));
                }
            });
        }
        field::duration("maxAge", policy.max_age, f);
        if let Some(age) = policy.max_age.filter(|age| age.get().subsec_nanos() != 0) {
            f.error_in("maxAge", format!("must be whole seconds, got {age}"));
        }
    });
}

fn check_origin(f: &mut Findings, origin: &StringMatch) {
    match origin {
        StringMatch::Presence => f.error("must have one of exact, prefix and regex"),
        StringMatch::Exact(text) if text.is_empty() => f.error_in("exact", "must not be empty"),
        StringMatch::Prefix(text) if text.is_empty() => f.error_in("prefix", "must not be empty"),
        StringMatch::Regex(regex) => {
            f.require_in("regex", pattern::check(regex));
        }
        StringMatch::Exact(_) | StringMatch::Prefix(_) => {}
    }
}
