use super::*;

#[test]
fn values_close_their_expressions() {
    for value in [
        "",
        "plain",
        "100%%",
        "a %HOSTNAME% b",
        "%REQ(:path)%",
        r#"%UPSTREAM_METADATA(["a", "b"])%"#,
        r"%REQ(a\)b)%",
        "%PER_REQUEST_STATE( x ) %",
        "caf\u{e9}\t",
    ] {
        assert_eq!(check_value(value), Ok(()), "{value}");
    }
    for value in [
        "%",
        "100%",
        "a%b",
        "%REQ(x%",
        r#"%X(["a" "b"])%"#,
        "%X()y%",
        "a\nb",
        "\u{7f}",
    ] {
        assert!(check_value(value).is_err(), "{value}");
    }
}
