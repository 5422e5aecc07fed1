//! One rule of `http[]`: which parts may stand together, and each part by itself.

use crate::resource::virtual_service::{HttpRoute, HttpRouteDestination};
use crate::validate::findings::Findings;
use crate::validate::{field, header};

use super::{Context, action, matching, retry};

/// Checks a rule.
pub(super) fn check(route: &HttpRoute, context: Context, f: &mut Findings) {
    check_conflicts(route, context, f);
    f.each("match", &route.matches, |f, block| {
        matching::check(block, context, f)
    });
    check_destinations(&route.route, context, f);
    action::check_redirect(route, f);
    action::check_direct_response(route.direct_response.as_ref(), f);
    action::check_rewrite(route.rewrite.as_ref(), f);
    field::duration("timeout", route.timeout, f);
    retry::check_retries(route.retries.as_ref(), f);
    retry::check_fault(route.fault.as_ref(), f);
    action::check_mirrors(route, f);
    action::check_cors(route.cors_policy.as_ref(), f);
    header::check_headers(route.headers.as_ref(), f);
    let rewritten = route
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.authority.as_deref());
    header::check_authority(rewritten, route.headers.as_ref(), f);
}

/// A rule routes, redirects, answers or delegates, and only one of these.
fn check_conflicts(route: &HttpRoute, context: Context, f: &mut Findings) {
    let routes = !route.route.is_empty();
    let redirects = route.redirect.is_some();
    if let Some(delegate) = &route.delegate {
        if context.is_delegate {
            f.error_in("delegate", "must not be set in a delegate: one level only");
        } else {
            if routes {
                f.error_in("route", "must not be set together with delegate");
            }
            if redirects {
                f.error_in("redirect", "must not be set together with delegate");
            }
            if delegate.name.is_empty() {
                f.error_in("delegate.name", "must name a VirtualService");
            }
            return;
        }
    }
    if !routes && !redirects && route.direct_response.is_none() {
        f.error("must have one of route, redirect, directResponse and delegate");
    }
    if redirects || route.direct_response.is_some() {
        let action = if redirects {
            "redirect"
        } else {
            "directResponse"
        };
        for (name, is_set) in [
            ("route", routes),
            (
                "directResponse",
                redirects && route.direct_response.is_some(),
            ),
            ("fault", route.fault.is_some()),
            ("rewrite", route.rewrite.is_some()),
        ] {
            if is_set {
                f.error_in(name, format!("must not be set together with {action}"));
            }
        }
    }
    if route.mirror.is_some() && !route.mirrors.is_empty() {
        f.error_in("mirrors", "must not be set together with mirror");
    }
}

fn check_destinations(destinations: &[HttpRouteDestination], context: Context, f: &mut Findings) {
    f.each("route", destinations, |f, weighted| {
        if weighted.destination.is_none() || !context.generated {
            action::check_destination(weighted.destination.as_ref(), f);
        }
        field::not_negative("weight", Some(weighted.weight), f);
        header::check_headers(weighted.headers.as_ref(), f);
    });
    action::check_weights(destinations.iter().map(|weighted| weighted.weight), f);
}
