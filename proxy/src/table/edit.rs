//! Changes of headers, as `headers.request` and `headers.response` of a rule write them.

use config::resource::virtual_service::HeaderOperations;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Compiled set, add and remove operations. Set wins over remove of the same name.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdit {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    /// `host` or `:authority`, set or added: the authority towards the upstream.
    pub authority: Option<HeaderValue>,
}

// === impl HeaderEdit ===

impl HeaderEdit {
    /// Compiles operations. Pseudo-headers other than `:authority` are left out, as are a removal of
    /// the host, a set to nothing, and whatever would contradict how a body is framed: none has an
    /// effect in the API.
    pub fn compile(written: Option<&HeaderOperations>) -> Self {
        let Some(written) = written else {
            return Self::default();
        };
        let is_authority = |name: &str| {
            name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
        };
        let pairs = |map: &std::collections::BTreeMap<String, String>| {
            let named = map
                .iter()
                .filter(|(name, value)| !is_authority(name) && !value.is_empty());
            let named = named.filter(|(name, _)| !is_framing(name));
            named
                .filter_map(|(name, value)| {
                    Some((name.parse().ok()?, unescaped(value).parse().ok()?))
                })
                .collect()
        };
        let authority = written
            .set
            .iter()
            .chain(&written.add)
            .find(|(name, _)| is_authority(name));
        let removed = written.remove.iter();
        let removed = removed.filter(|name| !is_authority(name) && !is_framing(name));
        Self {
            remove: removed.filter_map(|name| name.parse().ok()).collect(),
            set: pairs(&written.set),
            add: pairs(&written.add),
            authority: authority.and_then(|(_, value)| unescaped(value).parse().ok()),
        }
    }

    /// Whether applying it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.set.is_empty()
            && self.add.is_empty()
            && self.authority.is_none()
    }

    /// The changes of ordinary headers in the order in which they apply, as verb, name and value.
    pub(crate) fn changes(
        &self,
    ) -> impl Iterator<Item = (&'static str, &HeaderName, Option<&HeaderValue>)> {
        let remove = self.remove.iter().map(|name| ("remove", name, None));
        let set = self
            .set
            .iter()
            .map(|(name, value)| ("set", name, Some(value)));
        let add = self
            .add
            .iter()
            .map(|(name, value)| ("add", name, Some(value)));
        remove.chain(set).chain(add)
    }

    /// Applies the changes to ordinary headers; the authority is the caller's.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in self.remove.iter().filter(|name| **name != HOST) {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// Whether a header belongs to the connection or says where a body ends. Both follow from what is
/// sent, and a value of somebody else's making would let one message run into the next.
fn is_framing(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

/// A value with each `%%` as the `%` that it stands for.
fn unescaped(value: &str) -> String {
    value.replace("%%", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderOperations {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        HeaderOperations {
            set: map(set),
            add: map(add),
            remove: remove.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn operations_apply_in_a_fixed_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let written = operations(&[("a", "2"), ("d", "")], &[("b", "2")], &["a", "c"]);

        HeaderEdit::compile(Some(&written)).apply(&mut headers);

        let line = |name: &str| -> Vec<&str> {
            headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect()
        };
        assert_eq!(line("a"), ["2"], "set wins over remove");
        assert_eq!(line("b"), ["1", "2"], "add appends");
        assert_eq!(line("c"), [""; 0], "removed");
        assert_eq!(
            line("d"),
            ["1"],
            "set to nothing leaves the header as it was"
        );
    }

    #[test]
    fn a_doubled_percent_sign_stands_for_one() {
        let mut headers = HeaderMap::new();
        let written = operations(&[("a", "50%%")], &[("b", "%%%%")], &[]);

        HeaderEdit::compile(Some(&written)).apply(&mut headers);

        assert_eq!(headers["a"], "50%");
        assert_eq!(headers["b"], "%%");
    }

    #[test]
    fn the_framing_of_bodies_cannot_be_changed() {
        let written = operations(
            &[("Content-Length", "99")],
            &[("transfer-encoding", "gzip"), ("connection", "x-a")],
            &["content-length"],
        );

        assert!(HeaderEdit::compile(Some(&written)).is_empty());
    }

    #[test]
    fn the_host_is_an_authority_and_cannot_be_removed() {
        let edit =
            HeaderEdit::compile(Some(&operations(&[], &[("Host", "b")], &["host", ":path"])));

        assert_eq!(edit.authority, Some(HeaderValue::from_static("b")));
        assert!(edit.remove.is_empty() && edit.set.is_empty() && edit.add.is_empty());
    }
}
