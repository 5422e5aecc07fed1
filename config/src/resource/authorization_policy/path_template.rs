//! Paths of authorization rules that have `{*}` and `{**}` in them.

/// A path in which `{*}` stands for one segment, or for a part of one that is not empty, and `{**}`
/// for anything, also for nothing and for slashes.
///
/// Matching is one walk along the path: a segment has at most one `{*}`, and behind `{**}`, which
/// comes once, there is only text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// Whole segments from the beginning.
    segments: Box<[Segment]>,
    /// What stands around `{**}`, from the last `/` before it on.
    rest: Option<(Box<str>, Box<str>)>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// This text.
    Exact(Box<str>),
    /// What stands before and behind `{*}`.
    Around(Box<str>, Box<str>),
}

/// Why a path with `{*}` or `{**}` is none that can be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It begins otherwise.
    #[error("a template must begin with /")]
    Root,
    /// `{*}` or `{**}` behind `{**}`.
    #[error("a template must have nothing in braces behind {{**}}")]
    Behind,
    /// Two in one segment.
    #[error("a template must have {{*}} or {{**}} only once between two slashes")]
    Crowded,
    /// Braces with something else in them, or stars without.
    #[error("a template must have no other braces or stars than {{*}} and {{**}}")]
    Other,
}

const ONE: &str = "{*}";
const ANY: &str = "{**}";

// === impl PathTemplate ===

impl PathTemplate {
    /// Reads a template; none if `text` is a path without any.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Self>, TemplateError> {
        if !text.contains(ONE) && !text.contains(ANY) {
            return Ok(None);
        }
        let (head, behind) = match text.split_once(ANY) {
            Some((head, behind)) => (head, Some(behind)),
            None => (text, None),
        };
        let head = head.strip_prefix('/').ok_or(TemplateError::Root)?;
        let mut segments = Vec::new();
        for segment in head.split('/') {
            segments.push(Segment::parse(segment)?);
        }
        let rest = match behind {
            None => None,
            Some(behind) => Some(Self::rest(segments.pop(), behind)?),
        };
        Ok(Some(Self {
            segments: segments.into(),
            rest,
        }))
    }

    fn rest(before: Option<Segment>, behind: &str) -> Result<(Box<str>, Box<str>), TemplateError> {
        if behind.contains(ONE) || behind.contains(ANY) {
            return Err(TemplateError::Behind);
        }
        if behind.contains(['{', '}', '*']) {
            return Err(TemplateError::Other);
        }
        match before {
            Some(Segment::Exact(text)) => Ok((text, behind.into())),
            None => Ok(("".into(), behind.into())),
            Some(Segment::Around(..)) => Err(TemplateError::Crowded),
        }
    }

    /// Whether a path without its query is like this.
    pub fn matches(&self, path: &str) -> bool {
        let Some(mut left) = path.strip_prefix('/') else {
            return false;
        };
        for (at, segment) in self.segments.iter().enumerate() {
            let last = self.rest.is_none() && at + 1 == self.segments.len();
            let (this, next) = match left.split_once('/') {
                Some(_) if last => return false,
                Some((this, next)) => (this, next),
                None if last => (left, ""),
                None => return false,
            };
            if !segment.matches(this) {
                return false;
            }
            left = next;
        }
        match &self.rest {
            None => true,
            Some((before, behind)) => left
                .strip_prefix(&**before)
                .is_some_and(|left| left.ends_with(&**behind)),
        }
    }
}

// === impl Segment ===

impl Segment {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let is_plain = |text: &str| !text.contains(['{', '}', '*']);
        match text.split_once(ONE) {
            None if is_plain(text) => Ok(Self::Exact(text.into())),
            None => Err(TemplateError::Other),
            Some((_, behind)) if behind.contains(ONE) => Err(TemplateError::Crowded),
            Some((before, behind)) if is_plain(before) && is_plain(behind) => {
                Ok(Self::Around(before.into(), behind.into()))
            }
            Some(_) => Err(TemplateError::Other),
        }
    }

    fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *segment,
            Self::Around(before, behind) => segment
                .strip_prefix(&**before)
                .and_then(|left| left.strip_suffix(&**behind))
                .is_some_and(|left| !left.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stands_for_a_segment_and_any_for_all_that_is_left() {
        for (template, path, expected) in [
            ("/a/{*}", "/a/b", true),
            ("/a/{*}", "/a/", false),
            ("/a/{*}", "/a", false),
            ("/a/{*}", "/a/b/c", false),
            ("/a/{*}/c", "/a/b/c", true),
            ("/a/{*}/c", "/a/b/c/", false),
            ("/a/{*}/c", "/a//c", false),
            ("/{*}", "/a", true),
            ("/{*}", "/", false),
            ("/a/{*}.json", "/a/b.json", true),
            ("/a/{*}.json", "/a/.json", false),
            ("/a/{*}.json", "/a/b/c.json", false),
            ("/a/{**}", "/a/", true),
            ("/a/{**}", "/a/b/c", true),
            ("/a/{**}", "/a", false),
            ("/a/{**}", "/ab", false),
            ("/a/{**}/d", "/a/b/c/d", true),
            ("/a/{**}/d", "/a/d", false),
            ("/a/{**}/d", "/a//d", true),
            ("/a/{*}/{**}", "/a/b/", true),
            ("/a/{*}/{**}", "/a/b", false),
            ("/a/{*}/{**}", "/a/b/c/d", true),
            ("/a/b{**}c", "/a/bxyz/c", true),
            ("/a/b{**}c", "/a/bc", true),
            ("/a/b{**}c", "/a/b", false),
            ("/{**}", "/", true),
            ("/{**}", "", false),
        ] {
            let parsed = PathTemplate::parse(template).expect("right").expect("one");

            assert_eq!(parsed.matches(path), expected, "{template} {path}");
        }
    }

    #[test]
    fn what_cannot_be_matched_in_one_walk_is_refused() {
        for (text, expected) in [
            ("{*}/a", TemplateError::Root),
            ("/{**}/{*}", TemplateError::Behind),
            ("/{**}/{**}", TemplateError::Behind),
            ("/{*}{*}", TemplateError::Crowded),
            ("/{*}{**}", TemplateError::Crowded),
            ("/{*}/{name}", TemplateError::Other),
            ("/{*}/*", TemplateError::Other),
            ("/{**}/*", TemplateError::Other),
        ] {
            assert_eq!(PathTemplate::parse(text), Err(expected), "{text}");
        }
        assert_eq!(PathTemplate::parse("/a*"), Ok(None));
    }
}
