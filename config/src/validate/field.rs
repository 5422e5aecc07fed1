//! Checks of fields that several kinds share: ports, durations, labels, exports, selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration as Span;

use crate::resource::Metadata;
use crate::resource::service_entry::WorkloadSelector;
use crate::validate::findings::Findings;
use crate::validate::host;
use crate::value::{Duration, Percent};

/// Most characters of the name part of a label and of a label value's DNS prefix.
const LABEL_NAME_MAX: usize = 63;
const LABEL_PREFIX_MAX: usize = 253;

/// Prefix of addresses that are Unix sockets.
pub(crate) const UNIX: &str = "unix://";

/// The text of a field that is set; an empty text is as good as none.
pub(crate) fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Checks a port number.
pub(crate) fn port(number: u32) -> Result<(), String> {
    if (1..=65_535).contains(&number) {
        Ok(())
    } else {
        Err(format!(
            "must be a port number from 1 to 65535, got {number}"
        ))
    }
}

/// Checks a port name.
pub(crate) fn port_name(name: &str) -> Result<(), String> {
    dns_label(name)
}

/// Checks a DNS label.
pub(crate) fn dns_label(text: &str) -> Result<(), String> {
    if host::is_label(text) {
        Ok(())
    } else {
        Err(format!(
            "must be a DNS label (letters, digits and inner hyphens), got \"{text}\""
        ))
    }
}

/// Checks a duration that must be at least 1 ms and whole milliseconds.
pub(crate) fn duration(name: &str, duration: Option<Duration>, f: &mut Findings) {
    if let Some(duration) = duration {
        if duration.get() < Span::from_millis(1) {
            f.error_in(name, format!("must be at least 1ms, got {duration}"));
        } else {
            whole_milliseconds(name, duration, f);
        }
    }
}

/// Checks a duration where zero is legal and switches something off.
pub(crate) fn duration_or_zero(name: &str, duration: Option<Duration>, f: &mut Findings) {
    match duration {
        Some(zero) if zero.get().is_zero() => {}
        other => self::duration(name, other, f),
    }
}

fn whole_milliseconds(name: &str, duration: Duration, f: &mut Findings) {
    if !duration.get().subsec_nanos().is_multiple_of(1_000_000) {
        f.error_in(name, format!("must be whole milliseconds, got {duration}"));
    }
}

/// Checks that a number lies in `range`.
pub(crate) fn in_range<T>(value: T, range: &RangeInclusive<T>) -> Result<(), String>
where
    T: PartialOrd + std::fmt::Display,
{
    if range.contains(&value) {
        Ok(())
    } else {
        Err(format!(
            "must be from {} to {}, got {value}",
            range.start(),
            range.end()
        ))
    }
}

/// Checks that a number is not negative.
pub(crate) fn not_negative(name: &str, value: Option<i32>, f: &mut Findings) {
    if let Some(value) = value.filter(|value| *value < 0) {
        f.error_in(name, format!("must not be negative, got {value}"));
    }
}

/// Checks a share in percent, 0 to 100.
pub(crate) fn percentage(name: &str, percent: Option<Percent>, f: &mut Findings) {
    if let Some(percent) = percent {
        f.field(name, |f| {
            f.require_in("value", in_range(percent.value, &(0.0..=100.0)))
        });
    }
}

/// Checks labels by the rules of Kubernetes.
pub(crate) fn labels(name: &str, labels: &BTreeMap<String, String>, f: &mut Findings) {
    for (key, value) in labels {
        if !is_label_key(key) {
            f.error_in(
                name,
                format!(
                    "must have keys of the form [DNS-NAME/]NAME with at most {LABEL_NAME_MAX} \
                     letters, digits, '-', '_' and '.', got \"{key}\""
                ),
            );
        }
        if !value.is_empty() && !is_qualified(value) {
            let message = format!(
                "must have only letters, digits and inner '-', '_' and '.', got \"{value}\""
            );
            f.field(name, |f| f.key(key, |f| f.error(message)));
        }
    }
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(a, b)| (Some(a), b));
    name.len() <= LABEL_NAME_MAX
        && is_qualified(name)
        && prefix.is_none_or(|prefix| {
            prefix.len() <= LABEL_PREFIX_MAX && prefix.split('.').all(is_prefix_label)
        })
}

/// A label of a key's DNS prefix; only the whole prefix has a greatest length.
fn is_prefix_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether `text` begins and ends with a letter or digit and has only those, `-`, `_` and `.`.
fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Checks the labels of a selector: no empty key, no wildcard. None at all is a warning.
pub(crate) fn selector(name: &str, labels: &BTreeMap<String, String>, f: &mut Findings) {
    f.field(name, |f| {
        if labels.is_empty() {
            f.warn("has no labels and selects every workload of the namespace");
        }
        for (key, value) in labels {
            if key.is_empty() {
                f.error(format!("must not have an empty key, got \"={value}\""));
            }
            if key.contains('*') || value.contains('*') {
                f.error(format!("must not have a wildcard, got \"{key}={value}\""));
            }
        }
    });
}

/// Checks the selector of the kinds that write it as `workloadSelector.labels`.
pub(crate) fn workload_selector(selector: Option<&WorkloadSelector>, f: &mut Findings) {
    if let Some(selector) = selector {
        self::selector("workloadSelector", &selector.labels, f);
    }
}

/// Who may see a resource, besides its own namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Export {
    /// Namespaces, `.` and `*`.
    Usual,
    /// Also `~`, nobody.
    UsualOrNone,
    /// Only the own namespace.
    OwnNamespace,
}

/// Checks `exportTo`.
pub(crate) fn export_to(entries: &[String], meta: &Metadata, kind: Export, f: &mut Findings) {
    let mut seen = BTreeSet::new();
    f.each("exportTo", entries, |f, entry| {
        let namespace = if entry == "." {
            meta.namespace.as_str()
        } else {
            entry.as_str()
        };
        let nobody = entry == "~" && kind == Export::UsualOrNone;
        if !seen.insert(namespace) {
            f.error(format!("must not be named twice, got \"{entry}\""));
        } else if entry == "." && namespace.is_empty() {
            f.error("must not be \".\" in a resource without a namespace");
        } else if !(nobody || matches!(entry.as_str(), "." | "*") || host::is_label(entry)) {
            f.error(format!(
                "must be \".\", \"*\" or a namespace, got \"{entry}\""
            ));
        }
    });
    for (alone, meaning) in [("*", "everybody"), ("~", "nobody")] {
        if seen.contains(alone) && entries.len() > 1 {
            f.error_in(
                "exportTo",
                format!("must have no other entry beside \"{alone}\", {meaning}"),
            );
        }
    }
    let foreign = seen.iter().any(|namespace| *namespace != meta.namespace);
    if kind == Export::OwnNamespace && foreign {
        f.error_in(
            "exportTo",
            "must be [\".\"] in a rule with a workloadSelector",
        );
    }
}

/// Checks the path of a Unix socket, without the `unix://` in front. `@` begins an abstract name.
pub(crate) fn unix_path(path: &str) -> Result<(), String> {
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        Ok(())
    } else {
        Err(format!(
            "must be unix:// and an absolute path or @name, got \"{UNIX}{path}\""
        ))
    }
}

/// What a port's protocol means for its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP in plain text.
    Http,
    /// TLS, HTTPS included.
    Tls,
    /// Anything else on TCP.
    Tcp,
    /// Neither of these.
    Other,
}

/// The protocol of a name in any case; none for an unknown name.
pub(crate) fn protocol(name: &str) -> Option<Protocol> {
    Some(match name.to_ascii_lowercase().as_str() {
        "http" | "http2" | "http_proxy" | "grpc" | "grpc-web" => Protocol::Http,
        "https" | "tls" => Protocol::Tls,
        "tcp" | "mongo" | "redis" | "mysql" => Protocol::Tcp,
        "udp" | "hbone" => Protocol::Other,
        _ => return None,
    })
}

/// Checks the name of a protocol that may also be left to detection.
pub(crate) fn optional_protocol(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Ok(())
    } else {
        required_protocol(name)
    }
}

/// Checks the name of a protocol.
pub(crate) fn required_protocol(name: &str) -> Result<(), String> {
    match protocol(name) {
        Some(_) => Ok(()),
        None => Err(format!(
            "must be HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS, got \
             \"{name}\""
        )),
    }
}
