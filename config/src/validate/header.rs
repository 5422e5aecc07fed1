//! Header names, header values with their `%VARIABLE%` expressions, and header operations.

use crate::resource::virtual_service::{HeaderOperations, Headers};
use crate::validate::findings::Findings;

/// Whether `text` is a token of RFC 9110, which names of headers and cookies are.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Checks the name of a header: letters, digits, `-` and `_`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(valid) {
        Ok(())
    } else {
        Err(format!(
            "must be a header name (letters, digits, '-' and '_'), got \"{name}\""
        ))
    }
}

/// Checks the name of a header that is matched, which may also be a pseudo-header such as `:path`.
pub(crate) fn check_matched_name(name: &str) -> Result<(), String> {
    check_name(name.strip_prefix(':').unwrap_or(name))
}

/// Whether the name stands for the authority of a request.
pub(crate) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Checks the header changes of a rule or of one of its destinations.
pub(crate) fn check_headers(headers: Option<&Headers>, f: &mut Findings) {
    let Some(headers) = headers else {
        return;
    };
    f.field("headers", |f| {
        if let Some(request) = &headers.request {
            f.field("request", |f| {
                check_operations(request, Authority::MayBeSet, f)
            });
        }
        if let Some(response) = &headers.response {
            f.field("response", |f| {
                check_operations(response, Authority::Fixed, f)
            });
        }
    });
}

/// The authority is set at most once, by header operations or by a rewrite.
pub(crate) fn check_authority(rewrite: Option<&str>, headers: Option<&Headers>, f: &mut Findings) {
    let Some(request) = headers.and_then(|headers| headers.request.as_ref()) else {
        return;
    };
    let mut current = rewrite.filter(|authority| !authority.is_empty());
    for (operation, map) in [("set", &request.set), ("add", &request.add)] {
        for (name, value) in map.iter().filter(|(name, _)| is_authority(name)) {
            if let Some(current) = current {
                let message =
                    format!("must not set the authority again, it is \"{current}\" already");
                f.field("headers.request", |f| {
                    f.field(operation, |f| f.key(name, |f| f.error(message)));
                });
            }
            current = Some(value);
        }
    }
}

/// Whether operations may set the authority of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    MayBeSet,
    Fixed,
}

fn check_operations(operations: &HeaderOperations, authority: Authority, f: &mut Findings) {
    for (operation, map) in [("set", &operations.set), ("add", &operations.add)] {
        f.field(operation, |f| {
            for (name, value) in map {
                f.key(name, |f| {
                    f.require(check_changed(name, authority));
                    f.require(check_value(value));
                });
            }
        });
    }
    f.each("remove", &operations.remove, |f, name| {
        f.require(check_changed(name, Authority::Fixed));
    });
}

fn check_changed(name: &str, authority: Authority) -> Result<(), String> {
    if is_authority(name) && authority == Authority::MayBeSet {
        Ok(())
    } else if name.starts_with(':') || is_authority(name) {
        Err(format!("must not be changed here, got \"{name}\""))
    } else if is_token(name) {
        Ok(())
    } else {
        Err(format!("must be a header name, got \"{name}\""))
    }
}

/// Checks a header value: no control characters, and every `%` part of `%%`, `%NAME%` or
/// `%NAME(arguments)%`.
pub(crate) fn check_value(value: &str) -> Result<(), String> {
    if value
        .bytes()
        .any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
    {
        return Err(format!("must not have control characters, got {value:?}"));
    }
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let expression = &rest[start + 1..];
        rest = match expression.strip_prefix('%') {
            Some(after) => after,
            None => after_expression(expression).ok_or_else(|| {
                format!("must write a literal % as %% and close every %NAME%, got \"{value}\"")
            })?,
        };
    }
    Ok(())
}

/// What follows an expression whose opening `%` is gone already; none when it is not closed.
fn after_expression(text: &str) -> Option<&str> {
    let end = text.find(['%', '('])?;
    if text.as_bytes()[end] == b'%' {
        return Some(&text[end + 1..]);
    }
    let arguments = text[end + 1..].trim_start_matches(' ');
    let after = match arguments.strip_prefix('[') {
        Some(list) => after_list(list)?,
        None => after_argument(arguments)?,
    };
    after.trim_start_matches(' ').strip_prefix('%')
}

/// What follows the `)` of an argument that is not a list; a backslash hides the next character.
fn after_argument(text: &str) -> Option<&str> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next()?;
            }
            ')' => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

/// What follows the `])` of a list of quoted strings.
fn after_list(mut text: &str) -> Option<&str> {
    loop {
        text = after_string(text.trim_start_matches(' ').strip_prefix('"')?)?;
        text = text.trim_start_matches(' ');
        match text.strip_prefix(',') {
            Some(next) => text = next,
            None => {
                return text
                    .strip_prefix(']')?
                    .trim_start_matches(' ')
                    .strip_prefix(')');
            }
        }
    }
}

/// What follows the closing quote of a string.
fn after_string(text: &str) -> Option<&str> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next()?;
            }
            '"' => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
