//! SPIFFE identities of workloads.
//!
//! A rule of the SPIFFE standard ("The SPIFFE Identity and Verifiable Identity Document", §2): the
//! scheme in any case, a trust domain of lower-case letters, digits and `.-_`, and a path of segments
//! of letters, digits and `.-_` that none of is empty, `.` or `..`; no port, user, query or fragment;
//! at most 2 048 bytes.

use std::fmt;
use std::sync::Arc;

/// Most bytes of an identity.
const BYTES_MAX: usize = 2_048;
/// Most bytes of a trust domain.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// What every identity begins with.
const SCHEME: &str = "spiffe://";

/// An identity: `spiffe://TRUST-DOMAIN/PATH`. Its path may be any; that of Istio's workloads is
/// `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins.
    path: usize,
}

/// Why a text is no SPIFFE identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Longer than an identity may be.
    #[error("must have at most {BYTES_MAX} bytes")]
    TooLong,
    /// It begins otherwise.
    #[error("must begin with {SCHEME}")]
    Scheme,
    /// There is none, it is too long, or it has another character than lower-case letters, digits and
    /// `.-_`.
    #[error("must name a trust domain of lower-case letters, digits and .-_")]
    TrustDomain,
    /// A segment is empty, `.`, `..`, or has another character than letters, digits and `.-_`.
    #[error("must have a path of segments of letters, digits and .-_ that are not . or ..")]
    Path,
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Reads an identity.
    ///
    /// # Errors
    ///
    /// When `text` is none by the rules of SPIFFE. The identity of a trust domain itself, which has no
    /// path, is no workload's and is refused.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        let rest = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            Some(_) | None => return Err(SpiffeError::Scheme),
        };
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !is_trust_domain(trust_domain) {
            return Err(SpiffeError::TrustDomain);
        }
        let mut segments = path.strip_prefix('/').ok_or(SpiffeError::Path)?.split('/');
        if !segments.all(is_segment) {
            return Err(SpiffeError::Path);
        }
        let text: Arc<str> = match text.starts_with(SCHEME) {
            true => text.into(),
            false => format!("{SCHEME}{rest}").into(),
        };
        Ok(Self {
            path: SCHEME.len() + trust_domain.len(),
            text,
        })
    }

    /// The identity of a workload as Istio forms it.
    ///
    /// # Errors
    ///
    /// When a part has a character that it may not have.
    pub fn workload(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        if namespace.contains('/') || service_account.contains('/') {
            return Err(SpiffeError::Path);
        }
        Self::parse(&format!(
            "{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}"
        ))
    }

    /// The whole, `spiffe://cluster.local/ns/default/sa/reviews`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// What authorization calls it, without the scheme: `cluster.local/ns/default/sa/reviews`.
    pub fn principal(&self) -> &str {
        &self.text[SCHEME.len()..]
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path]
    }

    /// The path with its first `/`.
    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    /// Namespace and service account, if the path is Istio's.
    pub fn account(&self) -> Option<(&str, &str)> {
        let rest = self.path().strip_prefix("/ns/")?;
        let (namespace, account) = rest.split_once("/sa/")?;
        (!namespace.contains('/') && !account.contains('/')).then_some((namespace, account))
    }

    /// The namespace, if the path is Istio's.
    pub fn namespace(&self) -> Option<&str> {
        self.account().map(|(namespace, _)| namespace)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `text` can be a trust domain.
pub fn is_trust_domain(text: &str) -> bool {
    let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(known)
}

fn is_segment(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_an_identity_is_made_of_its_parts_and_stays_itself(
            text in "([Ss][Pp]iffe://)?[a-zA-Z0-9._%:@ü-]{0,4}(/[a-zA-Z0-9._%?#ü-]{0,4}){0,6}",
        ) {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(
                    format!("spiffe://{}{}", id.trust_domain(), id.path()),
                    id.as_str()
                );
                prop_assert!(is_trust_domain(id.trust_domain()));
                prop_assert!(id.path().split('/').skip(1).all(is_segment));
                prop_assert!(text.to_ascii_lowercase().starts_with(SCHEME));
                prop_assert_eq!(SpiffeId::parse(id.as_str()), Ok(id.clone()));
                if let Some((namespace, account)) = id.account() {
                    let again = SpiffeId::workload(id.trust_domain(), namespace, account);
                    prop_assert_eq!(again, Ok(id.clone()));
                }
            }
        }

        #[test]
        fn any_text_is_an_identity_or_not(text in "\\PC{0,64}") {
            let _ = SpiffeId::parse(&text);
        }
    }

    #[test]
    fn the_identity_of_a_workload_has_its_parts() {
        let id = SpiffeId::parse("spiffe://cluster.local/ns/default/sa/reviews").expect("valid");

        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.principal(), "cluster.local/ns/default/sa/reviews");
        assert_eq!(id.account(), Some(("default", "reviews")));
        assert_eq!(
            SpiffeId::workload("cluster.local", "default", "reviews"),
            Ok(id)
        );
    }

    #[test]
    fn other_paths_are_identities_without_a_namespace() {
        for text in [
            "spiffe://td/x",
            "spiffe://td/ns/a",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/ns/a/b/sa/c",
            "spiffe://td/NS/a/sa/b",
        ] {
            let id = SpiffeId::parse(text).expect("valid");

            assert_eq!(id.namespace(), None, "{text}");
        }
    }

    #[test]
    fn the_scheme_may_be_in_any_case_and_is_told_in_lower_case() {
        let id = SpiffeId::parse("SPIFFE://td/a").expect("valid");

        assert_eq!(id.as_str(), "spiffe://td/a");
    }

    #[test]
    fn what_is_no_identity_is_refused_for_its_reason() {
        for (text, error) in [
            ("", SpiffeError::Scheme),
            ("https://td/a", SpiffeError::Scheme),
            ("spiffe:/td/a", SpiffeError::Scheme),
            ("spiffe:///a", SpiffeError::TrustDomain),
            ("spiffe://TD/a", SpiffeError::TrustDomain),
            ("spiffe://td:1/a", SpiffeError::TrustDomain),
            ("spiffe://u@td/a", SpiffeError::TrustDomain),
            ("spiffe://td%2fx/a", SpiffeError::TrustDomain),
            ("spiffe://td", SpiffeError::Path),
            ("spiffe://td/", SpiffeError::Path),
            ("spiffe://td/a/", SpiffeError::Path),
            ("spiffe://td/a//b", SpiffeError::Path),
            ("spiffe://td/a/./b", SpiffeError::Path),
            ("spiffe://td/../b", SpiffeError::Path),
            ("spiffe://td/a?b", SpiffeError::Path),
            ("spiffe://td/a#b", SpiffeError::Path),
            ("spiffe://td/%61", SpiffeError::Path),
            ("spiffe://td/ü", SpiffeError::Path),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(error), "{text}");
        }
        let long = format!("spiffe://td/{}", "a".repeat(BYTES_MAX));
        assert_eq!(SpiffeId::parse(&long), Err(SpiffeError::TooLong));
        SpiffeId::workload("td", "a/sa/b", "c").expect_err("a namespace has no slash");
    }
}
