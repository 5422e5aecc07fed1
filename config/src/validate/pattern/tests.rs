use super::*;

#[test]
fn patterns_mean_what_re2_means() {
    for (pattern, matching, other) in [
        ("/api/v[0-9]+/.*", "/api/v12/x", "x/api/v1/x"),
        ("/users/{id}", "/users/{id}", "/users/1"),
        ("a{2,}", "aaa", "a"),
        ("a{,2}", "a{,2}", "aa"),
        (r"\d+", "42", "\u{664}\u{662}"),
        (r"[\w-]+", "a-b_1", "a b"),
        (r"[^\s]+", "abc", "a c"),
        (r"[\D]", "x", "1"),
        ("[[a]+", "[a", "b"),
        ("[]a]+", "]a", "["),
        ("[a&&b]+", "a&b", "c"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        (r"\<a\>", "<a>", "a"),
        ("(?i)abc", "aBC", "abd"),
        ("(?P<1x>a)(?:b)", "ab", "a"),
        (r"\x41\x{42}\103", "ABC", "abc"),
        ("[[:alpha:]]+", "abc", "a1"),
        (r"\p{^Lu}\pL", "1a", "Aa"),
        ("a|b", "b", "ab"),
        ("x-#&~", "x-#&~", "x"),
    ] {
        let regex = compile_full(pattern).expect(pattern);

        assert!(
            regex.is_match(matching),
            "{pattern} should match {matching}"
        );
        assert!(!regex.is_match(other), "{pattern} should not match {other}");
    }
}

#[test]
fn what_re2_refuses_is_refused() {
    for pattern in [
        "",
        "*",
        "+a",
        "[",
        "(",
        "a)",
        "(?!a)",
        "(?=a)",
        "(?<=a)b",
        "(?<!a)b",
        r"(a)\1",
        "a**",
        "a{2}{3}",
        "a{1001}",
        "[b-a]",
        r"[a-\d]",
        r"\",
        r"\y",
        r"\u0041",
        "(?x)a",
        "[[:foo:]]",
        r"\xg0",
        r"\p{Foo}",
        "a{2,1}",
    ] {
        assert!(check(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn a_refused_pattern_says_why() {
    let long = "a".repeat(1025);
    for (pattern, message) in [
        ("", "must not be empty"),
        (
            "[a",
            "must be a regular expression in RE2 syntax, got \"[a\": a class is not closed",
        ),
        (
            "(a",
            "must be a regular expression in RE2 syntax, got \"(a\": unclosed group",
        ),
        (&long, "must have at most 1024 bytes, got 1025"),
    ] {
        assert_eq!(check(pattern), Err(message.to_owned()));
    }
}

#[test]
fn rewrites_use_groups_that_exist() {
    for rewrite in ["/x", r"/\1/\0", r"\\"] {
        assert_eq!(check_rewrite("/(a)", rewrite), Ok(()), "{rewrite}");
    }
    for (rewrite, message) in [
        ("", "is required"),
        (r"\2", r#"must use groups up to \1, got "\2""#),
        (r"\x", r#"must have a digit or '\' after a '\', got "\x""#),
        (r"a\", r#"must have a digit or '\' after a '\', got "\""#),
    ] {
        assert_eq!(check_rewrite("/(a)", rewrite), Err(message.to_owned()));
    }
}
