//! What must hold of greetings, whatever a client sends.

use rustls::server::Acceptor;

use super::{HELLO_BYTES_MAX, Hello, HelloError, NAME_BYTES_MAX, read};

/// Reads a greeting whole and a part of it, which must agree with each other and, on the name, with who
/// shakes hands afterwards.
pub(crate) fn greeting(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = read(bytes);
    let end = bytes.len() * usize::from(*cut) / usize::from(u8::MAX);
    let part = read(&bytes[..end]);
    match (&part, &whole) {
        (Ok(Hello::Partial), Ok(_) | Err(_)) | (Err(_), Err(_)) => {}
        (Ok(Hello::Whole { .. }), whole) => assert_eq!(&part, whole, "more bytes change it"),
        (Err(error), whole) => panic!("{error}, and with more bytes {whole:?}"),
    }
    match whole {
        Ok(Hello::Partial) => assert!(
            bytes.len() < HELLO_BYTES_MAX,
            "it is waited for without end"
        ),
        Ok(Hello::Whole { server_name, .. }) => {
            assert!(is_plain(&server_name), "{server_name:?}");
            agrees(bytes, &server_name);
        }
        Err(
            HelloError::NotTls
            | HelloError::PlainHttp
            | HelloError::Malformed
            | HelloError::TooLong,
        ) => {}
    }
}

fn is_plain(name: &str) -> bool {
    let known = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    name.len() <= NAME_BYTES_MAX && !name.ends_with('.') && name.bytes().all(known)
}

/// The library that shakes hands must not find another name: one would choose the server, and the other
/// its certificate. It sees no name where one is an address or none of DNS, and may want more of a
/// greeting than we do.
fn agrees(bytes: &[u8], server_name: &str) {
    let mut rest = bytes;
    let mut acceptor = Acceptor::default();
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    if let Ok(Some(accepted)) = acceptor.accept()
        && let Some(name) = accepted.client_hello().server_name()
    {
        let name = name.trim_end_matches('.');
        assert!(
            name.eq_ignore_ascii_case(server_name),
            "{name:?} is not {server_name:?}"
        );
    }
}
