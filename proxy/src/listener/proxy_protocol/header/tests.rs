use proptest::prelude::*;

use super::*;
use crate::listener::proxy_protocol::fuzz;

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    })
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len())
        .expect("a short rest")
        .to_be_bytes();
    [SIGNATURE, &[command, family][..], &len, rest].concat()
}

#[test]
fn a_line_names_both_sides() {
    let four = next(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    let six = next(b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 0 65535\r\n");
    let unknown = next(b"PROXY UNKNOWN ffff:f...f:ffff and anything else\r\n");

    let expected = addresses("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(four, Ok(Next::Done(expected)));
    let expected = addresses("[2001:db8::1]:0", "[::ffff:10.0.0.1]:65535");
    assert_eq!(six, Ok(Next::Done(expected)));
    assert_eq!(unknown, Ok(Next::Done(None)));
    assert_eq!(next(b"PROXY UNKNOWN\r\n"), Ok(Next::Done(None)));
}

#[test]
fn a_line_that_is_not_exact_is_refused() {
    for wrong in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 2001:db8::1 198.51.100.2 56324 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 1\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 1\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 1\n",
    ] {
        let said = next(wrong.as_bytes());
        assert!(
            matches!(said, Err(Fault::Malformed(_))),
            "{wrong:?}: {said:?}"
        );
    }
    assert_eq!(next(b"GET / HTTP/1.1\r\n"), Err(Fault::Missing));
    assert_eq!(next(b"\x16\x03\x01"), Err(Fault::Missing));
    let endless = [LINE_BEGIN, &[b'x'; 101][..]].concat();
    assert_eq!(next(&endless), Err(Fault::TooLong));
    assert_eq!(next(&endless[..106]), Ok(Next::Line(1)));
}

#[test]
fn a_binary_header_names_both_sides_and_what_else_it_says_is_skipped() {
    let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x04, 0x00, 0x01, 0xbb];
    let more = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 7, 9);

    let expected = addresses("10.0.0.1:1024", "10.0.0.2:443");
    assert_eq!(next(&binary(0x21, 0x11, &v4)), Ok(Next::Done(expected)));
    assert_eq!(next(&binary(0x21, 0x11, &more)), Ok(Next::Done(expected)));
    let expected = addresses("[::1]:7", "[::2]:9");
    assert_eq!(next(&binary(0x21, 0x21, &v6)), Ok(Next::Done(expected)));
    for without in [
        binary(0x20, 0x11, &v4),
        binary(0x20, 0xff, &[]),
        binary(0x21, 0x00, &[1]),
        binary(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(next(&without), Ok(Next::Done(None)), "{without:?}");
    }
}

#[test]
fn a_binary_header_that_is_not_exact_is_refused() {
    let rest = [0; 12];
    for wrong in [
        binary(0x11, 0x11, &rest),
        binary(0x22, 0x11, &rest),
        binary(0x21, 0x12, &rest),
        binary(0x21, 0x41, &rest),
        binary(0x21, 0x11, &rest[..11]),
        binary(0x21, 0x21, &[0; 35]),
    ] {
        let said = next(&wrong);
        assert!(
            matches!(said, Err(Fault::Malformed(_))),
            "{wrong:?}: {said:?}"
        );
    }
    let long = binary(0x21, 0x11, &[0; 4_097]);
    assert_eq!(next(&long), Err(Fault::TooLong));
}

#[test]
fn no_byte_after_the_header_is_asked_for() {
    assert_eq!(next(b""), Ok(Next::Bytes(15)));
    assert_eq!(next(b"P"), Ok(Next::Bytes(14)));
    assert_eq!(next(b"\r\n\r\n"), Ok(Next::Bytes(12)));
    assert_eq!(next(b"PROXY TCP4 192.0.2.1"), Ok(Next::Line(87)));
    let header = binary(0x21, 0x11, &[0; 12]);
    assert_eq!(next(&header[..20]), Ok(Next::Bytes(8)));
}

fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let binary = (any::<u8>(), any::<u8>(), 0_u16..64).prop_map(|(command, family, len)| {
        let mut header = binary(command, family, &[]);
        header[14..].copy_from_slice(&len.to_be_bytes());
        header
    });
    prop_oneof![
        Just(Vec::new()),
        Just(LINE_BEGIN.to_vec()),
        Just(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec()),
        Just(b"PROXY UNKNOWN ".to_vec()),
        binary,
    ]
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_a_header_is_cut(
        begin in beginnings(),
        rest in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        fuzz::run(&[begin, rest].concat());
    }

    #[test]
    fn what_is_written_is_read(
        source in any::<std::net::SocketAddrV4>(),
        destination in any::<std::net::SocketAddrV4>(),
    ) {
        let line = format!(
            "PROXY TCP4 {} {} {} {}\r\n",
            source.ip(), destination.ip(), source.port(), destination.port(),
        );
        let expected = addresses(&source.to_string(), &destination.to_string());
        prop_assert_eq!(next(line.as_bytes()), Ok(Next::Done(expected)));
    }
}
