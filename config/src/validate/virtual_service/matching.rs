//! One block of `match[]`.

use crate::claims;
use crate::resource::virtual_service::HttpMatch;
use crate::validate::findings::Findings;
use crate::validate::{field, header, pattern};
use crate::value::StringMatch;

use super::{Context, check_claim, check_gateway_names};

/// Checks a block.
pub(super) fn check(block: &HttpMatch, context: Context, f: &mut Findings) {
    // An empty prefix of the path matches every path; of anything else it is refused.
    if let Some(StringMatch::Regex(regex)) = &block.uri {
        f.require_in("uri.regex", pattern::check(regex));
    }
    for (name, matcher) in [
        ("scheme", &block.scheme),
        ("method", &block.method),
        ("authority", &block.authority),
    ] {
        if let Some(matcher) = matcher {
            f.field(name, |f| check_matcher(matcher, f));
        }
    }
    f.field("headers", |f| {
        for (name, matcher) in &block.headers {
            f.key(name, |f| {
                check_header_name(name, context, f);
                check_matcher(matcher, f);
            });
        }
    });
    f.field("withoutHeaders", |f| {
        for (name, matcher) in &block.without_headers {
            f.key(name, |f| {
                check_header_name(name, context, f);
                // Here, and only here, the regex `*` is another way to write presence.
                if *matcher != StringMatch::Regex("*".to_owned()) {
                    check_matcher(matcher, f);
                }
            });
        }
    });
    f.field("queryParams", |f| {
        for (name, matcher) in &block.query_params {
            f.key(name, |f| check_matcher(matcher, f));
        }
    });
    if let Some(port) = block.port.filter(|port| *port != 0) {
        f.require_in("port", field::port(port));
    }
    field::labels("sourceLabels", &block.source_labels, f);
    check_gateway_names(&block.gateways, f);
    if let Some(namespace) = field::written(block.source_namespace.as_ref()) {
        f.require_in("sourceNamespace", field::dns_label(namespace));
    }
}

fn check_header_name(name: &str, context: Context, f: &mut Findings) {
    if claims::path(name).is_some() {
        check_claim(name, context, f);
    } else {
        f.require(header::check_matched_name(name));
    }
}

fn check_matcher(matcher: &StringMatch, f: &mut Findings) {
    match matcher {
        StringMatch::Prefix(prefix) if prefix.is_empty() => {
            f.error_in("prefix", "must not be empty");
        }
        StringMatch::Regex(regex) => {
            f.require_in("regex", pattern::check(regex));
        }
        StringMatch::Presence | StringMatch::Exact(_) | StringMatch::Prefix(_) => {}
    }
}
