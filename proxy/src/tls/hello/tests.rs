//! Greetings whole, cut, split over records, and no greetings at all.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The greeting of a real client that asks for `name`.
fn greeting(name: &str) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.enable_sni = !name.is_empty();
    let asked = if name.is_empty() { "any.test" } else { name };
    let asked = ServerName::try_from(asked.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), asked).expect("a client");
    let mut greeting = Vec::new();
    client.write_tls(&mut greeting).expect("written to memory");
    greeting
}

/// The same message in records of at most `size` bytes.
fn split(greeting: &[u8], size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for fragment in greeting[RECORD_HEAD..].chunks(size) {
        let length = u16::try_from(fragment.len()).expect("a short fragment");
        records.extend_from_slice(&[HANDSHAKE_RECORD, 3, 1]);
        records.extend_from_slice(&length.to_be_bytes());
        records.extend_from_slice(fragment);
    }
    records
}

fn whole(name: &str) -> Result<Hello, HelloError> {
    Ok(Hello::Whole {
        server_name: name.into(),
        is_old: false,
        of_mesh: false,
    })
}

#[test]
fn the_name_that_a_client_asks_for_is_found() {
    for name in ["shop.test", ""] {
        assert_eq!(read(&greeting(name)), whole(name), "{name:?}");
    }
    assert_eq!(read(&greeting("Shop.TEST")), whole("shop.test"));
}

#[test]
fn a_greeting_is_waited_for_until_it_is_whole() {
    let greeting = greeting("shop.test");

    for end in 0..greeting.len() {
        assert_eq!(read(&greeting[..end]), Ok(Hello::Partial), "{end}");
    }
}

#[test]
fn what_comes_behind_a_greeting_is_left_alone() {
    let mut bytes = greeting("shop.test");
    bytes.extend_from_slice(b"\x17anything at all");

    assert_eq!(read(&bytes), whole("shop.test"));
}

#[test]
fn a_greeting_may_be_split_over_records_anywhere() {
    let greeting = greeting("shop.test");

    for size in [1, 2, 3, 5, 100] {
        assert_eq!(read(&split(&greeting, size)), whole("shop.test"), "{size}");
    }
}

#[test]
fn what_is_no_greeting_is_told_by_its_first_bytes() {
    for bytes in [
        &b"\x16\x02"[..],
        b"\x80\x2e\x01\x03\x01",
        // An alert, and a greeting of a server.
        b"\x15\x03\x01",
        b"\x16\x03\x01\x00\x05\x02",
        b"\x16\x03\x01\x00\x00",
    ] {
        assert_eq!(read(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n"] {
        assert_eq!(read(bytes), Err(HelloError::PlainHttp), "{bytes:?}");
    }
}

#[test]
fn a_greeting_that_cannot_end_in_time_is_not_waited_for() {
    assert_eq!(
        read(b"\x16\x03\x01\x40\x00\x01"),
        Err(HelloError::TooLong),
        "more than is waited for with its head"
    );
    let announced = b"\x16\x03\x01\x00\x08\x01\xff\xff\xff\x03\x03\x00\x00";
    assert_eq!(read(announced), Err(HelloError::TooLong));
    assert_eq!(
        read(b"\x16\x03\x01\xff\xff"),
        Err(HelloError::NotTls),
        "no record is as long"
    );
}

#[test]
fn names_that_are_none_are_refused() {
    let good = greeting("shop.test");
    let at = good
        .windows(9)
        .position(|window| window == b"shop.test")
        .expect("the name is in the greeting");

    for byte in [b'\n', b'"', b' ', b'/', 0, 0xff] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(read(&bad), Err(HelloError::Malformed), "{byte}");
    }
    let mut dotted = good;
    dotted[at + 8] = b'.';
    assert_eq!(read(&dotted), whole("shop.tes"));
    dotted[at + 7] = b'.';
    assert_eq!(read(&dotted), Err(HelloError::Malformed));
}

#[test]
fn a_client_of_old_versions_is_known_by_its_greeting() {
    // TLS 1.1 with one suite, no extensions.
    let mut greeting = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    greeting.extend_from_slice(&[7; 32]);
    greeting.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);

    let old = Hello::Whole {
        server_name: "".into(),
        is_old: true,
        of_mesh: false,
    };
    assert_eq!(read(&greeting), Ok(old));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
        let mut record = vec![HANDSHAKE_RECORD, 3, 1, 2, 0, CLIENT_HELLO, 0, 1, 0xfc];
        record.extend_from_slice(&bytes);
        let _ = read(&record);
    }

    #[test]
    fn a_changed_byte_gives_another_answer_and_no_panic(at in 0_usize..2_000, byte in any::<u8>()) {
        let mut bytes = greeting("shop.test");
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(Hello::Whole { server_name, .. }) = read(&bytes) {
            prop_assert!(server_name.len() <= NAME_BYTES_MAX);
        }
    }

    #[test]
    fn an_answer_does_not_change_with_more_bytes(size in 1_usize..700, end in 0_usize..3_000) {
        let bytes = split(&greeting("shop.test"), size);
        let part = read(&bytes[..end.min(bytes.len())]);
        prop_assert!(part == Ok(Hello::Partial) || part == whole("shop.test"));
    }
}
