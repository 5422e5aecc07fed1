//! Comparing one string of a request with one matcher of a rule.

use std::fmt;

use config::validate::pattern::compile_full;
use config::value::StringMatch;
use regex::Regex;

/// A compiled `StringMatch`.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Any value, as long as there is one.
    Presence,
    /// Equal.
    Exact(Box<[u8]>),
    /// Begins with.
    Prefix(Box<[u8]>),
    /// The pattern matches the whole value.
    Regex(Regex),
    /// Never: a pattern that validation should have refused.
    Never,
}

/// A compiled condition on the path.
#[derive(Debug, Clone)]
pub enum PathMatcher {
    /// Every path.
    Any,
    /// Equal.
    Exact(Box<[u8]>),
    /// Begins with; a plain string prefix.
    Prefix(Box<[u8]>),
    /// Equal without regard to ASCII case.
    ExactNoCase(Box<[u8]>),
    /// Begins with, without regard to ASCII case.
    PrefixNoCase(Box<[u8]>),
    /// The pattern matches the whole path.
    Regex(Regex),
    /// Never: a pattern that validation should have refused.
    Never,
}

/// Values that are not UTF-8 match no pattern.
fn is_match(regex: &Regex, value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
}

/// A pattern without what makes it match the whole value.
fn written(regex: &Regex) -> &str {
    let pattern = regex.as_str();
    let inner = pattern.strip_prefix("^(?:");
    inner
        .and_then(|it| it.strip_suffix(")$"))
        .unwrap_or(pattern)
}

// === impl Matcher ===

impl Matcher {
    /// Compiles a matcher; regex `*` means presence, as the API has it for headers.
    pub fn compile(written: &StringMatch) -> Self {
        match written {
            StringMatch::Presence => Self::Presence,
            StringMatch::Regex(pattern) if pattern == "*" => Self::Presence,
            StringMatch::Exact(text) => Self::Exact(text.as_bytes().into()),
            StringMatch::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            StringMatch::Regex(pattern) => compile_full(pattern).map_or(Self::Never, Self::Regex),
        }
    }

    /// Whether `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Presence => true,
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Regex(regex) => is_match(regex, value),
            Self::Never => false,
        }
    }
}

impl fmt::Display for Matcher {
    /// What follows the name of that which is compared.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Presence => f.write_str("is present"),
            Self::Exact(text) => write!(f, "is {}", String::from_utf8_lossy(text)),
            Self::Prefix(text) => write!(f, "begins with {}", String::from_utf8_lossy(text)),
            Self::Regex(regex) => write!(f, "matches {}", written(regex)),
            Self::Never => f.write_str("never matches"),
        }
    }
}

// === impl PathMatcher ===

impl PathMatcher {
    /// Compiles the `uri` of a match block.
    pub fn compile(written: Option<&StringMatch>, ignore_case: bool) -> Self {
        match written {
            None | Some(StringMatch::Presence) => Self::Any,
            Some(StringMatch::Prefix(text)) if text == "/" => Self::Any,
            Some(StringMatch::Exact(text)) if ignore_case => {
                Self::ExactNoCase(text.as_bytes().into())
            }
            Some(StringMatch::Exact(text)) => Self::Exact(text.as_bytes().into()),
            Some(StringMatch::Prefix(text)) if ignore_case => {
                Self::PrefixNoCase(text.as_bytes().into())
            }
            Some(StringMatch::Prefix(text)) => Self::Prefix(text.as_bytes().into()),
            Some(StringMatch::Regex(pattern)) => {
                compile_full(pattern).map_or(Self::Never, Self::Regex)
            }
        }
    }

    /// Whether `path` (without query) matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => path == &**text,
            Self::Prefix(text) => path.starts_with(text),
            Self::ExactNoCase(text) => path.eq_ignore_ascii_case(text),
            Self::PrefixNoCase(text) => path
                .get(..text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(text)),
            Self::Regex(regex) => is_match(regex, path),
            Self::Never => false,
        }
    }

    /// Length of the part of a matching path that `rewrite.uri` replaces: the prefix of a prefix
    /// match, the leading `/` where nothing was said of the path, the whole path otherwise.
    pub fn replaced_len(&self, path: &str) -> usize {
        match self {
            Self::Prefix(text) | Self::PrefixNoCase(text) => text.len(),
            Self::Any => path.len().min(1),
            Self::Exact(_) | Self::ExactNoCase(_) | Self::Regex(_) | Self::Never => path.len(),
        }
    }
}

impl fmt::Display for PathMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any path"),
            Self::Exact(text) => write!(f, "path is {}", String::from_utf8_lossy(text)),
            Self::Prefix(text) => write!(f, "path begins with {}", String::from_utf8_lossy(text)),
            Self::ExactNoCase(text) => {
                write!(f, "path is {} in any case", String::from_utf8_lossy(text))
            }
            Self::PrefixNoCase(text) => {
                write!(
                    f,
                    "path begins with {} in any case",
                    String::from_utf8_lossy(text)
                )
            }
            Self::Regex(regex) => write!(f, "path matches {}", written(regex)),
            Self::Never => f.write_str("never"),
        }
    }
}
