//! Texts that values are compared with.

/// A text, or a beginning or an end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `*`: any text that is not empty.
    Any,
    /// `TEXT*`.
    Prefix(Box<str>),
    /// `*TEXT`.
    Suffix(Box<str>),
    /// All of it. A `*` that is neither first nor last stands for itself.
    Exact(Box<str>),
}

/// Any of several.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(Box<[Pattern]>);

/// A text in which every `*` stands for any text, as names of namespaces are written.
#[derive(Debug, Clone)]
pub(crate) struct Glob(Box<str>);

/// The host of a request, in any case, with or without its port.
#[derive(Debug, Clone)]
pub(crate) struct HostPattern(Pattern);

/// Issuer and subject of a token.
#[derive(Debug, Clone)]
pub(crate) struct TokenPattern {
    issuer: Pattern,
    subject: Pattern,
}

// === impl Pattern ===

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", _, _) => Self::Any,
            (_, Some(end), _) => Self::Suffix(end.into()),
            (_, None, Some(beginning)) => Self::Prefix(beginning.into()),
            (exact, None, None) => Self::Exact(exact.into()),
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.matches_bytes(text.as_bytes())
    }

    pub(crate) fn matches_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Any => !bytes.is_empty(),
            Self::Prefix(beginning) => bytes.starts_with(beginning.as_bytes()),
            Self::Suffix(end) => bytes.ends_with(end.as_bytes()),
            Self::Exact(exact) => bytes == exact.as_bytes(),
        }
    }

    fn matches_in_any_case(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let is = |part: Option<&[u8]>, with: &str| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(with.as_bytes()))
        };
        match self {
            Self::Any => !bytes.is_empty(),
            Self::Prefix(beginning) => is(bytes.get(..beginning.len()), beginning),
            Self::Suffix(end) => {
                let from = bytes.len().checked_sub(end.len());
                is(from.map(|from| &bytes[from..]), end)
            }
            Self::Exact(exact) => is(Some(bytes), exact),
        }
    }
}

// === impl Patterns ===

impl Patterns {
    pub(crate) fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self(texts.into_iter().map(Pattern::new).collect())
    }

    pub(crate) fn match_one(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(text))
    }

    /// Whether a text is one of them, or begins or ends with one; any text at all does not count.
    pub(crate) fn match_named(&self, text: &str) -> bool {
        let mut patterns = self.0.iter();
        patterns.any(|it| *it != Pattern::Any && it.matches(text))
    }

    /// Whether the value of a header that is there is one of them. `*` is all that are there, also
    /// empty ones.
    pub(crate) fn match_present(&self, bytes: &[u8]) -> bool {
        let mut patterns = self.0.iter();
        patterns.any(|it| *it == Pattern::Any || it.matches_bytes(bytes))
    }
}

// === impl Glob ===

impl Glob {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Every `*` takes as little as it can; what is left when the last one has been met is taken from
    /// the end.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *text;
        };
        let Some(mut left) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

// === impl HostPattern ===

impl HostPattern {
    pub(crate) fn new(text: &str) -> Self {
        let text = match text.strip_suffix('.') {
            Some(name) if !name.is_empty() => name,
            Some(_) | None => text,
        };
        Self(Pattern::new(text))
    }

    /// Whether an authority is meant: as it is written, or by its host alone.
    pub(crate) fn matches(&self, authority: &str, host: &str) -> bool {
        self.0.matches_in_any_case(host) || self.0.matches_in_any_case(authority)
    }
}

/// The host of an authority, without port and without the dot of the root. What follows the last
/// colon is no part of a name, even if it is no port.
pub(crate) fn host_of(authority: &str) -> &str {
    let host = match authority.starts_with('[') {
        true => authority.split_inclusive(']').next().unwrap_or(authority),
        false => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.strip_suffix('.').unwrap_or(host)
}

// === impl TokenPattern ===

impl TokenPattern {
    /// The last `/` is between issuer and subject, for issuers are URLs. A text without any is about
    /// one of them, and the other may be anything.
    pub(crate) fn new(text: &str) -> Self {
        let exact = |text: &str| Pattern::Exact(text.into());
        let (issuer, subject) = match text.rsplit_once('/') {
            None if text == "*" => (Pattern::Any, Pattern::Any),
            None if text.starts_with('*') => (Pattern::Any, Pattern::new(text)),
            None if text.ends_with('*') => (Pattern::new(text), Pattern::Any),
            // Nobody has an empty subject.
            None => (exact(text), exact("")),
            Some((issuer, subject)) if text.starts_with('*') => {
                (Pattern::new(issuer), exact(subject))
            }
            Some((issuer, subject)) => (exact(issuer), Pattern::new_end(subject)),
        };
        Self { issuer, subject }
    }

    pub(crate) fn matches(&self, issuer: &str, subject: &str) -> bool {
        self.issuer.matches(issuer) && self.subject.matches(subject)
    }
}

impl Pattern {
    /// `*`, `TEXT*` or a text; a `*` that is first stands for itself.
    fn new_end(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Any,
            Some(beginning) => Self::Prefix(beginning.into()),
            None => Self::Exact(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_text_at_one_end_alone() {
        for (pattern, text, expected) in [
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a", "a", true),
            ("a", "A", false),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
            ("*a*", "xa*", true),
            ("*a*", "xax", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn in_the_name_of_a_namespace_every_star_counts() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abd", false),
            ("*b*", "abc", true),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn hosts_are_the_same_in_any_case_and_with_any_port() {
        for (pattern, authority, expected) in [
            ("a.example", "A.Example", true),
            ("A.EXAMPLE", "a.example:8080", true),
            ("a.example", "a.example.", true),
            ("a.example", "a.example.:80", true),
            ("a.example.", "a.example", true),
            ("a.example:8080", "a.example:8080", true),
            ("a.example:8080", "a.example", false),
            ("a.example:*", "a.example:1", true),
            ("*.example", "a.EXAMPLE:1", true),
            ("*.example", "example", false),
            ("a.*", "A.b:1", true),
            ("*", "", false),
            ("[::1]", "[::1]:80", true),
            ("a.example", "a.example.evil", false),
            ("a.example", "xa.example", false),
        ] {
            let is = HostPattern::new(pattern).matches(authority, host_of(authority));

            assert_eq!(is, expected, "{pattern} {authority}");
        }
    }

    #[test]
    fn the_last_slash_divides_issuer_and_subject() {
        for (pattern, issuer, subject, expected) in [
            ("*", "i", "s", true),
            ("*", "i", "", false),
            ("i/s", "i", "s", true),
            ("https://i/t/s", "https://i/t", "s", true),
            ("https://i/t/s", "https://i", "t/s", false),
            ("i/*", "i", "s", true),
            ("i/*", "i/x", "s", false),
            ("i/s*", "i", "sub", true),
            ("*/s", "any", "s", true),
            ("*.com/s", "i.com", "s", true),
            ("*.com/s", "i.org", "s", false),
            ("*s", "any", "subs", true),
            ("i*", "issuer", "any", true),
            ("i", "i", "s", false),
        ] {
            let is = TokenPattern::new(pattern).matches(issuer, subject);

            assert_eq!(is, expected, "{pattern} {issuer} {subject}");
        }
    }
}
