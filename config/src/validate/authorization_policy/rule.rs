//! One rule of an `AuthorizationPolicy`.

use crate::ip_block::IpBlock;
use crate::resource::authorization_policy::{
    Action, Attribute, AuthorizationRule, Condition, Operation, PathTemplate, Source,
};
use crate::validate::findings::Findings;

/// Most sources, operations or conditions of a rule.
const ITEMS_MAX: usize = 512;
/// Most service accounts of a source.
const ACCOUNTS_MAX: usize = 16;
/// Longest service account with its namespace, in bytes.
const ACCOUNT_BYTES_MAX: usize = 320;
/// Longest value, in bytes: longer ones match nothing that could arrive.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Checks a rule of a policy with this action.
pub(super) fn check(rule: &AuthorizationRule, action: Action, f: &mut Findings) {
    for (name, items) in [
        ("from", rule.from.len()),
        ("to", rule.to.len()),
        ("when", rule.when.len()),
    ] {
        if items > ITEMS_MAX {
            f.error_in(name, format!("must have at most {ITEMS_MAX} items"));
        }
    }
    f.each("from", &rule.from, |f, from| match &from.source {
        None => f.error_in("source", "is required"),
        Some(source) => f.field("source", |f| check_source(source, f)),
    });
    f.each("to", &rule.to, |f, to| match &to.operation {
        None => f.error_in("operation", "is required"),
        Some(operation) => f.field("operation", |f| check_operation(operation, f)),
    });
    f.each("when", &rule.when, check_condition);
    warn_of_tcp(rule, action, f);
}

fn check_source(source: &Source, f: &mut Findings) {
    if *source == Source::default() {
        f.error("must say something");
    }
    let named = !source.principals.is_empty()
        || !source.not_principals.is_empty()
        || !source.namespaces.is_empty()
        || !source.not_namespaces.is_empty();
    for (name, accounts) in [
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
    ] {
        if named && !accounts.is_empty() {
            f.error_in(name, "must not stand beside principals or namespaces");
        }
        if accounts.len() > ACCOUNTS_MAX {
            f.error_in(name, format!("must have at most {ACCOUNTS_MAX} items"));
        }
        f.each(name, accounts, |f, account| {
            f.require(check_account(account));
        });
    }
    for (name, values) in [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
    ] {
        f.each(name, values, |f, it| check_pattern(f, it));
    }
    f.each("namespaces", &source.namespaces, |f, it| check_text(f, it));
    f.each("notNamespaces", &source.not_namespaces, |f, it| {
        check_text(f, it)
    });
    for (name, blocks) in [
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
    ] {
        f.each(name, blocks, |f, it| check_block(f, it));
    }
}

fn check_operation(operation: &Operation, f: &mut Findings) {
    if *operation == Operation::default() {
        f.error("must say something");
    }
    for (name, values) in [
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ] {
        f.each(name, values, |f, it| check_pattern(f, it));
    }
    for (name, ports) in [
        ("ports", &operation.ports),
        ("notPorts", &operation.not_ports),
    ] {
        f.each(name, ports, |f, it| check_port(f, it));
    }
    for (name, methods) in [
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
    ] {
        f.each(name, methods, |f, method| {
            let upper = method.to_ascii_uppercase();
            if *method != upper {
                let message = format!("is no usual method: they are in upper case, as \"{upper}\"");
                f.warn(message);
            }
        });
    }
    for (name, paths) in [
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ] {
        f.each(name, paths, |f, it| check_path(f, it));
    }
}

fn check_text(f: &mut Findings, value: &str) {
    if value.is_empty() {
        f.error("must not be empty");
    } else if value.len() > VALUE_BYTES_MAX {
        f.error(format!("must have at most {VALUE_BYTES_MAX} bytes"));
    }
}

/// Checks a text that may begin or end with a `*`.
fn check_pattern(f: &mut Findings, value: &str) {
    check_text(f, value);
    let both = value.len() > 2 && value.starts_with('*') && value.ends_with('*');
    let inner = value.trim_start_matches('*').trim_end_matches('*');
    if (both || inner.contains('*')) && !value.contains('{') {
        f.warn("has a * that stands for itself: only one, first or last, stands for any text");
    }
}

fn check_block(f: &mut Findings, block: &str) {
    if let Err(error) = block.parse::<IpBlock>() {
        f.error(error.to_string());
    }
}

fn check_port(f: &mut Findings, port: &str) {
    if parse_port(port).is_none() {
        f.error(format!(
            "must be a port number from 0 to 65535, got \"{port}\""
        ));
    }
}

/// A port as rules write it: digits alone.
fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn check_path(f: &mut Findings, path: &str) {
    if let Err(error) = PathTemplate::parse(path) {
        f.error(format!("{error}, got \"{path}\""));
    } else if !path.is_empty() && !path.starts_with(['/', '*', '{']) {
        f.warn("never matches: paths begin with /");
    } else if path.contains('?') || path.contains('#') {
        f.warn("never matches: paths are compared without query and fragment");
    } else if is_never_normal(path) {
        f.warn(
            "never matches: paths are compared in normal form, without dot segments, \\ and \
             escapes of what needs none",
        );
    }
}

/// Whether no path in normal form is like this.
fn is_never_normal(path: &str) -> bool {
    let inner = path.trim_matches('*');
    let mut segments = inner.split('/');
    let dots = segments.any(|it| matches!(it, "." | ".."));
    dots || inner.contains('\\') || has_needless_escape(inner.as_bytes())
}

/// Whether a character is percent-encoded that never needs to be (RFC 3986 §2.3).
fn has_needless_escape(path: &[u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let is_unreserved = |code: u32| {
        char::from_u32(code)
            .is_some_and(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_' | '~'))
    };
    path.windows(3).any(|it| {
        let code = digit(it[1]).zip(digit(it[2]));
        it[0] == b'%' && code.is_some_and(|(high, low)| is_unreserved(high * 16 + low))
    })
}

fn check_condition(f: &mut Findings, condition: &Condition) {
    if condition.key.is_empty() {
        return f.error_in("key", "is required");
    }
    let attribute = match Attribute::parse(&condition.key) {
        Ok(attribute) => attribute,
        Err(error) => return f.error_in("key", error.to_string()),
    };
    if condition.values.is_empty() && condition.not_values.is_empty() {
        f.error("must have values or notValues");
    }
    for (name, values) in [
        ("values", &condition.values),
        ("notValues", &condition.not_values),
    ] {
        f.each(name, values, |f, value| match &attribute {
            Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
                check_block(f, value);
            }
            Attribute::DestinationPort => check_port(f, value),
            Attribute::SourceServiceAccount => {
                f.require(check_account(value));
            }
            Attribute::RequestHeader(_)
            | Attribute::SourceNamespace
            | Attribute::SourceTrustDomain
            | Attribute::SourcePrincipal
            | Attribute::RequestPrincipal
            | Attribute::RequestAudiences
            | Attribute::RequestPresenter
            | Attribute::ConnectionSni
            | Attribute::Experimental => check_text(f, value),
            Attribute::RequestClaim(_) => check_claim(f, value),
        });
    }
    if attribute == Attribute::Experimental {
        f.warn_in(
            "key",
            "is not known here: a rule that allows never matches for it, any other rule matches as \
             if it were not there",
        );
    }
}

/// Checks a value that a claim may have.
fn check_claim(f: &mut Findings, value: &str) {
    check_text(f, value);
    if matches!(value, "true" | "false") || value.parse::<f64>().is_ok() {
        f.warn(
            "is compared with texts alone: a claim that is a number or a boolean matches none of \
             values and meets every notValues",
        );
    }
}

/// Checks `ACCOUNT` or `NAMESPACE/ACCOUNT`; there are no wildcards.
fn check_account(text: &str) -> Result<(), String> {
    let wrong =
        || format!("must be NAMESPACE/ACCOUNT or ACCOUNT without wildcards, got \"{text}\"");
    let mut parts = text.split('/');
    let whole = parts.clone().count() <= 2 && parts.all(|part| !part.is_empty());
    match whole && !text.contains('*') && text.len() <= ACCOUNT_BYTES_MAX {
        true => Ok(()),
        false => Err(wrong()),
    }
}

/// Says of a rule that refuses, records or asks that it is wider on connections which are not HTTP.
fn warn_of_tcp(rule: &AuthorizationRule, action: Action, f: &mut Findings) {
    let what = match action {
        Action::Allow => return,
        Action::Deny => "refused",
        Action::Audit => "recorded",
        Action::Custom => "refused",
    };
    let of_port = |to: &Operation| !to.ports.is_empty() || !to.not_ports.is_empty();
    let mut operations = rule.to.iter().filter_map(|it| it.operation.as_ref());
    let mut keys = rule.when.iter().map(|it| Attribute::parse(&it.key));
    let by_port = (!rule.to.is_empty() && operations.clone().all(of_port))
        || keys.any(|it| it == Ok(Attribute::DestinationPort));
    let of_http = |to: &Operation| {
        Operation {
            ports: Vec::new(),
            not_ports: Vec::new(),
            ..to.clone()
        } != Operation::default()
    };
    let by_token = |source: &Source| {
        !source.request_principals.is_empty() || !source.not_request_principals.is_empty()
    };
    let mut sources = rule.from.iter().filter_map(|it| it.source.as_ref());
    let mut keys = rule.when.iter().map(|it| Attribute::parse(&it.key));
    let loses = operations.any(of_http)
        || sources.any(by_token)
        || keys.any(|it| it.is_ok_and(|it| it.is_of_http()));
    if loses && !by_port {
        f.warn(format!(
            "looks at what only HTTP has: connections that are not HTTP are {what} as if these \
             fields were not there; name the ports that are meant"
        ));
    }
}
