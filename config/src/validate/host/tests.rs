use super::*;

#[test]
fn labels_are_letters_digits_and_inner_hyphens() {
    for label in ["a", "v1", "A-b", "1a", &"x".repeat(63)] {
        assert!(is_label(label), "{label}");
    }
    for label in ["", "-a", "a-", "a_b", "a.b", "*", "ä", &"x".repeat(64)] {
        assert!(!is_label(label), "{label}");
    }
}

#[test]
fn names_are_labels_with_dots_and_no_wildcard() {
    for name in [
        "reviews",
        "a.b.example",
        "a.example.",
        "xn--4ca.example",
        "1.a",
    ] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", "*", "*.a", "a..b", "a b", "1.2.3.4", &"a.".repeat(128)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

#[test]
fn a_refused_name_says_which_label_is_wrong() {
    let digits = "must be a DNS name, got \"10.0.0.1\": the last label must not be all digits";
    let label = "must be a DNS name, got \"a.b_c\": \"b_c\" is not 1 to 63 letters, digits and \
                 inner hyphens";

    assert_eq!(check_name("10.0.0.1"), Err(digits.to_owned()));
    assert_eq!(check_name("a.b_c"), Err(label.to_owned()));
    assert_eq!(
        check_name(""),
        Err("must be a DNS name, got \"\"".to_owned())
    );
    let long = "a".repeat(256);
    assert_eq!(
        check_name(&long),
        Err("must have at most 255 characters, got 256".to_owned())
    );
}

#[test]
fn patterns_have_a_wildcard_in_the_first_label_only() {
    for name in ["*", "*.example", "*-a.example", "*a.example", "a.example"] {
        assert_eq!(check_pattern(name), Ok(()), "{name}");
    }
    for name in ["**", "a*", "a.*", "*.*.a", "*--a", "a*b.example"] {
        assert!(check_pattern(name).is_err(), "{name}");
    }
}

#[test]
fn server_names_may_encode_a_destination() {
    for name in [
        "outbound_.80_.v1_.reviews.default.svc",
        "outbound_.80_._.a.example",
        "*.a",
    ] {
        assert_eq!(check_server_name(name), Ok(()), "{name}");
    }
    for name in [
        "outbound_.80",
        "outbound_.x_._.a.example",
        "outbound_.80_._.1",
    ] {
        assert!(check_server_name(name).is_err(), "{name}");
    }
}

#[test]
fn subnets_are_addresses_or_ranges() {
    for text in [
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "2001:db8::/32",
        "0.0.0.0/0",
        "fe80::1%eth0",
    ] {
        assert_eq!(check_subnet(text), Ok(()), "{text}");
    }
    for text in [
        "",
        "10.0.0",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "a/8",
        "::/129",
    ] {
        assert!(check_subnet(text).is_err(), "{text}");
    }
}

#[test]
fn wildcards_cover_longer_names() {
    for (outer, inner) in [
        ("*", "a"),
        ("*.a", "b.a"),
        ("*.a", "*.b.a"),
        ("a", "a"),
        ("*", "*.a"),
    ] {
        assert!(covers(outer, inner), "{outer} {inner}");
    }
    for (outer, inner) in [("a", "*"), ("*.b.a", "*.a"), ("*.a", "a"), ("a.b", "b.a")] {
        assert!(!covers(outer, inner), "{outer} {inner}");
    }
    assert!(overlap("a.b", "*.b") && overlap("*.b", "a.b") && !overlap("a.b", "b.b"));
}
