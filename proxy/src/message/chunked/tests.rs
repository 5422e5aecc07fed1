//! What is read from chunked bodies, whole and in pieces, and what is refused.

use super::*;
use proptest::prelude::*;

/// Decodes `coded`, given in pieces of `step` bytes: the data, the trailers and what was left.
fn decode(coded: &[u8], step: usize) -> Result<(Vec<u8>, usize, Vec<u8>), ChunkError> {
    let mut chunked = Chunked::default();
    let mut buf = BytesMut::new();
    let mut data = Vec::new();
    let mut pieces = coded.chunks(step);
    loop {
        match chunked.decode(&mut buf)? {
            Decoded::Data(part) => data.extend_from_slice(&part),
            Decoded::Trailers(trailers) => return Ok((data, trailers.len(), buf.to_vec())),
            Decoded::End => return Ok((data, 0, buf.to_vec())),
            Decoded::More => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return Err(ChunkError::TooLarge),
            },
        }
    }
}

#[test]
fn bodies_are_read() {
    for (coded, expected, trailers) in [
        ("0\r\n\r\n", "", 0),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("0005\r\nhello\r\n000\r\n\r\n", "hello", 0),
        (
            "A;name=value;other=\"x y\"\r\n0123456789\r\n0\r\n\r\n",
            "0123456789",
            0,
        ),
        (
            "5 ;a\r\nhello\r\n0\r\nx-sum: 1\r\nX-Two: 2\r\n\r\n",
            "hello",
            2,
        ),
        (
            "1\r\na\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n",
            "a",
            0,
        ),
    ] {
        for step in [1, 2, 3, 1000] {
            let read = decode(coded.as_bytes(), step);
            assert_eq!(
                read,
                Ok((expected.as_bytes().to_vec(), trailers, Vec::new())),
                "{coded:?} by {step}"
            );
        }
    }
}

#[test]
fn what_parsers_read_differently_is_refused() {
    for coded in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5 ext\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\x0c;a\r\nhello\r\n0\r\n\r\n",
        "1000000000000000000\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: 1\n\r\n",
        "5\r\nhello\r\n0\r\nx : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\n x: 1\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
    ] {
        for step in [1, 1000] {
            assert_eq!(
                decode(coded.as_bytes(), step).err(),
                Some(ChunkError::Syntax),
                "{coded:?} by {step}"
            );
        }
    }
}

#[test]
fn what_surrounds_the_data_is_bounded() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(LINE_BYTES_MAX));
    let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
    let trailers = format!("0\r\nx: {}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
    let lines = format!("0\r\n{}\r\n", "x: 1\r\n".repeat(TRAILERS_MAX + 1));

    for coded in [long, many, trailers, lines] {
        assert_eq!(
            decode(coded.as_bytes(), 500).err(),
            Some(ChunkError::TooLarge)
        );
    }
}

proptest! {
    #[test]
    fn what_is_coded_is_read_back_whatever_the_pieces(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        step in 1_usize..50,
        rest in proptest::collection::vec(any::<u8>(), 0..5),
    ) {
        let mut coded = Vec::new();
        for part in &parts {
            coded.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            coded.extend_from_slice(part);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(b"0\r\n\r\n");
        let end = coded.len();
        coded.extend_from_slice(&rest);

        let (data, _, left) = decode(&coded, step).expect("a valid body");

        prop_assert_eq!(data, parts.concat());
        // What follows the body is never taken for a part of it.
        prop_assert!(coded[end..].starts_with(&left));
    }

    #[test]
    fn any_bytes_end_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        step in 1_usize..50,
    ) {
        let _ = decode(&bytes, step);
    }

    #[test]
    fn pieces_do_not_change_the_verdict(coded in "[0-2a;x \r\n]{0,24}") {
        let whole = decode(coded.as_bytes(), 1000).is_ok();
        prop_assert_eq!(decode(coded.as_bytes(), 1).is_ok(), whole);
    }
}
