//! Syntax of host names: DNS names, wildcards, addresses, and which name covers which.

use std::net::IpAddr;

/// Most characters of a label between two dots.
const LABEL_MAX: usize = 63;

/// Most characters of a whole name.
const NAME_MAX: usize = 255;

/// Whether `text` is a label of a DNS name: letters, digits and inner hyphens, at most 63.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Whether `text` is a first label that may be a wildcard: `*`, `*-suffix`, `*suffix`, or a label.
fn is_wildcard_label(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('*') else {
        return is_label(text);
    };
    text.len() <= LABEL_MAX && (rest.is_empty() || is_label(rest.strip_prefix('-').unwrap_or(rest)))
}

/// Checks a DNS name without wildcard. A final dot is allowed.
///
/// # Errors
/// Says which part of the name is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    check_length(name)?;
    check_labels(name, name)
}

/// Checks a DNS name whose first label may be a wildcard.
///
/// # Errors
/// Says which part of the name is wrong.
pub fn check_pattern(name: &str) -> Result<(), String> {
    check_length(name)?;
    let (first, rest) = name
        .split_once('.')
        .map_or((name, None), |(a, b)| (a, Some(b)));
    if !is_wildcard_label(first) {
        return Err(bad_label(name, first));
    }
    rest.map_or(Ok(()), |rest| check_labels(name, rest))
}

/// Checks the server name of a TLS route: a pattern, or the name that encodes a destination for
/// gateways that pass TLS through, `outbound_.PORT_.SUBSET_.HOST`.
///
/// # Errors
/// Says which part of the name is wrong.
pub fn check_server_name(name: &str) -> Result<(), String> {
    check_length(name)?;
    let Some(encoded) = name.strip_prefix("outbound_") else {
        return check_pattern(name);
    };
    let mut parts = encoded.split('_').map(|part| part.trim_matches('.'));
    let port = parts.next().unwrap_or_default();
    let host = parts.nth(1).unwrap_or_default();
    if port.contains(|c: char| c.is_ascii_digit())
        && host.contains(|c: char| c.is_ascii_alphabetic())
    {
        Ok(())
    } else {
        Err(format!(
            "must have the form outbound_.PORT_.SUBSET_.HOST, got \"{name}\""
        ))
    }
}

/// Whether `text` is an IP address, an IPv6 zone included.
pub fn is_address(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => {
            !zone.is_empty()
                && address
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_ipv6())
        }
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// Checks an IP address.
///
/// # Errors
/// Says what the text should have been.
pub fn check_address(text: &str) -> Result<(), String> {
    if is_address(text) {
        Ok(())
    } else {
        Err(format!("must be an IP address, got \"{text}\""))
    }
}

/// Checks an IP address or a CIDR range.
///
/// # Errors
/// Says what the text should have been.
pub fn check_subnet(text: &str) -> Result<(), String> {
    let valid = match text.split_once('/') {
        None => is_address(text),
        Some((address, bits)) => address.parse::<IpAddr>().is_ok_and(|address| {
            let canonical = bits.len() == 1 || !bits.starts_with('0');
            let bits_max = if address.is_ipv4() { 32 } else { 128 };
            canonical
                && bits.bytes().all(|byte| byte.is_ascii_digit())
                && bits.parse::<u8>().is_ok_and(|bits| bits <= bits_max)
        }),
    };
    if valid {
        Ok(())
    } else {
        Err(format!(
            "must be an IP address or a CIDR range such as \"10.0.0.0/8\", got \"{text}\""
        ))
    }
}

/// Whether one of two names covers a name that the other covers too.
pub fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// Whether every name that `inner` stands for is one that `outer` stands for.
pub fn covers(outer: &str, inner: &str) -> bool {
    match (outer.strip_prefix('*'), inner.strip_prefix('*')) {
        (Some(outer), Some(inner)) => inner.ends_with(outer),
        (Some(outer), None) => inner.ends_with(outer),
        (None, Some(_)) => false,
        (None, None) => outer == inner,
    }
}

/// Whether `name` has a wildcard that is not the whole first label.
pub fn is_partial_wildcard(name: &str) -> bool {
    name.contains('*') && name != "*" && !name.starts_with("*.")
}

fn check_length(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("must be a DNS name, got \"\"".to_owned()),
        1..=NAME_MAX => Ok(()),
        length => Err(format!(
            "must have at most {NAME_MAX} characters, got {length}"
        )),
    }
}

/// Checks the labels of `labels`, a tail of `name`.
fn check_labels(name: &str, labels: &str) -> Result<(), String> {
    let top = labels.rsplit('.').next().unwrap_or_default();
    if !top.is_empty() && top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "must be a DNS name, got \"{name}\": the last label must not be all digits"
        ));
    }
    let labels = labels.strip_suffix('.').unwrap_or(labels);
    if labels.is_empty() {
        return Ok(());
    }
    match labels.split('.').find(|label| !is_label(label)) {
        Some(label) => Err(bad_label(name, label)),
        None => Ok(()),
    }
}

fn bad_label(name: &str, label: &str) -> String {
    format!(
        "must be a DNS name, got \"{name}\": \"{label}\" is not 1 to {LABEL_MAX} letters, digits \
         and inner hyphens"
    )
}

#[cfg(test)]
mod tests;
