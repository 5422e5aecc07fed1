//! How match blocks address the claims of a token: `@request.auth.claims.group`, or with claims whose
//! names have dots `@request.auth.claims[a][b.c]`.

/// What stands before the name of a claim.
const CLAIMS: &str = "@request.auth.claims";

/// The names on the way to the claim that a matched name addresses; none if it is that of a header.
pub fn path(name: &str) -> Option<Vec<&str>> {
    let (prefix, path) = name.split_at_checked(CLAIMS.len())?;
    if !prefix.eq_ignore_ascii_case(CLAIMS) {
        return None;
    }
    if let Some(dotted) = path.strip_prefix('.').filter(|rest| !rest.is_empty()) {
        return Some(dotted.split('.').collect());
    }
    let inner = path.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.is_empty()).then(|| inner.split("][").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_addressed_by_dots_or_by_brackets() {
        for (name, expected) in [
            ("@request.auth.claims.sub", &["sub"][..]),
            ("@request.auth.claims.realm.roles", &["realm", "roles"]),
            ("@Request.Auth.Claims[a][b.c]", &["a", "b.c"]),
            (
                "@request.auth.claims[https://a.example/b]",
                &["https://a.example/b"],
            ),
        ] {
            assert_eq!(path(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_names_are_those_of_headers() {
        for name in [
            "@request.auth.claims",
            "@request.auth.claims.",
            "@request.auth.claims[]",
            "@request.auth.claims[a",
            "@request.auth.claimsx",
            "x-request.auth.claims.sub",
            "",
        ] {
            assert_eq!(path(name), None, "{name}");
        }
    }
}
