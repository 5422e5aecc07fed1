//! Changes of the path before a request is forwarded.

use config::resource::virtual_service::HttpRewrite;
use config::validate::pattern::compile_search;
use regex::Regex;

/// Longest path that a rewrite may make, in bytes; a longer result is cut off by leaving the path
/// as it was.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// A compiled `rewrite` of the path.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Replaces the matched part.
    Matched(Box<str>),
    /// Replaces all occurrences of a pattern.
    Regex {
        /// What is replaced.
        pattern: Regex,
        /// Substitution in the `${1}` form of the regex crate.
        substitution: Box<str>,
    },
}

// === impl PathRewrite ===

impl PathRewrite {
    /// Compiles the path part of a rewrite; none if it only changes the authority.
    pub fn compile(written: &HttpRewrite) -> Option<Self> {
        if let Some(rewrite) = &written.uri_regex_rewrite {
            let pattern = compile_search(&rewrite.pattern).ok()?;
            let substitution = substitution(&rewrite.rewrite).into();
            return Some(Self::Regex {
                pattern,
                substitution,
            });
        }
        let uri = written.uri.as_deref().filter(|uri| !uri.is_empty())?;
        Some(Self::Matched(uri.into()))
    }

    /// The new path for `path` (without query), of which the match took the first `matched_len`
    /// bytes; `None` if it stays as it is.
    pub fn apply(&self, path: &str, matched_len: usize) -> Option<String> {
        let rewritten = match self {
            Self::Matched(text) => format!("{text}{}", path.get(matched_len..)?),
            Self::Regex {
                pattern,
                substitution,
            } => pattern.replace_all(path, &**substitution).into_owned(),
        };
        (rewritten.len() <= PATH_BYTES_MAX).then_some(rewritten)
    }
}

/// RE2's `\1` and `\\` in the regex crate's terms.
fn substitution(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            '$' => out.push_str("$$"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::resource::virtual_service::RegexRewrite;

    #[test]
    fn the_matched_part_is_replaced_as_it_is() {
        let rewrite = PathRewrite::Matched("/".into());

        assert_eq!(rewrite.apply("/foo/bar", 4).as_deref(), Some("//bar"));
        assert_eq!(rewrite.apply("/foobar", 4).as_deref(), Some("/bar"));
        assert_eq!(
            PathRewrite::Matched("/new".into())
                .apply("/a/b", 1)
                .as_deref(),
            Some("/newa/b")
        );
    }

    #[test]
    fn a_pattern_replaces_every_occurrence_and_fills_groups() {
        let written = HttpRewrite {
            uri_regex_rewrite: Some(RegexRewrite {
                pattern: "/(v[0-9])/([a-z]+)".into(),
                rewrite: r"/\2/$\1".into(),
            }),
            ..HttpRewrite::default()
        };
        let rewrite = PathRewrite::compile(&written).expect("a rewrite");

        assert_eq!(
            rewrite.apply("/v1/ab/v2/cd", 0).as_deref(),
            Some("/ab/$v1/cd/$v2")
        );
        assert_eq!(rewrite.apply("/x", 0).as_deref(), Some("/x"));
    }
}
